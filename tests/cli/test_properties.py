"""Properties of every configuration: parse → dump → parse is the identity, and one spoilt key is one sentence."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tocsin.plugins as door
from tests.cli.configs import CONFIG
from tests.cli.corruption import Spoilt, complete, keys, lines, parts_of, values
from tocsin.cli import fit
from tocsin.cli.main import main
from tocsin.cli.parser import Config
from tocsin.plugins import allowed
from tocsin.plugins.diagnosis import SECTIONS
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry
from tocsin.plugins.roles import ROLES
from tocsin.plugins.signatures import Option, parameters_of
from tocsin.plugins.strict_yaml import strict_dump, strict_load

SLOW_PARSER = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
LINKED = {"model": ("labels",), "data": ("labels",)}

AWKWARD = [
    *(
        "no",
        "on",
        "y",
        "true",
        "null",
        "~",
        "007",
        "1e3",
        "0o17",
        "0x1f",
        "12:34",
        "2026-11-21",
        "1_000",
        ".5",
        "=",
    ),
    *(
        "",
        " ",
        " leading",
        "trailing ",
        "a: b",
        "a:",
        ":",
        "# remark",
        "a #b",
        "#",
        "${x}",
        "{a,b}",
        "[a]",
        "{a: 1}",
    ),
    *(
        "it's",
        'say "so"',
        "'",
        '"',
        "\\n",
        "\t",
        "two\nlines",
        "\u2028",
        "a\u2029b",
        "\x85",
        "\u00e9",
        "水",
        "🚨",
    ),
    *(
        "- a",
        "? a",
        "!tag",
        "&anchor",
        "*alias",
        "%",
        "@",
        "`",
        "|",
        ">",
        "<<",
        "---",
        "...",
        "-",
        "--x",
        "os.system",
    ),
]
TEXTS = st.sampled_from(AWKWARD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@functools.cache
def registry() -> Registry:
    """The core and every plugin that is installed."""
    return load_plugins({})


def role_of(annotation: Any) -> str | None:
    """The role whose base stands in a type."""
    bases = {getattr(door, entry.base): role for role, entry in ROLES.items()}
    return next((bases[part] for part in parts_of(annotation) if part in bases), None)


@functools.cache
def places() -> dict[str, tuple[str, ...]]:
    """Where in a fit's YAML a component of each role can stand."""
    found = {role: (key,) for key, role in SECTIONS.items()}
    waiting = list(found)
    while waiting:
        outer = waiting.pop(0)
        for component in registry().components(outer).values():
            for option in parameters_of(component).values():
                role = role_of(option.annotation)
                if role is not None and role not in found and option.name not in LINKED.get(outer, ()):
                    found[role] = (*found[outer], "init_args", option.name)
                    waiting.append(role)
    return found


def components() -> list[tuple[str, str]]:
    """Every component that can stand in a fit's YAML."""
    return [(role, name) for role in places() for name in registry().components(role)]


def drawn(annotation: Any) -> st.SearchStrategy[Any] | None:
    """Values of a type as a YAML writes them; None where they are not plain data."""
    if annotation in (None, type(None)):
        return st.none()
    plain = {
        str: TEXTS,
        int: st.integers(-(10**9), 10**9),
        float: st.floats(allow_nan=False) | st.integers(-5, 5).map(float),
        bool: st.booleans(),
    }
    if annotation in plain:
        return plain[annotation]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(inner)
    role = role_of(annotation)
    if role is not None and len(parts_of(annotation)) == 1:
        return st.sampled_from(sorted(registry().components(role))).flatmap(lambda name: spec(role, name))
    within = [drawn(part) for part in (parts_of(annotation) if len(parts_of(annotation)) > 1 else inner)]
    known = [strategy for strategy in within if strategy is not None]
    if len(parts_of(annotation)) > 1 and known:
        return st.one_of(known)
    if origin is list and known:
        return st.lists(known[0], max_size=3)
    if origin is dict and len(known) == 2:
        return st.dictionaries(known[0], known[1], max_size=2)
    return None


def spec(role: str, name: str) -> st.SearchStrategy[dict[str, Any]]:
    """A component with some of its options given and all that it needs."""
    options = {
        option.name: option
        for option in parameters_of(registry().find(role, name)).values()
        if option.name not in LINKED.get(role, ())
    }
    strategies = {key: drawn(option.annotation) for key, option in options.items()}
    needed = {key: strategy for key, strategy in strategies.items() if options[key].required}
    assert all(strategy is not None for strategy in needed.values()), f"{name} wants what no YAML can say"
    others = {k: s for k, s in strategies.items() if s is not None and k not in needed}
    arguments = st.fixed_dictionaries(needed, optional=others)
    return arguments.map(lambda chosen: {"class_path": name, "init_args": chosen})


