"""How fast this machine multiplies the encoder's own matrices: the rate that no training step can pass."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from common import Task, main, now
from transformers import AutoConfig, AutoModel


def linear_shapes(folder: str) -> Counter[tuple[int, int]]:
    """(inputs, outputs) of the linear layers that every token passes, with their numbers."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    return Counter(
        (layer.in_features, layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and not name.startswith("pooler")
    )


def seconds_of(product: Any, device: str, least: float) -> float:
    """Seconds of one product: the best of three spells of `least` seconds each."""
    product()
    best = float("inf")
    for _ in range(3):
        count, start = 0, now(device)
        while time.perf_counter() - start < least:
            for _ in range(8):
                product()
            count += 8
            if device == "cuda":
                torch.cuda.synchronize()
        best = min(best, (now(device) - start) / count)
    return best


def measure(task: Task, least: float = 0.1) -> dict[str, Any]:
    """GFLOP/s over forward and both backward products of all layers, at the tokens of one pass."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(task.precision, torch.float32)
    tokens = task.pass_tokens
    shapes = linear_shapes(task.folder)
    rates, total_flops, total_seconds = {}, 0.0, 0.0
    for (inputs, outputs), count in shapes.items():
        options: dict[str, Any] = {"dtype": dtype, "device": task.device}
        x_TI, g_TO = torch.randn(tokens, inputs, **options), torch.randn(tokens, outputs, **options)
        w_OI, bias_O = torch.randn(outputs, inputs, **options), torch.randn(outputs, **options)
        products = {
            "forward": lambda x=x_TI, w=w_OI, b=bias_O: torch.nn.functional.linear(x, w, b),
            "input gradient": lambda g=g_TO, w=w_OI: g @ w,
            "weight gradient": lambda g=g_TO, x=x_TI: g.T @ x,
        }
        with torch.no_grad():
            seconds = {name: seconds_of(product, task.device, least) for name, product in products.items()}
        flops = 2.0 * tokens * inputs * outputs
        rates[f"{inputs}x{outputs}"] = {name: flops / s / 1e9 for name, s in seconds.items()}
        total_flops += 3 * flops * count
        total_seconds += sum(seconds.values()) * count
    config = AutoConfig.from_pretrained(task.folder)
    return {
        "gflops": total_flops / total_seconds / 1e9,
        "rates": rates,
        "tokens": tokens,
        "weights": sum(inputs * outputs * count for (inputs, outputs), count in shapes.items()),
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
    }


if __name__ == "__main__":
    main(measure)
