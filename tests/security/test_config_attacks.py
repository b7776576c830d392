"""A configuration executes nothing. Beside each attack stands a test that removes its guard and sees it succeed."""

from __future__ import annotations

import contextlib
import copy
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.configs import CONFIG, write_config
from tests.plugins.distributions import Install
from tests.security.canary import Canary
from tocsin.cli import fit as fit_module
from tocsin.cli.main import main
from tocsin.cli.parser import Config
from tocsin.errors import ConfigError
from tocsin.plugins import allowed, diagnosis, parsing
from tocsin.plugins.corpus import read_corpus
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry
from tocsin.plugins.signatures import parameters_of, union_parts
from tocsin.plugins.strict_yaml import strict_load

COMPONENTS = {
    "labels": ("labels",),
    "model": ("model",),
    "data": ("data",),
    **{
        name: ("model", "init_args", name)
        for name in ("encoder", "pooling", "head", "loss", "optimizer", "schedule")
    },
    **{name: ("data", "init_args", name) for name in ("reader", "cleaner", "splitter")},
}
OBJECTS = {
    "callbacks": ("trainer", "callbacks"),
    "logger": ("trainer", "logger"),
    "profiler": ("trainer", "profiler"),
    "strategy": ("trainer", "strategy"),
    "plugins": ("trainer", "plugins"),
    "accelerator": ("trainer", "accelerator"),
}
POSITIONS = COMPONENTS | OBJECTS


def spoilt(path: tuple[str, ...], value: Any) -> str:
    """The tiny configuration with something else in one place."""
    tree = copy.deepcopy(strict_load(CONFIG))
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return yaml.safe_dump(tree)


@pytest.fixture(scope="module")
def core() -> Registry:
    return load_plugins({"TOCSIN_PLUGINS": "off"})