def with_component(role: str, given: Any) -> dict[str, Any]:
    """The tiny configuration with another component in its role's place."""
    tree = strict_load(CONFIG)
    node = tree
    *steps, last = places()[role]
    for step in steps:
        if not isinstance(node.get(step), dict):
            node[step] = {}
        node = node[step]
    node[last] = given
    return typing.cast(dict[str, Any], tree)


@contextlib.contextmanager
def config_file(text: str) -> Iterator[Path]:
    """A file with that text."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(text, encoding="utf-8", newline="")
        yield path


def parsed(text: str) -> Config:
    """A configuration's text, parsed."""
    with config_file(text) as path, contextlib.redirect_stderr(io.StringIO()):
        return Config("fit", ["--config", str(path)], registry())


def known_values(config: Config) -> dict[str, Any]:
    """The parsed values without the path that they were read from."""
    return {key: value for key, value in config.config.as_dict().items() if key != "config"}


def means_null(text: str) -> bool:
    """Whether an option that takes text or null reads this text as null, even in quotes: the parser's own rule."""
    return text.strip() in ("null", "Null", "NULL", "~")


def assert_identity(text: str) -> Config:
    """Parse, dump and parse again: nothing changes."""
    first = parsed(text)
    second = parsed(first.text())
    assert known_values(second) == known_values(first)
    assert second.text() == first.text()
    return first


def test_every_role_of_a_fit_has_a_place() -> None:
    """A role that a fit's YAML cannot name is one of those that other verbs use."""
    other_verbs = {"pair_reader", "vector_loss", "calibrator", "ensembler", "decision_rule", "exporter"}
    assert set(ROLES) - set(places()) <= other_verbs


@pytest.mark.parametrize(("role", "name"), components())
def test_parse_dump_parse_is_the_identity(role: str, name: str) -> None:
    @settings(SLOW_PARSER, max_examples=2)
    @given(spec(role, name))
    def check(chosen: dict[str, Any]) -> None:
        first = assert_identity(strict_dump(with_component(role, chosen)))
        node = first.config
        for step in places()[role]:
            node = node[step]
        options = parameters_of(registry().find(role, name))
        for option, value in chosen["init_args"].items():
            if options[option].annotation in (str, list[str], str | None):
                null = options[option].annotation == str | None and value is not None and means_null(value)
                assert node.init_args[option] == (None if null else value)

    check()


@pytest.mark.parametrize("kind", allowed.KINDS)
def test_so_it_is_for_lightnings_objects(kind: str) -> None:
    chosen = []
    for name, component in allowed.offered(kind).items():
        own = inspect.signature(component).parameters.values()
        needed = [
            option.name for option in own if option.default is option.empty and "kwargs" not in option.name
        ]
        arguments = {"duration": "00:01:00:00"} if "duration" in needed else dict.fromkeys(needed, "a: b")
        chosen.append({"class_path": name, "init_args": arguments})
    key = {"callback": "callbacks"}.get(kind, kind)
    for value in [chosen] if kind in ("callback", "logger") else chosen:
        tree = strict_load(CONFIG)
        tree["trainer"][key] = value
        assert_identity(strict_dump(tree))


@settings(SLOW_PARSER, max_examples=6)
@given(st.lists(TEXTS, min_size=1, max_size=8, unique=True), TEXTS)
def test_label_names_and_texts_stay_what_they_are(names: list[str], text: str) -> None:
    tree = strict_load(CONFIG)
    tree["labels"]["init_args"]["names"] = names
    tree["data"]["init_args"]["text"] = text
    tree["name"] = text
    first = assert_identity(strict_dump(tree))
    assert first.config.labels.init_args.names == names
    assert first.config.data.init_args.text == text
    assert first.config.name == (None if means_null(text) else text)


def test_all_awkward_label_names_at_once() -> None:
    tree = strict_load(CONFIG)
    tree["labels"]["init_args"]["names"] = AWKWARD
    assert assert_identity(strict_dump(tree)).config.labels.init_args.names == AWKWARD


# one spoilt key


@functools.cache
def trees() -> list[dict[str, Any]]:
    """Complete configurations, in which every option of every component stands once."""
    found = [complete(parsed(CONFIG))]
    used = {"LinearHead", "MeanPooling", "TweetCleaner", "GivenSplit", "AdamW", "CosineWithWarmup", "Columns"}
    for role, name in components():
        if name not in used and role not in ("model", "data"):
            options = parameters_of(registry().find(role, name)).values()
            needed = {option.name: _plain(option) for option in options if option.required}
            found.append(
                complete(parsed(strict_dump(with_component(role, {"class_path": name, "init_args": needed}))))
            )
    return found


