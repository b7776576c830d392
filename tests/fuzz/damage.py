"""Strategies: bytes of valid files damaged in a few places, and trees of plain data with odd values in them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.harness import FOREIGN

__all__ = ["ODD", "changed", "damaged"]

_SNIPPETS = [
    b"\0",
    b"\xff",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b",",
    b";",
    b'"',
    b'""',
    b"\\",
    b"\x1a",
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff\xff\xff\x7f",
    b"\x80" * 9 + b"\x01",  # a varint beyond 64 bits
    b"PK\x05\x06",
    b"\x1f\x8b\x08",
    b"PAR1",
    b"[" * 2_000,
    b'{"a":' * 2_000,
    b"9" * 5_000,
    b"1e400",
    b"NaN",
    b"-Infinity",
    b"null",
    b"\\ud800",
    b"&a [*a]",
    b"*a",
    b"<<: ",
    b"? ",
    b"- ",
    b": ",
    b"!!python/object/apply:os.system ['true']",
    f"class_path: {FOREIGN}.Thing".encode(),
    b"../../../etc/passwd",
    "١٢٣".encode(),
]

_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 20_000,
    "\0",
    "\ud800",
    "a\nb",
    "../../../etc/passwd",
    "/dev/zero",
    f"{FOREIGN}.Thing",
    "os.system",
    "1e400",
    [],
    [[]],
    ["a", "a"],
    [None] * 1_000,
    {},
    {"": None},
    {"class_path": f"{FOREIGN}.Thing", "init_args": {}},
    _DEEP,
]
"""Values that no file of ours holds in most places."""


@st.composite
def damaged(draw: st.DrawFn, contents: Sequence[bytes]) -> bytes:
    """One of these contents with one to four changes: bits, bytes, snippets, cuts, repeated and swapped parts."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 6))
        at = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == 0 and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1 and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == 2:
            content[at:at] = draw(st.sampled_from(_SNIPPETS))
        elif kind == 3:
            end = draw(st.integers(at, min(len(content), at + 64)))
            content[at:end] = draw(st.sampled_from([b"", *_SNIPPETS]))
        elif kind == 4:
            del content[at:]
        elif kind == 5:
            end = draw(st.integers(at, min(len(content), at + 512)))
            content[at:at] = content[at:end] * draw(st.integers(1, 3))
        else:
            other = draw(st.sampled_from(contents))
            start = draw(st.integers(0, max(0, len(other) - 1)))
            content[at:] = other[start:]
    return bytes(content)


@st.composite
def changed(draw: st.DrawFn, tree: Any, odd: Sequence[Any] = ODD) -> Any:
    """A copy of a tree of plain data in which one to three values are odd, gone, swapped, renamed or added."""
    root = [copy.deepcopy(tree)]
    for _ in range(draw(st.integers(1, 3))):
        node, key = draw(st.sampled_from(list(_places(root))))
        kind = draw(st.integers(0, 5))
        if kind <= 2:
            node[key] = copy.deepcopy(draw(st.sampled_from(odd)))
        elif kind == 3 and node is not root:
            del node[key]
        elif kind == 4:
            other, place = draw(st.sampled_from(list(_places(root))))
            node[key] = copy.deepcopy(other[place])
        elif isinstance(node, dict):
            node[draw(st.sampled_from(["", "class_path", "init_args", "x", "\0", "__class__"]))] = node[key]
        else:
            node.append(copy.deepcopy(node[key]))
    return root[0]


def _places(node: Any, depth: int = 0) -> Any:
    """Yield (container, key) of each value, to a depth at which trees of ours end."""
    if depth > 12:
        return
    keys = list(node) if isinstance(node, dict) else range(min(len(node), 20))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key], depth + 1)
