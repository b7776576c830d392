"""Each plugin of docs/hooks.md is loaded, conforms to its role, and does what its section says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pyarrow import feather

from tests.builders import LABELS, tiny_classifier, tiny_encoder
from tests.cli.configs import CONFIG
from tests.docs.hooks_page import PAGE, hook_sections, hooks_of
from tests.plugins.distributions import Install
from tocsin.cli.main import main
from tocsin.errors import ConfigError, DataError, LabelError
from tocsin.plugins import ScoresTable, hookspecs, testing
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry
from tocsin.plugins.roles import ROLES
from tocsin.training.runs import Run

TEXT = PAGE.read_text(encoding="utf-8")
HOOKS = hooks_of(hookspecs)
SECTIONS = {section.hook: section for section in hook_sections(TEXT)}
ROLE_OF = {role.hook: name for name, role in ROLES.items()}


def module_of(hook: str) -> str:
    """The name under which a section's plugin is installed."""
    return f"example_of_{hook}"


@pytest.fixture(scope="module")
def registry(install: Install) -> Registry:
    """The registry with the plugins of all sections, each a distribution of its own."""
    for hook, section in SECTIONS.items():
        (source,) = section.fences("python")
        module = module_of(hook)
        install(
            module.replace("_", "-"), entry_points={GROUP: {hook: module}}, modules={module: source + "\n"}
        )
    return load_plugins({})


def example(registry: Registry, hook: str) -> Any:
    """The component that a section's plugin offers."""
    module = module_of(hook)
    role = ROLE_OF[hook]
    (component,) = (part for part in registry.components(role).values() if part.__module__ == module)
    assert registry.find(role, component.__name__) is component
    assert registry.source(component) == module.replace("_", "-")
    return component


@pytest.mark.parametrize("hook", HOOKS)
def test_the_plugin_of_each_section_is_on(registry: Registry, hook: str) -> None:
    assert registry.off == []
    (plugin,) = (plugin for plugin in registry.on if plugin.name == hook)
    assert plugin.hooks == (hook,)


def test_the_command_that_checks_plugins_finds_no_fault(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "--check"]) == 0
    said = capsys.readouterr().out
    for hook in HOOKS:
        assert hook in said


ARGUMENTS: dict[str, dict[str, Any]] = {
    "tocsin_pair_readers": {"file": "pairs.parquet"},
    "tocsin_encoders": {"name": "lab/tiny"},
}
GIVEN: dict[str, Any] = {
    "tocsin_readers": Path("messages.feather"),
    "tocsin_splitters": pa.table(
        {"text": [f"m {i % 40}" for i in range(60)], "lang": ["eng", "spa", "hat"] * 20}
    ),
}
"""What a check cannot invent: a file that a component reads, rows that it reads."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of encoders with one encoder, lab/tiny."""
    folder = tmp_path_factory.mktemp("copies")
    tiny_encoder(folder / "lab" / "tiny", layers=1)
    return folder


@pytest.fixture
def files(tmp_path: Path, copies: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that examples read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCODERS", str(copies))
    rows = {
        "text": ["water please", "a quiet day", None, "the road is closed"],
        "original": ["dlo silvouple", None, "manje", "wout la fèmen"],
        "lang": ["hat", "hat", "hat", "hat"],
    }
    pq.write_table(pa.table(rows), "pairs.parquet")
    feather.write_feather(pa.table({"id": [1, 2, 3], "text": ["one", None, "three"]}), "messages.feather")
    return tmp_path


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook in ROLE_OF])
def test_each_component_conforms(registry: Registry, files: Path, hook: str) -> None:
    check = getattr(testing, f"check_{ROLE_OF[hook]}")
    given = [GIVEN[hook]] if hook in GIVEN else []
    check(example(registry, hook), *given, **ARGUMENTS.get(hook, {}))


# What each says that it does -----------------------------------------------------------------------------------------


def test_each_section_has_a_test_of_what_its_plugin_does() -> None:
    assert [hook for hook in HOOKS if f"test_{hook}" not in globals()] == []


def test_tocsin_readers(registry: Registry, files: Path) -> None:
    reader = example(registry, "tocsin_readers")()
    assert reader.columns(Path("messages.feather")) == ["id", "text"]
    rows = [row for part in reader.batches(Path("messages.feather"), ["text"]) for row in part.to_pylist()]
    assert rows == [{"text": "one"}, {"text": None}, {"text": "three"}]
    with pytest.raises(DataError, match=r"messages\.feather: cannot be read as Feather.*txt"):
        list(reader.batches(Path("messages.feather"), ["txt"]))


