"""A run's folder and bundle hold no message, user, machine or absolute path: every byte of every file is searched."""

from __future__ import annotations

import getpass
import io
import os
import platform
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.builders import message_file, messages, tiny_encoder
from tests.cli.configs import CONFIG, write_config
from tocsin.cli.main import main

MESSAGE, USER, HOST, PLACE = "zyxoqwater", "qorlena", "qarvath", "qumbrastore"
ASKED_FOR = {"config.yaml"}  # keeps the paths that the user typed


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in a home, messages and encoder elsewhere, all named by absolute paths."""
    home, store = tmp_path / "home" / USER, tmp_path / PLACE
    work = home / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    for name in ("HOSTNAME", "HOST"):
        monkeypatch.setenv(name, HOST)
    names = os.uname()
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((names[0], HOST, *names[2:])))
    monkeypatch.delenv("TOCSIN_DATA", raising=False)
    rows = messages()
    for row in rows:
        row["text"] += f" {MESSAGE}"
    message_file(store / "messages.parquet", rows)
    tiny_encoder(store / "encoder", layers=1)
    text = CONFIG.replace("messages.parquet", f"{store}/messages.parquet")
    write_config(work, text.replace("name: encoder", f"name: {store}/encoder"))
    return work


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's name and bytes, also as they are when unpacked."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield name, name.encode()
        if not path.is_file():
            continue
        raw = path.read_bytes()
        yield name, raw
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{name} (values)", str(table.to_pydict()).encode()
            yield f"{name} (metadata)", str(table.schema.metadata).encode()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for part in archive.namelist():
                    yield f"{name}/{part}", archive.read(part)


def found(folder: Path, *secrets: str) -> list[str]:
    return [
        f"{name}: {secret}"
        for name, content in contents(folder)
        for secret in secrets
        if secret.encode() in content
    ]


def test_a_fit_its_bundle_and_what_follows_tell_nothing_of_people_and_machines(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(work / "experiments/tiny/config.yaml")
    assert getpass.getuser() == USER  # the canaries are where a program would look
    assert main(["fit", "--config", config]) == 0
    fit = (work / "runs/tiny/latest-fit").resolve()
    assert main(["test", "--config", str(fit / "config.yaml")]) == 0
    test = (work / "runs/tiny/latest-test").resolve()
    scores = str(fit / "scores/validation.parquet")
    assert main(["evaluate", "--scores", scores, "--draws", "20", "--output", str(work / "evaluated")]) == 0
    assert main(["audit", "--config", config, "--output", str(work / "audited")]) == 0
    capsys.readouterr()
    written = [*contents(fit), *contents(test)]
    assert len({name for name, _ in written}) > 25
    secrets = (MESSAGE, USER, HOST, PLACE, str(tmp_path))
    for folder in (fit, test, work / "evaluated", work / "audited"):
        leaks = [one for one in found(folder, *secrets) if one.partition(":")[0] not in ASKED_FOR]
        assert not leaks
    assert found(fit, PLACE) == [f"config.yaml: {PLACE}"]  # the search does find, and the run can be repeated
    assert "messages.parquet" in (fit / "provenance.json").read_text()
    assert {path.name.split(".")[4] for path in fit.glob("events.out.tfevents*")} == {"tocsin"}


def test_the_error_of_a_failed_run_names_no_folder_and_no_message(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = messages()
    rows[3] |= {"water": 7, "text": MESSAGE}
    file = message_file(tmp_path / PLACE / "messages.parquet", rows)
    assert main(["fit", "--config", "experiments/tiny/config.yaml"]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert MESSAGE not in said
    run = (work / "runs/tiny/latest-fit").resolve()
    assert [
        one for one in found(run, MESSAGE, USER, HOST, PLACE) if one.partition(":")[0] not in ASKED_FOR
    ] == []
