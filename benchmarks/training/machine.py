"""What the figures were measured on, and the precision that is fast there."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import Task, main

from tocsin.training.precision import resolve_precision


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(
        (name for name in named if name.lower() != "unknown"), platform.processor() or platform.machine()
    )


def describe(task: Task) -> dict[str, Any]:
    """Device, precision, threads and versions; `task.device` may be "auto"."""
    device = task.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "device": device,
        "precision": resolve_precision(device, 1),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "instructions": [
            name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if capabilities.get(name)
        ],
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lightning", "accelerate")},
    }


if __name__ == "__main__":
    main(describe)
