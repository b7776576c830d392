"""Says in one sentence what is wrong with a configuration that the parser refused.

The parser's own message names neither the path of a fault that lies deep in a component nor the known names.
So, after a refusal, the given arguments are read again as plain data and walked beside the components'
signatures.
"""

import inspect
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch.callbacks import Callback

import tocsin.plugins as door
from tocsin.errors import did_you_mean
from tocsin.plugins.docstrings import argument_descriptions
from tocsin.plugins.manager import ROLES, Registry
from tocsin.plugins.signatures import parameters_of, type_words, union_parts
from tocsin.plugins.strict_yaml import strict_load

__all__ = ["SECTIONS", "Diagnosis", "forbidden"]

SECTIONS = {"labels": "label_scheme", "model": "model", "data": "data"}
"""Top-level keys that hold a component, and its role."""

PLAIN = {"name": str | None, "runs": str, "ckpt_path": str | None, "seed_everything": bool | int}
"""Top-level keys that hold one value."""

ADVICE = {
    "gradient_clip_val": "the model clips its own gradients: set model.init_args.gradient_clip",
    "gradient_clip_algorithm": "the model clips its gradients by norm: set model.init_args.gradient_clip",
    "accumulate_grad_batches": "a step takes exactly data.init_args.batch_size messages, in passes of at"
    " most data.init_args.tokens_per_pass tokens: set those",
}
"""Trainer flags that manual optimisation forbids, and what to set instead."""

_HARMLESS = {"accumulate_grad_batches": 1}


class Diagnosis:
    """Walks the given arguments beside the signatures of what they name.

    Args:
        arguments: What follows the verb on the command line. registry: The components on offer. sections:
        The top-level keys that are looked at, and the role of each one's component. trainer: The class whose
        options stand under `trainer`; None when that key and other keys are not looked at.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        registry: Registry,
        sections: Mapping[str, str] = SECTIONS,
        trainer: type | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self.registry = registry
        self.sections = dict(sections)
        self.trainer = trainer

    def faults(self) -> list[str]:
        """Return a sentence for each fault, in the order of the configuration; empty when none is found."""
        given, faults = self._read()
        return faults or list(self._walk(given))

    def _read(self) -> tuple[dict[str, Any], list[str]]:
        """Merge configuration files and options as the parser does, without checking anything."""
        given: dict[str, Any] = {}
        waiting = list(self.arguments)
        while waiting:
            option = waiting.pop(0)
            if not option.startswith("-"):
                continue
            name, equals, value = option.partition("=")
            if not equals:
                value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
            if name in ("-c", "--config"):
                path = Path(value)
                if not path.is_file():
                    return {}, [f"There is no configuration file {value!r}."]
                try:
                    loaded = strict_load(path.read_text(encoding="utf-8"))
                except (yaml.YAMLError, UnicodeDecodeError) as error:
                    return {}, [f"{value}: {_yaml_fault(error)}"]
                if not isinstance(loaded, dict):
                    return {}, [
                        f"{value}: a mapping with labels, data and model is wanted, not {_given(loaded)}."
                    ]
                _merge(given, loaded)
            elif not name.endswith("+"):
                try:
                    _assign(given, name.lstrip("-").split("."), strict_load(value))
                except yaml.YAMLError:
                    _assign(given, name.lstrip("-").split("."), value)
        return given, []

    def _walk(self, given: dict[str, Any]) -> Iterator[str]:
        for key, role in self.sections.items():
            if given.get(key) is None:
                yield f"{key} is missing; a {_words(role)} is wanted. Known: {', '.join(self._known(role))}."
            else:
                yield from self._spec(key, given[key], role)
        if self.trainer is None:
            return
        known = [*self.sections, "trainer", *PLAIN]
        for key, value in given.items():
            if key in PLAIN:
                yield from self._value(key, value, PLAIN[key], "")
            elif key not in known:
                yield f"There is no key {key!r}.{did_you_mean(str(key), known)} Keys: {', '.join(known)}."
        options = given.get("trainer") or {}
        if not isinstance(options, dict):
            yield f"trainer is {_given(options)}; a mapping of the Trainer's options is wanted."
            return
        yield from forbidden(options)
        yield from self._arguments("trainer", "the Trainer", self.trainer, options)

    def _spec(self, path: str, given: Any, role: str) -> Iterator[str]:
        """Check a component: its name, then its arguments."""
        keys = ["class_path", "init_args"]
        arguments: Any = {}
        name = given
        if isinstance(given, dict):
            name, arguments = given.get("class_path"), given.get("init_args") or {}
            others = [str(key) for key in given if key not in keys]
            if others and isinstance(name, str):
                yield f"{path}.{others[0]}: the options of a component stand in its init_args."
            elif name is None:
                hint = next(filter(None, (did_you_mean(key, keys) for key in others)), "")
                known = ", ".join(self._known(role))
                yield f"{path}.class_path is missing; a {_words(role)} is wanted.{hint} Known: {known}."
                return
        if not isinstance(name, str):
            wanted = f"the name of a {_words(role)} is wanted, or class_path and init_args"
            yield f"{path} is {_given(name)}; {wanted}. Known: {', '.join(self._known(role))}."
            return
        component = self._resolve(name, role)
        if component is None:
            yield f"{path}: {self._unknown(name, role)}"
        elif not isinstance(arguments, dict):
            yield f"{path}.init_args is {_given(arguments)}; a mapping of {name}'s options is wanted."
        else:
            linked = {"labels"} if role in ("model", "data") else set()
            yield from self._arguments(f"{path}.init_args", component.__name__, component, arguments, linked)

    def _arguments(
        self,
        path: str,
        owner: str,
        component: type,
        given: dict[str, Any],
        linked: Collection[str] = (),
    ) -> Iterator[str]:
        """Check what a constructor is given: unknown, missing and wrong values."""
        options = parameters_of(component)
        known = [name for name in options if name not in linked]
        for name, value in given.items():
            if name in linked:
                yield f"{path}.{name} is filled from the top-level key {name!r}; remove it here."
            elif name not in options:
                hint = did_you_mean(str(name), known)
                listed = "" if component is self.trainer else f" Its options: {', '.join(known) or 'none'}."
                yield f"{path}.{name}: {owner} has no option {name!r}.{hint}{listed}"
            else:
                yield from self._value(
                    f"{path}.{name}", value, options[name].annotation, _meaning(component, name)
                )
        for name in known:
            if options[name].required and name not in given:
                meaning = _meaning(component, name)
                wanted = type_words(options[name].annotation)
                yield f"{path}.{name} is missing: {owner} wants it, {wanted}.{meaning}"

    def _value(self, path: str, given: Any, annotation: Any, meaning: str) -> Iterator[str]:
        role, many = self._role(annotation)
        if role is not None:
            optional = type(None) in typing.get_args(annotation)
            if given is None and optional:
                return
            if many and isinstance(given, list):
                for position, item in enumerate(given):
                    yield from self._spec(f"{path}[{position}]", item, role)
            else:
                yield from self._spec(path, given, role)
            return
        if isinstance(given, dict) and set(given) == {
            "init_args"
        }:  # an option that is itself a mapping, key by key
            given = given["init_args"]
        if annotation is not Any and not _fits(given, annotation):
            yield f"{path} is {_given(given)}; wanted: {type_words(annotation)}.{meaning}"

    def _role(self, annotation: Any) -> tuple[str | None, bool]:
        """Return the role whose base stands in an annotation, and whether a list of them is allowed."""
        for part in union_parts(annotation):
            many = typing.get_origin(part) is list
            inner = typing.get_args(part)[0] if many else part
            if inner is Callback:
                return "callback", True
            for role, entry in ROLES.items():
                if inner is getattr(door, entry.base):
                    return role, many
        return None, False

    def _known(self, role: str) -> dict[str, type]:
        return _callbacks() if role == "callback" else self.registry.components(role)

    def _resolve(self, name: str, role: str) -> type | None:
        known = self._known(role)
        paths = {f"{part.__module__}.{part.__qualname__}": part for part in known.values()}
        if role == "callback":
            paths |= {f"lightning.pytorch.callbacks.{key}": part for key, part in known.items()}
        return known.get(name) or paths.get(name)

    def _unknown(self, name: str, role: str) -> str:
        if "." in name:
            known = sorted(self._known(role))
            hint = did_you_mean(name.rsplit(".", 1)[1], known)
            return (
                f"{name!r} may not be named here: only what Tocsin and installed plugins offer may.{hint} "
                f"Known {_words(role)}s: {', '.join(known)}."
            )
        if role == "callback":
            known = sorted(_callbacks())
            hint = did_you_mean(name, known)
            return f"No callback is called {name!r}.{hint} Known callbacks: {', '.join(known)}."
        return self.registry.unknown(role, name)


def forbidden(options: Mapping[str, Any]) -> list[str]:
    """Return a sentence of advice for each of the Trainer's options that manual optimisation forbids."""
    return [
        f"trainer.{flag} is {_given(options.get(flag))}, which manual optimisation forbids: {advice}."
        for flag, advice in ADVICE.items()
        if options.get(flag) not in (None, _HARMLESS.get(flag))
    ]


