"""Configurations: short names, overrides, round trips, refusals in one sentence, and nothing executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import LightningModule

from tests.cli.configs import CONFIG, write_config
from tests.plugins.distributions import Install
from tocsin.arguments import Origin
from tocsin.cli.main import main
from tocsin.cli.parser import Config
from tocsin.errors import ConfigError
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry
from tocsin.plugins.signatures import parameters_of
from tocsin.plugins.strict_yaml import strict_load


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins({"TOCSIN_PLUGINS": "off"})


@pytest.fixture
def parse(registry: Registry, tmp_path: Path):
    def parse_text(text: str = CONFIG, *arguments: str, verb: str = "fit") -> Config:
        return Config(verb, ["--config", str(write_config(tmp_path, text)), *arguments], registry)

    return parse_text


def refusal(parse, old: str = "", new: str = "", *arguments: str) -> str:
    assert old in CONFIG
    with pytest.raises(ConfigError) as caught:
        parse(CONFIG.replace(old, new, 1) if old else CONFIG, *arguments)
    return str(caught.value)


def test_short_names_defaults_and_links(parse) -> None:
    config = parse().config
    assert config.model.class_path == "tocsin.models.classifier.MultilabelClassifier"
    assert config.model.init_args.head.class_path == "tocsin.models.heads.LinearHead"
    assert config.model.init_args.labels == config.data.init_args.labels == config.labels
    assert config.model.init_args.gradient_clip == 1.0
    assert config.trainer.callbacks[0].class_path == "lightning.pytorch.callbacks.EarlyStopping"


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_parse_dump_parse_is_the_identity(parse, verb: str) -> None:
    first = parse(CONFIG.replace("[water, food, fire]", '["no", "1e3", "007", "0o17", "on"]'), verb=verb)
    assert first.config.labels.init_args.names == ["no", "1e3", "007", "0o17", "on"]
    second = parse(first.text(), verb=verb)
    assert second.text() == first.text()
    known = {key: value for key, value in first.config.as_dict().items() if key != "config"}
    assert {key: value for key, value in second.config.as_dict().items() if key != "config"} == known


def test_the_dump_holds_every_default_and_no_link_target(parse) -> None:
    text = parse(CONFIG, "--ckpt_path", "some.ckpt").text()
    assert "weight_decay: 0.1" in text
    assert "tokens_per_pass: null" in text
    assert text.count("names:") == 1
    assert "ckpt_path" not in text
    assert "config:" not in text


def test_overrides_in_both_spellings(parse) -> None:
    config = parse(
        CONFIG,
        "--data.text",
        "original",
        "--data.init_args.max_length=8",
        "--model.head",
        "NativeHead",
        "--model.optimizer.lr",
        "1e-3",
        "--trainer.max_epochs=3",
        "--name",
        "other",
    ).config
    assert (config.data.init_args.text, config.data.init_args.max_length) == ("original", 8)
    assert config.model.init_args.head.class_path == "tocsin.models.native_head.NativeHead"
    assert (config.model.init_args.optimizer.init_args.lr, config.trainer.max_epochs, config.name) == (
        1e-3,
        3,
        "other",
    )


@pytest.mark.parametrize(
    ("old", "new", "arguments", "wanted"),
    [
        (
            "LinearHead",
            "LinerHead",
            [],
            ["model.init_args.head: No head is called 'LinerHead'.", "mean 'LinearHead'?"],
        ),
        (
            "",
            "",
            ["--model.head", "LinerHead"],
            ["model.init_args.head: No head", "Known heads: LinearHead, MlpHead, NativeHead"],
        ),
        (
            "MeanPooling",
            "BinaryCrossEntropy",
            [],
            ["pooling: No pooling is called 'BinaryCrossEntropy'", "MeanPooling"],
        ),
        (
            "MultilabelClassifier",
            "Classifier",
            [],
            ["model: No model is called 'Classifier'", "MultilabelClassifier"],
        ),
        (
            "class_path: Columns",
            "class_path: Colums",
            [],
            ["labels: No label scheme", "Did you mean 'Columns'?"],
        ),
        (
            "EarlyStopping",
            "EarlyStoping",
            [],
            ["trainer.callbacks[0]: No callback", "Did you mean 'EarlyStopping'?"],
        ),
        (
            "{name: encoder}",
            "{}",
            [],
            ["model.init_args.encoder.init_args.name is missing", "TransformerEncoder wants it"],
        ),
        (
            "{name: encoder}",
            "{name: e, dtype: f32}",
            [],
            ["dtype is 'f32'; wanted: one of float32, bfloat16"],
        ),
        (
            "{name: encoder}",
            "{name: e, keep_pieces: all}",
            [],
            ["keep_pieces is 'all'; wanted: a whole number or null"],
        ),
        (
            "lr: 5.0e-3",
            "lr: high",
            [],
            ["model.init_args.optimizer.init_args.lr is 'high'; wanted: a number."],
        ),
        (
            "lr: 5.0e-3",
            "rate: 1",
            [],
            ["optimizer.init_args.rate: AdamW has no option 'rate'", "Its options: lr"],
        ),
        (
            "    train: messages.parquet\n",
            "",
            [],
            ["data.init_args.train is missing", "text or a list of text"],
        ),
        (
            "    lang: lang",
            "    labels: x",
            [],
            ["data.init_args.labels is filled from the top-level key 'labels'"],
        ),
        ("    lang: lang", "    train: other", [], ["line 7: the key 'train' stands twice, first in line 6"]),
        ("  init_args:\n    train", "  train", [], ["line "]),
        (
            "labels: {",
            "labls: {",
            [],
            ["There is no key 'labls'. Did you mean 'labels'?"],
        ),
        (
            "max_epochs: 1",
            "max_epoch: 1",
            [],
            ["trainer.max_epoch: the Trainer has no option", "mean 'max_epochs'?"],
        ),
        (
            "max_epochs: 1",
            "max_epochs: no",
            [],
            ["trainer.max_epochs is 'no'; wanted: a whole number or null"],
        ),
        (
            "max_epochs: 1",
            "gradient_clip_val: 1.0",
            [],
            ["trainer.gradient_clip_val is 1.0", "model.init_args.gradient_clip"],
        ),
        (
            "max_epochs: 1",
            "accumulate_grad_batches: 4",
            [],
            ["accumulate_grad_batches is 4", "data.init_args.batch_size"],
        ),
        (
            "",
            "",
            ["--data.txt", "original"],
            ["data.init_args.txt: LabelledMessages has no option", "mean 'text'?"],
        ),
        ("", "", ["--nothing", "1"], ["There is no key 'nothing'"]),
        ("", "", ["stray"], ["'stray' belongs to no option"]),
        (
            "model:\n  class_path: MultilabelClassifier",
            "model: 3\nx:\n  a: b",
            [],
            ["model is 3; the name of a model"],
        ),
        ("seed_everything: 7", "seed_everything: x", [], ["seed_everything is 'x'"]),
        ("seed_everything: 7", "- a\n- b", [], ["line "]),
    ],
)
def test_a_refusal_says_where_what_was_given_and_what_is_wanted(
    parse, old: str, new: str, arguments: list[str], wanted: list[str]
) -> None:
    message = refusal(parse, old, new, *arguments)
    assert all(part in message for part in wanted), message
    assert "Namespace(" not in message


def test_missing_files_and_sections(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no configuration file"):
        Config("fit", ["--config", str(tmp_path / "nothing.yaml")], registry)
    with pytest.raises(ConfigError, match="labels is missing"):
        Config("fit", [], registry)


PAIRS = """\
data:
  class_path: ParallelSentences
  init_args:
    sources:
      a: {class_path: PairTable, init_args: {files: [a.parquet], where: {domain: health}}}
      b: {class_path: PairTable, init_args: {files: b.tsv, reader: {class_path: CsvReader, init_args: {quotes: false}}}}
