"""A test a hook: what a small plugin offers is found and used, and what it observes is shown to it.

The plugins of docs/hooks.md, longer ones, are tested in tests/docs.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tocsin.plugins as door
from tests.plugins.distributions import Install
from tocsin.errors import DataError
from tocsin.plugins import hookspecs
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import PluginWarning, Registry
from tocsin.plugins.roles import OBSERVERS, ROLES
from tocsin.scores.sections import Section
from tocsin.scores.table import ScoresTable
from tocsin.text.readers import reader_for
from tocsin.training.runs import Run

HOOKS = [name for name in vars(hookspecs) if name.startswith("tocsin_")]
ROLE_OF = {role.hook: name for name, role in ROLES.items()}

METHODS: dict[str, str] = {
    "reader": "def columns(self, path): ...\n    def batches(self, path, columns, on_bad_row=None): ...",
    "pair_reader": "def batches(self, on_bad_row=None): ...",
    "cleaner": "def clean(self, text): ...",
    "splitter": "columns = ()\n    def split(self, table): ...",
    "label_scheme": "names = columns = ('a',)\n    def targets(self, table): ...",
    "encoder": """tokenizer = config = pooler = frozen = digest = None
    def load(self): ...
    def use_rows(self, piece_ids): ...
    def embedding_parameters(self): ...
    def pretrained_state(self): ...
    def forward(self, input_ids_BT, mask_BT): ...""",
    "pooling": "sentence_transformers_mode = None\n    def forward(self, hidden_BTD, mask_BT): ...",
    "head": """needs = 'vector'
    def build(self, encoder_config, labels, pooler=None): ...
    def forward(self, hidden_BTD, mask_BT, vector_BD): ...""",
    "loss": "def forward(self, logits_BL, targets_BL, mask_BL): ...",
    "vector_loss": "def forward(self, student_BD, teacher_BD, weight_B, english_B): ...",
    "optimizer": "weight_decay = 0.0\n    def build(self, groups, *, scaled_gradients): ...",
    "schedule": "def factor(self, step, total): ...",
    "calibrator": "def learn(self, table): ...\n    def apply(self, table): ...",
    "ensembler": "def learn(self, tables): ...\n    def combine(self, tables): ...",
    "decision_rule": "def learn(self, table): ...\n    def apply(self, table): ...",
    "exporter": "def export(self, bundle, folder): ...",
}
"""What a role's base leaves open; nothing here is ever called."""
STATE = "\n    def state(self): ...\n    def restore(self, state): ..."

COMPONENT = """
from tocsin.plugins import {base}, hookimpl

class {name}({base}):
    '''Fills the role.

    Args:
        size: A number.
    '''
    {methods}
    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

@hookimpl
def {hook}():
    return [{name}]
"""


@pytest.fixture(autouse=True)
def no_component_is_left() -> Iterator[None]:
    """Make abstract what a test's plugins defined: jsonargparse offers every concrete subclass to other tests."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("small_"):
            for value in vars(sys.modules.pop(name)).values():
                if isinstance(value, type) and value.__module__ == name:
                    value.__abstractmethods__ = frozenset({"a test's"})  # type: ignore[attr-defined]


@pytest.fixture
def offer(install: Install) -> Callable[[str], tuple[Registry, type]]:
    """Install a small plugin for a hook, load it, and return the registry and the component."""

    def offered(hook: str) -> tuple[Registry, type]:
        role = ROLE_OF[hook]
        base, name = ROLES[role].base, f"Small{ROLES[role].base}"
        methods = METHODS[role] + (STATE if hasattr(getattr(door, base), "restore") else "")
        source = COMPONENT.format(base=base, name=name, methods=methods, hook=hook)
        module = f"small_{role}"
        install(f"small-{role}", entry_points={GROUP: {role: module}}, modules={module: source})
        registry = load_plugins({}, roles=[role])
        assert [str(plugin) for plugin in registry.off] == []
        return registry, vars(sys.modules[module])[name]

    return offered


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in OBSERVERS])
def test_an_offering_hook(offer: Callable[[str], tuple[Registry, type]], hook: str) -> None:
    registry, component = offer(hook)
    role = ROLE_OF[hook]
    assert registry.find(role, component.__name__) is component
    assert registry.source(component) == f"small-{role}"
    assert list(registry.components(role))[-1] == component.__name__, "the core's come first"
    (plugin,) = registry.on
    assert plugin.hooks == (hook,)
    built = component(size=5)
    assert isinstance(built, getattr(door, ROLES[role].base))
    assert built.size == 5


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in OBSERVERS])
def test_an_offering_hook_takes_classes_of_its_role_alone(install: Install, hook: str) -> None:
    source = f"from tocsin.plugins import hookimpl\n@hookimpl\ndef {hook}(): return [dict]"
    module = f"small_stray_{ROLE_OF[hook]}"
    install("stray", entry_points={GROUP: {"stray": module}}, modules={module: source})
    registry = load_plugins({}, roles=[ROLE_OF[hook]])
    assert f"dict, which is not a subclass of {ROLES[ROLE_OF[hook]].base}" in registry.off[0].cause
    assert registry.on == []


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in OBSERVERS])
def test_an_offering_hook_is_called_for_its_role_alone(install: Install, hook: str) -> None:
    source = f"from tocsin.plugins import hookimpl\n@hookimpl\ndef {hook}(): raise RuntimeError('called')"
    module = f"small_idle_{ROLE_OF[hook]}"
    install("idle", entry_points={GROUP: {"idle": module}}, modules={module: source})
    other = "cleaner" if ROLE_OF[hook] != "cleaner" else "splitter"
    assert load_plugins({}, roles=[other]).off == []
    assert "RuntimeError: called" in load_plugins({}, roles=[ROLE_OF[hook]]).off[0].cause


def test_the_ending_of_a_file_chooses_no_plugins_reader(
    offer: Callable[[str], tuple[Registry, type]],
) -> None:
    """What is installed must not change how a file is read; the YAML names the reader."""
    _, reader = offer("tocsin_readers")
    reader.suffixes = (".small",)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"has the ending '\.small'; known are \.parquet"):
        reader_for(Path("messages.small"))


OBSERVER = """
from tocsin.plugins import hookimpl
seen = []