def test_tocsin_pair_readers(registry: Registry, files: Path) -> None:
    reader = example(registry, "tocsin_pair_readers")("pairs.parquet")
    rows = [row for part in reader.batches() for row in part.to_pylist()]
    assert [list(row.values()) for row in rows] == [
        ["water please", "dlo silvouple", "hat", "messages"],
        ["the road is closed", "wout la fèmen", "hat", "messages"],
    ]
    with pytest.raises(DataError, match=r"nothing\.parquet: no pairs can be read here"):
        list(example(registry, "tocsin_pair_readers")("nothing.parquet").batches())


def test_tocsin_cleaners(registry: Registry) -> None:
    mask = example(registry, "tocsin_cleaners")
    assert (
        mask().clean("call +509 37 00 11 22 or (509) 3700-1122, 3 of us")
        == "call <phone> or (<phone>, 3 of us"
    )
    assert mask(word=r"\1").clean("call 37001122") == r"call \1"


def test_tocsin_splitters(registry: Registry) -> None:
    splitter = example(registry, "tocsin_splitters")(lang="spa")
    texts = [f"message {number}" for number in range(400)]
    table = pa.table(
        {"text": [*texts, "message 7"], "lang": [*["spa"] * 300, *["eng"] * 50, *[None] * 50, "eng"]}
    )
    split = splitter.split(table)
    assert set(split.names[:300]) == {"train", "validation"}
    assert set(split.names[300:]) == {"test"}
    assert 15 < split.counts()["validation"] < 50
    assert "1 text stands in more than one split" in split.crossing[0]


def test_tocsin_label_schemes(registry: Registry) -> None:
    scheme = example(registry, "tocsin_label_schemes")()
    where = {"file": ["a.csv"] * 3, "row": [1, 2, 3]}
    table = pa.table({**where, "deaths": [0, 3, None], "injured": ["2", "", "0"]})
    np.testing.assert_array_equal(scheme.targets(table), [[0, 1], [1, np.nan], [np.nan, 0]])
    with pytest.raises(LabelError, match=r"a\.csv, row 2: deaths is 'many'; a count was wanted"):
        scheme.targets(pa.table({**where, "deaths": ["0", "many", "1"], "injured": [0, 0, 0]}))
    with pytest.raises(LabelError, match="no column 'injured'"):
        scheme.targets(table.drop_columns("injured"))


def test_tocsin_encoders(registry: Registry, files: Path) -> None:
    encoder = example(registry, "tocsin_encoders")("lab/tiny")
    encoder.load()
    batch = encoder.tokenizer(["water please"], return_tensors="pt")
    assert encoder(batch["input_ids"], batch["attention_mask"]).shape[-1] == encoder.width == 16
    with pytest.raises(ConfigError, match=r"no folder .*/lab/absent: copy the encoder there"):
        example(registry, "tocsin_encoders")("lab/absent").load()


def test_tocsin_poolings(registry: Registry) -> None:
    hidden_BTD = torch.tensor([[[1.0, -5.0], [3.0, -6.0], [9.0, 9.0]]])
    pooled_BD = example(registry, "tocsin_poolings")()(hidden_BTD, torch.tensor([[1, 1, 0]]))
    assert pooled_BD.tolist() == [[3.0, -6.0]]


def test_tocsin_heads(registry: Registry, tmp_path: Path) -> None:
    head = example(registry, "tocsin_heads")(width=5)
    model = tiny_classifier(tmp_path / "encoder", head="linear")
    model.encoder.load()
    head.build(model.encoder.config, 3)
    assert head(None, None, torch.randn(4, 16)).shape == (4, 3)
    assert sum(weight.numel() for weight in head.parameters()) == 16 * 5 + 5 + 5 * 3 + 3


def test_tocsin_losses(registry: Registry) -> None:
    logits_BL, known_BL = torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]])
    total, weight = example(registry, "tocsin_losses")(smoothing=0.2)(
        logits_BL, torch.tensor([[1.0, 0.0]]), known_BL
    )
    said = torch.sigmoid(torch.tensor(2.0))
    torch.testing.assert_close(total, -(0.9 * said.log() + 0.1 * (1 - said).log()))
    assert weight.item() == 1.0