@pytest.fixture
def attack(
    core: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Run `tocsin fit` on a text; it must end with code 2 and one sentence, which is returned."""

    def run(text: str, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        if os.environ["TOCSIN_PLUGINS"] == "off":  # found once, to save time
            monkeypatch.setattr(fit_module, "load_plugins", lambda: core)
        path = write_config(tmp_path, text)
        capsys.readouterr()
        assert main(["fit", "--config", str(path.relative_to(tmp_path)), *arguments]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Seed set to")]
        if "Plugins that are off:" in said:  # one a line below the sentence
            del said[said.index("Plugins that are off:") :]
        assert len(said) == 1, said
        assert said[0].startswith("tocsin: ")
        return said[0]

    return run


def refused(canary: Canary, text: str, *arguments: str) -> None:
    """Parse a text whose refusal, if any, is not looked at, as with `tocsin fit`."""
    path = write_config(canary.folder, text)
    with contextlib.suppress(ConfigError):
        Config("fit", ["--config", str(path), *arguments], load_plugins())


def without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the allow-list of import paths and nothing else."""
    settings = parsing.set_parsing_settings

    def unguarded(**given: Any) -> None:
        settings(**{name: value for name, value in given.items() if not name.startswith("import_path")})

    monkeypatch.setattr(parsing, "set_parsing_settings", unguarded)
    # Its own default list knows os, but only warns of it.
    from jsonargparse import _typehints, _util

    for module in (_typehints, _util):
        monkeypatch.setattr(module, "check_import_path", lambda path: None)


# os.system, and a module that is no plugin, wherever a class may be named


@pytest.mark.parametrize("position", POSITIONS)
def test_os_system_is_nowhere_a_class(attack, canary: Canary, position: str) -> None:
    call = {"class_path": "os.system", "init_args": {"command": canary.command}}
    for given in ("os.system", call, [call]) if position in OBJECTS else ("os.system", call):
        message = attack(spoilt(POSITIONS[position], given))
        assert "os.system" in message or position in message
    assert not canary.ran


@pytest.mark.parametrize("position", POSITIONS)
def test_nor_on_the_command_line(attack, canary: Canary, position: str) -> None:
    option = "--" + ".".join(POSITIONS[position])
    attack(CONFIG, f"{option}.class_path=os.system", f"{option}.init_args.command={canary.command}")
    attack(CONFIG, f"{option.replace('.init_args', '')}={canary.module}.Thing")
    assert not canary.ran


@pytest.mark.parametrize("position", POSITIONS)
def test_a_module_that_is_no_plugin_is_not_imported(attack, canary: Canary, position: str) -> None:
    thing = f"{canary.module}.Thing"
    for given in ({"class_path": thing}, thing):
        attack(spoilt(POSITIONS[position], [given] if position == "callbacks" else given))
    assert not canary.ran


@pytest.mark.parametrize("position", POSITIONS)
def test_without_the_list_it_is(canary: Canary, monkeypatch, position: str) -> None:
    without_the_list(monkeypatch)
    refused(canary, spoilt(POSITIONS[position], {"class_path": f"{canary.module}.Thing"}))
    assert canary.ran


def test_read_corpus_names_nothing_foreign_either(canary: Canary, tmp_path: Path) -> None:
    for path in (("labels",), ("data",), ("data", "init_args", "cleaner")):
        for foreign in ("os.system", f"{canary.module}.Thing"):
            config = write_config(tmp_path, spoilt(path, {"class_path": foreign}))
            with pytest.raises(ConfigError, match="may not be named here"):
                read_corpus(config)
    config = write_config(tmp_path)
    with pytest.raises(ConfigError, match="may not be named here"):
        read_corpus(config, ["--data.cleaner", f"{canary.module}.Thing"])
    assert not canary.ran


def test_without_the_list_read_corpus_imports_it(canary: Canary, tmp_path: Path, monkeypatch) -> None:
    without_the_list(monkeypatch)
    config = write_config(tmp_path, spoilt(("data",), {"class_path": f"{canary.module}.Thing"}))
    with pytest.raises(ConfigError):
        read_corpus(config)
    assert canary.ran


# modules that look like allowed ones

NEIGHBOURS = [
    ("torch", "optimevil"),
    ("lightning.pytorch", "callbacks_evil"),
    ("tocsin.models", "heads_evil"),
]
INSIDE = [
    ("lightning.pytorch.callbacks", "evil"),
    ("torch.optim", "evil"),
    ("lightning.pytorch.strategies.launchers", "evil"),
]


@pytest.mark.parametrize(("package", "module"), [*NEIGHBOURS, *INSIDE])
def test_a_name_that_begins_like_an_allowed_one_is_foreign(attack, canary: Canary, package, module) -> None:
    name = canary.inside(package, module)
    for position in ("callbacks", "head", "plugins"):
        attack(spoilt(POSITIONS[position], [{"class_path": f"{name}.Thing"}]))
        attack(spoilt(POSITIONS[position], {"class_path": f"{name}.Thing"}))
    assert not canary.ran


@pytest.mark.parametrize(("package", "module"), NEIGHBOURS)
def test_it_would_not_be_if_beginnings_were_compared(canary: Canary, monkeypatch, package, module) -> None:
    from jsonargparse import _common

    name = canary.inside(package, module)
    wholes = ["torch.optim", "lightning.pytorch.callbacks", "tocsin.models.heads"]
    monkeypatch.setattr(
        parsing, "allowed_paths", lambda components: [*wholes, *allowed.allowed_paths(components)]
    )

    def compare(path: str) -> str | None:
        verdicts = _common.get_parsing_setting("import_path_verdicts")
        allowed = tuple(entry for entry, verdict in verdicts.items() if verdict)
        return None if path.startswith(allowed) else "*"

    monkeypatch.setattr(_common, "denying_import_path_entry", compare)
    refused(canary, spoilt(POSITIONS["callbacks"], [{"class_path": f"{name}.Thing"}]))
    assert canary.ran


@pytest.mark.parametrize(("package", "module"), INSIDE)
def test_it_would_not_be_if_modules_were_allowed_as_wholes(
    canary: Canary, monkeypatch, package, module
) -> None:
    name = canary.inside(package, module)
    monkeypatch.setattr(
        parsing, "allowed_paths", lambda components: [package, *allowed.allowed_paths(components)]
    )
    refused(canary, spoilt(POSITIONS["callbacks"], [{"class_path": f"{name}.Thing"}]))
    assert canary.ran


# arguments that take a function

CALLS = {
    "LambdaCallback": ("callbacks", "lightning.pytorch.callbacks.LambdaCallback", "on_fit_start"),
    "ModelPruning": ("callbacks", "lightning.pytorch.callbacks.ModelPruning", "pruning_fn"),
    "ThroughputMonitor": ("callbacks", "lightning.pytorch.callbacks.ThroughputMonitor", "batch_size_fn"),
    "BackboneFinetuning": ("callbacks", "lightning.pytorch.callbacks.BackboneFinetuning", "lambda_func"),
    "DDPStrategy": ("strategy", "lightning.pytorch.strategies.DDPStrategy", "ddp_comm_hook"),
    "FSDPStrategy": ("strategy", "lightning.pytorch.strategies.FSDPStrategy", "auto_wrap_policy"),
    "PyTorchProfiler": ("profiler", "lightning.pytorch.profilers.PyTorchProfiler", "on_trace_ready"),
}


def _call(canary: Canary, name: str, function: str) -> str:
    position, path, option = CALLS[name]
    return spoilt(POSITIONS[position], {"class_path": path, "init_args": {option: function}})


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("function", ["os.system", "evil_stuff.function", "evil_stuff.Thing"])
def test_no_argument_takes_a_function(attack, canary: Canary, name: str, function: str) -> None:
    attack(_call(canary, name, function))
    assert not canary.ran


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("PyTorchProfiler", "FSDPStrategy")])
def test_without_the_list_the_functions_module_is_imported(canary: Canary, monkeypatch, name: str) -> None:
    without_the_list(monkeypatch)
    refused(canary, _call(canary, name, "evil_stuff.function"))
    assert canary.ran