def _plain(option: Option) -> Any:
    strategy = drawn(option.annotation)
    assert strategy is not None
    if typing.get_origin(option.annotation) is dict:
        return {"kind": ["a"]}
    if any(role_of(part) == "label_scheme" for part in typing.get_args(option.annotation)):
        return [{"class_path": "Columns", "init_args": {"names": ["a"]}}]
    wanted = {str: "text", int: 3, float: 0.5}
    return wanted.get(option.annotation, ["a"])


OBJECTS = """\
trainer:
  max_time: {days: 1}
  logger: [{class_path: CSVLogger, init_args: {save_dir: x}}]
  profiler: {class_path: SimpleProfiler, init_args: {dirpath: x}}
  strategy: {class_path: DDPStrategy, init_args: {find_unused_parameters: true}}
  callbacks:
    - {class_path: RichProgressBar}
    - {class_path: ModelCheckpoint, init_args: {dirpath: x}}
    - {class_path: BestCheckpoint}
"""


@functools.cache
def with_objects() -> dict[str, Any]:
    """A complete configuration with objects of Lightning's."""
    return complete(parsed(CONFIG[: CONFIG.index("trainer:")] + OBJECTS))


JARGON = re.compile(
    r"Traceback|usage:|jsonargparse|Namespace|Parser key|Union\[|<class|validate against|typing\.|init_args\.init_args"
)


def accepted(*given: Any) -> None:
    """Stand in for the fit that a spoilt configuration must not start."""
    raise AssertionError("the configuration was accepted")


def assert_refused(spoilt: Spoilt) -> None:
    """Run `tocsin fit`: code 2, one message, and in it the key's path or line."""
    stderr, stdout = io.StringIO(), io.StringIO()
    with config_file(spoilt.text) as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "load_plugins", registry)
        patch.setattr(fit, "instantiate", accepted)
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout):
            code = main(["fit", "--config", str(path)])
    message = stderr.getvalue()
    shown = f"{spoilt}: {message}"
    assert code == 2, shown
    assert stdout.getvalue() == "", shown
    assert message.startswith("tocsin: "), shown
    assert message.partition("\nPlugins that are off:")[0].rstrip("\n").count("\n") == 0, shown
    assert any(name in message for name in spoilt.named), shown
    assert not JARGON.search(message), shown


def spoilt_keys(tree: dict[str, Any], path: tuple[Any, ...]) -> list[Spoilt]:
    """Every way to spoil one key."""
    return [*values(tree, path), *lines(tree, path)]


# A fault of one key has nothing that could be shrunk.
@settings(SLOW_PARSER, max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from([values, values, lines]),
    st.integers(0, 10**6),
)
def test_one_spoilt_key_is_one_sentence(tree: int, key: int, kind: Any, way: int) -> None:
    everything = [*trees(), with_objects()]
    chosen = everything[tree % len(everything)]
    paths = list(keys(chosen))
    ways = list(kind(chosen, paths[key % len(paths)]))
    if ways:
        assert_refused(ways[way % len(ways)])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(components())))
def test_every_spoilt_key_is_one_sentence(number: int) -> None:
    """The same without chance: each key of each complete configuration in each way."""
    everything = [*trees(), with_objects()]
    seen: set[str] = set()
    for tree in everything[number : number + 1]:
        for path in keys(tree):
            for spoilt in spoilt_keys(tree, path):
                # what stands in the first configuration too has been tried with it
                if spoilt.text not in seen and (number == 0 or str(path) not in _tried()):
                    seen.add(spoilt.text)
                    assert_refused(spoilt)


@functools.cache
def _tried() -> set[str]:
    return {str(path) for path in keys(trees()[0])}


def test_the_test_of_spoilt_keys_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our own walk the parser's words come through, and a null passes."""
    from tocsin.plugins import parsing
    from tocsin.plugins.diagnosis import Diagnosis

    tree = trees()[0]
    path = ("model", "init_args", "head", "class_path")
    misspelt = next(one for one in values(tree, path) if one.fault == "misspelt name")
    null = next(one for one in values(tree, ("trainer", "max_steps")) if one.fault == "null")
    assert_refused(misspelt)
    assert_refused(null)
    monkeypatch.setattr(Diagnosis, "faults", lambda self: [])
    with pytest.raises(AssertionError):
        assert_refused(misspelt)
    monkeypatch.setattr(parsing, "loose_ends", lambda *given: [])
    with pytest.raises(AssertionError, match="accepted"):
        assert_refused(null)
