"""`tocsin calibrate`, and that a bundle with its chain gives the same decisions by every entry."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tocsin
from tests.builders import LABELS, message_file, messages, note_checksums, tiny_encoder
from tocsin.bundles.load import BundleWarning
from tocsin.bundles.manifest import read_manifest
from tocsin.cli.chains import chain_beside
from tocsin.cli.main import main
from tocsin.errors import BundleError
from tocsin.files import file_sha256
from tocsin.plugins.manager import load_plugins
from tocsin.scores.table import ScoresTable

pytest.importorskip("tocsin_calibration")

BUNDLE = "runs/task/latest-fit/bundle"
SCORES = "runs/task/latest-fit/scores/validation.parquet"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a fit of a tiny native classifier, its bundle calibrated by language."""
    folder = tmp_path_factory.mktemp("calibrate")
    tiny_encoder(folder / "encoder")
    message_file(folder / "data" / "m.parquet")
    config = {
        "labels": {"class_path": "Columns", "init_args": {"names": list(LABELS)}},
        "data": {
            "class_path": "LabelledMessages",
            "init_args": {
                "train": "m.parquet",
                "lang": "lang",
                "splitter": "GivenSplit",
                "max_length": 24,
                "batch_size": 16,
            },
        },
        "model": {
            "class_path": "MultilabelClassifier",
            "init_args": {
                "encoder": {
                    "class_path": "TransformerEncoder",
                    "init_args": {"name": str(folder / "encoder")},
                },
                "head": "NativeHead",
                "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01}},
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    (folder / "task").mkdir()
    (folder / "task" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "--config", "task/config.yaml"]) == 0
        given = ["--scores", SCORES, "--bundle", BUNDLE, "--output", "calibrated", "--draws", "50"]
        assert main(["calibrate", *given, "--by", "lang", "--rule", "BestF1", "--rule.shrinkage", "3"]) == 0
        assert main(["test", "--config", "runs/task/latest-fit/config.yaml"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)


def test_every_entry_gives_the_same_decisions() -> None:
    tested = ScoresTable.read("runs/task/latest-test/scores/test.parquet")
    assert tested.metadata["chain"] == "Platt -> BestF1"
    fitted = ScoresTable.read(SCORES).metadata["optimizer_steps"]
    assert tested.metadata["optimizer_steps"] == fitted != "0"
    assert tested.calibrated_NL is not None
    texts = {row["id"]: row["text"] for row in messages()}
    columns = {"id": list(tested.ids), "text": [texts[i] for i in tested.ids], "lang": list(tested.langs)}
    pq.write_table(pa.table(columns), "test.parquet")
    assert main(["predict", "--bundle", BUNDLE, "--input", "test.parquet", "--output", "out.parquet"]) == 0
    predicted = pq.read_table("out.parquet")
    bundle = tocsin.load(BUNDLE)
    assert bundle.needs_langs
    loaded = bundle.predict(columns["text"], list(tested.langs))
    np.testing.assert_allclose(loaded.raw_probabilities, tested.raw_probabilities, atol=1e-5)
    np.testing.assert_allclose(loaded.probabilities, tested.probabilities, atol=1e-5)
    assert np.abs(loaded.probabilities - loaded.raw_probabilities).max() > 0.01
    np.testing.assert_array_equal(loaded.decisions, tested.decisions_NL)
    for at, label in enumerate(LABELS):
        np.testing.assert_allclose(
            predicted[f"prob.{label}"].to_numpy(), tested.probabilities[:, at], atol=1e-5
        )
        assert predicted[f"decision.{label}"].to_pylist() == tested.decisions_NL[:, at].tolist()
    # the chain by itself, on the raw scores that the table kept
    assert bundle.chain is not None
    again = bundle.chain.apply(tested)
    np.testing.assert_array_equal(again.decisions_NL, tested.decisions_NL)
    np.testing.assert_array_equal(again.probabilities, tested.probabilities)
    # a message alone gets what it gets in a batch
    for row in (0, 5):
        alone = bundle.predict([columns["text"][row]], [tested.langs[row]])
        np.testing.assert_allclose(alone.raw_probabilities[0], loaded.raw_probabilities[row], atol=1e-5)
        np.testing.assert_allclose(
            alone.probabilities[0], loaded.probabilities[row], atol=1e-4
        )  # steep slope
        np.testing.assert_array_equal(alone.decisions[0], loaded.decisions[row])
    assert (
        main(["predict", "--bundle", BUNDLE, "--input", "test.parquet", "--output", "raw.parquet", "--raw"])
        == 0
    )
    raw = pq.read_table("raw.parquet")
    np.testing.assert_allclose(raw["prob.water"].to_numpy(), tested.raw_probabilities[:, 0], atol=1e-5)
    assert not [name for name in raw.column_names if name.startswith("decision.")]


def test_without_languages_every_text_is_of_an_unknown_one() -> None:
    bundle = tocsin.load(BUNDLE)
    with pytest.warns(BundleWarning, match="no languages were given"):
        without = bundle.predict(["water", "fire"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bundle.predict(["water"])  # said once
        unknown, strange = (
            bundle.predict(["water", "fire"], [None, None]),
            bundle.predict(["water", "fire"], ["xx"] * 2),
        )
    np.testing.assert_array_equal(without.probabilities, unknown.probabilities)
    np.testing.assert_array_equal(without.probabilities, strange.probabilities)


@pytest.mark.filterwarnings("always::tocsin.bundles.load.BundleWarning")  # the command prints it
def test_without_the_plugin_there_are_raw_probabilities_and_no_decisions(monkeypatch, capsys) -> None:
    with_plugin = tocsin.load(BUNDLE).predict(["water"], ["en"])
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    with pytest.warns(BundleWarning, match=r"Platt -> BestF1 cannot be used.*raw.*tocsin-calibration"):
        bundle = tocsin.load(BUNDLE)
    found = bundle.predict(["water"], ["en"])
    np.testing.assert_array_equal(found.probabilities, with_plugin.raw_probabilities)
    np.testing.assert_array_equal(found.raw_probabilities, with_plugin.raw_probabilities)
    with pytest.raises(BundleError, match="decisions are refused"):
        _ = found.decisions
    assert main(["predict", "--bundle", BUNDLE, "--text", "water"]) == 2
    said = capsys.readouterr().err
    assert "warning: runs/task/latest-fit/bundle: the chain Platt -> BestF1 cannot be used" in said
    assert "tocsin-calibration" in said
    assert "--raw" in said
    assert main(["predict", "--bundle", BUNDLE, "--text", "water", "--raw"]) == 0


def test_the_report_and_the_card() -> None:
    facts = json.loads(Path("calibrated/calibration.json").read_text())
    assert facts["chain"] == "Platt -> BestF1"
    assert set(facts["calibration"]) == {"Brier score", "log loss", "calibration error"}
    assert set(facts["decisions"]["per_label"]) == set(LABELS)
    assert facts["decisions"]["per_label"]["water"]["thresholds_by_lang"]
    assert Path("calibrated/reliability.png").read_bytes().startswith(b"\x89PNG")
    report = Path("calibrated/report.md").read_text()
    assert "| Brier score |" in report
    first, _, second, *_ = report.splitlines()
    name = first.removeprefix("# Calibration of ")
    assert name != first
    assert second.startswith(f"## {name}: ")
    assert report.endswith("![reliability](reliability.png)\n")
    assert "those of each stand in calibration.json" in report
    chain = json.loads(Path("calibrated/chain.json").read_text())
    kept = json.loads(Path(BUNDLE, "tocsin.json").read_text())["chain"]
    assert chain == kept
    assert [step["role"] for step in kept["steps"]] == ["calibrator", "decision_rule"]
    assert {step["component"]["origin"]["distribution"] for step in kept["steps"]} == {"tocsin-calibration"}
    card = Path(BUNDLE, "README.md").read_text()
    assert card.count("## Calibration and decisions") == 1
    assert "not calibrated" not in card
    assert card.index("## Calibration and decisions") < card.index("## Limits")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--rule", "RecallFloor"], {"floor": 0.8, "shrinkage": 0.0, "by": None}),
        (["--rule", "RecallFloor", "--rule.floor", "0.9"], {"floor": 0.9, "shrinkage": 0.0, "by": None}),
        (["--rule.shrinkage", "3"], {"shrinkage": 3.0, "by": None}),
        ([], {"shrinkage": 20.0, "by": None}),
    ],
)
def test_a_named_rule_has_its_own_defaults(
    tmp_path: Path, arguments: list[str], rule: dict[str, Any]
) -> None:
    """The default rule, BestF1, has another shrinkage, which is its own alone."""
    out = tmp_path / "out"
    assert main(["calibrate", "--scores", SCORES, "--draws", "5", "--output", str(out), *arguments]) == 0
    step = json.loads((out / "chain.json").read_text())["steps"][1]
    assert step["component"]["arguments"] == rule
    kept = "The floor of 0." in (out / "report.md").read_text()
    assert kept == ("RecallFloor" in arguments)


def test_a_chain_is_replaced_only_by_force(capsys) -> None:
    given = ["calibrate", "--scores", SCORES, "--bundle", BUNDLE, "--draws", "10"]
    before = Path(BUNDLE, "tocsin.json").read_bytes()
    assert main([*given, "--rule", "TopK"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path(BUNDLE, "tocsin.json").read_bytes() == before
    card = Path(BUNDLE, "README.md").read_bytes()
    try:
        assert main([*given, "--rule", "TopK", "--calibrator", "null", "--force"]) == 0
        saved = read_manifest(Path(BUNDLE)).chain
        assert saved is not None
        assert saved.name == "TopK"
        assert Path(BUNDLE, "README.md").read_text().count("## Calibration and decisions") == 1
        assert tocsin.load(BUNDLE).predict(["water"]).decisions.sum() == 3
    finally:
        Path(BUNDLE, "tocsin.json").write_bytes(before)
        Path(BUNDLE, "README.md").write_bytes(card)


def _rule(chain):
    return chain["steps"][1]["state"]


def _spoilt(tmp_path: Path, change) -> Path:
    import shutil

    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    note_checksums(
        folder, lambda plain: change(plain["chain"]) and None
    )  # as whoever changes it on purpose can
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda chain: chain.update(format=2), "chain is of format 2"),
        (lambda chain: chain.update(labels=chain["labels"][::-1]), "does not fit this bundle"),
        (lambda chain: chain["steps"][0]["state"].update(labels=["a", "b", "c"]), "does not fit this bundle"),
        (lambda chain: chain["steps"][1]["state"].pop("thresholds"), "cannot be taken over"),
        (lambda chain: chain["steps"][0]["component"].update(name="os.system"), "no component's short name"),
        (lambda chain: chain["steps"].reverse(), "in this order"),
        (lambda chain: chain.update(facts=["ids"]), "facts are no mapping"),
        (
            lambda chain: chain["steps"][0]["component"]["arguments"].update(by="genre"),
            "reads the column 'genre'",
        ),
        (lambda chain: chain["steps"][0]["component"]["arguments"].update(strange=1), "other arguments"),
        (
            lambda chain: _rule(chain).update(thresholds=[0.01]),
            "thresholds: 1 items given, a list of 3 wanted",
        ),
        (lambda chain: _rule(chain).update(thresholds=[-1.0] * 3), "wanted a finite number from 0 to 1"),
        (lambda chain: _rule(chain)["groups"].update(es=[0.5] * 4), "group 'es': 4 items given"),
        (lambda chain: chain["steps"][0]["state"].update(overall=[-3.0, 0.0]), "overall: slope is -3.0"),
        (
            lambda chain: chain["steps"][0]["state"]["groups"].update(es={"own": [], "weights": []}),
            "group 'es': own: 0 items given",
        ),
        (lambda chain: _rule(chain).update(thresholds=[float("nan")] * 3), "it holds NaN"),
        (lambda chain: _rule(chain).update(thresholds=[0.5, 0.5, 0.5]), "was changed after it was fitted"),
        (lambda chain: chain["facts"].update(run="another"), "was changed after it was fitted"),
        (lambda chain: chain.update(digest=3), "digest is no text"),
    ],
)
def test_a_damaged_chain_is_refused_with_its_fault(tmp_path: Path, change, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        tocsin.load(_spoilt(tmp_path, change))


def test_a_changed_chain_is_fitted_anew_by_force(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="KeyError 'digest'"):
        tocsin.load(_spoilt(tmp_path / "without", lambda chain: chain.pop("digest") and None))
    changed = _spoilt(tmp_path / "changed", lambda chain: chain.update(digest="0" * 64))
    with pytest.raises(BundleError, match="was changed after it was fitted"):
        tocsin.load(changed)
    given = ["calibrate", "--scores", SCORES, "--bundle", str(changed), "--draws", "10", "--force"]
    assert main([*given, "--rule", "TopK"]) == 0
    assert tocsin.load(changed).predict(["water", "fire"]).decisions.sum() == 6


def _calibrated(bundle: Path, scores: Path | str = SCORES) -> int:
    given = ["calibrate", "--scores", str(scores), "--bundle", str(bundle), "--draws", "10", "--force"]
    return main([*given, "--rule", "TopK"])


def test_what_a_bundle_and_its_chain_were_made_of_is_noted() -> None:
    manifest = read_manifest(Path(BUNDLE))
    checkpoint = Path(BUNDLE).parent / "checkpoints" / "best.ckpt"
    assert manifest.facts["checkpoint"] == file_sha256(checkpoint)
    assert int(manifest.facts["step"]) > 0
    assert manifest.chain is not None
    table = ScoresTable.read(SCORES)
    assert manifest.chain.facts["scores_digest"] == table.content_digest
    assert manifest.chain.facts["run"] == manifest.facts["run"] == table.metadata["run"]
    assert table.metadata.get("checkpoint", manifest.facts["checkpoint"]) == manifest.facts["checkpoint"]


@pytest.mark.filterwarnings("always::tocsin.bundle_files.BundleWarning")
def test_a_kill_between_the_files_of_a_bundle_leaves_one_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from tocsin.bundles import chain

    folder = _spoilt(tmp_path, lambda chain: None)
    card = (folder / "README.md").read_bytes()

    def killed(path: Path) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(chain, "whole_file", killed)
        assert _calibrated(folder) != 0
    assert (folder / "README.md").read_bytes() == card
    with pytest.warns(BundleWarning, match=r"README\.md .*or its writing cut short"):
        assert tocsin.load(folder).predict(["water", "fire"]).decisions.sum() == 6
    capsys.readouterr()
    code, said = _calibrated(folder), capsys.readouterr().err
    assert code == 0, said
    assert "README.md" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tocsin.load(folder)


@pytest.mark.parametrize("key", ["run", "checkpoint"])
def test_a_chain_of_another_networks_scores_is_refused(tmp_path: Path, key: str, capsys) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    before = (folder / "tocsin.json").read_bytes()
    table = ScoresTable.read(SCORES)
    given = {"run": table.metadata["run"], key: "another" if key == "run" else "0" * 64}
    replace(table, metadata=given).write(tmp_path / "scores.parquet")
    assert _calibrated(folder, tmp_path / "scores.parquet") == 2
    assert "The scores are of another network" in capsys.readouterr().err
    assert (folder / "tocsin.json").read_bytes() == before


@pytest.mark.filterwarnings("always::tocsin.bundle_files.BundleWarning")
def test_scores_that_do_not_say_whose_they_are_are_said(tmp_path: Path, capsys) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    replace(ScoresTable.read(SCORES), metadata={}).write(tmp_path / "scores.parquet")
    assert _calibrated(folder, tmp_path / "scores.parquet") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "nothing tells whether the scores are of this bundle's network" in said


def test_a_damaged_bundle_is_not_written_anew(tmp_path: Path, capsys) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert _calibrated(folder) == 2
    assert "model.safetensors was changed" in capsys.readouterr().err
    with pytest.raises(BundleError, match=r"model\.safetensors was changed"):
        tocsin.load(folder)


def test_a_test_takes_no_chain_of_another_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = run / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(Path(BUNDLE).parent.joinpath("checkpoints", "best.ckpt").read_bytes())
    _spoilt(run, lambda chain: None)
    registry = load_plugins(roles=("calibrator", "decision_rule"))
    assert chain_beside(checkpoint, registry) is not None
    checkpoint.write_bytes(b"of a later epoch")
    with pytest.warns(BundleWarning, match=r"made of another best\.ckpt than stands here now"):
        assert chain_beside(checkpoint, registry) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 200_000, "cannot be read as JSON"),
        ('{"format": 1, "threshold": Infinity}', "it holds Infinity"),
        ('{"format": 1, "threshold": -1e999}', "it holds -1e999"),
    ],
)
def test_what_is_no_json_of_ours_is_refused(tmp_path: Path, text: str, said: str) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    (folder / "tocsin.json").write_text(text)
    with pytest.raises(BundleError, match=said):
        tocsin.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_length", 0), ("max_length", 10**400), ("threshold", 10**400), ("threshold", 2.0)],
)
def test_numbers_out_of_range_are_damage(tmp_path: Path, name: str, value: float) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    note_checksums(folder, lambda plain: plain | {name: value})
    with pytest.raises(BundleError, match="damaged"):
        tocsin.load(folder)