def _callbacks() -> dict[str, type]:
    found: dict[str, type] = {}
    waiting = Callback.__subclasses__()
    while waiting:
        part = waiting.pop()
        waiting.extend(part.__subclasses__())
        if part.__module__.startswith("lightning.pytorch.callbacks.") and not inspect.isabstract(part):
            found[part.__name__] = part
    return found


def _meaning(component: type, name: str) -> str:
    """Return an argument's description in the class's docstring, with a leading space, or ""."""
    description = argument_descriptions(component).get(name, "")
    return f" ({description})" if description else ""


def _fits(given: Any, annotation: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    try:
        parser.parse_object({"value": given})
    except (ArgumentError, TypeError, ValueError):
        return False
    return True


def _merge(given: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            _merge(given[key], value)
        else:
            given[key] = value


def _assign(given: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a dotted path; below a component, `init_args` may be left out."""
    steps = [path[0]]
    for key in path[1:]:
        if path[0] in SECTIONS and key not in ("class_path", "init_args") and steps[-1] != "init_args":
            steps.append("init_args")
        steps.append(key)
    node = given
    for key in steps[:-1]:
        below = node.get(key)
        node[key] = below if isinstance(below, dict) else {} if below is None else {"class_path": below}
        node = node[key]
    last = steps[-1]
    if path[0] in SECTIONS and isinstance(node.get(last), dict) and isinstance(value, str):
        node[last]["class_path"] = value
    else:
        node[last] = value


def _given(value: Any) -> str:
    return "null" if value is None else repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__}"


def _words(role: str) -> str:
    return {"data": "data module"}.get(role, role.replace("_", " "))


def _yaml_fault(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"this is not UTF-8 text: {error}." if isinstance(error, UnicodeDecodeError) else str(error)
    problem = getattr(error, "problem", None) or "this is not YAML"
    return f"line {mark.line + 1}: {problem}."
