"""A bootstrap draw of macro ROC-AUC and macro AP beside scikit-learn, in one run. Prints Markdown.

    .venv/bin/python benchmarks/bench_bootstrap.py --messages 200000 --labels 40

Both get the same draws of the same scores. A draw for scikit-learn is `roc_auc_score` and `average_precision_score` of
every label with the times each message was drawn as `sample_weight`, the mean taken; ours are read in blocks of draws
from one sort, which is timed apart. The programs take turns, and the figures must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tocsin.scores.draws import Cells, Figures
from tocsin.scores.resampling import message_weights

_FIGURES = ("macro_roc_auc", "macro_average_precision")
_AIM_RATIO = 20.0
_FULL = (2_300_000, 40, 1000)
_AIM_SECONDS, _CORES = 40 * 60, 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, each a block of draws of ours and one of theirs"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[57_500, 115_000, 230_000], help="for the growth"
    )
    parser.add_argument("--tied", action="store_true", help="round scores to two digits")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()

    cells = simulated(options.messages, options.labels, options.tied)
    seconds, figures = timed(lambda: Figures(cells, _FIGURES))
    ours, theirs, apart = [], [], []
    for turn, weights_ND in zip(
        range(options.rounds), message_weights(options.messages, 64 * options.rounds, 0), strict=False
    ):
        spent, found = timed(lambda: figures(weights_ND))  # noqa: B023  called before the next turn
        ours.append(spent / weights_ND.shape[1])
        spent, expected = timed(lambda: with_scikit_learn(cells, weights_ND[:, 0]))  # noqa: B023
        theirs.append(spent)
        apart.append(max(abs(found.figures[name][0] - expected[name]) for name in _FIGURES))
        print(f"<!-- round {turn + 1}: {ours[-1]:.4f} s and {theirs[-1]:.2f} s a draw -->", flush=True)
    ratios = np.array(theirs) / np.array(ours)
    per_cell = float(np.median(ours)) / (options.messages * options.labels)
    bandwidth, gathered = copy_bandwidth(), gather_rate(weights_ND)

    print(f"\n{options.messages:,} messages x {options.labels} labels, {os.cpu_count()} cores, one thread\n")
    print("| | seconds |\n| --- | ---: |")
    print(f"| sort, once | {seconds:.2f} |")
    print(f"| a draw, ours (median; blocks of {weights_ND.shape[1]}) | {np.median(ours):.4f} |")
    print(f"| a draw, scikit-learn (median) | {np.median(theirs):.2f} |")
    met = "met" if np.median(ratios) >= _AIM_RATIO else "**not met**"
    spread = f"from {ratios.min():.0f} to {ratios.max():.0f}"
    print(f"\nRatio: {np.median(ratios):.0f} ({spread}); aim {_AIM_RATIO:.0f}: {met}.")
    print(f"Largest difference between the two programs' figures: {max(apart):.1e}.")
    print(
        f"\nLimit: each draw must read one byte a message and label. Sorted rows of 64 draws are gathered at "
        f"{gathered / 64 * 1e9:.2f} ns a byte, copied in order at {1e9 / bandwidth:.2f} ns a byte; a draw takes "
        f"{per_cell * 1e9:.2f} ns a byte: {gathered / 64 / per_cell:.0%} of that of gathering alone."
    )
    growth = []
    print("\n| messages | sort, s | a draw, ms | ns a message and label |\n| ---: | ---: | ---: | ---: |")
    for size in options.sizes:
        part = simulated(size, options.labels, options.tied)
        sorting, one = timed(lambda: Figures(part, _FIGURES))  # noqa: B023
        block = next(iter(message_weights(size, 64, 1)))
        spent, _ = timed(lambda: one(block))  # noqa: B023
        growth.append((size, sorting, spent / 64))
        print(
            f"| {size:,} | {sorting:.2f} | {spent / 64 * 1000:.1f} | {spent / 64 / size / options.labels * 1e9:.2f} |",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if growth:
        n, labels, draws = _FULL
        size, sorting, draw = growth[-1]
        whole = (sorting + draw * draws) * n * labels / (size * options.labels)
        print(
            f"\n{n:,} x {labels} with {draws:,} draws, by the last row: {whole / 60:.0f} minutes on one core "
            f"(aim {_AIM_SECONDS / 60:.0f} on {_CORES}). Peak memory of this run: {peak / 2**30:.2f} GB."
        )
    if options.json is not None:
        facts = {"ours": ours, "theirs": theirs, "growth": growth, "peak": peak, "apart": apart}
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def simulated(messages: int, labels: int, tied: bool) -> Cells:
    """Scores of `labels` labels, from rare to frequent as in a violence data set (.12 to .68)."""
    generator = np.random.default_rng(messages)
    targets_NL = np.empty((messages, labels), np.float32)
    scores_NL = np.empty((messages, labels), np.float32)
    for i, share in enumerate(np.linspace(0.12, 0.68, labels)):
        targets_NL[:, i] = generator.random(messages) < share
        scores_NL[:, i] = generator.normal(size=messages) + targets_NL[:, i]
    if tied:
        scores_NL = np.round(scores_NL, 2)
    return Cells(targets_NL, np.zeros(targets_NL.shape, bool), scores_NL, scores_NL, None)


def with_scikit_learn(cells: Cells, weights_N: np.ndarray) -> dict[str, float]:
    """The two figures of one draw."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    weights_N = weights_N.astype(np.float64)
    columns = list(zip(cells.targets_NL.T, cells.order_NL.T, strict=True))
    return {
        "macro_roc_auc": float(np.mean([roc_auc_score(y, s, sample_weight=weights_N) for y, s in columns])),
        "macro_average_precision": float(
            np.mean([average_precision_score(y, s, sample_weight=weights_N) for y, s in columns])
        ),
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time (all is one thread, and other programs may run) and what the work returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def copy_bandwidth() -> float:
    """Bytes a second that a copy of 64 MB reads, best of five."""
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    return len(source) / min(timed(lambda: np.copyto(target, source))[0] for _ in range(5))


def gather_rate(weights_ND: np.ndarray) -> float:
    """Seconds that one row of 64 weights takes to gather in random order, best of three."""
    rows = np.random.default_rng(0).permutation(len(weights_ND))[: 2**17]
    into = np.empty((len(rows), weights_ND.shape[1]), weights_ND.dtype)
    spent = min(timed(lambda: np.take(weights_ND, rows, axis=0, out=into, mode="clip"))[0] for _ in range(3))
    return spent / len(rows) * 64 / weights_ND.shape[1]


if __name__ == "__main__":
    main()