def test_tocsin_vector_losses(registry: Registry) -> None:
    loss = example(registry, "tocsin_vector_losses")()
    student_BD = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    teacher_BD = torch.tensor([[5.0, 0.0], [1.0, 0.0]])
    total, weight = loss(student_BD, teacher_BD, torch.tensor([1.0, 3.0]), torch.arange(2))
    assert (total.item(), weight.item()) == (3.0, 4.0)


def test_tocsin_optimizers(registry: Registry) -> None:
    made = example(registry, "tocsin_optimizers")(lr=0.1, weight_decay=0.3)
    weight = torch.nn.Parameter(torch.ones(3))
    groups = [{"params": [weight], "weight_decay": made.weight_decay}]
    optimizer = made.build(groups, scaled_gradients=True)
    weight.sum().backward()
    optimizer.step()
    assert isinstance(optimizer, torch.optim.RAdam)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert (weight < 1).all()


def test_tocsin_schedules(registry: Registry) -> None:
    schedule = example(registry, "tocsin_schedules")
    factors = [schedule(cooldown=0.5).factor(step, 10) for step in range(10)]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    with pytest.raises(ConfigError, match="cooldown is 0"):
        schedule(cooldown=0)


def scores(targets_NL: Any, probabilities_NL: Any) -> ScoresTable:
    """A table of labels a, b, … for messages 0, 1, …"""
    labels = tuple("abcdef"[: np.shape(probabilities_NL)[1]])
    ids = np.arange(len(probabilities_NL))
    return ScoresTable(
        ids=ids, labels=labels, probabilities_NL=np.array(probabilities_NL), targets_NL=targets_NL
    )


def test_tocsin_calibrators(registry: Registry) -> None:
    calibrator = example(registry, "tocsin_calibrators")()
    table = scores([[1, np.nan], [1, np.nan], [0, np.nan], [0, np.nan]], [[0.9, 0.5]] * 4)
    calibrated = calibrator.fit(table).apply(table)
    np.testing.assert_allclose(calibrated.probabilities, [[0.86, 0.5]] * 4)
    with pytest.raises(LabelError, match="this calibrator"):
        calibrator.apply(scores(None, [[0.5]]))


def test_tocsin_ensemblers(registry: Registry) -> None:
    tables = [scores(None, [[value]]) for value in (0.2, 0.3, 0.99)]
    joint = example(registry, "tocsin_ensemblers")().apply(tables)
    assert joint.probabilities.tolist() == [[0.3]]


def test_tocsin_decision_rules(registry: Registry) -> None:
    rule = example(registry, "tocsin_decision_rules")(most=2)
    table = scores(np.zeros((2, 4)), [[0.9, 0.6, 0.7, 0.2], [0.1, 0.2, 0.5, 0.3]])
    decided = rule.fit(table).apply(table)
    assert decided.decisions_NL.tolist() == [[True, False, True, False], [False, False, True, False]]
    with pytest.raises(LabelError, match="this rule"):
        rule.apply(scores(None, [[0.5]]))


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[str], Path]:
    """Write a bundle with a head of that kind, and return its folder."""
    from tocsin.bundles.save import save_bundle
    from tocsin.text.cleaners import NoCleaner

    def saved(head: str) -> Path:
        model = tiny_classifier(tmp_path / "encoder", head=head)
        model.configure_model()
        folder = tmp_path / f"bundle-{head}"
        save_bundle(folder, model, cleaner=NoCleaner(), max_length=32, card="# card", version="0")
        return folder

    return saved


