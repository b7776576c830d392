"""Each wrong reader of sentence pairs has one fault, and the check names that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.errors import DataError
from tocsin.plugins.templates.pair_reader import TemplatePairReader
from tocsin.plugins.testing import check_pair_reader
from tocsin.text.pairs import PAIR_COLUMNS, PairReader
from tocsin.text.reading import OnBadRow


class _Tsv(PairReader):
    """Right: a file with a tab between English and French. The wrong ones below differ from it by one thing each.

    Args:
        file: The file.
    """

    lang: Any = "fr"
    names = PAIR_COLUMNS

    def __init__(self, file: str) -> None:
        self.file = file

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        try:
            data = Path(self.file).read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", file=self.file) from None
        if not data:
            raise DataError("is empty", file=self.file)
        for start in range(0, data.count(b"\n") + 1, 4):
            pairs = []
            for row, line in enumerate(data.splitlines()[start : start + 4], start=start + 1):
                try:
                    english, french = line.decode("utf-8").split("\t")
                    pairs.append((english, french))
                except ValueError as error:
                    self.refuse(DataError(f"no pair: {error}", file=self.file, row=row), on_bad_row)
            yield self.batch(pairs)

    def refuse(self, fault: DataError, on_bad_row: OnBadRow | None) -> None:
        if on_bad_row is None:
            raise fault
        on_bad_row(fault)

    def batch(self, pairs: list[tuple[str, str]]) -> pa.RecordBatch:
        columns = [
            *([pair[side] for pair in pairs] for side in (0, 1)),
            [self.lang] * len(pairs),
            ["x"] * len(pairs),
        ]
        arrays = [pa.array(column, None if side == 2 else pa.string()) for side, column in enumerate(columns)]
        arrays[2] = arrays[2] if pairs and self.lang == 5 else arrays[2].cast(pa.string())
        return pa.RecordBatch.from_arrays(arrays, names=self.names)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"water {row}\teau numéro {row}\n" for row in range(11)))
    return str(path)


def test_right_ones_pass(file: str, tmp_path: Path) -> None:
    check_pair_reader(_Tsv, file=file)
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"fire {row}\tfeu {row}\n" for row in range(5)))
    check_pair_reader(TemplatePairReader, files=[file, str(other)], lang="fr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tsv", "pairs.tsv"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("en", "fr", "lang", "source")}, "Exactly the columns asked for are wanted"),
        ({"lang": None}, "a column 'lang' with 4 nulls. Strings are wanted, none of them null"),
        ({"lang": 5}, "a column 'lang' with values of type int64"),
        ({"approximate_pairs": lambda self: 1.5}, "approximate_pairs() gave 1.5. A whole number is wanted"),
        ({"files": lambda self: [self.file]}, "A list of Path is wanted"),
        ({"files": ["a"]}, "files() raised TypeError"),
    ],
    ids=["names", "nulls", "numbers", "a fraction", "names of files", "no method"],
)
def test_what_a_batch_holds(file: str, changes: dict[str, Any], said: str) -> None:
    wrong = type("_Changed", (_Tsv,), {"__doc__": "Wrong.", **changes})
    assert said in only_fault(check_pair_reader, wrong, file=file)


def test_a_list(file: str) -> None:
    class _Listed(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Any:
            return list(super().batches(on_bad_row))

    assert "batches() gave an object of type list. An iterator is wanted" in only_fault(
        check_pair_reader, _Listed, file=file
    )


def test_opened_before_the_first_batch(file: str) -> None:
    class _Eager(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            return iter(list(super().batches(on_bad_row)))

    class _Opened(_Tsv):
        """Wrong.

        Args:
            file: The file.
        """

        def __init__(self, file: str) -> None:
            super().__init__(file)
            self.size = Path(file).stat().st_size

    for wrong, error in ((_Eager, "DataError"), (_Opened, "FileNotFoundError")):
        fault = only_fault(check_pair_reader, wrong, file=file)
        assert f"the constructor or batches() raised {error} before the first batch was asked for" in fault
        assert "Open files in a generator" in fault


def test_read_once(file: str) -> None:
    class _Once(_Tsv):
        """Wrong."""

        read = 0

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            for batch in super().batches(on_bad_row):
                self.read += len(batch)
                yield batch if self.read <= 11 else batch.slice(0, 0)

    fault = faults(check_pair_reader, _Once, file=file)[0]
    assert "Reading all pairs once more gave other ones: 11 rows, then 0" in fault


def test_a_missing_file(file: str) -> None:
    class _Os(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            Path(self.file).stat()
            yield from super().batches(on_bad_row)

    class _Skipped(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            if Path(self.file).exists():
                yield from super().batches(on_bad_row)

    assert "Reading a file that does not exist raised FileNotFoundError" in only_fault(
        check_pair_reader, _Os, file=file
    )
    assert "Reading a file that does not exist raised nothing" in only_fault(
        check_pair_reader, _Skipped, file=file
    )


def test_an_empty_file(file: str) -> None:
    class _Empty(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            path = Path(self.file)
            if not path.exists() or path.stat().st_size:
                yield from super().batches(on_bad_row)

    assert "Reading an empty file (0 bytes) raised nothing" in only_fault(
        check_pair_reader, _Empty, file=file
    )


def test_bad_rows(file: str) -> None:
    class _Errors(_Tsv):
        """Wrong."""

        def refuse(self, fault: DataError, on_bad_row: OnBadRow | None) -> None:
            raise fault

    class _Rowless(_Tsv):
        """Wrong."""

        def refuse(self, fault: DataError, on_bad_row: OnBadRow | None) -> None:
            super().refuse(fault if on_bad_row is None else DataError("bad", file=self.file), on_bad_row)

    class _Lossy(_Tsv):
        """Wrong."""

        def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
            bad: list[DataError] = []
            for batch in super().batches(bad.append if on_bad_row else None):
                yield batch.slice(0, 0) if bad else batch
            for fault in bad:
                assert on_bad_row is not None
                on_bad_row(fault)

    assert "read with on_bad_row raised DataError" in only_fault(check_pair_reader, _Errors, file=file)
    assert "A DataError with file and row is wanted" in only_fault(check_pair_reader, _Rowless, file=file)
    assert "A bad pair is left out, and no other one" in only_fault(check_pair_reader, _Lossy, file=file)


def test_a_broken_line_is_swallowed(file: str) -> None:
    class _Swallowing(_Tsv):
        """Wrong."""

        def refuse(self, fault: DataError, on_bad_row: OnBadRow | None) -> None:
            if "UTF" in str(fault) or "utf" in str(fault):
                super().refuse(fault, on_bad_row)

    # The 60% cut ends within a line, before its tab or after it: look for the one that tells.
    text = "water far away from every other\teau\n" * 11
    Path(file).write_text(text)
    assert "The last line ends in the middle" in only_fault(check_pair_reader, _Swallowing, file=file)


def test_one_pair_tells_too_little(tmp_path: Path) -> None:
    path = tmp_path / "one.tsv"
    path.write_text("water\teau\n")
    assert "Hand over files that hold two or more" in only_fault(check_pair_reader, _Tsv, file=str(path))
