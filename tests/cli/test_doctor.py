"""`tocsin doctor` finds what is damaged, says what to do, and never fails on what it looks at."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cli.configs import write_config, write_files
from tests.fuzz.damage import damaged
from tests.plugins.distributions import Install, installer
from tocsin.cli import doctor_installation
from tocsin.cli.main import main
from tocsin.files import cache_folder
from tocsin.models.vector_store import VectorStore
from tocsin.plugins.discovery import GROUP

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one fit's run."""
    folder = tmp_path_factory.mktemp("work")
    write_files(folder)
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOCSIN_PLUGINS", "off")
        assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 0
    return (folder / "runs" / "tiny" / "latest-fit").resolve()


@pytest.fixture
def run(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that a test may damage; the working folder is that of runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_PLUGINS", "off")
    return shutil.copytree(fitted, tmp_path / "runs" / "tiny" / fitted.name).relative_to(tmp_path)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    def call(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["doctor", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert all(len(line) <= 80 or " " not in line[9:] for line in said.out.splitlines())
        return code, " ".join(said.out.split()) + said.err

    return call


def flip(path: Path, place: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


# A run


def test_a_sound_run_is_told_to_be_sound(run: Path, doctor: Doctor) -> None:
    code, said = doctor(run)
    assert code == 0, said
    assert said.endswith("No problem was found.")
    for name in (
        "config.yaml can be read",
        "best.ckpt is whole",
        "last.ckpt is whole",
        "validation.parquet: 24 messages",
    ):
        assert name in said
    assert "its canary texts give" in said
    assert doctor("runs") == (code, said)  # the folder of all runs


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("checkpoints/best.ckpt", "the newest whole checkpoint is last.ckpt"),
        ("checkpoints/last.ckpt", "the newest whole checkpoint is best.ckpt"),
        ("scores/validation.parquet", "Write it again: tocsin validate --config"),
        ("bundle/head.safetensors", "Take the folder afresh"),
        ("bundle/encoder/tokenizer.json", "Take the folder afresh"),
        ("bundle/tocsin.json", "Take the folder afresh"),
    ],
)
def test_one_changed_bit_is_found(run: Path, doctor: Doctor, name: str, advice: str) -> None:
    flip(run / name)
    code, said = doctor(run)
    assert code == 1
    assert f"problem {run / name}" in said
    assert advice in said


def test_all_that_is_wrong_is_told_at_once(run: Path, doctor: Doctor) -> None:
    for path in (run / "checkpoints").glob("*.ckpt"):
        flip(path)
    (run / "config.yaml").write_bytes("name: Überflutung".encode("latin-1"))
    (run / "provenance.json").write_text("{")
    (run / "scores" / "validation.parquet").write_bytes(b"PAR1")
    (run / "bundle" / "tocsin.json").unlink()
    code, said = doctor(run)
    assert code == 1
    for fault in (
        "no checkpoint is whole",
        "config.yaml: line 1: this is not UTF-8",
        "provenance.json",
        "no tocsin.json",
    ):
        assert fault in said
    assert "validation.parquet" in said


def test_a_bundle_is_checked_alone(run: Path, doctor: Doctor) -> None:
    assert doctor(run / "bundle")[0] == 0
    (run / "bundle" / "tokens.bin").write_bytes(b"x")
    code, said = doctor(run / "bundle")
    assert code == 1
    assert "tokens.bin was added later" in said


def test_what_does_no_harm_is_a_note(run: Path, doctor: Doctor) -> None:
    (run / "bundle" / "README.md").write_text("edited")
    code, said = doctor(run / "bundle")
    assert code == 0
    assert "note" in said
    assert "It changes no prediction." in said


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "scores/validation.parquet", "config.yaml"])
def test_files_are_checked_alone(run: Path, doctor: Doctor, name: str) -> None:
    assert doctor(run / name)[0] == 0
    (run / name).write_bytes(b"\xff\x00")
    assert doctor(run / name)[0] == 1


def test_pipes_and_devices_are_not_waited_for(run: Path, doctor: Doctor) -> None:
    for name in ("config.yaml", "bundle/tocsin.json"):
        (run / name).unlink()
        os.mkfifo(run / name)
    (run / "bundle" / "head.safetensors").unlink()
    (run / "bundle" / "head.safetensors").symlink_to("/dev/zero")
    assert doctor(run)[0] == 1


