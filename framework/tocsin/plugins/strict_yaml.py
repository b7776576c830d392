"""YAML without its traps: duplicate keys are refused with their line, only `true` and `false` are booleans.

YAML 1.1, which PyYAML reads, makes a boolean of the Norwegian country code `no`, 7 of `007` in octal, 754 of
`12:34` and keeps the last of two equal keys in silence. This loader reads the core schema of YAML 1.2
(yaml.org/spec/1.2.2, section 10.3).
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from tocsin.errors import ConfigError

__all__ = [
    "PARSER_MODE",
    "StrictLoader",
    "ValueLoader",
    "read_config_text",
    "read_yaml",
    "strict_dump",
    "strict_load",
]

PARSER_MODE = "tocsin"
"""The name under which jsonargparse knows this loader and dumper."""

MAX_CHARACTERS = 2**18
"""Of a configuration; PyYAML reads as much in a second."""

MAX_VALUES = 20_000
"""Scalars, lists and mappings of a configuration; what an alias repeats counts each time."""

MAX_DEPTH = 50
"""Lists and mappings inside one another."""

_MAX_DIGITS = 64

_PLAIN_TAGS = (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")))


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's scalars, without duplicate keys, tags and recursion, and with bounds.

    The bounds hold before anything is built, so that 1 KB of nested aliases cannot become gigabytes.
    """

    def __init__(self, stream: Any) -> None:
        if len(stream) > MAX_CHARACTERS:
            raise yaml.YAMLError(
                f"this is {len(stream):,} characters long; at most {MAX_CHARACTERS:,} are read"
            )
        super().__init__(stream)
        self._values = 0
        self._depth = 0
        self._sizes: dict[Any, int] = {}  # anchor -> values below it, those of aliases counted each time

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Scan [ or {; a thousand of them are looked through before one is composed."""
        if self.flow_level >= MAX_DEPTH:
            raise _too_deep(self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; raises ComposerError past the bounds and for an alias inside of its own anchor."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _fault(f"the alias *{event.anchor} stands inside of what it repeats", event.start_mark)
            self._count(self._sizes.get(event.anchor, 1), event.start_mark)
            return super().compose_node(parent, index)
        if event.tag not in _PLAIN_TAGS:
            raise _fault(f"could not determine a constructor for the tag {event.tag!r}", event.start_mark)
        before = self._values
        self._count(1, event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _too_deep(event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; raises ConstructorError at the second of two equal keys, however they are spelled.

        Here and not when the mapping is built: by then merge keys have been replaced by what they name.
        """
        node = super().compose_mapping_node(anchor)
        seen: dict[Any, yaml.Mark] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if key in seen:
                first = seen[key].line + 1
                raise _fault(
                    f"the key {key_node.value!r} stands twice, first in line {first}", key_node.start_mark
                )
            seen[key] = key_node.start_mark
        return node

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _fault(f"this holds more than {MAX_VALUES:,} values, aliases written out", mark)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Read 7, 007 (seven), 0x1f and 0o17; raises ConstructorError beyond 64 bits."""
        text = self.construct_scalar(node).lower()
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
        base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
        # Python reads no more than 4,300 digits, and takes long for them.
        number = 2**64 if len(digits) > _MAX_DIGITS else int(digits if base == 10 else digits[2:], base)
        if not -(2**63) <= sign * number < 2**64:
            raise _beyond(text, node)
        return sign * number

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Read 1.5e-3 and .inf; raises ConstructorError for 1e400 and 1e-400, which would become inf and 0."""
        text = self.construct_scalar(node)
        number = super().construct_yaml_float(node)
        mantissa = text.lower().partition("e")[0]
        if (math.isinf(number) and "inf" not in text.lower()) or (number == 0 and mantissa.strip("+-.0")):
            raise _beyond(text, node)
        return number


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _too_deep(mark: Any) -> yaml.MarkedYAMLError:
    return _fault(f"lists and mappings are nested more than {MAX_DEPTH} deep", mark)


def _beyond(text: str, node: yaml.ScalarNode) -> yaml.MarkedYAMLError:
    shown = text if len(text) <= 30 else f"{text[:20]}… of {len(text):,} digits"
    problem = f"the number {shown} does not fit 64 bits; put it in quotes if it is text"
    return _fault(problem, node.start_mark)


class ValueLoader(StrictLoader):
    """Reads a text given for an option that is no text: "3" for a number; a lone remark is not null."""

    def get_single_data(self) -> Any:
        """Build the document; raises ComposerError where there is none."""
        node = self.get_single_node()
        if node is None:
            raise yaml.composer.ComposerError(None, None, "there is no value", None)
        return self.construct_document(node)


_SCALARS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
]
# A table of its own: add_implicit_resolver would otherwise change everybody's loader.
StrictLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )
StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_integer)
StrictLoader.add_constructor("tag:yaml.org,2002:float", StrictLoader.construct_float)


