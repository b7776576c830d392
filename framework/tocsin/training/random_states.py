"""The state of every random generator that a fit draws from: Python's, numpy's, torch's on the CPU and on all GPUs."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["random_states", "set_random_states"]


def random_states() -> dict[str, Any]:
    """This process's states, as plain data and tensors. Nothing is drawn."""
    version, words, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    # A GPU that this process has not touched has no state yet, and asking for it would set it up.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": [version, list(words), gauss],
        "numpy": {
            **numpy,
            "state": {"key": numpy["state"]["key"].tolist(), "pos": int(numpy["state"]["pos"])},
            "has_gauss": int(numpy["has_gauss"]),
            "gauss": float(numpy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_states(states: dict[str, Any]) -> list[str]:
    """Put back what `random_states` told.

    Returns:
        What could not be put back, in words: GPUs that are not here now.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    key = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**states["numpy"], "state": {**states["numpy"]["state"], "key": key}})
    torch.set_rng_state(states["torch"])
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number, state in enumerate(states["cuda"][:here]):
        torch.cuda.set_rng_state(state, number)
    missing = len(states["cuda"]) - here
    return [f"the random states of {missing} GPUs that are not here"] if missing > 0 else []
