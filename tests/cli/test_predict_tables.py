"""`tocsin predict` on tables as they come: other layouts, rows with nothing to read, ids that repeat, full disks."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import LABELS, tiny_classifier
from tocsin.bundles.reading import saved_reading
from tocsin.bundles.save import save_bundle
from tocsin.cli.main import main
from tocsin.errors import DataError
from tocsin.scores.table import ScoresTable
from tocsin.text.cleaners import TweetCleaner
from tocsin.text.readers import CsvReader

COLUMNS = {"text": "message", "id": "number", "lang": None}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle that remembers nothing, and one whose fit read `;` and other columns."""
    folder = tmp_path_factory.mktemp("tables")
    model = tiny_classifier(folder / "encoder")
    model.build()
    common: dict[str, Any] = {"cleaner": TweetCleaner(), "max_length": 16, "card": "# card", "version": "0"}
    reading = saved_reading(CsvReader(delimiter=";", quotes=False), ["train.csv", "x.TXT"], COLUMNS)
    return {
        "plain": save_bundle(folder / "plain", model, **common),
        "semicolons": save_bundle(folder / "semicolons", model, reading=reading, **common),
    }


def predict(bundle: Path, given: Path, *options: str, output: Path | None = None) -> int:
    target = output or given.with_name("out.parquet")
    return main(
        ["predict", "--bundle", str(bundle), "--input", str(given), "--output", str(target), *options]
    )


def table_of(given: Path) -> pa.Table:
    return pq.read_table(given.with_name("out.parquet"))


def table_file(folder: Path, texts: list[str | None], ids: list[Any] | None = None) -> Path:
    path = folder / "in.parquet"
    columns: dict[str, Any] = {"text": pa.array(texts, pa.string())}
    if ids is not None:
        columns["id"] = ids
    pq.write_table(pa.table(columns), path)
    return path


# What is read ---------------------------------------------------------------------------------------------------------


def test_a_table_is_read_as_the_fit_read_its_files(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.csv"
    given.write_text('number;message\nm1;fire "now\nm2;water, food\nm3;rain\n')
    assert predict(bundles["semicolons"], given) == 0
    assert table_of(given)["id"].to_pylist() == ["m1", "m2", "m3"]
    said = capsys.readouterr().err
    assert "is read as the fit's files were: CsvReader(delimiter=';', quotes=False" in said
    assert "column 'message', as in the fit" in said
    # A bundle that remembers nothing reads commas.
    assert predict(bundles["plain"], given) == 2
    options = (
        "--reader",
        "csv:delimiter=;,quotes=false",
        "--text-column",
        "message",
        "--id-column",
        "number",
    )
    wanted = table_of(given)
    assert predict(bundles["plain"], given, *options) == 0
    assert table_of(given) == wanted


def test_packed_and_nested_files(bundles: dict[str, Path], tmp_path: Path) -> None:
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(b"number;message\nm1;fire\n"))
    assert predict(bundles["semicolons"], packed) == 0
    wanted = table_of(packed)
    nested = tmp_path / "in.json"
    nested.write_text('[{"number": "m1", "of": {"text": "fire"}}]')
    assert predict(bundles["semicolons"], nested, "--text-column", "of.text") == 0
    assert table_of(nested) == wanted
    lines = tmp_path / "in.txt"
    lines.write_text("number;message\nm1;fire\n")  # .TXT is an ending of the fit's files
    assert predict(bundles["semicolons"], lines) == 0
    assert table_of(lines) == wanted