_NULLS = ("", "~", "null", "Null", "NULL")


def strict_load(text: str) -> Any:
    """Load one YAML document.

    Raises:
        yaml.YAMLError: The text is not YAML, names a tag, says one key twice, holds a number beyond 64 bits, or is
            past the bounds above.
    """
    value = _document(text)
    stripped = text.strip()
    if value is None and "\n" not in stripped and stripped not in _NULLS:
        # A lone "#flood", "---" or "&b" is text: no remark, no start of a document, no anchor of nothing.
        return text
    # A value of the command line such as "{a,b}" or "a:" is a string, not a mapping to nothing.
    empty = isinstance(value, dict) and value and all(item is None for item in value.values())
    if empty and "\n" not in stripped and (stripped.endswith(":") or stripped.startswith("{")):
        return text
    return value


def _document(text: str) -> Any:
    try:
        return yaml.load(text, Loader=StrictLoader)
    except yaml.reader.ReaderError as error:
        mark = yaml.Mark(error.name, error.position, text.count("\n", 0, error.position), 0, None, 0)
        code = error.character if isinstance(error.character, int) else ord(error.character)
        problem = f"the character U+{code:04X} stands here, which is no text"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark) from error
    except RecursionError as error:  # never seen; a refusal all the same
        raise yaml.YAMLError("this is nested too deep") from error


def read_config_text(path: str | Path) -> str:
    """Read a configuration file, bounded.

    Raises:
        ConfigError: There is no such file, it is no regular file, too large or not UTF-8 text; names the file.
    """
    file = Path(path)
    try:
        if not file.is_file():
            what = "is no regular file" if file.exists() else None
            raise ConfigError(f"{path} {what}." if what else f"There is no configuration file {str(path)!r}.")
        with file.open("rb") as opened:
            content = opened.read(4 * MAX_CHARACTERS + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: this is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{path} has more than {MAX_CHARACTERS:,} characters, and is not read as a configuration. Long lists of "
            "labels stand in a text file that the configuration names."
        )
    return text


def read_yaml(path: str | Path) -> Any:
    """Read a configuration file as plain data.

    Raises:
        ConfigError: As `read_config_text`, or it is not YAML as `strict_load` reads it; names the file and the line.
    """
    try:
        return strict_load(read_config_text(path))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {yaml_fault(error)}") from error


_YAML_WORDS = (
    (
        r"cannot start any token",
        r"a character stands here that begins nothing; indent with spaces, not with tabs",
    ),
    (r"<block end>|<block mapping start>", "the indentation does not fit the lines above"),
    (
        r"mapping values are not allowed",
        "a colon stands where no key can be; put text that holds one in quotes",
    ),
    (r"could not find expected ':'", "a key without its colon"),
    (r"constructor for the tag '(.+)'", r"the tag {0} is refused: a configuration is plain data"),
)
"""What PyYAML says, and what we say; the rest is understood as it stands."""


def yaml_fault(error: yaml.YAMLError) -> str:
    """Return what is wrong with a text as one sentence, with its line where that is known."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split()) + "."
    problem = getattr(error, "problem", None) or "this is not YAML"
    for pattern, words in _YAML_WORDS:
        found = re.search(pattern, problem)
        if found is not None:
            return f"line {mark.line + 1}: {words.format(*found.groups())}."
    return f"line {mark.line + 1}: {problem}."


class _StrictDumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes what either version of YAML would take for something else than text."""


_StrictDumper.yaml_implicit_resolvers = {
    first: list(patterns) for first, patterns in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in _SCALARS:
    _StrictDumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks as they are unless the text stands in double quotes, and reads them as spaces.
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str.__str__(text), style=style)


_StrictDumper.add_representer(str, _represent_text)
_StrictDumper.add_multi_representer(str, _represent_text)  # members of an enumeration of texts


def strict_dump(data: Any) -> str:
    """Write plain data as YAML that `strict_load` reads back equal."""
    return yaml.dump(
        data, Dumper=_StrictDumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
