"""Finds what a source imports of ours beside `tocsin.plugins`: the one name that a plugin can rely on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tocsin
from tocsin import plugins as door

DOOR = "tocsin.plugins"
ROOMS = sorted(
    path.stem for path in Path(str(tocsin.__file__)).parent.iterdir() if not path.name.startswith("_")
)
_DOTTED = re.compile(rf"tocsin\.(?:{'|'.join(ROOMS)})(?:\.\w+)*(?::\w+)?")


def foreign_imports(source: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """What a source imports of ours beside the door's own names, each as "line 3: tocsin.models.heads".

    Statements are looked at wherever they stand, those for type checkers too; so are attributes (`tocsin.text`) and
    texts that are the dotted path of a room, since `import_module` and its relatives take them.

    Args:
        source: Python.
        allowed: Further modules of ours that it may import.
    """
    good = {DOOR, *allowed}
    return [
        f"line {line}: {name}"
        for line, name in _imported(ast.parse(source))
        if name not in good and name not in {f"{DOOR}.{public}" for public in door.__all__}
    ]


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _ours(node.module or ""):
            # `from tocsin.plugins import manager` imports a module as well as a name
            inside = node.module in ("tocsin", DOOR)
            names = [f"{node.module}.{alias.name}" if inside else node.module for alias in node.names]
            yield from ((node.lineno, str(name)) for name in dict.fromkeys(names))
        elif isinstance(node, ast.Attribute) and (path := _dotted(node)) and _DOTTED.fullmatch(path):
            yield node.lineno, path
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.lineno, node.value.partition(":")[0]


def _ours(module: str) -> bool:
    return module == "tocsin" or module.startswith("tocsin.")


def _dotted(node: ast.expr) -> str:
    """The path of an attribute whose root is a name, or ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (root := _dotted(node.value)):
        return f"{root}.{node.attr}"
    return ""