def test_what_the_options_say_goes_before_what_the_bundle_remembers(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    given = tmp_path / "in.csv"
    given.write_text("number,message,text,id\n1,fire,rain and more rain,a\n")
    assert predict(bundles["semicolons"], given, "--reader", "csv") == 0
    as_fitted = table_of(given)
    assert as_fitted["id"].to_pylist() == ["1"]
    assert (
        predict(bundles["semicolons"], given, "--reader", "csv", "--text-column", "text", "--id-column", "id")
        == 0
    )
    assert table_of(given)["id"].to_pylist() == ["a"]
    assert table_of(given)["prob.water"] != as_fitted["prob.water"]


def test_files_of_another_ending_are_read_by_their_own(bundles: dict[str, Path], tmp_path: Path) -> None:
    """And the usual column serves where the fit's is not there."""
    given = tmp_path / "in.jsonl"
    given.write_text('{"id": "a", "text": "fire"}\n')
    assert predict(bundles["semicolons"], given) == 0
    assert table_of(given)["id"].to_pylist() == ["a"]


def test_a_missing_column_names_both_that_were_looked_for(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.csv"
    given.write_text("number;words\n1;fire\n")
    assert predict(bundles["semicolons"], given) == 2
    assert "'message', the fit's, and 'text' were looked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("cvs", "there is no reader 'cvs'"),
        ("csv:delimeter=;", "Did you mean 'delimiter'?"),
        ("csv:x", "option=value"),
    ],
)
def test_readers_that_nobody_offers(
    bundles: dict[str, Path], tmp_path: Path, reader: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table_file(tmp_path, ["fire"])
    assert predict(bundles["plain"], given, "--reader", reader) == 2
    assert said in capsys.readouterr().err


def test_a_reader_of_a_plugin_that_is_not_here_is_named(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tocsin.arguments import Origin
    from tocsin.bundles import ensemble_manifest
    from tocsin.bundles.reading import SavedReading

    away = SavedReading(
        {"class_path": "SmsReader", "init_args": {}}, Origin("sms", "2"), [".sms"], "text", None, None
    )
    monkeypatch.setattr(ensemble_manifest, "remembered_reading", lambda folder: away)
    given = tmp_path / "in.sms"
    given.write_text("text\nfire\n")
    assert predict(bundles["plain"], given) == 2
    said = capsys.readouterr().err
    assert "SmsReader (of sms 2)" in said or "SmsReader (of sms" in said
    assert "--reader says how to read" in said
    assert predict(bundles["plain"], given, "--reader", "csv") == 0


# Rows that hold nothing to read ---------------------------------------------------------------------------------------

NOTHING = [None, "", " \t", "\u200b\ufeff", "@me http://example.org", "水水"]


def test_rows_without_content_are_undecided_and_counted(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table_file(tmp_path, ["fire", *NOTHING, "rain"])
    assert predict(bundles["plain"], given) == 0
    written = table_of(given)
    nothing = [False, *(True for _ in NOTHING), False]
    for label in LABELS:
        for kind in ("prob", "decision"):
            column = written[f"{kind}.{label}"]
            assert [value is None for value in column.to_pylist()] == nothing
            assert not any(value != value for value in column.to_pylist() if value is not None)  # no NaN
    said = capsys.readouterr().err
    assert "6 messages are undecided" in said
    assert "1 have no text, 5 have none that can be read" in said
    with pytest.raises(DataError, match="is missing"):  # a scores table wants every score
        ScoresTable.read(given.with_name("out.parquet"))


def test_rows_without_content_are_scored_on_demand(bundles: dict[str, Path], tmp_path: Path) -> None:
    given = table_file(tmp_path, ["fire", *NOTHING, "rain"])
    assert predict(bundles["plain"], given, "--empty", "score") == 0
    scored = table_of(given)["prob.water"].to_pylist()
    assert [value is None for value in scored] == [False, True, *(False for _ in range(6))]


def test_null_cells_of_text_files(bundles: dict[str, Path], tmp_path: Path) -> None:
    given = table_file(tmp_path, ["fire", "", "rain"])
    output = tmp_path / "out.csv"
    assert predict(bundles["plain"], given, output=output) == 0
    cells = output.read_text().splitlines()[2].split(",")
    assert cells[0].strip('"') == "2"
    assert set(cells[1:]) == {""}


def test_one_row(bundles: dict[str, Path], tmp_path: Path) -> None:
    for text, undecided in (("fire", False), ("", True)):
        given = table_file(tmp_path, [text])
        assert predict(bundles["plain"], given) == 0
        assert (table_of(given)["prob.fire"].to_pylist()[0] is None) is undecided


def test_a_table_in_letters_that_the_model_does_not_know_is_refused(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table_file(tmp_path, ["水 火", "火 火 水", "fire 水 火 水"])
    assert predict(bundles["plain"], given) == 2
    said = capsys.readouterr().err
    assert "does not know" in said
    assert "--max-unknown 1" in said
    assert not given.with_name("out.parquet").exists()
    assert predict(bundles["plain"], given, "--max-unknown", "1") == 0
    assert "of little use" in capsys.readouterr().err


# Ids ------------------------------------------------------------------------------------------------------------------


def test_ids_that_repeat_or_are_missing_are_said(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tocsin.cli import predict_table

    monkeypatch.setattr(predict_table, "_CHUNK", 2)  # the same whatever batch they are in
    ids = ["a", "b", None, "c", "", "b", "a", "b"]
    given = table_file(tmp_path, ["fire"] * 8, ids)
    assert predict(bundles["plain"], given) == 0
    said = capsys.readouterr().err
    assert "2 ids are empty, the first in row 3." in said
    assert "3 rows repeat the id of an earlier row, such as row 6 that of row 2." in said
    assert table_of(given)["id"].to_pylist() == [name or None for name in ids]
    capsys.readouterr()
    assert predict(bundles["plain"], table_file(tmp_path, ["fire"] * 3, ["a", "b", "c"])) == 0
    assert "id" not in capsys.readouterr().err.split()


def test_ids_that_repeat_are_refused_where_they_join(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ids, said in ((["a", "b", "a"], "stands in rows 1, 3"), (["a", None, "b"], "no id")):
        given = table_file(tmp_path, ["fire", "rain", "food"], ids)
        assert predict(bundles["plain"], given) == 0
        written = str(given.with_name("out.parquet"))
        for verb in (["evaluate", "--scores", written], ["compare", "--scores", written, written]):
            capsys.readouterr()
            assert main(verb) == 2
            assert said in capsys.readouterr().err


def test_ids_are_written_as_a_fit_writes_them(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table_file(tmp_path, ["fire", "rain"], pa.array([7.0, 12.0]))
    assert predict(bundles["plain"], given) == 0
    assert table_of(given)["id"].to_pylist() == ["7", "12"]
    given = table_file(tmp_path, ["fire", "rain"], pa.array([1.29403e18, 7.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert predict(bundles["plain"], given) == 0
    assert "1 of 2 ids in column 'id' lost digits" in capsys.readouterr().err


# Rows that cannot be read ---------------------------------------------------------------------------------------------


def test_a_table_of_which_no_row_can_be_read_is_a_failure(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text("none\nof these\nis JSON\n")
    assert predict(bundles["plain"], given, "--on-error", "skip") == 2
    assert str(given) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


class _AllBad(CsvReader):
    """A reader that says nothing of a table of which it can read no row."""

    def batches(self, path: Path, columns: Any, on_bad_row: Any = None) -> Iterator[pa.RecordBatch]:
        for row in (1, 2):
            on_bad_row(DataError("is bad", file=path, row=row))
        yield pa.record_batch({name: pa.nulls(2, pa.string()) for name in columns})


def test_whatever_reader_could_read_no_row(
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tocsin.text import readers

    given = tmp_path / "in.csv"
    given.write_text("text\nfire\n")
    monkeypatch.setattr(readers, "reader_for", lambda path: _AllBad())
    assert predict(bundles["plain"], given, "--on-error", "skip") == 2
    said = capsys.readouterr().err
    assert "none of its 2 rows could be read" in said
    assert "row 1: is bad" in said
    assert not given.with_name("out.parquet").exists()


# The command line -----------------------------------------------------------------------------------------------------


def test_texts_that_are_not_utf8_are_replaced_and_said(
    bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    torn = b"caf\xe9 fire".decode(
        "utf-8", "surrogateescape"
    )  # as Python hands on the bytes of a command line
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of tests, where main() prints ours
        assert main(["predict", "--bundle", str(bundles["plain"]), "--text", "rain", torn]) == 0
    shown = capsys.readouterr()
    assert "caf\ufffd fire" in shown.out
    assert "texts[1] holds characters that are no Unicode" in shown.err


def test_texts_without_content_on_the_command_line(
    bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", "--bundle", str(bundles["plain"]), "--text", "", "fire"]
    assert main(arguments) == 0
    assert "undecided" in capsys.readouterr().out
    assert main([*arguments, "--empty", "score"]) == 0
    assert "undecided" not in capsys.readouterr().out


# Nowhere to write -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fills_up(
    bundles: dict[str, Path],
    tmp_path: Path,
    ending: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whenever it fills up: at the first file, while tables are written, at the flush."""
    from tocsin import files

    given = table_file(tmp_path, ["fire", "rain"])
    output = tmp_path / f"kept.{ending}"
    output.write_text("earlier predictions")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    for place in ("_new_part", "fsync_path"):
        with monkeypatch.context() as patch:
            patch.setattr(files, place, full)
            assert predict(bundles["plain"], given, output=output) == 2
        said = capsys.readouterr().err
        assert f"--output {output} cannot be written ({os.strerror(code)})" in said
        assert "Traceback" not in said
        assert output.read_text() == "earlier predictions"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", output.name]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_that_may_grow_no_further(
    bundles: dict[str, Path], tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real failure of the write itself, as a full disk gives it."""
    given = table_file(tmp_path, ["fire", "rain"] * 400)
    output = tmp_path / f"out.{ending}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        code = predict(bundles["plain"], given, output=output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert f"--output {output} cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("place", ["folder.parquet", "file.csv/out.parquet"])
def test_places_that_are_no_file(
    bundles: dict[str, Path], tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table_file(tmp_path, ["fire"])
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "file.csv").write_text("x")
    assert predict(bundles["plain"], given, output=tmp_path / place) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table_file(tmp_path, ["fire"])
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert predict(tmp_path / "no-bundle", given) == 2
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


WRITER = """
import sys, time
import pyarrow as pa
from pathlib import Path
from tocsin.cli.predict import _writer
with _writer(Path(sys.argv[1])) as write:
    write(pa.table({"id": ["a"]}))
    print("written", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_predict_left_behind_goes_at_the_next(bundles: dict[str, Path], tmp_path: Path) -> None:
    given = table_file(tmp_path, ["fire"])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "out.parquet")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        beside = tmp_path / ".out.parquet.abcdefgh.part.parquet"
        beside.write_text("another's file")
        assert predict(bundles["plain"], given) == 0  # a living writer's file is left alone
        assert len(list(tmp_path.glob(".out.parquet.*.part"))) == 1
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(list(tmp_path.glob(".out.parquet.*.part"))) == 1
    assert predict(bundles["plain"], given) == 0
    assert not list(tmp_path.glob(".out.parquet.*.part"))
    assert beside.exists()


@pytest.mark.slow
def test_the_verb_killed_while_it_predicts(bundles: dict[str, Path], tmp_path: Path) -> None:
    given = table_file(tmp_path, ["fire and rain near the market"] * 200_000)
    output = tmp_path / "out.parquet"
    run = textwrap.dedent("""
        import sys
        from tocsin.cli.main import main
        sys.exit(main(sys.argv[1:]))
    """)
    arguments = ["--bundle", str(bundles["plain"]), "--input", str(given), "--output", str(output)]
    process = subprocess.Popen([sys.executable, "-c", run, "predict", *arguments], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            parts = list(tmp_path.glob(".out.parquet.*.part"))
            if parts and parts[0].stat().st_size > 100_000:
                break
            time.sleep(0.1)
        else:
            pytest.fail("it wrote nothing in a minute")
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not output.exists()
    assert predict(bundles["plain"], table_file(tmp_path, ["fire"])) == 0
    assert pq.read_table(output).num_rows == 1
    assert not list(tmp_path.glob(".out.parquet.*.part"))
