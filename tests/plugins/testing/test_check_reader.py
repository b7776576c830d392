"""Each wrong reader has one fault, and the check names that one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from tests.builders import message_file
from tests.plugins.testing.rejections import faults, only_fault
from tocsin.errors import DataError
from tocsin.plugins.templates.reader import TemplateReader
from tocsin.plugins.testing import check_reader
from tocsin.text.json_lines import JsonLinesReader
from tocsin.text.readers import CsvReader, ParquetReader, Reader
from tocsin.text.reading import OnBadRow

OnFile = Callable[..., None]


@pytest.mark.parametrize(
    ("reader", "name", "arguments"),
    [
        (ParquetReader, "m.parquet", {}),
        (CsvReader, "m.csv", {}),
        (CsvReader, "m.csv", {"delimiter": ",", "quotes": False}),
        (JsonLinesReader, "m.jsonl", {}),
    ],
)
def test_ours_pass(tmp_path: Path, reader: type[Reader], name: str, arguments: dict[str, Any]) -> None:
    path = message_file(tmp_path / name)
    before = path.read_bytes()
    check_reader(reader, path, **arguments)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_template_passes(tmp_path: Path) -> None:
    path = tmp_path / "m.records"
    path.write_text("".join(f"text: water {row}\nlang: en\n\n" for row in range(9)))
    check_reader(TemplateReader, path)


@pytest.fixture
def on_csv(tmp_path: Path) -> OnFile:
    path = message_file(tmp_path / "m.csv")
    return lambda reader, **arguments: check_reader(reader, path, **arguments)


@pytest.fixture
def on_json(tmp_path: Path) -> OnFile:
    path = message_file(tmp_path / "m.jsonl")
    return lambda reader, **arguments: check_reader(reader, path, **arguments)


class _Csv(CsvReader):
    """Right. The wrong ones below differ from it by one thing each."""

    suffixes: ClassVar[tuple[str, ...]] = ()


def test_the_whole_file_at_once(on_csv: OnFile) -> None:
    class _Whole(_Csv):
        """Wrong."""

        def batches(self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None) -> Any:
            return list(super().batches(path, columns, on_bad_row))

    fault = only_fault(on_csv, _Whole)
    assert "An iterator is wanted" in fault
    assert "write `yield batch`" in fault


def test_tables(on_csv: OnFile) -> None:
    class _Tables(_Csv):
        """Wrong."""

        def batches(self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None) -> Any:
            for batch in super().batches(path, columns, on_bad_row):
                yield pa.Table.from_batches([batch])

    assert "yielded an object of type Table. A pyarrow.RecordBatch is wanted" in only_fault(on_csv, _Tables)


def test_all_columns_whatever_is_asked_for(on_csv: OnFile) -> None:
    class _All(_Csv):
        """Wrong."""

        def batches(self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None) -> Any:
            list(super().batches(path, columns))  # whatever is wrong with them is an error
            return super().batches(path, self.columns(path), on_bad_row)

    assert "Exactly the columns asked for are wanted" in faults(on_csv, _All)[0]


def test_columns_under_false_names(on_csv: OnFile) -> None:
    class _Swapped(_Csv):
        """Wrong."""

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            in_file = sorted(columns, key=lambda name: (self.columns(path) + list(columns)).index(name))
            for batch in super().batches(path, in_file, on_bad_row):
                yield batch.rename_columns(list(columns))

    fault = only_fault(on_csv, _Swapped)
    assert "other values than batches(m.csv, ['id'," in fault
    assert "Values must stay under their column's name" in fault


def test_a_file_read_once(on_csv: OnFile) -> None:
    class _Once(_Csv):
        """Wrong."""

        def __init__(self) -> None:
            super().__init__()
            self.done: set[Path] = set()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(path, columns, on_bad_row):
                if path not in self.done:
                    yield batch
            self.done.add(path)

    found = faults(on_csv, _Once)
    assert "m.csv read once more gave other rows: 120 rows, then 0" in found[0]
    assert "keep no place in it" in found[0]


def test_shuffled_rows(on_csv: OnFile) -> None:
    class _Shuffled(_Csv):
        """Wrong."""

        turn = 0

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(path, columns, on_bad_row):
                self.turn += 1
                yield batch.take(pa.array([(row + self.turn) % len(batch) for row in range(len(batch))]))

    assert "gave other rows: row 1 was" in faults(on_csv, _Shuffled)[0]


def _raising(wrong: Callable[[DataError], Exception]) -> type[Reader]:
    class _Raising(_Csv):
        """Wrong."""

        def columns(self, path: Path) -> list[str]:
            try:
                return super().columns(path)
            except DataError as error:
                raise wrong(error) from None

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            try:
                yield from super().batches(path, columns, on_bad_row)
            except DataError as error:
                raise wrong(error) from None

    return _Raising


def test_errors_of_another_kind(on_csv: OnFile) -> None:
    found = faults(
        on_csv, _raising(lambda error: FileNotFoundError(str(error)) if "no such" in str(error) else error)
    )
    assert len(found) == 1
    assert "columns(a file that does not exist) raised FileNotFoundError" in found[0]
    assert "DataError(…, file=path)" in found[0]


def test_errors_that_name_no_file(on_csv: OnFile) -> None:
    wrong = _raising(lambda error: DataError("it is empty") if "0 bytes" in str(error) else error)
    fault = only_fault(on_csv, wrong)
    assert (
        "columns(an empty file (0 bytes)) raised DataError: 'it is empty', which does not name the file"
        in fault
    )


def test_an_unknown_column(on_csv: OnFile) -> None:
    wrong = _raising(lambda error: KeyError("spli") if "no column" in str(error) else error)
    fault = only_fault(on_csv, wrong)
    assert "batches(m.csv, ['spli']), a column that the file does not hold, raised KeyError" in fault
    unhelpful = _raising(
        lambda error: DataError("no column 'spli'", file="m.csv") if "no column" in str(error) else error
    )
    fault = only_fault(on_csv, unhelpful)
    assert "It does not name 'split'" in fault
    assert "Did you mean 'split'?" in fault


def test_an_unknown_column_becomes_nulls(on_json: OnFile) -> None:
    class _Nulls(JsonLinesReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            known = [name for name in columns if name in self.columns(path)]
            for batch in super().batches(path, known or ["id"], on_bad_row):
                arrays = [batch[name] if name in known else pa.nulls(len(batch)) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    assert "a column that the file does not hold, raised nothing" in only_fault(on_json, _Nulls)


def test_a_torn_line_is_left_out(on_json: OnFile) -> None:
    class _Forgiving(JsonLinesReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def columns(self, path: Path) -> list[str]:
            return super().columns(path)

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            torn: list[DataError] = []
            for batch in super().batches(path, columns, on_bad_row or torn.append):
                at_end = [error for error in torn if "torn" in str(error)]
                if len(torn) > len(at_end):
                    raise torn[0]
                yield batch.slice(0, len(batch) - len(at_end))

    fault = only_fault(on_json, _Forgiving)
    assert "of which only the first " in fault
    assert "The last line ends in the middle" in fault


def test_a_torn_parquet_file_is_cut_short(tmp_path: Path) -> None:
    class _Silent(ParquetReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            try:
                yield from super().batches(path, columns, on_bad_row)
            except DataError as error:
                if "not a Parquet file" not in str(error):
                    raise

    path = message_file(tmp_path / "m.parquet")
    fault = only_fault(lambda reader: check_reader(reader, path), _Silent)
    assert "gave 0 of 120 rows and raised nothing" in fault
    assert "A file of this format can tell that it is torn" in fault


def test_a_bad_row_is_left_out(on_json: OnFile) -> None:
    class _Leaving(JsonLinesReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(path, columns, on_bad_row):
                yield batch.filter(batch["id"].is_valid()) if "id" in columns else batch

    fault = only_fault(on_json, _Leaving)
    assert "gave 119 rows, and the file holds 120. Yield a bad row as nulls" in fault


def test_on_bad_row_is_not_called(on_json: OnFile) -> None:
    class _Deaf(JsonLinesReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            return super().batches(path, columns, on_bad_row and (lambda error: None))

    class _Raising(JsonLinesReader):
        """Wrong."""

        suffixes: ClassVar[tuple[str, ...]] = ()

        def batches(
            self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow | None = None
        ) -> Iterator[pa.RecordBatch]:
            return super().batches(path, columns)

    assert "read with on_bad_row never called it" in only_fault(on_json, _Deaf)
    assert "read with on_bad_row raised DataError" in only_fault(on_json, _Raising)


def test_endings(on_csv: OnFile) -> None:
    class _Text(_Csv):
        """Wrong."""

        suffixes: ClassVar[Any] = ".check"

    class _Required(_Csv):
        """Wrong.

        Args:
            level: A number.
        """

        suffixes: ClassVar[tuple[str, ...]] = (".check",)

        def __init__(self, level: int) -> None:
            super().__init__()

    assert "A tuple of endings in lower case with their dot is wanted" in only_fault(on_csv, _Text)
    assert "but level has no default" in only_fault(on_csv, _Required, level=1)


def test_rows_in_words(on_csv: OnFile) -> None:
    class _Words(_Csv):
        """Wrong."""

        def approximate_rows(self, path: Path) -> Any:
            return "many"

    assert "approximate_rows(m.csv) gave 'many'. A whole number is wanted" in only_fault(on_csv, _Words)


def test_a_file_of_one_row_tells_too_little(tmp_path: Path) -> None:
    path = message_file(tmp_path / "m.csv", count=1)
    assert "Hand over a file that holds two or more" in only_fault(
        lambda kind: check_reader(kind, path), CsvReader
    )
    path = tmp_path / "none.csv"
    assert "does not exist" in only_fault(lambda kind: check_reader(kind, path), CsvReader)
