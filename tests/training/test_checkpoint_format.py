from __future__ import annotations

import collections
import contextlib
import io
import pickle
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tocsin.errors import CheckpointError
from tocsin.training import checkpoint_format as module
from tocsin.training.checkpoint_files import (
    RUN_KEY,
    AtomicCheckpointIO,
    CheckpointWarning,
    manifest_path,
    verify_checkpoint,
)
from tocsin.training.checkpoint_format import read_footer

STATE: dict[str, Any] = {
    "state_dict": {"w": torch.arange(6.0).view(2, 3).T, "half": torch.ones(2, dtype=torch.bfloat16)},
    "global_step": 12,
    "plain": [
        1,
        -2.5,
        True,
        None,
        "text",
        b"bytes",
        (1, 2),
        {3, 4},
        collections.OrderedDict(a=1),
        torch.float16,
    ],
    "empty": torch.zeros(0, 3),
    RUN_KEY: {"save": 5},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    return path


def test_the_footer_tells_the_save_and_the_steps_without_loading(path: Path) -> None:
    found = read_footer(path)
    assert found is not None
    assert (found.save, found.step) == (5, 12)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["w"], STATE["state_dict"]["w"])
    assert loaded["plain"] == STATE["plain"]
    # Other programs read the file as any other that torch.save wrote.
    assert zipfile.ZipFile(path).testzip() is None
    assert torch.load(path, weights_only=True, mmap=True)["global_step"] == 12


def test_any_changed_byte_is_found_without_a_manifest(path: Path) -> None:
    manifest_path(path).unlink()
    content = path.read_bytes()
    places = random.Random(0).sample(range(len(content)), 80)
    for place in [*places, 0, len(content) - 1, len(content) - 100]:
        for changed in (
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :],
            content[:place] + content[place + 1 :],
            content[:place] + b"x" + content[place:],
        ):
            path.write_bytes(changed)
            try:
                AtomicCheckpointIO().load_checkpoint(path)
            except (CheckpointError, CheckpointWarning):
                continue
            raise AssertionError(place)


def test_a_file_of_another_program_is_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    with pytest.warns(CheckpointWarning, match="neither a digest nor a manifest"):
        assert AtomicCheckpointIO().load_checkpoint(path)["state_dict"]["w"].tolist() == [1, 1]


def test_a_later_format_is_refused_with_advice(path: Path) -> None:
    content = path.read_bytes().replace(b"tocsin-checkpoint 0001", b"tocsin-checkpoint 0002")
    path.write_bytes(content)
    manifest_path(path).unlink()
    with pytest.raises(
        CheckpointError, match=r"format 2; this version of Tocsin reads up to 1\. Go on with the version"
    ):
        AtomicCheckpointIO().load_checkpoint(path)


# Absurd sizes ------------------------------------------------------------------------------------------------------


