"""Arrow files, and the folders of them that save_to_disk writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tocsin.batches.cache import file_digest
from tocsin.errors import DataError
from tocsin.plugins.testing import check_reader
from tocsin.text.arrow_files import ArrowReader
from tocsin.text.cleaners import NoCleaner
from tocsin.text.messages import read_messages
from tocsin.text.readers import reader_for

TABLE = pa.table(
    {"id": [f"m{n}" for n in range(90)], "text": [f"water {n}" for n in range(90)], "flood": [0, 1] * 45}
)


def write(path: Path, table: pa.Table = TABLE, *, stream: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    return path


def save(folder: Path, *tables: pa.Table) -> Path:
    """Write a folder as save_to_disk lays it out, a file a table."""
    names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        write(folder / name, table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def save_splits(folder: Path, **tables: pa.Table) -> Path:
    for name, table in tables.items():
        save(folder / name, table)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    return folder


def rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    return [row for batch in ArrowReader().batches(path, columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("stream", [True, False])
def test_it_conforms(tmp_path: Path, stream: bool) -> None:
    check_reader(ArrowReader, write(tmp_path / "messages.arrow", stream=stream))


def test_a_folder_is_read_in_order_and_rows_are_counted_over_its_files(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", TABLE.slice(0, 50), TABLE.slice(50))
    assert isinstance(reader_for(folder), ArrowReader)
    assert rows(folder, ["flood", "text"]) == TABLE.select(["flood", "text"]).to_pylist()
    table = read_messages(
        [folder], text="text", id="id", lang=None, extra=["flood"], cleaner=NoCleaner(), on_empty="drop"
    ).table
    assert table["row"].to_pylist() == list(range(1, 91))


def test_splits_become_a_column(tmp_path: Path) -> None:
    folder = save_splits(tmp_path / "set", train=TABLE.slice(0, 70), test=TABLE.slice(70))
    assert ArrowReader().columns(folder) == ["id", "text", "flood", "split"]
    found = rows(folder, ["split", "id"])
    assert [row["split"] for row in found] == ["train"] * 70 + ["test"] * 20
    assert [row["id"] for row in found] == TABLE["id"].to_pylist()
    own = TABLE.append_column("split", pa.array(["mine"] * 90))
    assert {row["split"] for row in rows(save_splits(tmp_path / "own", train=own), ["split"])} == {"mine"}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset(TABLE)
    # A filtered set keeps a list of rows; what is saved are the rows.
    odd = whole.filter(lambda row: row["flood"] == 1)
    odd.save_to_disk(str(tmp_path / "one"), num_shards=3)
    assert (
        rows(tmp_path / "one", TABLE.column_names)
        == TABLE.filter(pa.compute.equal(TABLE["flood"], 1)).to_pylist()
    )
    datasets.DatasetDict({"train": whole, "test": odd}).save_to_disk(str(tmp_path / "two"))
    assert [row["split"] for row in rows(tmp_path / "two", ["split"])] == ["train"] * 90 + ["test"] * 45


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("state.json", '{"_data_files": [{"filename": "../secret.arrow"}]}', "no file or folder inside it"),
        ("state.json", '{"_data_files": [{"filename": "/etc/passwd"}]}', "no file or folder inside it"),
        ("state.json", '{"_data_files": []}', "no rows"),
        ("state.json", '{"_data_files": [7]}', "does not list _data_files"),
        ("state.json", "{", "does not list _data_files"),
        ("state.json", "{}", "does not list _data_files"),
        ("state.json", '{"_data_files": [{"filename": "gone.arrow"}]}', "gone.arrow: no such file"),
        ("dataset_dict.json", '{"splits": [".."]}', "no file or folder inside it"),
        ("dataset_dict.json", '{"splits": [3]}', "must be names"),
    ],
)
def test_a_folder_that_points_elsewhere_or_nowhere(tmp_path: Path, name: str, text: str, said: str) -> None:
    write(tmp_path / "secret.arrow")
    folder = save(tmp_path / "set", TABLE)
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=said):
        rows(folder, ["text"])


def test_faults_name_the_file_within_the_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", TABLE.slice(0, 50), TABLE.slice(50))
    file = folder / "data-00001-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow: torn"):
        rows(folder, ["text"])
    other = save_splits(
        tmp_path / "other", train=TABLE, test=TABLE.rename_columns(["id", "message", "flood"])
    )
    with pytest.raises(DataError, match=r"test.*no column 'text'"):
        rows(other, ["text"])


def test_offsets_that_lead_out_of_the_buffer_are_refused(tmp_path: Path) -> None:
    offsets = pa.array([0, 2**20, 3], pa.int32()).buffers()[1]
    wrong = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    path = write(tmp_path / "wrong.arrow", pa.table({"text": wrong}))
    with pytest.raises(DataError, match="damaged"):
        rows(path, ["text"])


def test_a_folder_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder, and not one that save_to_disk .* wrote"):
        reader_for(tmp_path)


def test_a_folders_digest_follows_from_its_files(tmp_path: Path) -> None:
    first, second = (save(tmp_path / name, TABLE) for name in ("a", "b"))
    assert file_digest(first) == file_digest(second)
    (second / "state.json").write_text("{}")
    assert file_digest(first) != file_digest(second)
