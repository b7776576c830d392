from __future__ import annotations

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator

from tocsin.training import precision
from tocsin.training.precision import resolve_precision


@pytest.fixture(autouse=True)
def _no_earlier_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(precision._PROBED, "")  # so that what the probe leaves is undone after the test
    monkeypatch.delenv(precision._PROBED)


@pytest.mark.parametrize(
    ("flag", "speedup", "wanted"),
    [(True, 2.3, "bf16-mixed"), (True, 0.9, "32-true"), (True, 1.1, "32-true"), (False, 9.0, "32-true")],
)
def test_processor_needs_flag_and_speed(
    monkeypatch: pytest.MonkeyPatch, flag: bool, speedup: float, wanted: str
) -> None:
    monkeypatch.setattr(precision, "_processor_has_bf16", lambda: flag)
    monkeypatch.setattr(precision, "_speedup_of_bf16", lambda: speedup)
    assert resolve_precision("cpu", 1) == wanted
    assert resolve_precision(CPUAccelerator(), 1) == wanted


def test_probe_runs_once_and_children_inherit_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(precision, "_processor_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "_speedup_of_bf16", lambda: calls.append(1) or 2.0)
    assert [resolve_precision("cpu") for _ in range(3)] == ["bf16-mixed"] * 3
    assert len(calls) == 1
    assert precision.os.environ[precision._PROBED] == "bf16-mixed"


def test_without_bf16_instructions_the_answer_is_32() -> None:
    if precision._processor_has_bf16():
        pytest.skip("this processor has bf16 instructions")
    assert resolve_precision("cpu") == "32-true"


def test_probe_measures_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    assert precision._speedup_of_bf16(rows=8, width=16, repeats=1) > 0
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("capabilities", "devices", "wanted"),
    [
        ([(9, 0)], "auto", "bf16-mixed"),
        ([(8, 0), (8, 6)], "auto", "bf16-mixed"),
        ([(8, 0), (7, 5)], "auto", "16-mixed"),
        ([(8, 0), (7, 5)], [0], "bf16-mixed"),
        ([(8, 0), (7, 5)], [1], "16-mixed"),
    ],
)
def test_oldest_chosen_gpu_decides(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], devices: object, wanted: str
) -> None:
    cuda = precision.CUDAAccelerator
    monkeypatch.setattr(cuda, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(cuda, "parse_devices", staticmethod(lambda given: given))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])
    for name in ("auto", "gpu", "cuda"):
        assert resolve_precision(name, devices) == wanted


def test_other_accelerators_take_32() -> None:
    assert resolve_precision("tpu") == "32-true"
    assert resolve_precision("mps") == "32-true"
