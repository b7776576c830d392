from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tocsin.plugins import DataError
from tocsin_wheels.e5 import BLOCK_BYTES, dequantise, read_packed


def test_dequantised_weights_equal_the_definition() -> None:
    content = np.random.default_rng(0).integers(0, 256, 50 * BLOCK_BYTES, dtype=np.uint8)
    # Random exponents would give infinite scales; the definition is about finite ones.
    content.reshape(50, BLOCK_BYTES)[:, 1] &= 0b1011_1111
    blocks = content.tobytes()
    wanted = []
    for start in range(0, len(blocks), BLOCK_BYTES):
        (scale,) = struct.unpack_from("<e", blocks, start)
        nibbles = blocks[start + 2 : start + BLOCK_BYTES]
        wanted += [((byte & 15) - 8) * scale for byte in nibbles] + [
            ((byte >> 4) - 8) * scale for byte in nibbles
        ]
    given = dequantise(blocks)
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, np.array(wanted, dtype=np.float32))


def test_everything_in_the_file_comes_back(packed: Any, packed_path: Path) -> None:
    model = read_packed(packed_path)
    assert model.sizes["hidden"] == 32
    assert model.sizes["vocab"] == len(model.pieces) + 3
    assert model.pieces[5] == "▁help"
    assert model.scores.shape == (len(model.pieces),)
    assert model.special_ids == {"bos": 0, "eos": 2, "pad": 1, "unk": 3}
    assert model.characters["ﬁ"] == "fi"
    assert model.characters["\x07"] == ""
    assert model.tensors.keys() == packed.tensors.keys()
    for name, values in packed.tensors.items():
        np.testing.assert_array_equal(model.tensors[name], values, err_msg=name)


def test_another_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(b"GGUF and more")
    with pytest.raises(DataError, match=r"other\.bin: this is not a packed e5 model"):
        read_packed(path)


@pytest.mark.parametrize("kept", [6, 40, 300, 900, -1])
def test_a_file_cut_short_is_named(packed: Any, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(packed.content[:kept])
    with pytest.raises(DataError, match=r"short\.bin: the packed e5 model is damaged or cut short"):
        read_packed(path)


def test_a_missing_tensor_is_named(packed: Any, tmp_path: Path) -> None:
    path = tmp_path / "less.bin"
    path.write_bytes(type(packed)(leave_out="l1.fo.w").content)
    with pytest.raises(DataError, match=r"tensors are missing: l1\.fo\.w"):
        read_packed(path)
