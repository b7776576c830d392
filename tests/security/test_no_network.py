"""Nothing reaches the network: the operating system itself cuts it off here, not Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.offline import REFUSED
from tests.security.every_verb import VERBS

ROOT = Path(__file__).parents[2]

CONNECT = """
import socket, sys
with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    server.listen()
    socket.create_connection(server.getsockname(), 5).close()
try:
    socket.create_connection(("192.0.2.1", 80), 5).close()  # a documentation address
except OSError as error:
    sys.exit(f"refused: {error}")
"""


def offline(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a network namespace; skip where the system permits none."""
    # What tests set for themselves must not be what keeps the program silent.
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "tests/offline.py", *command],
        cwd=ROOT,
        env=environment | {"TOCSIN_PLUGINS": "off"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode == REFUSED:
        pytest.skip(done.stderr.strip())
    return done


def test_in_the_namespace_only_this_machine_is_reached() -> None:
    done = offline(sys.executable, "-c", CONNECT)
    assert done.returncode == 1
    assert "refused: [Errno 101]" in done.stderr


@pytest.mark.slow
def test_every_verb_works_without_a_network_and_asks_for_none(tmp_path: Path) -> None:
    done = offline(sys.executable, "-m", "tests.security.every_verb", str(tmp_path))
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["0"] * len(VERBS), done.stdout + done.stderr
    assert all(len(line) == 2 for line in lines), done.stdout