@hookimpl
def {hook}({parameters}):
    seen.append(({parameters},))
    {ending}
"""


@pytest.fixture
def watch(install: Install) -> Callable[..., tuple[Registry, ModuleType]]:
    """Install plugins that watch a moment, one for each ending given, and return the registry and the first module."""

    def watched(hook: str, *endings: str, parameters: str) -> tuple[Registry, ModuleType]:
        for number, ending in enumerate(endings):
            module = f"small_watcher_{number}"
            source = OBSERVER.format(hook=hook, parameters=parameters, ending=ending)
            install(
                f"watcher-{number}", entry_points={GROUP: {f"w{number}": module}}, modules={module: source}
            )
        registry = load_plugins({}, roles=[])
        assert len(registry.on) == len(endings)
        return registry, sys.modules["small_watcher_0"]

    return watched


def table() -> ScoresTable:
    """The scores of two messages."""
    return ScoresTable(
        ids=np.array(["m1", "m2"]), labels=("flood",), logits_NL=np.zeros((2, 1)), targets_NL=np.ones((2, 1))
    )


def test_tocsin_report_sections(watch: Callable[..., tuple[Registry, ModuleType]]) -> None:
    section = "from tocsin.plugins import Section; return [Section('Title', ('a',), (('1',),))]"
    endings = (
        section,
        "return 'no section'",
        "raise ValueError('tired')",
        "return [3]",
        "return []",
        section,
    )
    registry, watcher = watch("tocsin_report_sections", *endings, parameters="scores")
    scores = table()
    with pytest.warns(PluginWarning) as caught:
        found = registry.report_sections(scores)
    assert found == [Section("Title", ("a",), (("1",),))] * 2
    assert [seen[0] is scores for seen in watcher.seen] == [True]
    said = [str(warning.message) for warning in caught]
    assert len(said) == 3
    assert "w1 (watcher-1 1.0): tocsin_report_sections returned a str, 'no section'" in said[0]
    assert "w2 (watcher-2 1.0): it failed in tocsin_report_sections: ValueError: tired" in said[1]
    assert "w3 (watcher-3 1.0): tocsin_report_sections returned a list, [3]" in said[2]


def test_tocsin_run_started(watch: Callable[..., tuple[Registry, ModuleType]], tmp_path: Path) -> None:
    endings = ("return 'nothing is wanted of it'", "import sys; sys.exit(3)")
    registry, watcher = watch("tocsin_run_started", *endings, parameters="run")
    run = Run(tmp_path, "fit", "floods")
    with pytest.warns(
        PluginWarning, match=r"w1 \(watcher-1 1.0\): it failed in tocsin_run_started: it called sys"
    ):
        registry.notify("tocsin_run_started", run=run)
    assert watcher.seen == [(run,)]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ValueError("no loss")])
def test_tocsin_run_ended(
    watch: Callable[..., tuple[Registry, ModuleType]], tmp_path: Path, error: BaseException | None
) -> None:
    registry, watcher = watch("tocsin_run_ended", "", parameters="run, error")
    run = Run(tmp_path, "fit", "floods")
    registry.notify("tocsin_run_ended", run=run, error=error)
    assert watcher.seen == [(run, error)]


def test_an_observer_may_take_fewer_arguments(
    watch: Callable[..., tuple[Registry, ModuleType]], tmp_path: Path
) -> None:
    registry, watcher = watch("tocsin_run_ended", "", parameters="error")
    registry.notify("tocsin_run_ended", run=Run(tmp_path, "fit", "floods"), error=None)
    assert watcher.seen == [(None,)]


# The guard -----------------------------------------------------------------------------------------------------------


def untested(hooks: list[str], names: dict[str, Any]) -> list[str]:
    """The hooks that no test of a module is for: an offering one has its line in METHODS, an observing one its test."""
    offering = {ROLES[role].hook for role in names["METHODS"]}
    return [
        hook for hook in hooks if hook not in offering and not inspect.isfunction(names.get(f"test_{hook}"))
    ]


def test_each_hook_has_a_test() -> None:
    assert untested(HOOKS, globals()) == []
    assert set(METHODS) <= set(ROLES)


def test_a_hook_without_a_test_is_seen() -> None:
    assert untested([*HOOKS, "tocsin_widgets"], globals()) == ["tocsin_widgets"]
    names = {name: value for name, value in globals().items() if name != "test_tocsin_run_started"}
    names["METHODS"] = {role: text for role, text in METHODS.items() if role != "head"}
    assert untested(HOOKS, names) == ["tocsin_heads", "tocsin_run_started"]
