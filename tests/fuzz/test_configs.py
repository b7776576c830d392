"""Damaged configurations, as bytes and as trees, in a file and as options."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from tests.cli.configs import CONFIG
from tests.fuzz.damage import ODD, changed, damaged
from tests.fuzz.harness import COUNTS, fuzz
from tocsin.cli.parser import Config
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import instantiate
from tocsin.plugins.registry import Registry
from tocsin.plugins.strict_yaml import read_yaml, strict_dump, strict_load

TREE = strict_load(CONFIG)
OPTIONS = [
    "--data.init_args.max_length",
    "--data.train",
    "--labels.init_args.names",
    "--model",
    "--model.init_args.head",
    "--trainer.callbacks",
    "--trainer.logger",
    "--trainer.max_epochs",
    "--seed_everything",
    "--config",
    "--name",
    "--x",
]


@pytest.fixture(scope="module")
def core() -> Registry:
    return load_plugins({"TOCSIN_PLUGINS": "off"})


@pytest.fixture
def build(core: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse a configuration file and options as `tocsin fit` does, and build what they name."""
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    path = tmp_path / "config.yaml"

    def run(content: bytes, arguments: list[str]) -> None:
        path.write_bytes(content)
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stderr(nowhere),
            contextlib.redirect_stdout(nowhere),
        ):
            call = Config("fit", ["--config", "config.yaml", *arguments], core)
            call.text()
            instantiate(call.parser, call.config, core)

    return run


@pytest.mark.parametrize("count", COUNTS)
def test_bytes_are_read_as_yaml_or_refused(tmp_path: Path, count: int) -> None:
    path = tmp_path / "config.yaml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_yaml(path)

    fuzz(count, damaged([CONFIG.encode()]) | st.binary(max_size=50), read)


def _dumped(tree: Any) -> bytes:
    with contextlib.suppress(yaml.YAMLError, RecursionError):
        return strict_dump(tree).encode("utf-8", "surrogatepass")
    return b""


@st.composite
def calls(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A configuration and options, of which one or both are damaged."""
    content, arguments = CONFIG.encode(), []
    kind = draw(st.integers(0, 3))
    if kind in (0, 1):
        content = _dumped(draw(changed(TREE)))
    elif kind == 2:
        content = draw(damaged([CONFIG.encode()]))
    if kind != 1:
        words = st.sampled_from(ODD).map(lambda value: value if isinstance(value, str) else repr(value))
        arguments = [draw(st.sampled_from(OPTIONS)), draw(words | st.text(max_size=20))]
    return content, arguments


# Each costs the parser a tenth of a second.
@pytest.mark.parametrize("count", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_configurations_and_options(build, count: int) -> None:
    fuzz(count, calls(), lambda drawn: build(*drawn))
