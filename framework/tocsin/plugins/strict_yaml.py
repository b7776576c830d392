"""YAML without its traps: duplicate keys are refused with their line, only `true` and `false` are booleans.

YAML 1.1, which PyYAML reads, makes a boolean of the Norwegian country code `no`, 7 of `007` in octal, 754 of
`12:34` and keeps the last of two equal keys in silence. This loader reads the core schema of YAML 1.2
(yaml.org/spec/1.2.2, section 10.3).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

__all__ = ["PARSER_MODE", "StrictLoader", "ValueLoader", "strict_dump", "strict_load"]

PARSER_MODE = "tocsin"
"""The name under which jsonargparse knows this loader and dumper."""


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's scalars and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a dict; raises ConstructorError at the second of two equal keys."""
        seen: dict[Any, yaml.Mark] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                first = seen[key].line + 1
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice, first in line {first}", key_node.start_mark
                )
            seen[key] = key_node.start_mark
        return super().construct_mapping(node, deep=deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Read 7, 007 (seven), 0x1f and 0o17."""
        text = self.construct_scalar(node).lower()
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
        base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
        return sign * int(digits if base == 10 else digits[2:], base)


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


_NULLS = ("", "~", "null", "Null", "NULL")


def strict_load(text: str) -> Any:
    """Load one YAML document.

    Raises:
        yaml.YAMLError: The text is not YAML, names a tag, or says one key twice.
    """
    value = yaml.load(text, Loader=StrictLoader)
    stripped = text.strip()
    if value is None and "\n" not in stripped and stripped not in _NULLS:
        # A lone "#flood", "---" or "&b" is text: no remark, no start of a document, no anchor of nothing.
        return text
    # A value of the command line such as "{a,b}" or "a:" is a string, not a mapping to nothing.
    empty = isinstance(value, dict) and value and all(item is None for item in value.values())
    if empty and "\n" not in stripped and (stripped.endswith(":") or stripped.startswith("{")):
        return text
    return value


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