def test_a_killed_run_says_how_to_go_on(run: Path, doctor: Doctor) -> None:
    record = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**record, "status": "running"}))
    code, said = doctor(run)
    assert code == 0
    assert f"fit, killed Go on with it: tocsin fit --resume {run}" in said


def test_a_plugin_that_the_run_used_and_nobody_has_is_named(run: Path, doctor: Doctor) -> None:
    record = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**record, "plugins": {"tocsin-nothing": "1.0"}}))
    code, said = doctor(run)
    assert code == 1
    assert "used the plugin tocsin-nothing 1.0, which is not installed pip install tocsin-nothing" in said


def test_json_says_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run / "checkpoints" / "best.ckpt")
    assert main(["doctor", str(run), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is False
    assert [one["state"] for one in found["findings"]].count("problem") == 1
    assert all(set(one) == {"state", "text", "advice"} for one in found["findings"])


@pytest.mark.parametrize("name", ["nothing", "empty", "x.txt"])
def test_what_is_nothing_of_ours_is_refused(run: Path, doctor: Doctor, name: str) -> None:
    Path("empty").mkdir()
    Path("x.txt").touch()
    code, said = doctor(name)
    assert code == 2
    assert f"{name}" in said


def test_no_damage_ends_it(run: Path) -> None:
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(sorted(files)).flatmap(lambda path: st.tuples(st.just(path), damaged([files[path]])))
    )
    def each(drawn: tuple[Path, bytes]) -> None:
        path, content = drawn
        path.write_bytes(content)
        try:
            assert main(["doctor", str(run)]) in (0, 1)
        finally:
            path.write_bytes(files[path])

    each()


# The installation


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a pretended distribution, the only plugin there is; caches and runs are empty."""
    from tocsin.plugins import discovery

    everything = discovery.distributions
    monkeypatch.setattr(discovery, "distributions", lambda: everything(path=[str(tmp_path / "site")]))
    monkeypatch.setenv("TOCSIN_PLUGINS", "")
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TOCSIN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor_installation.shutil, "disk_usage", lambda place: Usage(9e10, 0, 5e10))
    return installer(tmp_path / "site", monkeypatch)


def test_a_sound_installation(install: Install, doctor: Doctor) -> None:
    code, said = doctor()
    assert code == 0, said
    for part in (
        "Tocsin",
        "torch 2.",
        "devices: ",
        "precision: auto means",
        "plugins: none",
        "50.0 GB are free",
    ):
        assert part in said


def test_what_is_wrong_with_an_installation(
    install: Install, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        "tocsin-broken",
        entry_points={GROUP: {"b": "broken_by_design"}},
        modules={"broken_by_design": "raise ValueError('no')"},
    )
    monkeypatch.setenv("TOCSIN_DATA", "nowhere")
    (tmp_path / "runs").touch()
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor_installation.shutil, "disk_usage", lambda place: Usage(9e10, 0, 5e8))
    tokens = cache_folder("tokens")
    tokens.mkdir(parents=True)
    (tokens / "x.arrow").write_bytes(b"torn")
    wanted = ["torch>=99", "nothing-of-the-kind>=1", "numpy", "peft; extra == 'lora'"]
    monkeypatch.setattr(doctor_installation, "requires", lambda name: wanted)
    code, said = doctor()
    assert code == 1
    for part in (
        "torch>=99 is wanted pip install 'torch>=99'",
        "the package nothing-of-the-kind is not installed",
        "a file stands where a folder is wanted",
        "0.5 GB are free Make room",
        "TOCSIN_DATA names no folder: nowhere",
        "(tocsin-broken 1.0) is broken",
        "x.arrow is torn",
    ):
        assert part in said
    assert "peft" not in said


def test_a_check_that_fails_is_a_problem_and_the_others_go_on(
    install: Install, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fails() -> int:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(torch.cuda, "device_count", fails)
    code, said = doctor()
    assert code == 1
    assert "Torch cannot be checked: RuntimeError: the driver is too old" in said
    assert "the cache is empty" in said


def test_a_damaged_block_of_a_teachers_vectors_is_found(install: Install, doctor: Doctor) -> None:
    store = VectorStore(cache_folder("teachers", "one"), 8)
    with store.writing() as append:
        append(["a", "b"], np.ones((2, 8), np.float32))
    assert "damaged blocks" not in doctor()[1]
    path = store.folder / "vectors"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    code, said = doctor()
    assert code == 1
    assert "has 1 damaged blocks of vectors, of 1 It is made anew" in said
