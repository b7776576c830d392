"""What every test runs under: no network, no model hub, a cache of its own, one thread, fixed seeds.

The socket rules and the list of warnings that are not errors stand in ``setup.cfg``, so that they hold for the plugins'
tests too when those run alone. The hooks below see every test of the session, the plugins' included.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# Before any test module is imported: transformers reads these once, OpenMP and MKL too.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# A processor that is fast at bfloat16 must not change what is tested.
os.environ["TOCSIN_CPU_PRECISION"] = "32-true"
# A plugin that happens to be installed, or is switched off in this shell, must not change what is tested.
os.environ.pop("TOCSIN_PLUGINS", None)

SEED = 42


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a cache folder of its own, so that nothing is found that a test did not make."""
    os.environ["TOCSIN_CACHE"] = tempfile.mkdtemp(prefix="tocsin-test-cache-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's cache folder."""
    shutil.rmtree(os.environ.pop("TOCSIN_CACHE"), ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs the shared message files where there are none."""
    if item.get_closest_marker("shared_data") is not None:
        find_shared_data()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Seed every generator before each test. Libraries that no test has imported stay unimported."""
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)
        sys.modules["torch"].set_num_threads(1)
    return (yield)


def find_shared_data() -> Path:
    """Return the folder of message files named by ``TOCSIN_DATA``, or skip the test."""
    named = os.environ.get("TOCSIN_DATA")
    if not named:
        pytest.skip("needs message files: TOCSIN_DATA is not set")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"needs message files: TOCSIN_DATA names no folder ({folder})")
    return folder


@pytest.fixture
def shared_data() -> Path:
    """The folder of message files named by ``TOCSIN_DATA``; the test is skipped where there is none."""
    return find_shared_data()