def archive(path: Path, content: bytes, more: dict[str, bytes] | None = None, method: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("x/data.pkl", content)
        file.writestr("x/version", "3")
        file.writestr("x/byteorder", "little")
        for name, data in (more or {}).items():
            file.writestr(f"x/{name}", data)
    return path


class _Reduced:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def pickled(value: Any) -> bytes:
    return pickle.dumps({"state_dict": value}, protocol=2)


def huge_tensor(shape: tuple[int, ...], stride: tuple[int, ...], numel: int = 1) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if value == "here" else None

    buffer = io.BytesIO()
    tensor = _Reduced(
        torch._utils._rebuild_tensor_v2, "here", 0, shape, stride, False, collections.OrderedDict()
    )
    Pickler(buffer, protocol=2).dump({"state_dict": {"w": tensor}})
    return buffer.getvalue()


def many_entries(path: Path) -> Path:
    """A million entries, made by hand: the zip module takes long for them."""
    archive(path, pickled({}))
    content = path.read_bytes()
    at = content.rfind(b"PK\5\6")
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    directory = content[struct.unpack("<L", content[at + 16 : at + 20])[0] : at] + entry * 1_000_000
    start = at - (len(directory) - len(entry) * 1_000_000)
    end64 = b"PK\6\6" + struct.pack(
        "<QHHLLQQQQ", 44, 45, 45, 0, 0, 1_000_003, 1_000_003, len(directory), start
    )
    locator = b"PK\6\7" + struct.pack("<LQL", 0, start + len(directory), 1)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:start] + directory + end64 + locator + end)
    return path


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "shape": lambda path: archive(path, huge_tensor((1 << 40,), (0,)), {"data/0": bytes(4)}),
    "reach": lambda path: archive(path, huge_tensor((1,), (1,), 1 << 40), {"data/0": bytes(4)}),
    "negative": lambda path: archive(path, huge_tensor((-1, -1), (1, 1)), {"data/0": bytes(4)}),
    "stride": lambda path: archive(path, huge_tensor((2,), (1 << 40,)), {"data/0": bytes(4)}),
    "bytearray": lambda path: archive(path, pickled(_Reduced(bytearray, 1 << 36))),
    "storage": lambda path: archive(path, pickled(_Reduced(torch.FloatStorage, 1 << 36))),
    "code": lambda path: archive(path, pickled(_Reduced(eval, "1"))),
    "zip bomb": lambda path: archive(path, bytes(40 << 20), method=zipfile.ZIP_DEFLATED),
    "bomb of tensors": lambda path: archive(
        path, pickled({}), {"data/0": bytes(40 << 20)}, method=zipfile.ZIP_DEFLATED
    ),
    "long pickle": lambda path: archive(path, b"\x80\x02" + b"]" * (2 << 20) + b"."),
    "deep pickle": lambda path: archive(path, b"\x80\x02}U\x01a" + b"]" * 100_000 + b"a" * 99_999 + b"s."),
    "reference": lambda path: archive(path, b"\x80\x02]r" + struct.pack("<L", 300_000_000) + b"."),
    "named size": lambda path: archive(path, b"\x80\x05\x96" + struct.pack("<Q", 22_000_000_000) + b"."),
    "a list": lambda path: archive(path, b"\x80\x02]."),
    "many entries": many_entries,
    "no pickle": lambda path: (path.write_bytes(b"PK\5\6" + bytes(18)), path)[1],
    "empty": lambda path: (path.write_bytes(b""), path)[1],
    "text": lambda path: (path.write_bytes(b"learning rate: 1\n" * 9), path)[1],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_absurd_sizes_are_refused_in_a_second_and_bounded_memory(kind: str, tmp_path: Path) -> None:
    path = HOSTILE[kind](tmp_path / "hostile.ckpt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert time.process_time() - begun < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_one_list_in_many_places_is_looked_at_once(tmp_path: Path) -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    path = tmp_path / "shared.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": value}, path)
    assert verify_checkpoint(path)


def test_a_pickle_cannot_change_what_checks_it(tmp_path: Path) -> None:
    build = (
        pickle.dumps(0, protocol=2)[:2] + b"ctorch._utils\n_rebuild_tensor_v2\nN}U\x08itemsizeK\x01s\x86b."
    )
    path = archive(tmp_path / "hostile.ckpt", build)
    with pytest.raises(CheckpointError):
        verify_checkpoint(path)
    assert not vars(module)["_tensor"].__dict__


def test_what_could_not_be_read_again_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for state, told in (
        ({"w": torch.ones(1).expand(1000, 1000)}, "a tensor of 1,000,000 numbers with data for 1"),
        ({"x": [0.5 + number for number in range(1 << 21)]}, "at most"),
    ):
        with pytest.raises(CheckpointError, match=f"could never be read again.*{told}"):
            AtomicCheckpointIO().save_checkpoint(state, path)
        assert not path.exists()


def test_the_history_of_a_large_distillation_can_be_saved(tmp_path: Path) -> None:
    names = [f"language-{number}" for number in range(500)]
    history = [
        {"step": step, **{what: dict.fromkeys(names, step / 7) for what in ("matching", "mse", "sentences")}}
        for step in range(120)
    ]
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"history": history}, path)
    assert AtomicCheckpointIO().load_checkpoint(path)["history"] == history


def test_a_text_that_a_pickle_does_not_hold_is_refused(tmp_path: Path) -> None:
    for opcode, size in ((b"\x8e", 8), (b"\x8d", 8), (b"\x8b", 4), (b"X", 4)):
        content = b"\x80\x04" + opcode + (1 << (8 * size - 4)).to_bytes(size, "little") + b"x."
        with pytest.raises(CheckpointError, match=r"hostile\.ckpt"):
            verify_checkpoint(archive(tmp_path / "hostile.ckpt", content))


def test_fuzzed_files_end_in_our_own_error(path: Path) -> None:
    """Without digests, so that the archive and the pickle themselves are read."""
    with zipfile.ZipFile(path) as file:
        plain = {name: file.read(name) for name in file.namelist()}
    generator = random.Random(3)
    for _ in range(300):
        changed = dict(plain)
        name = generator.choice([name for name in plain if name.endswith("data.pkl")] * 3 + list(plain))
        data = bytearray(changed[name])
        for _ in range(generator.randint(1, 6)):
            place = generator.randrange(len(data) + 1)
            kind = generator.randrange(3)
            data[place : place + (kind != 1)] = b"" if kind == 0 else bytes([generator.randrange(256)])
        changed[name] = bytes(data)
        with zipfile.ZipFile(path, "w") as file:
            for name, data in changed.items():
                file.writestr(name, data)
        manifest_path(path).unlink(missing_ok=True)
        with contextlib.suppress(CheckpointError, CheckpointWarning):
            AtomicCheckpointIO().load_checkpoint(path)
