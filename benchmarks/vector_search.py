"""Exact search of nearest vectors: its rate beside the machine's matrix products, and its memory as N grows.

    OMP_NUM_THREADS=1 python benchmarks/vector_search.py

Prints Markdown. See README.md in this folder for what is measured and for figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tocsin.vectors.search import BLOCK, nearest


def main() -> None:
    """Measure, each size in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description="Measure the exact search of nearest vectors.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 60_000], metavar="N")
    parser.add_argument("--width", type=int, default=384, help="D (384)")
    parser.add_argument("--rounds", type=int, default=3, help="product and search take turns this often (3)")
    parser.add_argument("--measure", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measured(options.measure, options.width, options.rounds))
        return
    print(
        "| N x N x D | search, processor s | GFLOP/s | products alone, GFLOP/s | share of them | peak memory above the "
        "vectors, MB | the whole matrix, MB |"
    )
    print("|---:|" + "---:|" * 6)
    for size in options.sizes:
        rounds = options.rounds if size <= min(options.sizes) else 1
        command = [sys.executable, __file__, "--measure", str(size)]
        command += ["--width", str(options.width), "--rounds", str(rounds)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def measured(size: int, width: int, rounds: int) -> str:
    """Return a row: medians over rounds in which the product and the search take turns."""
    generator = np.random.default_rng(0)
    source = generator.standard_normal((size, width), dtype=np.float32)
    target = source + 4 * generator.standard_normal((size, width), dtype=np.float32)
    products, searches = [], []
    before = peak_mb(reset=True)
    for _ in range(rounds):
        products.append(product_rate(width, seconds=4.0))
        start = time.process_time()
        found = nearest(source, target)
        searches.append(time.process_time() - start)
    above = peak_mb() - before
    check(source, target, found.target_N)
    rate = 2 * size * size * width / np.median(searches) / 1e9
    product = float(np.median(products))
    return (
        f"| {size:,} x {size:,} x {width} | {np.median(searches):.1f} | {rate:.1f} | {product:.1f} | "
        f"{rate / product:.0%} | {above:,.0f} | {4 * size * size / 1e6:,.0f} |"
    )


def product_rate(width: int, seconds: float) -> float:
    """GFLOP/s of the product of one block with another, into memory that is there: the limit of any exact search."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((BLOCK, width), dtype=np.float32) for _ in range(2))
    out = np.empty((BLOCK, BLOCK), np.float32)
    np.matmul(a, b.T, out=out)
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        np.matmul(a, b.T, out=out)
        done += 1
    return 2 * done * BLOCK * BLOCK * width / (time.process_time() - start) / 1e9


def check(source: np.ndarray, target: np.ndarray, found_N: np.ndarray) -> None:
    """Compare some rows with a plain product over all targets."""
    rows = np.arange(0, len(source), max(1, len(source) // 200))
    unit = target / np.linalg.norm(target, axis=1, keepdims=True)
    wanted = (source[rows] @ unit.T).argmax(axis=1)
    agree = float((wanted == found_N[rows]).mean())
    if agree < 0.99:  # between two that are equally near but for rounding either may be found
        raise SystemExit(f"the search agrees with a plain product in {agree:.1%} of rows only")


def peak_mb(reset: bool = False) -> float:
    """Return the resident set's peak (Linux); `reset` starts it anew at what is resident now, and returns that."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main()