def _functions() -> Iterator[tuple[str, str, str]]:
    for kind in allowed.KINDS:
        for name, component in allowed.offered(kind).items():
            for option in parameters_of(component).values():
                if any("Callable" in str(part) for part in union_parts(option.annotation)):
                    yield kind, name, option.name


def test_what_is_offered_wants_no_function() -> None:
    """What two strategies take can be left out; anything else that takes a function was left out of the list."""
    # FSDP's types are found once its module is imported, and not before.
    assert {name for _, name, _ in _functions()} <= {"DDPStrategy", "FSDPStrategy"}
    for kind in allowed.KINDS:
        for component in allowed.offered(kind).values():
            required = [option for option in parameters_of(component).values() if option.required]
            assert all(typing.get_origin(option.annotation) is not typing.Callable for option in required)


PLUGIN = '''
from collections.abc import Callable

import torch
from tocsin.plugins import Head, hookimpl


class CallingHead(Head):
    """Calls what it is given.

    Args:
        function: Anything.
    """

    needs = "vector"

    def __init__(self, function: Callable | None = None) -> None:
        super().__init__()
        if function is not None:
            function()

    def build(self, encoder_config, labels, pooler=None):
        pass

    def forward(self, hidden_BTD, mask_BT, vector_BD):
        return vector_BD


@hookimpl
def tocsin_heads():
    return [CallingHead]
'''


@pytest.fixture
def calling(install: Install) -> str:
    install("calling", entry_points={GROUP: {"calling": "calling_heads"}}, modules={"calling_heads": PLUGIN})
    call = {"class_path": "CallingHead", "init_args": {"function": "evil_stuff.function"}}
    return spoilt(POSITIONS["head"], call)


def test_a_plugins_argument_takes_no_foreign_function(attack, canary: Canary, calling: str) -> None:
    assert "model.init_args.head.init_args.function" in attack(calling)
    assert "model.init_args.head.init_args.function" in attack(
        CONFIG, "--model.head", "CallingHead", "--model.head.function", "evil_stuff.function"
    )
    assert not canary.ran


