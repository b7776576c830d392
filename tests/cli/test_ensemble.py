"""`tocsin ensemble`, and that its bundle of bundles predicts what combining the members' scores by hand gives."""

from __future__ import annotations

import json
import shutil
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
from tocsin.bundles.ensemble_manifest import remembered_reading
from tocsin.bundles.load import BundleWarning
from tocsin.cli.main import main
from tocsin.errors import BundleError
from tocsin.scores.table import ScoresTable

pytest.importorskip("tocsin_ensemble")

MEMBERS = {
    "native": {"kind": "bert", "head": "NativeHead", "labels": list(LABELS), "cleaner": "NoCleaner"},
    "turned": {
        "kind": "xlm-roberta",
        "head": "LinearHead",
        "labels": LABELS[::-1],
        "cleaner": "TweetCleaner",
    },
}
SCORES = [f"runs/{name}/latest-fit/scores/validation.parquet" for name in MEMBERS]
TESTS = [f"runs/{name}/latest-test/scores/test.parquet" for name in MEMBERS]
BUNDLES = [f"runs/{name}/latest-fit/bundle" for name in MEMBERS]
GIVEN = ["ensemble", "--scores", *SCORES, "--name", "a", "b/c", "--draws", "20"]


def config(folder: Path, name: str) -> dict[str, Any]:
    """A fit whose encoder, tokenizer, head, cleaner and label order are the member's own."""
    member = MEMBERS[name]
    return {
        "labels": {"class_path": "Columns", "init_args": {"names": list(member["labels"])}},
        "data": {
            "class_path": "LabelledMessages",
            "init_args": {
                "train": "m.parquet",
                "lang": "lang",
                "splitter": "GivenSplit",
                "max_length": 24 if name == "native" else 12,
                "batch_size": 16,
                "cleaner": member["cleaner"],
            },
        },
        "model": {
            "class_path": "MultilabelClassifier",
            "init_args": {
                "encoder": {"class_path": "TransformerEncoder", "init_args": {"name": str(folder / name)}},
                "head": member["head"],
                "pooling": None if name == "native" else "MeanPooling",
                "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01}},
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with two fits, their tests, and an ensemble of them in `joint`."""
    folder = tmp_path_factory.mktemp("ensemble")
    message_file(folder / "data" / "m.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, (name, member) in enumerate(MEMBERS.items()):
            tiny_encoder(folder / name, str(member["kind"]), seed=seed)
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(config(folder, name)))
            assert main(["fit", "--config", f"{name}.yaml", "--name", name]) == 0
            assert main(["test", "--config", f"runs/{name}/latest-fit/config.yaml", "--name", name]) == 0
        assert main([*GIVEN, "--test", *TESTS, "--bundle", *BUNDLES, "--output", "joint"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)


def texts_of(ids: Any) -> list[str]:
    texts = {row["id"]: row["text"] for row in messages()}
    return [texts[each] for each in ids]


def by_hand(tables: list[ScoresTable], weights: dict[str, dict[str, float]]) -> np.ndarray:
    """Probabilities of the weighted mean of logits, rows and labels in the first table's order."""
    first = tables[0]
    joint_NL = np.zeros((len(first), len(first.labels)))
    for table, of_label in zip(tables, weights.values(), strict=True):
        row_of = {each: row for row, each in enumerate(table.ids)}
        for i, label in enumerate(first.labels):
            column = table.logits_NL[:, table.labels.index(label)].astype(np.float64)
            joint_NL[:, i] += of_label[label] * column[[row_of[each] for each in first.ids]]
    return 1.0 / (1.0 + np.exp(-joint_NL))


def test_the_bundle_gives_by_every_entry_what_combining_by_hand_gives() -> None:
    weights = json.loads(Path("joint/ensemble.json").read_text())["weights"]
    assert list(weights) == ["a", "b/c"]
    tables = [ScoresTable.read(path) for path in TESTS]
    assert tables[0].labels != tables[1].labels
    wanted = by_hand(tables, weights)
    written = ScoresTable.read("joint/scores/test.parquet")
    assert written.labels == tuple(LABELS)
    np.testing.assert_allclose(written.probabilities, wanted, atol=1e-6)

    texts, langs = texts_of(tables[0].ids), list(tables[0].langs)
    bundle = tocsin.load("joint/bundle")
    assert bundle.labels == tuple(LABELS)
    loaded = bundle.predict(texts)
    # the same members' scores, so that the network's own rounding between batches plays no part
    alone = [tocsin.load(path) for path in BUNDLES]
    scored = [one.raw_scores(texts) for one in alone]
    np.testing.assert_allclose(loaded.probabilities, by_hand(scored, weights), atol=1e-6)
    np.testing.assert_allclose(loaded.probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(loaded.probabilities, loaded.raw_probabilities)
    np.testing.assert_array_equal(loaded.decisions, loaded.probabilities >= 0.5)
    np.testing.assert_allclose(1 / (1 + np.exp(-loaded.logits)), loaded.probabilities, atol=1e-6)

    columns = {"id": list(tables[0].ids), "text": texts, "lang": langs}
    pq.write_table(pa.table(columns), "in.parquet")
    assert (
        main(["predict", "--bundle", "joint/bundle", "--input", "in.parquet", "--output", "o.parquet"]) == 0
    )
    predicted = pq.read_table("o.parquet")
    for i, label in enumerate(LABELS):
        np.testing.assert_allclose(
            predicted[f"prob.{label}"].to_numpy(), loaded.probabilities[:, i], atol=1e-6
        )
        assert predicted[f"decision.{label}"].to_pylist() == loaded.decisions[:, i].tolist()
    assert main(["predict", "--bundle", "joint/bundle", "--text", "water", "--raw"]) == 0
    one = bundle.predict([texts[3]])  # alone as in a batch
    np.testing.assert_allclose(one.probabilities[0], loaded.probabilities[3], atol=1e-5)
    assert bundle.predict([]).probabilities.shape == (0, 3)


def test_a_text_that_a_member_cannot_read_is_undecided() -> None:
    bundle = tocsin.load("joint/bundle")
    found = bundle.predict(["water", " ", None, "水 火"])
    assert found.undecided.tolist() == [False, True, True, True]
    assert np.isnan(found.probabilities[1:]).all()
    np.testing.assert_allclose(found.probabilities[0], bundle.predict("water").probabilities[0], atol=1e-6)
    assert np.isfinite(bundle.predict(["", "水 火"], empty="score").probabilities).all()
    assert found.unknown[3] == 2 * len(bundle.members)


def test_an_ensemble_remembers_what_its_members_agree_on() -> None:
    found = remembered_reading(Path("joint/bundle"))
    assert found is not None
    assert (found.text, found.id) == ("text", "id")
    assert found == remembered_reading(Path(BUNDLES[0])) == remembered_reading(Path(BUNDLES[1]))


def test_texts_count_as_done_once() -> None:
    done: list[int] = []
    tocsin.load("joint/bundle").predict(["water"] * 7, advance=done.append)
    assert sum(done) == 7


def test_the_joint_scores_go_through_evaluate_compare_and_calibrate(tmp_path: Path, capsys) -> None:
    joint = "joint/scores/validation.parquet"
    table = ScoresTable.read(joint)
    assert table.metadata["split"] == "validation"
    assert table.metadata["cross_fitted"] == "5"
    assert json.loads(table.metadata["members"]) == ["a", "b/c"]
    assert ScoresTable.read("joint/scores/test.parquet").metadata["split"] == "test"
    assert main(["evaluate", "--scores", joint, SCORES[0], "--draws", "5"]) == 0
    assert main(["compare", "--scores", joint, SCORES[0], "--draws", "5"]) == 0
    assert "joint" in capsys.readouterr().out
    given = ["calibrate", "--scores", "joint/scores/test.parquet", "--draws", "5", "--rule", "null"]
    assert main([*given, "--calibrator", "null"]) == 2


def test_calibrate_puts_its_chain_behind_the_ensemble(tmp_path: Path) -> None:
    pytest.importorskip("tocsin_calibration")
    folder = tmp_path / "bundle"
    shutil.copytree("joint/bundle", folder)
    given = [
        "calibrate",
        "--scores",
        "joint/scores/validation.parquet",
        "--bundle",
        str(folder),
        "--draws",
        "5",
    ]
    assert (
        main([*given, "--by", "lang", "--apply", "joint/scores/test.parquet", "--output", str(tmp_path)]) == 0
    )
    kept = json.loads((folder / "tocsin.json").read_text())
    assert [step["role"] for step in kept["chain"]["steps"]] == ["calibrator", "decision_rule"]
    assert [step["role"] for step in kept["ensemble"]["steps"]] == ["ensembler"]
    assert "not calibrated" not in (folder / "README.md").read_text()
    bundle = tocsin.load(folder)
    assert bundle.needs_langs
    applied = ScoresTable.read(tmp_path / "test.parquet")
    found = bundle.predict(texts_of(applied.ids), list(applied.langs))
    np.testing.assert_allclose(found.raw_probabilities, applied.raw_probabilities, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, applied.probabilities, atol=1e-4)
    np.testing.assert_array_equal(found.decisions, applied.decisions_NL)
    assert np.abs(found.probabilities - found.raw_probabilities).max() > 1e-3
    assert main([*given]) == 2  # a chain stays unless --force is given
    # the order of a table's labels is the ensemble's
    table = ScoresTable.read("joint/scores/validation.parquet")
    replace(table, labels=table.labels[::-1]).write(tmp_path / "turned.parquet")
    given[2] = str(tmp_path / "turned.parquet")
    assert main([*given, "--force"]) == 2


@pytest.mark.filterwarnings("always::tocsin.plugins.registry.PluginWarning")  # the command prints it
def test_a_members_own_chain_is_put_aside(tmp_path: Path, capsys) -> None:
    pytest.importorskip("tocsin_calibration")
    member = tmp_path / "calibrated"
    shutil.copytree(BUNDLES[0], member)
    given = ["--calibrator", "Platt", "--rule", "BestF1", "--draws", "5"]
    assert main(["calibrate", "--scores", SCORES[0], "--bundle", str(member), *given]) == 0
    out = tmp_path / "out"
    assert main([*GIVEN, "--bundle", str(member), BUNDLES[1], "--output", str(out)]) == 0
    assert "put aside" in capsys.readouterr().err
    texts = ["water on the road", "fire"]
    np.testing.assert_allclose(
        tocsin.load(out / "bundle").predict(texts).probabilities,
        tocsin.load("joint/bundle").predict(texts).probabilities,
        atol=1e-6,
    )


def test_the_report_says_the_same_everywhere(capsys) -> None:
    facts = json.loads(Path("joint/ensemble.json").read_text())
    assert facts["ensembler"] == "WeightedEnsemble"
    assert set(facts["fitted"]["ensemble_minus_without"]) == {"a", "b/c"}
    assert facts["tested"]["split"] == "test"
    assert not facts["tested"]["cross_fitted"]
    assert main([*GIVEN, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["fitted"] == facts["fitted"]
    report = Path("joint/report.md").read_text()
    assert report.startswith("# Ensemble joint of a, b/c\n")
    for title in ("What each member adds (test", "Ensemble minus its best member (validation"):
        assert title in report
    card = Path("joint/bundle/README.md").read_text()
    assert "- `members/a`: a" in card
    assert "- `members/b-c`: b/c" in card
    assert card.index("## Figures") < card.index("## Limits")


def test_without_the_plugin_the_ensemble_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    with pytest.raises(BundleError, match=r"cannot be combined.*WeightedEnsemble.*tocsin-ensemble"):
        tocsin.load("joint/bundle")
    assert main(["predict", "--bundle", "joint/bundle", "--text", "water", "--raw"]) == 2
    assert "tocsin-ensemble" in capsys.readouterr().err
    assert main(GIVEN) == 2
    assert "pip install tocsin-ensemble" in capsys.readouterr().err


@pytest.mark.filterwarnings("always::tocsin.bundles.load.BundleWarning")
def test_without_the_calibration_plugin_there_are_raw_joint_probabilities(
    tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("tocsin_calibration")
    folder = tmp_path / "bundle"
    shutil.copytree("joint/bundle", folder)
    given = ["--scores", "joint/scores/validation.parquet", "--bundle", str(folder), "--draws", "5"]
    assert main(["calibrate", *given]) == 0
    monkeypatch.setenv("TOCSIN_PLUGINS", "tocsin-ensemble")
    with pytest.warns(BundleWarning, match="tocsin-calibration"):
        found = tocsin.load(folder).predict(["water"])
    np.testing.assert_allclose(
        found.probabilities, tocsin.load("joint/bundle").predict(["water"]).probabilities
    )
    with pytest.raises(BundleError, match="decisions are refused"):
        _ = found.decisions


def test_the_only_weighted_member_may_not_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*GIVEN, "--ensembler", "MeanEnsemble", "--ensembler.weights", "[1, 0]"]
    assert main([*given, "--output", str(tmp_path / "out")]) == 0
    added = json.loads((tmp_path / "out" / "ensemble.json").read_text())["fitted"]["ensemble_minus_without"]
    assert {each["point"] for each in added["a"].values()} == {None}
    assert {each["point"] for each in added["b/c"].values()} == {0.0}
    assert "–" in capsys.readouterr().out


def spoilt(tmp_path: Path, change: Any) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree("joint/bundle", folder)
    note_checksums(folder, lambda plain: change(plain) and None)  # as whoever changes it on purpose can
    return folder


def _flip(folder: Path) -> None:
    path = folder / "members" / "a" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plain: plain.update(format=3), "is of format 3"),
        (lambda plain: plain.update(kind="flock"), "damaged"),
        (lambda plain: plain["labels"].reverse(), "do not match their digest"),
        (lambda plain: plain["members"].reverse(), "joint probabilities of the canary texts"),
        (lambda plain: plain["members"].pop(), "does not fit this bundle"),
        (lambda plain: plain["members"][0].update(folder="../a"), "no member's folder"),
        (lambda plain: plain["members"][0].update(name=plain["members"][1]["name"]), "wanted each once"),
        (lambda plain: plain["ensemble"].update(format=7), "chain is of format 7"),
        (
            lambda plain: plain["ensemble"]["steps"][0]["state"].update(members=3 * 10**10),
            "fitted for 30000000000 members, and the bundle has 2",
        ),
        (
            lambda plain: plain["ensemble"]["steps"][0]["state"].update(members=1e300),
            "fitted for 1e\\+300 members",
        ),
        (lambda plain: plain["ensemble"]["labels"].reverse(), "does not fit this bundle"),
        (lambda plain: plain["ensemble"]["steps"][0]["state"].pop("weights"), "cannot be taken over"),
        (
            lambda plain: plain["ensemble"]["steps"][0].update(role="calibrator"),
            "wanted an ensembler alone",
        ),
        (
            lambda plain: plain["ensemble"]["steps"][0]["component"].update(name="os.system"),
            "no component's short name",
        ),
        (lambda plain: plain.update(chain=plain["ensemble"]), "a second ensembler"),
        (
            lambda plain: plain["ensemble"]["steps"][0]["state"].update(weights=[[0.0, 1.0]] * 3),
            "the chain WeightedEnsemble was changed after it was fitted",
        ),
        (lambda plain: plain["ensemble"].pop("digest"), "KeyError 'digest'"),
    ],
)
def test_a_damaged_ensemble_is_refused_with_its_fault(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        tocsin.load(spoilt(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip, r"members/a/model\.safetensors was changed"),
        (lambda folder: (folder / "members/b-c/head.safetensors").unlink(), r"head\.safetensors is missing"),
        (lambda folder: shutil.rmtree(folder / "members/b-c"), "is missing"),
        (lambda folder: (folder / "members/a/vocab.txt").write_text("x"), r"vocab\.txt was added later"),
        (lambda folder: _link(folder / "members/a/config.json"), r"members/a/config\.json is a link"),
        (lambda folder: _link(folder / "members/b-c"), "members/b-c is a link"),
    ],
)
def test_a_members_files_are_the_ensembles(tmp_path: Path, change: Any, said: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree("joint/bundle", folder)
    change(folder)
    with pytest.raises(BundleError, match=said):
        tocsin.load(folder)


def _link(path: Path) -> None:
    path.rename(path.parent.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent.parent / "elsewhere")


@pytest.mark.parametrize("name", ["README.md", "notes.md", "config.json"])
def test_nothing_is_copied_through_a_link(tmp_path: Path, name: str, capsys) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for anybody")
    member = tmp_path / "member"
    shutil.copytree(BUNDLES[0], member)
    (member / name).unlink(missing_ok=True)
    (member / name).symlink_to(secret)
    out = tmp_path / "out"
    assert main([*GIVEN, "--bundle", str(member), BUNDLES[1], "--output", str(out)]) == 2
    assert f"{name} is a link" in capsys.readouterr().err
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and path != secret and "secret" in path.name
    ]
    assert "not for anybody" not in "".join(
        path.read_text(errors="replace") for path in out.rglob("*") if path.is_file()
    )


def test_scores_of_another_network_are_refused(tmp_path: Path, capsys) -> None:
    table = ScoresTable.read(SCORES[0])
    other = tmp_path / "other.parquet"
    replace(table, metadata={**table.metadata, "checkpoint": "0" * 64, "step": "3"}).write(other)
    member = tmp_path / "member"
    shutil.copytree(BUNDLES[0], member)
    note_checksums(member, lambda plain: plain | {"facts": {"checkpoint": "1" * 64, "step": "9"}})
    given = ["ensemble", "--scores", str(other), SCORES[1], "--bundle", str(member), BUNDLES[1]]
    assert main([*given, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "The scores are of another network" in said
    assert "step 3" in said
    assert "step 9" in said
    assert main(["calibrate", "--scores", str(other), "--bundle", str(member)]) == 2
    assert "The scores are of another network" in capsys.readouterr().err


def test_what_wants_one_network_says_so(tmp_path: Path, capsys) -> None:
    with pytest.raises(BundleError, match="no vectors of its own"):
        tocsin.load("joint/bundle").encode(["water"])
    again = [*GIVEN, "--bundle", "joint/bundle", BUNDLES[1], "--output", str(tmp_path / "again")]
    assert main(again) == 2
    assert "is an ensemble itself" in capsys.readouterr().err
    from tocsin.bundles.load import load_bundle
    from tocsin.bundles.manifest import read_manifest

    for read in (read_manifest, lambda folder: load_bundle(folder, None)):  # type: ignore[arg-type]
        with pytest.raises(BundleError, match="the bundle of one network is wanted"):
            read(Path("joint/bundle"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups", "event"], f"{SCORES[0]}: --groups event: there is no column 'event' in it"),
        (["--ensembler", "Mean"], "Did you mean 'MeanEnsemble'?"),
        (["--ensembler", "MeanEnsembel"], "Did you mean 'MeanEnsemble'"),
        (["--ensembler.of", "ranks"], "ranks"),
        (["--ensembler", "null"], "There is no ensembler"),
        (["--ensembler", "MeanEnsemble", "--ensembler.weights", "[1, 2, 3]"], "3 weights were given for 2"),
        (["--test", TESTS[0]], "--test has 1 values and --scores 2 files"),
        (["--bundle", *BUNDLES], "--bundle wants --output"),
        (["--bundle", *BUNDLES[::-1], "--output", "x"], "is of the run whose scores stand at place 2"),
        (["--bundle", *BUNDLES, "--output", "joint"], "exists and is not empty"),
        (["--folds", "1"], "folds is 1"),
        (["--draws", "0"], "draws is 0"),
        (["--groups", "event"], "event"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], said: str, capsys) -> None:
    assert main([*GIVEN, *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_tables_that_do_not_fit_are_named(tmp_path: Path, capsys) -> None:
    table = ScoresTable.read(SCORES[1])
    targets_NL = table.targets_NL.copy()
    targets_NL[0, 0] = 1 - targets_NL[0, 0]
    for name, changed, said in (
        ("fewer", table.select(np.arange(3, len(table))), "lacks 3 of the 24 messages"),
        ("labels", replace(table, labels=("fire", "food", "wind")), "lacks 'water' and has 'wind'"),
        ("targets", replace(table, targets_NL=targets_NL), "disagree about 1 targets"),
        ("test", replace(table, metadata={"split": "test"}), "of the test split"),
    ):
        path = tmp_path / f"{name}.parquet"
        changed.write(path)
        assert main(["ensemble", "--scores", SCORES[0], str(path)]) == 2
        err = capsys.readouterr().err
        assert said in err, err
        assert str(path) in err or name == "test"


def test_a_bundle_that_cannot_be_a_member_is_refused_first(tmp_path: Path, capsys) -> None:
    tables = [ScoresTable.read(path) for path in SCORES]
    paths = []
    for number, table in enumerate(tables):
        names = tuple(name.replace("food", "wind") for name in table.labels)
        paths.append(str(tmp_path / f"{number}.parquet"))
        replace(table, labels=names).write(paths[-1])
    given = ["--bundle", *BUNDLES, "--output", str(tmp_path / "out")]
    assert main(["ensemble", "--scores", *paths, *given]) == 2
    assert "Give the bundle whose scores these are" in capsys.readouterr().err
    member = tmp_path / "member"
    shutil.copytree(BUNDLES[0], member)
    strange = {"name": "StrangeHead", "origin": {"distribution": "lab-heads", "version": "1.0"}}
    note_checksums(member, lambda plain: plain["head"].update(strange))
    given[1] = str(member)
    assert main([*GIVEN, *given]) == 2
    assert "lab-heads" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_config_names_the_ensembler(tmp_path: Path, capsys) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("ensembler: {class_path: StackingEnsemble, init_args: {l2: 2.0}}\ndraws: 5\n")
    assert main(["ensemble", "--config", str(path), "--scores", *SCORES, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["arguments"] == {"l2": 2.0, "shrinkage": 20.0}
    assert facts["draws"] == 5


@pytest.mark.filterwarnings("always::tocsin.plugins.registry.PluginWarning")
def test_other_programs_scores_and_the_same_rows_as_a_test(tmp_path: Path, capsys) -> None:
    """CSV files of probabilities, one without targets; figures of the rows of the fit come with a warning."""
    generator = np.random.default_rng(0)
    truth = generator.random(200)
    on = generator.random(200) < truth
    for name in ("one", "two"):
        noisy = np.clip(truth + generator.normal(0, 0.2, 200), 0.01, 0.99)
        rows = [
            f"{i},{p:.6f}" + f",{int(y)}" * (name == "one")
            for i, (p, y) in enumerate(zip(noisy, on, strict=True))
        ]
        head = "id,prob.flood" + ",target.flood" * (name == "one")
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    paths = [str(tmp_path / "one.csv"), str(tmp_path / "two.csv")]
    assert main(["ensemble", "--scores", *paths, "--test", *paths, "--draws", "20"]) == 0
    found = capsys.readouterr()
    assert "200 of the 200 messages of --test are among those that the ensembler is fitted on" in found.err
    for name in ("one", "two"):
        (tmp_path / f"most-{name}.csv").write_text(
            "".join((tmp_path / f"{name}.csv").read_text().splitlines(keepends=True)[:-3])
            + f"new,0.5{',1' * (name == 'one')}\n"
        )
    most = [str(tmp_path / "most-one.csv"), str(tmp_path / "most-two.csv")]
    assert main(["ensemble", "--scores", *paths, "--test", *most, "--draws", "20"]) == 0
    assert "197 of the 198 messages of --test" in capsys.readouterr().err
    assert "one" in found.out


def test_results_of_another_run_are_not_left_beside_these(tmp_path: Path, capsys) -> None:
    """A test table of the first ensembler would pass for one of the second."""
    for before in ("", "new-"):
        rows = "".join(f"{before}{i},0.{i % 9 + 1},{i % 2}\n" for i in range(60))
        for name in ("one", "two"):
            (tmp_path / f"{before}{name}.csv").write_text("id,prob.flood,target.flood\n" + rows)
    paths = [str(tmp_path / "one.csv"), str(tmp_path / "two.csv")]
    tests = [str(tmp_path / "new-one.csv"), str(tmp_path / "new-two.csv")]
    given = ["ensemble", "--scores", *paths, "--draws", "10", "--output", str(tmp_path / "joint")]
    assert main([*given, "--test", *tests]) == 0
    capsys.readouterr()
    assert main(given) == 2
    assert "test.parquet is of another run" in capsys.readouterr().err
    assert main([*given, "--test", *tests]) == 0  # the same files anew
    calibrate = ["calibrate", "--scores", paths[0], "--draws", "10", "--output", str(tmp_path / "chain")]
    assert main([*calibrate, "--apply", tests[0]]) == 0
    capsys.readouterr()
    assert main(calibrate) == 2
    assert "new-one.parquet is of another run" in capsys.readouterr().err