@pytest.mark.parametrize("text", ["[" * 200_000, "3", "[]"])
def test_a_configuration_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    folder = _spoilt(tmp_path, lambda chain: None)
    (folder / "config.json").write_text(text)
    note_checksums(folder)
    with pytest.raises(BundleError, match=r"config\.json"):
        tocsin.load(folder)


def test_scores_without_languages_are_not_calibrated_by_them(tmp_path: Path, capsys) -> None:
    replace(ScoresTable.read(SCORES), langs=None).write(tmp_path / "scores.parquet")
    given = ["calibrate", "--scores", str(tmp_path / "scores.parquet"), "--draws", "10"]
    assert main([*given, "--by", "lang"]) == 2
    assert "by is 'lang', and none of 24 messages has a known value" in capsys.readouterr().err
    assert main(given) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rule", "BestF2"], "BestF2"),
        (["--rule.beta", "2"], "beta"),
        (["--calibrator", "null", "--rule", "null"], "nothing to fit"),
        (["--apply", "x.parquet"], "--output"),
        (["--by", "genre"], "genre"),
        (["--by", "lang", "--rule", "TopK"], "TopK has no option `by`"),
        (["--folds", "1"], "folds is 1"),
        (["--groups", "event"], "--groups event: there is no column 'event' in it"),
        (
            ["--apply", "none.parquet", "--output", "o", "--scores", "nor.this"],
            "none.parquet: There is no such",
        ),
        (["--rule", "PrecisionFloor", "--rule.floor", "2"], "floor is 2"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], said: str, capsys) -> None:
    assert main(["calibrate", "--scores", SCORES, "--draws", "5", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_test_scores_and_other_labels_are_refused(tmp_path: Path, capsys) -> None:
    tested = "runs/task/latest-test/scores/test.parquet"
    assert main(["calibrate", "--scores", tested]) == 2
    assert "of the test split" in capsys.readouterr().err
    table = ScoresTable.read(SCORES)
    replace(table, labels=table.labels[::-1]).write(tmp_path / "turned.parquet")
    assert (
        main(["calibrate", "--scores", str(tmp_path / "turned.parquet"), "--bundle", BUNDLE, "--force"]) == 2
    )
    err = capsys.readouterr().err
    assert f"the labels of the scores are not those of the bundle {BUNDLE}: the same labels in another" in err
    turned = tmp_path / "turned.parquet"
    renamed = tmp_path / "renamed.parquet"
    replace(table, labels=("Water", *table.labels[1:])).write(renamed)
    first = table.labels[0]
    for path, said in ((turned, "the same labels in"), (renamed, f"they lack {first!r} and have 'Water'")):
        assert main(["calibrate", "--scores", SCORES, "--apply", str(path), "--output", "o"]) == 2
        assert (
            f"the labels of --apply {path} are not those of --scores {SCORES}: {said}"
            in capsys.readouterr().err
        )


def test_scores_of_another_program_are_calibrated_and_evaluated(tmp_path: Path) -> None:
    """A CSV of probabilities goes through calibrate and evaluate; what is applied to teaches nothing."""
    generator = np.random.default_rng(0)
    for name, rows in (("validation", 300), ("test", 200)):
        truth = generator.random(rows)
        on = generator.random(rows) < truth
        cells = [f"{name} {i},{p**3:.6f},{int(y)}" for i, (p, y) in enumerate(zip(truth, on, strict=True))]
        (tmp_path / f"{name}.csv").write_text("id,prob.flood,target.flood\n" + "\n".join(cells) + "\n")
    out = tmp_path / "out"
    given = [
        "calibrate",
        "--scores",
        str(tmp_path / "validation.csv"),
        "--draws",
        "50",
        "--calibrator",
        "Isotonic",
    ]
    assert main([*given, "--apply", str(tmp_path / "test.csv"), "--output", str(out)]) == 0
    raw, table = ScoresTable.read(tmp_path / "test.csv"), ScoresTable.read(out / "test.parquet")
    np.testing.assert_allclose(table.raw_probabilities, raw.probabilities)
    y = table.targets_NL
    assert np.mean((table.probabilities - y) ** 2) < np.mean((raw.probabilities - y) ** 2)
    assert main(["evaluate", "--scores", str(out / "test.parquet"), "--draws", "20"]) == 0
    chain = (out / "chain.json").read_text()
    poisoned = [f"test {i},0.5,{i % 2}" for i in range(50)]
    (tmp_path / "test.csv").write_text("id,prob.flood,target.flood\n" + "\n".join(poisoned) + "\n")
    assert main([*given, "--apply", str(tmp_path / "test.csv"), "--output", str(out)]) == 0
    assert (out / "chain.json").read_text() == chain


def test_the_default_names_the_plugin_where_it_is_missing(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    assert main(["calibrate", "--scores", SCORES]) == 2
    assert "pip install tocsin-calibration" in capsys.readouterr().err