def test_without_the_list_it_is_called(canary: Canary, monkeypatch, calling: str) -> None:
    without_the_list(monkeypatch)
    path = write_config(canary.folder, calling)
    call = Config("fit", ["--config", str(path)], load_plugins())
    canary.path.unlink()
    parsing.instantiate(call.parser, call.config, call.registry)
    assert canary.path.read_text() == "called"


# arguments that nobody declares

WANDB = {
    "class_path": "lightning.pytorch.loggers.WandbLogger",
    "dict_kwargs": {"settings": {"x_executable": "/bin/sh"}},
}


@pytest.mark.parametrize("given", [WANDB, [WANDB]])
def test_undeclared_arguments_are_refused(attack, given: Any) -> None:
    assert "dict_kwargs" in attack(spoilt(POSITIONS["logger"], given))
    option = "--trainer.logger.dict_kwargs.settings"
    name = "--trainer.logger=lightning.pytorch.loggers.WandbLogger"
    assert "dict_kwargs" in attack(CONFIG, name, f"{option}={{x_executable: /bin/sh}}")


def test_without_that_check_they_are_passed_on(canary: Canary, monkeypatch) -> None:
    monkeypatch.setattr(parsing, "loose_ends", lambda *given: [])
    path = write_config(canary.folder, spoilt(POSITIONS["logger"], WANDB))
    config = Config("fit", ["--config", str(path)], load_plugins()).config
    assert config.trainer.logger.dict_kwargs == WANDB["dict_kwargs"]


# a class spec where any value may stand

HIDDEN = {
    "class_path": "lightning.pytorch.callbacks.RichProgressBar",
    "init_args": {"console_kwargs": {"file": {"class_path": "RichModelSummary"}}},
}


def _hidden(canary: Canary) -> Any:
    given = copy.deepcopy(HIDDEN)
    inner = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "x"}}
    given["init_args"]["console_kwargs"]["file"] = inner
    path = write_config(canary.folder, spoilt(POSITIONS["callbacks"], [given]))
    call = Config("fit", ["--config", str(path)], load_plugins())
    built: list[Any] = []
    from lightning.pytorch.loggers import CSVLogger

    canary.monkeypatch.setattr(CSVLogger, "__init__", lambda self, **given: built.append(self))
    with contextlib.suppress(TypeError):  # rich takes no logger for a file
        parsing.instantiate(call.parser, call.config, call.registry)
    return built


def test_nothing_is_built_where_any_value_may_stand(canary: Canary) -> None:
    assert _hidden(canary) == []


def test_without_that_setting_it_is_built(canary: Canary, monkeypatch) -> None:
    settings = parsing.set_parsing_settings
    monkeypatch.setattr(
        parsing,
        "set_parsing_settings",
        lambda **given: settings(**given | {"instantiate_subclass_spec_in_any": True}),
    )
    assert len(_hidden(canary)) == 1


# YAML tags

TAGGED = [
    '!!python/object/apply:os.system ["{command}"]',
    "!!python/object/new:os.system [echo]",
    "!!python/name:os.system ''",
    "!!python/module:evil_stuff ''",
    "!!python/object/apply:evil_stuff.function []",
    "!local 1",
]
PLACES = {
    "section": ("labels: {class_path: Columns, init_args: {names: [water, food, fire]}}", "labels: {tag}"),
    "option": ("    max_length: 16", "    max_length: {tag}"),
    "text": ("    lang: lang", "    lang: {tag}"),
    "list": ("names: [water, food, fire]", "names: [water, {tag}]"),
    "key": ("  max_epochs: 1", "  ? {tag}\n  : 1"),
}


@pytest.mark.parametrize("tag", TAGGED)
@pytest.mark.parametrize("place", PLACES)
def test_a_tag_builds_nothing(attack, canary: Canary, tag: str, place: str) -> None:
    old, new = PLACES[place]
    assert old in CONFIG
    text = CONFIG.replace(old, new.format(tag=tag.format(command=canary.command)), 1)
    assert "is refused: a configuration is plain data" in attack(text)
    assert not canary.ran


