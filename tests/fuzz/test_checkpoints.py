"""Damaged checkpoints: bytes of the archive, and archives of odd content."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from tests.fuzz.damage import changed, damaged
from tests.fuzz.harness import COUNTS, fuzz
from tocsin.training.checkpoints import AtomicCheckpointIO, manifest_path

STATE: dict[str, Any] = {
    "epoch": 1,
    "global_step": 7,
    "pytorch-lightning_version": "2.6.6",
    "state_dict": {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2, dtype=torch.bfloat16)},
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    ],
    "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
    "callbacks": {"BestCheckpoint": {"best_model_path": "best.ckpt"}},
}


class Bomb:
    """Asks for code to be run when it is unpickled; the harness sees it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def rewritten(content: bytes, change: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with other bytes in some of its files."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change.get(name.rsplit("/", 1)[-1], old.read(name)))
    return file.getvalue()


@pytest.fixture
def load(tmp_path: Path) -> Any:
    files = AtomicCheckpointIO()

    def run(content: bytes, manifest: bytes | None = None) -> None:
        path = tmp_path / "x.ckpt"
        path.write_bytes(content)
        manifest_path(path).unlink(missing_ok=True)
        if manifest is not None:
            manifest_path(path).write_bytes(manifest)
        files.load_checkpoint(path)

    return run


@pytest.fixture
def ours(tmp_path: Path) -> tuple[bytes, bytes]:
    """A checkpoint as it is written, and its manifest."""
    path = tmp_path / "written.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    return path.read_bytes(), manifest_path(path).read_bytes()


@pytest.mark.parametrize("count", COUNTS)
def test_bytes(load, ours: tuple[bytes, bytes], count: int) -> None:
    content, manifest = ours
    plain = saved(STATE)
    old = saved(STATE, _use_new_zipfile_serialization=False)
    data = zipfile.ZipFile(io.BytesIO(plain)).read("archive/data.pkl")
    cases = st.one_of(
        damaged([content, plain, old]).map(lambda changed_: (changed_, None)),
        damaged([content]).map(lambda changed_: (changed_, manifest)),
        damaged([manifest]).map(lambda changed_: (content, changed_)),
        # the pickle alone, in a sound archive
        damaged([data]).map(lambda changed_: (rewritten(plain, {"data.pkl": changed_}), None)),
        damaged([data]).map(
            lambda changed_: (rewritten(plain, {"data.pkl": changed_}, zipfile.ZIP_DEFLATED), None)
        ),
    )
    fuzz(count, cases, lambda drawn: load(*drawn))


@pytest.mark.parametrize("count", COUNTS)
def test_contents(load, count: int) -> None:
    odd = [
        None,
        "",
        -1,
        2**70,
        float("nan"),
        [],
        {},
        b"x",
        "../../x",
        torch.empty(0),
        (1, 2),
        {1, 2},
        Bomb(),
        Bomb,
    ]
    states = changed({**STATE, "state_dict": {}, "optimizer_states": []}, odd)
    protocols = st.sampled_from([2, 2, 2, 3, 5])

    def bytes_of(drawn: tuple[Any, int]) -> bytes:
        state, protocol = drawn
        return saved(state, pickle_protocol=protocol)

    fuzz(count, st.tuples(states, protocols).map(bytes_of) | st.just(pickle.dumps(Bomb())), load)
