"""What every component must hold whatever its role: its class, its arguments and their documentation."""

from __future__ import annotations

import copy
import inspect
import typing
from typing import Any

import tocsin.plugins as door
from tocsin.arguments import PLAIN, RemembersArguments, default_of, is_plain
from tocsin.plugins.docstrings import argument_descriptions, short_description
from tocsin.plugins.roles import ROLES
from tocsin.plugins.signatures import Option, parameters_of, type_words, union_parts
from tocsin.plugins.testing.findings import Findings

__all__ = ["begin", "build", "check_construction"]


def begin(component: Any, role: str, arguments: dict[str, Any]) -> tuple[Findings, bool]:
    """Check what all components share, and say whether the component can be built and looked at further.

    Args:
        component: The class, as a hook would return it.
        role: A key of `ROLES`.
        arguments: Constructor arguments by name.
    """
    base = getattr(door, ROLES[role].base)
    if not isinstance(component, type):
        shown = type(component).__name__
        findings = Findings(type(component), role.replace("_", " "))
        hint = f" Give the class, without (): check_{role}({shown})." if isinstance(component, base) else ""
        findings.add(f"A class is wanted, and an object of {shown} was given.{hint}")
        return findings, False
    findings = Findings(component, role.replace("_", " "))
    if not findings.expect(
        issubclass(component, base),
        f"It is not a subclass of tocsin.plugins.{base.__name__}: write `class {component.__name__}({base.__name__})`.",
    ):
        return findings, False
    usable = check_construction(findings, component, arguments)
    return findings, usable


def check_construction(findings: Findings, component: type, arguments: dict[str, Any]) -> bool:
    """Check abstractness, documentation, the constructor's arguments, and that building is cheap and pure."""
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    if missing:
        findings.add(
            f"It is abstract: it still lacks {', '.join(missing)}. Write them, with the base's arguments."
        )
    findings.expect(
        bool(short_description(component)),
        "The class has no docstring of its own: its first sentence is what `tocsin components` shows.",
    )
    _check_arguments(findings, component)
    if missing:
        return False
    options = parameters_of(component)
    without = [name for name, option in options.items() if option.required and name not in arguments]
    if without:
        have = "has no default" if len(without) == 1 else "have no defaults"
        findings.add(
            f"It cannot be built: {', '.join(without)} {have}. Give the check a value: "
            f"check_{findings.role.replace(' ', '_')}({component.__name__}, "
            f"{', '.join(f'{name}=…' for name in without)})."
        )
        return False
    module = any(_is_module(base) for base in component.__mro__)
    if module and not findings.expect(
        component.__hash__ is not None,
        "Its objects have no hash, by which torch keeps modules: @dataclass takes it away with the __eq__ that it "
        "writes. Write @dataclass(eq=False).",
    ):
        return False
    given = copy.deepcopy(arguments)
    built = build(findings, component, arguments)
    if built is None:
        return False
    if module and not findings.expect(
        "_parameters" in vars(built),
        "The constructor does not call super().__init__(), without which torch keeps no weights. A dataclass calls it "
        "in __post_init__.",
    ):
        return False
    return not isinstance(built, RemembersArguments) or _check_remembered(findings, built, given, arguments)


def _is_module(base: type) -> bool:
    # By name: a component without torch should not wait for its import.
    return base.__module__ == "torch.nn.modules.module"


def _check_remembered(
    findings: Findings, built: RemembersArguments, given: dict[str, Any], afterwards: dict[str, Any]
) -> bool:
    """A bundle names the component and its arguments as JSON, and builds it again from them."""
    before = len(findings.faults)
    for name, value in given.items():
        if not is_plain(value):
            findings.add(
                f"The argument {name} was given {value!r:.60}, which neither a YAML nor a bundle can hold. Take "
                f"{PLAIN}, and make the object from these."
            )
            continue
        findings.expect(
            afterwards[name] == value,
            f"The constructor changed its argument {name} from {value!r:.60} to {afterwards[name]!r:.60}; the parser "
            "builds a component several times from the same values. Work on a copy, such as list(…) or dict(…).",
        )
        findings.expect(
            built.arguments.get(name, value) == value and name in built.arguments,
            f"It was built with {name}={value!r:.60}, and its `arguments`, by which a bundle builds it again, say "
            f"{built.arguments!r:.60}. Set no attribute `arguments` yourself: the role's base fills it, in its "
            "__new__, to which a __new__ before it passes on all that it is given.",
        )
    return len(findings.faults) == before


def build(findings: Findings, component: type, arguments: dict[str, Any]) -> Any:
    """Build the component and return it; None and a fault where that fails."""
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return findings.attempt(
        f"{component.__name__}({shown})",
        lambda: component(**arguments),
        "The parser builds a component up to three times, on machines without data or network: keep the "
        "constructor cheap, and read files later.",
    )


def _check_arguments(findings: Findings, component: type) -> None:
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    if owner is object or _is_module(owner):
        return  # no constructor of its own
    described = argument_descriptions(component)
    options = parameters_of(component)
    for name, parameter in list(inspect.signature(component.__init__).parameters.items())[1:]:  # type: ignore[misc]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            findings.add(
                f"The constructor takes {stars}{name}: a YAML could not be checked against it, and `tocsin components "
                f"{component.__name__}` could not list it. Name each argument."
            )
            continue
        findings.expect(
            parameter.kind is not parameter.POSITIONAL_ONLY,
            f"The argument {name} is positional only, and the parser gives every argument by name. Drop the /.",
        )
        annotated = findings.expect(
            parameter.annotation is not parameter.empty,
            f"The argument {name} has no type: the parser would hand over whatever stands in the YAML. Annotate "
            f"it, for instance {name}: float = 0.1.",
        )
        findings.expect(
            bool(described.get(name)),
            f"The argument {name} is not described: add `{name}: …` with its unit under Args: in the class's "
            "docstring, which is its help.",
        )
        if annotated:
            _check_type(findings, options[name], parameter.annotation)
        if parameter.default is not parameter.empty:
            _check_default(findings, options[name], default_of(component, name, parameter.default))


def _check_type(findings: Findings, option: Option, written: Any) -> None:
    if option.annotation is Any:
        meant = written in (Any, "Any", "typing.Any")
        findings.add(
            f"The argument {option.name} may be anything: a wrong value in a YAML would only show during the fit. "
            "Say what it is."
            if meant
            else f"The type of the argument {option.name}, {written!r}, cannot be read where the class is used: import "
            "its names outside `if TYPE_CHECKING:`."
        )


def _check_default(findings: Findings, option: Option, default: Any) -> None:
    name, annotation = option.name, option.annotation
    if not is_plain(default):
        findings.add(
            f"The default of {name} is {default!r:.60}, which a YAML cannot hold, nor a bundle: use {PLAIN}."
        )
        return
    parts = union_parts(annotation)
    if default is None and not {Any, None, type(None), object} & set(parts):
        findings.add(
            f"The default of {name} is None, but its type is {type_words(annotation)}: the saved config, which writes "
            f"null there, could not be read again. Annotate it {name}: … | None."
        )
    literal = [
        value
        for part in parts
        if typing.get_origin(part) is typing.Literal
        for value in typing.get_args(part)
    ]
    if len(parts) == 1 and literal and default not in literal:
        findings.add(f"The default of {name} is {default!r}, but its type is {type_words(annotation)}.")
