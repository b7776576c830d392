"""Says in one sentence what is wrong with a configuration that the parser refused.

The parser's own message names neither the path of a fault that lies deep in a component nor the known names.
So, after a refusal, the given arguments are read again as plain data and walked beside the components'
signatures.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

import tocsin.plugins as door
from tocsin.errors import did_you_mean
from tocsin.plugins.allowed import KINDS, known_as, offered
from tocsin.plugins.docstrings import meaning
from tocsin.plugins.given import config_files, read_arguments, words_of
from tocsin.plugins.registry import Registry
from tocsin.plugins.roles import ROLES, in_words
from tocsin.plugins.signatures import admits_null, parameters_of, type_words, union_parts
from tocsin.plugins.strict_yaml import PARSER_MODE, read_yaml

__all__ = ["SECTIONS", "Diagnosis", "forbidden"]

SECTIONS = {"labels": "label_scheme", "model": "model", "data": "data"}
"""Top-level keys that hold a component, and its role."""

PLAIN = {
    "name": str | None,
    "runs": str,
    "ckpt_path": str | None,
    "resume": str | None,
    "seed_everything": bool | int,
}
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
        arguments: What follows the verb on the command line.
        registry: The components on offer.
        sections: The top-level keys that are looked at, and the role of each one's component.
        trainer: The class whose options stand under `trainer`; None when that key and other keys are not looked at.
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
        self.folder = Path.cwd()

    def check_files(self) -> None:
        """Refuse a configuration file before the parser sees it; raises ConfigError that names file and line."""
        for name in config_files(self.arguments):
            if Path(name).exists():  # the parser takes a configuration itself, too
                read_yaml(name)

    def faults(self) -> list[str]:
        """Return a sentence for each fault, in the order of the configuration; empty when none is found."""
        # While it reads a configuration file jsonargparse works in that file's folder: a relative path would miss it.
        with chdir(self.folder):
            given, faults, stray = read_arguments(self.arguments, self.sections)
        faults = faults or list(self._walk(given))
        if not faults and stray:
            faults = [f"{stray[0]!r} belongs to no option; options begin with --."]
        return faults

    def _walk(self, given: dict[str, Any]) -> Iterator[str]:
        known = [*self.sections, "trainer", *PLAIN]
        strange = [str(key) for key in given if key not in known] if self.trainer else []
        meant = [close for key in strange for close in get_close_matches(key, known, n=1)]
        for key, role in self.sections.items():
            if given.get(key) is None and key in meant:
                continue
            if key == "labels" and given.get(key) is None and not self._takes_labels(given):
                continue
            if given.get(key) is None:
                yield f"{key} is missing; {_a(role)} is wanted. Known: {', '.join(self._known(role))}."
            else:
                yield from self._spec(key, given[key], role)
        if self.trainer is None:
            return
        for key in strange:
            yield f"There is no key {key!r}.{did_you_mean(key, known)} Keys: {', '.join(known)}."
        for key in PLAIN:
            if key in given:
                yield from self._value(key, given[key], PLAIN[key], "")
        options = given.get("trainer", {})
        if not isinstance(options, dict):
            yield f"trainer is {words_of(options)}; a mapping of the Trainer's options is wanted."
            return
        yield from forbidden(options)
        rest = {flag: value for flag, value in options.items() if flag not in ADVICE}
        yield from self._arguments("trainer", "the Trainer", self.trainer, rest)

    def _takes_labels(self, given: Mapping[str, Any]) -> bool:
        """Tell whether labels are wanted: unless everything beside them is named and takes none."""
        for key, role in self.sections.items():
            if key == "labels":
                continue
            name = given.get(key)
            name = name.get("class_path") if isinstance(name, dict) else name
            component = self._resolve(name, role) if isinstance(name, str) else None
            if component is None or "labels" in parameters_of(component):
                return True
        return False

    def _spec(self, path: str, given: Any, role: str) -> Iterator[str]:
        """Check a component: its name, then its arguments."""
        keys = ["class_path", "init_args"]
        arguments: Any = {}
        name = given
        if isinstance(given, dict):
            name, arguments = given.get("class_path"), given.get("init_args", {})
            others = [str(key) for key in given if key not in keys]
            if others and isinstance(name, str):
                hint = did_you_mean(others[0], keys)
                yield f"{path}.{others[0]}: the options of {_a(role)} stand in its init_args.{hint}"
                if "init_args" not in given:
                    return
            elif name is None:
                hint = next(filter(None, (did_you_mean(key, keys) for key in others)), "")
                known = ", ".join(self._known(role))
                yield f"{path}.class_path is missing; {_a(role)} is wanted.{hint} Known: {known}."
                return
        if not isinstance(name, str):
            where = f"{path}.class_path" if isinstance(given, dict) else path
            wanted = f"the name of {_a(role)} is wanted, or class_path and init_args"
            yield f"{where} is {words_of(name)}; {wanted}. Known: {', '.join(self._known(role))}."
            return
        component = self._resolve(name, role)
        if component is None:
            yield f"{path}: {self._unknown(name, role)}"
        elif not isinstance(arguments, dict):
            yield f"{path}.init_args is {words_of(arguments)}; a mapping of {name}'s options is wanted."
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
        passed_on = _passed_on(component)
        if passed_on is not None:  # of a base class's options some are filled by the class itself
            options = {name: option for name, option in options.items() if name in passed_on}
        known = [name for name in options if name not in linked]
        meant = []
        for name, value in given.items():
            if name in linked:
                yield f"{path}.{name} is filled from the top-level key {name!r}; remove it here."
            elif name not in options:
                if name in (passed_on or ()):
                    continue
                meant += get_close_matches(str(name), known, n=1)
                hint = did_you_mean(str(name), known)
                listed = "" if component is self.trainer else f" Its options: {', '.join(known) or 'none'}."
                yield f"{path}.{name}: {owner} has no option {name!r}.{hint}{listed}"
            else:
                yield from self._value(
                    f"{path}.{name}", value, options[name].annotation, meaning(component, name)
                )
        for name in known:
            if options[name].required and name not in given and name not in meant:
                wanted = type_words(options[name].annotation)
                yield f"{path}.{name} is missing: {owner} wants it, {wanted}.{meaning(component, name)}"

    def _value(self, path: str, given: Any, annotation: Any, described: str) -> Iterator[str]:
        role, many, others = self._role(annotation)
        if role is not None and isinstance(given, dict) and _is_mapping(annotation):
            for key, item in given.items():
                yield from self._spec(f"{path}.{key}", item, role)
            return
        if role is not None and _is_mapping(annotation):
            wanted = f"a mapping of names to {in_words(role, plural=True)} is wanted"
            yield f"{path} is {words_of(given)}; {wanted}.{described}"
            return
        if role is not None:
            if others and not isinstance(given, dict | list) and any(_fits(given, part) for part in others):
                return
            if many and isinstance(given, list):
                for position, item in enumerate(given):
                    yield from self._spec(f"{path}[{position}]", item, role)
            else:
                yield from self._spec(path, given, role)
            return
        if isinstance(given, dict) and set(given) == {"init_args"}:
            given = given["init_args"]  # an option that is itself a mapping, key by key
        if annotation is Any or _fits(given, annotation):
            return
        deeper = list(self._inside(path, given, annotation)) if isinstance(given, dict) else []
        yield from deeper or [f"{path} is {words_of(given)}; wanted: {type_words(annotation)}.{described}"]

    def _inside(self, path: str, given: dict[str, Any], annotation: Any) -> Iterator[str]:
        """Check a mapping entry by entry; nothing is said when its type does not say what its entries are."""
        if isinstance(given.get("class_path"), str):
            yield f"{path}: {given['class_path']!r} may not be named here; wanted: {type_words(annotation)}."
            return
        for part in union_parts(annotation):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from self._arguments(path, part.__name__, part, given)
            elif typing.get_origin(part) is dict:
                for key, value in given.items():
                    yield from self._value(f"{path}.{key}", value, typing.get_args(part)[1], "")

    def _role(self, annotation: Any) -> tuple[str | None, bool, list[Any]]:
        """Return the role or kind of object whose base stands in an annotation, whether a list of them is
        allowed, and the other types that are.
        """
        role, many, others = None, False, []
        for part in union_parts(annotation):
            listed = typing.get_origin(part) in (list, Sequence, Iterable)
            inner = (
                typing.get_args(part)[0]
                if listed
                else typing.get_args(part)[1]
                if _is_mapping(part)
                else part
            )
            found = _role_of(inner)
            if found is None:
                others.append(part)
            else:
                role, many = found, many or listed
        return role, many, others

    def _known(self, role: str) -> dict[str, type]:
        return offered(role) if role in KINDS else self.registry.components(role)

    def _resolve(self, name: str, role: str) -> type | None:
        known = self._known(role)
        return known.get(name) or next((part for part in known.values() if name in known_as(part)), None)

    def _unknown(self, name: str, role: str) -> str:
        known = sorted(self._known(role))
        if "." in name:
            hint = did_you_mean(name.rsplit(".", 1)[1], known)
            return (
                f"{name!r} may not be named here: only what Tocsin and installed plugins offer may.{hint} "
                f"Known: {', '.join(known)}.{self.registry.told_off()}"
            )
        if role in KINDS:
            return f"No {role} is called {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        return self.registry.unknown(role, name)


def forbidden(options: Mapping[str, Any]) -> list[str]:
    """Return a sentence of advice for each of the Trainer's options that manual optimisation forbids."""
    return [
        f"trainer.{flag} is {words_of(options.get(flag))}, which manual optimisation forbids: {advice}."
        for flag, advice in ADVICE.items()
        if options.get(flag) not in (None, _HARMLESS.get(flag))
    ]


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict


def _role_of(annotation: Any) -> str | None:
    for kind, base in KINDS.items():
        if annotation is base:
            return kind
    for role, entry in ROLES.items():
        if annotation is getattr(door, entry.base):
            return role
    return None


@functools.cache
def _passed_on(component: type) -> list[str] | None:
    """Return the options of a class that hands `**kwargs` on, as far as the parser can tell; else None."""
    if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(component).parameters.values()):
        return None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(component, "options")
    return list(parser.get_defaults().as_dict().get("options", {}))


def _fits(given: Any, annotation: Any) -> bool:
    if given is None:  # the parser checks no null
        return admits_null(annotation)
    parser = ArgumentParser(exit_on_error=False, parser_mode=PARSER_MODE)
    parser.add_argument("--value", type=annotation)
    try:
        parser.parse_object({"value": given})
    except (ArgumentError, TypeError, ValueError):
        return False
    return True


def _a(role: str) -> str:
    return in_words(role, article=True)