@pytest.mark.parametrize(
    "option",
    [
        "--model.head",
        "--model.head.dropout",
        "--data.lang",
        "--data.slices",
        "--trainer.max_epochs",
        "--trainer.callbacks",
    ],
)
def test_nor_in_an_option(attack, canary: Canary, option: str) -> None:
    for tag in (TAGGED[0], TAGGED[4]):
        given = f"{option}={tag.format(command=canary.command)}"
        for form in (given, f"{option}=[{given.partition('=')[2]}]"):
            path = write_config(canary.folder)
            with contextlib.suppress(ConfigError):  # where a text is wanted, it is a text
                Config("fit", ["--config", str(path), form], load_plugins())
    assert not canary.ran


def test_nor_in_the_text_of_a_number_or_in_a_file_of_its_own(attack, canary: Canary, tmp_path: Path) -> None:
    attack(CONFIG.replace("max_epochs: 1", "max_epochs: '!!python/object/apply:evil_stuff.function []'"))
    head = tmp_path / "head.yaml"
    head.write_text("!!python/object/apply:evil_stuff.function []")
    attack(CONFIG.replace("head: LinearHead", f"head: {head}"))
    head.write_text("class_path: evil_stuff.Thing")
    attack(CONFIG.replace("head: LinearHead", f"head: {head}"))
    assert not canary.ran


@pytest.mark.parametrize("place", PLACES)
def test_with_yamls_own_loader_it_is_executed(canary: Canary, monkeypatch, place: str) -> None:
    old, new = PLACES[place]
    monkeypatch.setattr(
        diagnosis, "read_yaml", lambda path: None
    )  # files are looked at before they are parsed
    monkeypatch.setattr(parsing, "strict_load", yaml.unsafe_load)
    refused(canary, CONFIG.replace(old, new.format(tag="!!python/object/apply:evil_stuff.function []"), 1))
    assert canary.ran


def test_with_that_loader_an_option_executes_too(canary: Canary, monkeypatch) -> None:
    monkeypatch.setattr(parsing, "strict_load", yaml.unsafe_load)
    refused(canary, CONFIG, "--trainer.callbacks=!!python/object/apply:evil_stuff.function []")
    assert canary.ran


def test_with_another_loader_for_values_a_number_executes(canary: Canary, monkeypatch) -> None:
    monkeypatch.setattr(parsing, "ValueLoader", yaml.UnsafeLoader)
    refused(
        canary,
        CONFIG.replace("max_epochs: 1", "max_epochs: '!!python/object/apply:evil_stuff.function []'"),
    )
    assert canary.ran


# a key that stands twice

TWICE = [
    ("  max_epochs: 1", "  max_epochs: 1\n  max_epochs: 2", "max_epochs"),
    ("    head: LinearHead", "    head: LinearHead\n    head: NativeHead", "head"),
    ("seed_everything: 7", "seed_everything: 7\nseed_everything: 8", "seed_everything"),
]


@pytest.mark.parametrize(("old", "new", "key"), TWICE)
def test_a_key_that_stands_twice_is_refused_with_its_line(attack, old: str, new: str, key: str) -> None:
    text = CONFIG.replace(old, new)
    second = text.splitlines().index(new.splitlines()[1]) + 1
    assert f"line {second}: the key '{key}' stands twice, first in line {second - 1}." in attack(text)


def test_with_yamls_own_loader_the_second_wins_in_silence(canary: Canary, monkeypatch) -> None:
    monkeypatch.setattr(diagnosis, "read_yaml", lambda path: None)
    monkeypatch.setattr(parsing, "strict_load", yaml.safe_load)
    path = write_config(canary.folder, CONFIG.replace(TWICE[0][0], TWICE[0][1]))
    assert Config("fit", ["--config", str(path)], load_plugins()).config.trainer.max_epochs == 2


def test_the_attacks_go_through_the_verb() -> None:
    """`main` builds the parser that the tests without a guard build by hand."""
    assert fit_module.Config is Config
