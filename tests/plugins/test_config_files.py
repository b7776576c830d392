"""A damaged or hostile configuration file, or option, is refused at once in one sentence that says where."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, write_config
from tocsin.cli import fit as fit_module
from tocsin.cli.main import main
from tocsin.errors import ConfigError
from tocsin.plugins import packages
from tocsin.plugins.corpus import read_corpus
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry


@pytest.fixture(scope="module")
def core() -> Registry:
    return load_plugins({"TOCSIN_PLUGINS": "off"})


@pytest.fixture
def refusal(core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Run `tocsin fit` on a configuration; it must end with code 2 and one line, which is returned."""
    monkeypatch.setattr(fit_module, "load_plugins", lambda: core)
    monkeypatch.chdir(tmp_path)

    def run(content: str | bytes, *arguments: str) -> str:
        path = write_config(tmp_path)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        capsys.readouterr()
        start = time.process_time()
        assert main(["fit", "--config", str(path.relative_to(tmp_path)), *arguments]) == 2
        assert time.process_time() - start < 5  # what a second is here, on a busy machine
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Seed set to")]
        assert said[0].startswith("tocsin: ")
        assert "Traceback" not in "\n".join(said)
        return said[0]

    return run


FILE = "experiments/tiny/config.yaml"


def with_names(names: str) -> str:
    return CONFIG.replace("names: [water, food, fire]", f"names: {names}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (CONFIG.replace("water", "Überflutung").encode("latin-1"), 2),
        (CONFIG.encode("utf-16"), 1),
        (CONFIG.replace("max_length: 16", "max_length: 1e400"), 10),
        (CONFIG.replace("max_length: 16", f"max_length: {'9' * 10_000}"), 10),
        (CONFIG.replace("max_length: 16", "max_length: !!int x"), 10),
        (CONFIG.replace("max_length: 16", "max_length: a\0b"), 10),
        (CONFIG.replace("max_length: 16", "max_length: 16\n    max_length: 17"), 11),
        (with_names("&a [*a]"), 2),
        (with_names("[" * 5_000 + "]" * 5_000), 2),
        (with_names("&c [&b [&a [x,x,x,x,x,x,x,x,x,x]" + ",*a" * 99 + "]" + ",*b" * 99 + "]"), 2),
        ("a: 1\n---\nb: 2\n", 2),
    ],
    ids=[
        "latin-1",
        "utf-16",
        "infinite",
        "digits",
        "tag",
        "NUL",
        "duplicate",
        "recursive",
        "deep",
        "bomb",
        "two",
    ],
)
def test_the_file_and_the_line_are_named(refusal, content: str | bytes, line: int) -> None:
    assert refusal(content).startswith(f"tocsin: {FILE}: line {line}: ")


def test_a_huge_file_is_not_read(refusal) -> None:
    assert f"{FILE} has more than 262,144 characters" in refusal(CONFIG + "#" * 300_000)


@pytest.mark.parametrize("option", ["--config", "--model", "--labels", "--data"])
def test_a_pipe_or_a_device_is_never_waited_for(refusal, tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refusal(CONFIG, option, "pipe")
    assert "/dev/zero" in refusal(CONFIG, option, "/dev/zero")


@pytest.mark.parametrize("option", ["--model", "--labels", "--data"])
def test_a_file_given_for_an_option_is_bounded_too(refusal, tmp_path: Path, option: str) -> None:
    (tmp_path / "part.yaml").write_text("#" * 300_000)
    assert "has more than 262,144 characters" in refusal(CONFIG, option, "part.yaml")
    (tmp_path / "part.yaml").write_bytes("name: Überflutung".encode("latin-1"))
    assert "part.yaml: line 1: this is not UTF-8" in refusal(CONFIG, option, "part.yaml")


@pytest.mark.parametrize(
    "value",
    [
        "1e400",
        "-1e400",
        ".inf",
        ".nan",
        "1e-400",
        "9" * 10_000,
        "[" * 3_000,
        "&a [*a]",
        "!!int x",
        "a\0b",
        "\udcff",
        "²",
    ],
)
@pytest.mark.parametrize("option", ["data.init_args.max_length", "seed_everything", "trainer.max_epochs"])
def test_an_option_that_is_no_number_is_named(refusal, option: str, value: str) -> None:
    assert refusal(CONFIG, f"--{option}", value).startswith(f"tocsin: {option} is ")


@pytest.mark.parametrize("seed", ["-1", "4294967296", "18446744073709551615"])
def test_a_seed_beyond_numpys_is_refused(refusal, seed: str) -> None:
    assert "seed_everything is" in refusal(CONFIG, "--seed_everything", seed)


def test_tools_that_read_a_fits_messages_refuse_alike(core, tmp_path: Path) -> None:
    path = write_config(tmp_path, with_names("&a [*a]"))
    with pytest.raises(ConfigError, match=r"config.yaml: line 2: .*stands inside of what it repeats"):
        read_corpus(path, registry=core)


# packages that are absent


@pytest.mark.parametrize(
    ("logger", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow"), ("CometLogger", "comet-ml")]
)
def test_a_logger_whose_package_is_absent_is_one_line(refusal, logger: str, package: str) -> None:
    said = refusal(CONFIG, "--trainer.logger", logger)
    assert (
        said
        == f"tocsin: {logger} cannot be built: the package {package} is not installed: pip install {package}"
    )


def test_what_lightning_refuses_is_named_by_its_class(refusal) -> None:
    said = refusal(CONFIG.replace("monitor: validation/loss", "monitor: validation/loss, mode: up"))
    assert said.startswith("tocsin: EarlyStopping (lightning) cannot be built: ")


def test_an_extra_of_ours_is_advised_where_it_brings_the_package() -> None:
    error = ModuleNotFoundError("No module named 'peft'", name="peft.tuners")
    assert packages.missing_package(error).endswith("pip install 'tocsin[lora]' brings it.")
    assert packages.missing_package(ModuleNotFoundError(name="comet_ml")).endswith("pip install comet-ml")


def test_a_name_that_a_package_lacks_is_no_missing_package() -> None:
    assert packages.missing_package(ImportError("cannot import name 'x' from 'torch'", name="torch")) == ""
    assert packages.missing_package(ModuleNotFoundError(name="tocsin.nothing")) == ""


def test_a_verb_that_misses_a_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from tocsin.cli import runs

    def fails(argv: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(runs, "main", fails)
    assert main(["runs"]) == 2
    assert capsys.readouterr().err == (
        "tocsin: the package matplotlib is not installed: pip install 'tocsin[figures]' brings it.\n"
    )