"""


class Unlabelled(LightningModule):
    """A model without labels.

    Args:
        width: A number.
    """

    def __init__(self, width: int = 3) -> None:
        super().__init__()


def without_labels(model: str) -> str:
    return (
        CONFIG[: CONFIG.index("labels:")] + PAIRS + f"model: {model}\n" + CONFIG[CONFIG.index("trainer:") :]
    )


def test_labels_may_be_absent_where_nothing_takes_them(tmp_path: Path) -> None:
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    registry._take({"model": [Unlabelled]}, Origin("tests", "1"))

    def parse_text(text: str) -> Config:
        return Config("fit", ["--config", str(write_config(tmp_path, text))], registry)

    first = parse_text(without_labels("Unlabelled"))
    assert first.config.labels is None
    assert list(first.config.data.init_args.sources) == ["a", "b"]
    second = parse_text(first.text())
    assert second.text() == first.text()
    for text in (
        without_labels("{class_path: MultilabelClassifier, init_args: {}}"),
        CONFIG.replace(CONFIG[CONFIG.index("labels:") : CONFIG.index("data:")], ""),
    ):
        with pytest.raises(ConfigError, match="labels is missing"):
            parse_text(text)
    with pytest.raises(ConfigError, match=r"data.init_args.sources.a: No pair reader is called 'PairTabel'"):
        parse_text(without_labels("Unlabelled").replace("PairTable", "PairTabel", 1))
    with pytest.raises(
        ConfigError, match=r"sources is \['PairTable'\]; a mapping of names to pair readers is wanted"
    ):
        parse_text(
            "data: {class_path: ParallelSentences, init_args: {sources: [PairTable]}}\nmodel: Unlabelled\n"
        )


def test_what_is_off_stands_below_an_unknown_component(install: Install, tmp_path: Path) -> None:
    install(
        "heads", entry_points={GROUP: {"h": "parser_broken"}}, modules={"parser_broken": "import nope_nope"}
    )
    path = write_config(tmp_path, CONFIG.replace("LinearHead", "StrangeHead"))
    with pytest.raises(ConfigError, match=r"Plugins that are off:\n  h \(heads 1.0\): ModuleNotFoundError"):
        Config("fit", ["--config", str(path)], load_plugins({}))


@pytest.mark.parametrize(
    "attack",
    [
        "head: os.system",
        "head: {class_path: os.system, init_args: {command: 'echo executed'}}",
        "head: evil_module.Head",
        "head: {class_path: evil_module.Head}",
        "head: tocsin.models.heads.torch.os.system",
    ],
)
def test_a_class_path_imports_nothing_that_is_not_offered(
    parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Head: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "may not be named here" in refusal(parse, "head: LinearHead", attack)
    refusal(
        parse,
        "    - {class_path: EarlyStopping",
        "    - {class_path: evil_module.Head}\n    - {class_path: EarlyStopping",
    )
    assert not marker.exists()


def test_without_the_guard_that_module_would_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jsonargparse import ArgumentParser, _common

    from tocsin.plugins import Head

    marker = tmp_path / "executed"
    (tmp_path / "evil_unguarded.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Head: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    unguarded = {"import_path_verdicts": {}, "import_paths_enforced": False}
    monkeypatch.setattr(_common, "parsing_settings", _common.parsing_settings | unguarded)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Head, "head")
    with pytest.raises(Exception, match="evil_unguarded"):
        parser.parse_object({"head": {"class_path": "evil_unguarded.Head"}})
    assert marker.exists()


def test_yaml_tags_build_nothing(parse) -> None:
    message = refusal(parse, "labels: {", "labels: !!python/object/apply:os.system {")
    assert "the tag tag:yaml.org,2002:python/object/apply:os.system is refused" in message


@pytest.mark.parametrize("option", ["--model.init_args.head", "--model.head"])
def test_a_short_name_on_the_command_line_with_its_options(parse, option: str) -> None:
    head = parse(CONFIG, option, "LinearHead", f"{option}.dropout", "0.3").config.model.init_args.head
    assert (head.class_path, head.init_args.dropout) == ("tocsin.models.heads.LinearHead", 0.3)
    # a class chosen anew keeps nothing that it does not know
    head = parse(CONFIG, f"{option}.dropout", "0.3", option, "NativeHead").config.model.init_args.head
    assert head.class_path == "tocsin.models.native_head.NativeHead"


def test_print_config_shows_every_default(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, CONFIG)
    with pytest.raises(SystemExit) as stop:
        Config("fit", ["--config", str(path), "--model.head", "LinearHead", "--print_config"], registry)
    assert not stop.value.code
    shown = strict_load(capsys.readouterr().out)
    for role, name, at in (
        ("model", "MultilabelClassifier", shown["model"]),
        ("head", "LinearHead", shown["model"]["init_args"]["head"]),
        ("encoder", "TransformerEncoder", shown["model"]["init_args"]["encoder"]),
        ("data", "LabelledMessages", shown["data"]),
    ):
        options = parameters_of(registry.find(role, name))
        assert set(at["init_args"]) == set(options) - {"labels"}, name


def test_help_says_where_a_components_options_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "`tocsin components NAME`" in shown
    assert "--model.head.dropout 0.2" in shown


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ["--model.head.dropout", "x"],
            "model.init_args.head.init_args.dropout is 'x'; wanted: a number. (Share of",
        ),
        (["--model.init_args.head.init_args.dropout=x"], "model.init_args.head.init_args.dropout is 'x'"),
        (["--model.head.droput", "0.1"], "model.init_args.head.init_args.droput: LinearHead has no option"),
        (
            ["--model.head", "NativeHead", "--model.head.dropout", "x"],
            "model.init_args.head.init_args.dropout",
        ),
        (["--model.hed.dropout", "0.1"], "model.init_args.hed: MultilabelClassifier has no option 'hed'"),
        (["--data.splitter.class_path", "Groups"], "data.init_args.splitter: No splitter is called 'Groups'"),
        (["--trainer.callbacks.patience", "x"], "trainer.callbacks[0].init_args.patience is 'x'"),
        (["--trainer.callbacks+=EarlyStoping"], "trainer.callbacks[1]: No callback is called 'EarlyStoping'"),
        (
            ["--trainer.callbacks+=Timer", "--trainer.callbacks.verbose=x"],
            "trainer.callbacks[1].init_args.verbose",
        ),
        (["--trainer.deterministic", "no"], "trainer.deterministic is 'no'; wanted: true or false"),
        (["--trainer.max_epochs", "# 3"], "trainer.max_epochs is '# 3'; wanted: a whole number or null."),
        (["--trainer.max_steps", "null"], "trainer.max_steps is null; wanted: a whole number."),
        (["--trainer", "3"], "trainer is 3; a mapping of the Trainer's options is wanted."),
        (["--model"], "--model wants a value behind it."),
        (["--model", "null"], "model is missing"),
        (["--seed_everything", "null"], "seed_everything is null; wanted: true or false or a whole number."),
    ],
)
def test_an_options_fault_is_one_sentence(parse, arguments: list[str], wanted: str) -> None:
    message = refusal(parse, "", "", *arguments)
    assert wanted in message
    assert "\n" not in message.partition("\nPlugins that are off:")[0]


def test_relative_paths_are_those_of_the_working_folder(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path, CONFIG.replace("LinearHead", "LinerHead"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="No head is called 'LinerHead'"):
        Config("fit", ["--config", str(path.relative_to(tmp_path))], registry)
