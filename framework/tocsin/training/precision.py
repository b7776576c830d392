"""Which arithmetic a machine is fast at: bf16, fp16 or fp32.

Measured on encoders of 12 layers: bf16 autocast is 2 to 2.7 times fp32 on processors with AVX512-BF16 and up
to 80 times slower on those that emulate it, so a processor's own flag is asked first and a timed product
second.
"""

from __future__ import annotations

import os
import time
from typing import Literal

import torch
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator

__all__ = ["Precision", "resolve_precision"]

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]

# Ranks that Lightning starts as children inherit this, so that a noisy probe cannot make two ranks disagree.
_PROBED = "TOCSIN_CPU_PRECISION"
# bf16 must win clearly: below this ratio its rounding buys nothing.
_WORTHWHILE = 1.2
# A GPU computes in bf16 natively from this compute capability (Ampere) on.
_NATIVE_BF16 = (8, 0)


def resolve_precision(
    accelerator: str | Accelerator = "auto", devices: list[int] | str | int = "auto"
) -> Precision:
    """Return the fastest safe precision of the devices that a fit would use.

    Args:
        accelerator: As in Lightning's Trainer: "auto", "cpu", "gpu", "cuda", "mps" or an instance.
        devices: As in Lightning's Trainer; of several GPUs the oldest decides.

    Returns:
        "bf16-mixed" on CUDA GPUs from capability 8.0 on and on CPUs that are fast at it, "16-mixed" on older
        CUDA GPUs, "32-true" everywhere else.
    """
    kind = _kind(accelerator)
    if kind == "cuda":
        return "bf16-mixed" if _lowest_capability(devices) >= _NATIVE_BF16 else "16-mixed"
    if kind == "cpu":
        return _cpu_precision()
    return "32-true"


def _kind(accelerator: str | Accelerator) -> str:
    if isinstance(accelerator, CUDAAccelerator):
        return "cuda"
    if isinstance(accelerator, CPUAccelerator):
        return "cpu"
    if isinstance(accelerator, Accelerator):
        return "other"
    if accelerator in ("auto", "gpu"):
        if MPSAccelerator.is_available():
            return "mps"
        if CUDAAccelerator.is_available():
            return "cuda"
        # a GPU that is asked for and missing is Lightning's error to raise
        return "cpu" if accelerator == "auto" else "other"
    if accelerator == "cuda":
        return "cuda" if CUDAAccelerator.is_available() else "other"
    return accelerator


def _lowest_capability(devices: list[int] | str | int) -> tuple[int, int]:
    chosen = None if devices == "auto" else CUDAAccelerator.parse_devices(devices)
    indices = chosen or list(range(torch.cuda.device_count()))
    return min(torch.cuda.get_device_capability(index) for index in indices)


def _cpu_precision() -> Precision:
    if _PROBED not in os.environ:
        fast = _processor_has_bf16() and _speedup_of_bf16() >= _WORTHWHILE
        os.environ[_PROBED] = "bf16-mixed" if fast else "32-true"
    return "bf16-mixed" if os.environ[_PROBED] == "bf16-mixed" else "32-true"


def _processor_has_bf16() -> bool:
    """Say whether the processor names an instruction for bf16 products (AVX512, AMX or Arm)."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.11
        return bool(torch.cpu._is_avx512_bf16_supported())
    return any(present is True and "bf16" in name for name, present in capabilities().items())


def _speedup_of_bf16(rows: int = 1024, width: int = 768, repeats: int = 3) -> float:
    """Return the time of a linear layer in fp32 over that under bf16 autocast (best of `repeats`).

    As many rows as a pass has tokens: many cores are done with fewer before autocast has rounded the weights, which
    a fit does once a pass.
    """
    generator = torch.Generator().manual_seed(0)  # never the global one: a probe must not move a seeded fit
    inputs_BD = torch.randn(rows, width, generator=generator)
    weights_DD = torch.randn(width, width, generator=generator)

    def seconds(enabled: bool) -> float:
        best = float("inf")
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            torch.nn.functional.linear(inputs_BD, weights_DD)  # the first call prepares kernels
            for _ in range(repeats):
                start = time.perf_counter()
                torch.nn.functional.linear(inputs_BD, weights_DD)
                best = min(best, time.perf_counter() - start)
        return best

    return seconds(enabled=False) / max(seconds(enabled=True), 1e-9)