def test_tocsin_exporters(
    registry: Registry,
    bundle: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import pipeline

    from tocsin.bundles.load import load_bundle

    command = "tocsin export --exporter TransformersFolder --bundle BUNDLE --output FOLDER"
    assert f"`{command}`" in " ".join(SECTIONS["tocsin_exporters"].body.split())
    out = tmp_path / "out"
    arguments = [{"FOLDER": str(out)}.get(word, word) for word in command.split()[1:]]

    def export(folder: Path) -> int:
        return main([str(folder) if word == "BUNDLE" else word for word in arguments])

    assert export(bundle("linear")) == 2
    assert "has a head of its own" in capsys.readouterr().err
    native = bundle("native")
    assert export(native) == 0
    pipe = pipeline("text-classification", model=str(out), top_k=None, device="cpu")
    said = {part["label"]: part["score"] for part in pipe(["water near the bridge"])[0]}
    (wanted,) = load_bundle(native, registry).predict(["water near the bridge"]).raw_probabilities
    assert [said[label] for label in LABELS] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert not (out / "tocsin.json").exists()


def test_tocsin_report_sections(registry: Registry) -> None:
    targets_NL = np.zeros((40, 2))
    targets_NL[:3, 0], targets_NL[:, 1], targets_NL[5, 0] = 1, 1, np.nan
    table = scores(targets_NL, np.full((40, 2), 0.5))
    (section,) = registry.report_sections(table)
    assert (section.title, section.rows) == ("Rare labels", (("a", "3"),))
    assert registry.report_sections(scores(None, [[0.5]])) == []
    assert registry.report_sections(scores(np.ones((40, 1)), np.full((40, 1), 0.5))) == []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose folder exists."""
    path = tmp_path / "runs" / "floods" / "2026-11-21T18-04-05-fit"
    path.mkdir(parents=True)
    return Run(path, "fit", "floods")


def test_tocsin_run_started(
    registry: Registry, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "lab.log"
    monkeypatch.setenv("LAB_LOG", str(log))
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        registry.notify("tocsin_run_started", run=run)
    (line,) = log.read_text().splitlines()
    assert line.endswith("  floods/2026-11-21T18-04-05-fit")


def test_tocsin_run_ended(registry: Registry, run: Run) -> None:
    registry.notify("tocsin_run_ended", run=run, error=None)
    assert list(run.path.iterdir()) == []
    try:
        raise DataError("the disk is full")
    except DataError as error:
        registry.notify("tocsin_run_ended", run=run, error=error)
    text = (run.path / "failure-0.txt").read_text()
    assert text.startswith("Traceback")
    assert "DataError: the disk is full" in text


# The YAML ------------------------------------------------------------------------------------------------------------

DISTIL = """\
data: {class_path: ParallelSentences, init_args: {sources: {one: {class_path: PairTable, init_args: {files: a.csv}}}}}
model:
  class_path: Distiller
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: student}}
    teacher: {class_path: TransformerEncoder, init_args: {name: teacher}}
"""


def merged(base: Any, more: Any) -> Any:
    """A configuration with what a fence says; a component replaces the one that stood there."""
    if not isinstance(base, dict) or not isinstance(more, dict) or "class_path" in more:
        return more
    return {**base, **{key: merged(base.get(key), value) for key, value in more.items()}}


def check_says(parsed: Any, fence: Any, where: str) -> None:
    """Compare a parsed configuration with a fence: `head: Name` becomes a class path."""
    if isinstance(fence, dict):
        assert isinstance(parsed, dict), where
        for key, value in fence.items():
            check_says(parsed[key], value, f"{where}.{key}")
    elif isinstance(fence, list):
        for position, (found, value) in enumerate(zip(parsed, fence, strict=True)):
            check_says(found, value, f"{where}[{position}]")
    elif isinstance(parsed, dict):
        check_says(parsed["class_path"], fence, where)
    else:
        assert str(parsed).rpartition(".")[2] == fence or parsed == fence, where


YAML = {hook: section.fences("yaml") for hook, section in SECTIONS.items()}


def test_most_components_are_shown_in_yaml() -> None:
    """Those that no verb reads from a YAML yet have none; the others have one each."""
    without = {hook.removeprefix("tocsin_") for hook, fences in YAML.items() if not fences}
    assert without == {
        "pair_readers",
        "calibrators",
        "ensemblers",
        "decision_rules",
        "exporters",
        "report_sections",
        "run_started",
        "run_ended",
    }
    assert all(len(fences) <= 1 for fences in YAML.values())


@pytest.mark.parametrize("hook", [hook for hook, fences in YAML.items() if fences])
def test_the_yaml_of_each_section_is_parsed(registry: Registry, tmp_path: Path, hook: str) -> None:
    from tocsin.cli.parser import Config
    from tocsin.plugins.strict_yaml import strict_load

    fence = strict_load(YAML[hook][0])
    path = tmp_path / "config.yaml"
    base = DISTIL if hook == "tocsin_vector_losses" else CONFIG
    path.write_text(yaml.safe_dump(merged(copy.deepcopy(yaml.safe_load(base)), fence)), encoding="utf-8")
    parsed = strict_load(Config("fit", ["--config", str(path)], registry).text())
    check_says(parsed, fence, "config")
    component = example(registry, hook)
    assert f"{component.__module__}.{component.__name__}" in str(parsed)
