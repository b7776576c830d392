"""Runs verbs on tiny files one after another, and notes each attempt to reach another machine.

`python -m tests.security.every_verb FOLDER` prints a line for each verb: its exit code, and what it tried to reach.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

from tests.cli.configs import write_config, write_files

CONFIG = "experiments/tiny/config.yaml"
RUNS = "runs/tiny"
TEST = f"{RUNS}/latest-test/scores/test.parquet"
BUNDLE = f"{RUNS}/latest-fit/bundle"
VERBS = [
    ["audit", "--config", CONFIG],
    ["fit", "--config", CONFIG],
    ["validate", "--config", f"{RUNS}/latest-fit/config.yaml"],
    ["test", "--config", f"{RUNS}/latest-fit/config.yaml"],
    ["evaluate", "--scores", TEST],
    ["compare", "--scores", TEST, TEST, "--name", "a", "b"],
    ["predict", "--bundle", BUNDLE, "--text", "water", "food"],
    ["predict", "--bundle", BUNDLE, "--input", "data/messages.parquet", "--output", "out.parquet"],
    ["runs"],
    ["components"],
    ["plugins", "--check"],
    ["doctor"],
    ["doctor", f"{RUNS}/latest-fit"],
]

_tried: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        local = not isinstance(address, tuple) or str(address[0]) in ("127.0.0.1", "::1", "localhost")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        local = arguments[0] in (None, "", "127.0.0.1", "::1", "localhost")
    else:
        return
    if not local:
        _tried.append(f"{event} {arguments[1:] if event == 'socket.connect' else arguments[:2]}")


def main(folder: str) -> int:
    """Run all; return 0."""
    from tocsin.cli.main import main as tocsin

    os.chdir(folder)
    write_files(Path("."))
    write_config(Path("."))
    sys.addaudithook(_watch)
    for verb in VERBS:
        _tried.clear()
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = tocsin(verb)
        print(code, " ".join(verb), *_tried, sep="  ", flush=True)
        if code:
            print(said.getvalue()[-2_000:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
