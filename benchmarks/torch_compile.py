"""What torch.compile changes in the time of a training pass: with it and without, in turn, in one process.

    python benchmarks/torch_compile.py

Prints Markdown. See README.md in this folder for what is measured and for figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
from transformers import AutoConfig, AutoModel

from tocsin.models.compilation import compile_forward

SHAPES = [(32, 32), (16, 64), (51, 20), (8, 128), (23, 44), (64, 16)]
"""Messages and tokens of passes, each of about 1,024 tokens."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure a compiled training pass beside one that is not.")
    parser.add_argument("--layers", type=int, default=6, help="layers of the encoder, 384 wide (6)")
    parser.add_argument(
        "--passes", type=int, default=24, help="passes of each, after two warm-up passes (24)"
    )
    parser.add_argument("--bf16", action="store_true", help="under bf16 autocast")
    options = parser.parse_args()
    config = AutoConfig.for_model(
        "bert",
        vocab_size=20_000,
        hidden_size=384,
        num_hidden_layers=options.layers,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    models = {}
    for name in ("plain", "compiled"):
        torch.manual_seed(0)
        models[name] = AutoModel.from_config(config, add_pooling_layer=False).train()
    compile_forward(models["compiled"])
    first = {name: timed(model, SHAPES[0], options.bf16) for name, model in models.items()}
    for model in models.values():
        timed(model, SHAPES[1], options.bf16)
    ratios, seconds = [], {name: [] for name in models}
    for number in range(options.passes):
        order = sorted(models) if number % 2 else sorted(models, reverse=True)
        for name in order:
            seconds[name].append(timed(models[name], SHAPES[number % len(SHAPES)], options.bf16))
        ratios.append(seconds["plain"][-1] / seconds["compiled"][-1])
    spent = first["compiled"] - first["plain"]
    gained = statistics.median(seconds["plain"]) - statistics.median(seconds["compiled"])
    print(
        f"{options.layers} layers, {'bf16' if options.bf16 else 'fp32'}, {torch.get_num_threads()} thread(s)\n"
    )
    print("| | processor seconds a pass, median |\n|---|---:|")
    for name in models:
        print(f"| {name} | {statistics.median(seconds[name]):.3f} |")
    print(f"\nplain over compiled, pass by pass: median {statistics.median(ratios):.2f}", end="")
    print(f" ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"translating, once: {spent:.0f} processor seconds", end="")
    print(f", worth {spent / gained:.0f} passes" if gained > 0 else ", which nothing repays")


def timed(model: torch.nn.Module, shape: tuple[int, int], bf16: bool) -> float:
    """Processor seconds of one forward and backward pass, the C++ compiler's (a child process) included."""
    ids_BT = torch.randint(0, 20_000, shape)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, shape[1] // 2 :] = 0
    start = spent()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    hidden_BTD.float().square().mean().backward()
    taken = spent() - start
    model.zero_grad()
    return taken


def spent() -> float:
    """Processor seconds of this process, its threads and its ended children: others' work counts little."""
    own, children = time.process_time(), os.times()
    return own + children.children_user + children.children_system


if __name__ == "__main__":
    main()
