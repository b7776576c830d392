"""Several labels in one column. N messages, L labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError, did_you_mean
from tocsin.labels.cells import Blank, is_text, label_column, place, shown, word
from tocsin.labels.class_names import class_names
from tocsin.labels.list_cells import integer, readings
from tocsin.labels.names import check_names, file_of_names, names_of_file
from tocsin.labels.schemes import NOT_FOUND_YET, LabelScheme
from tocsin.text.readers import Reader, reader_for

__all__ = ["Lists"]

_SHOWN = 12  # labels that a message lists
_WANTED = (
    "names of labels (flood;needs, ['flood', 'needs'], a JSON or Parquet list), their numbers from 0, or a 0 or 1 a "
    "label"
)


class Lists(LabelScheme):
    """Several labels in one column: each label that a cell lists is 1, the others are 0.

    Read are texts with a separator (flood;needs), lists as Python and JSON write them (['flood', 'needs']; taken apart,
    never evaluated), lists in Parquet, Arrow and JSON lines, class ids (from 0, in the order of `names`, or as the
    file's own class names say, which the library datasets keeps in Parquet and Arrow files), and hot vectors
    ([0, 1, 1]: a 0 or 1 a label, null for unknown). An entry that is no label is refused, with file and row.

    An empty list ([]) says that no label applies: all are 0. Null and an empty cell leave all labels unknown, unless
    `blank` says that they too mean 0.

    Args:
        column: The column that lists the labels.
        names: The labels in the order of the logits, or the path of a text file with one name a line, looked for as
            that of `Columns` is. null: those found in the train files: the file's own class names in their order where
            it has such, else all that are listed, sorted. A run's config records the names found.
        separator: What stands between two labels of a text, such as " "; then brackets mean nothing. null: brackets, or
            the first of ; | line break, tab and comma that a cell holds.
        entries: What the entries are: names, ids or hot (a 0 or 1 a label). auto: told by each cell; a cell that can be
            read in two ways, such as [0, 1] of two labels, is refused.
        unknown_values: Entries that leave the labels beside them unknown, such as [NA, unclear]; text in any case.
        negative_values: Entries that are known but no label of this scheme, such as [none, other].
        blank: What an empty cell and null mean: unknown, or 0 for each label.
    """

    def __init__(
        self,
        column: str = "labels",
        names: list[str] | str | None = None,
        separator: str | None = None,
        entries: Literal["auto", "names", "ids", "hot"] = "auto",
        unknown_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
        negative_values: list[int | float | str | None] = [],  # noqa: B006 (never changed)
        blank: Blank = "unknown",
    ) -> None:
        if names is not None and not isinstance(names, str):
            check_names(names, "labels")
        if separator == "":
            raise LabelError(
                "Lists: separator is empty; wanted a sign such as ';', or null for the usual ones"
            )
        if entries not in ("auto", "names", "ids", "hot"):
            raise LabelError(f"Lists: entries is {entries!r}; it must be auto, names, ids or hot")
        if blank not in ("unknown", 0) or isinstance(blank, bool):
            raise LabelError(f"Lists: blank is {blank!r}; it must be unknown or 0")
        self._column, self._given, self._separator, self._entries = column, names, separator, entries
        self._unknown, self._negative = (
            {"null" if value is None else word(value) for value in values}
            for values in (unknown_values, negative_values)
        )
        if both := sorted(self._unknown & self._negative):
            raise LabelError(
                f"Lists: {both[0]!r} stands in unknown_values and in negative_values; leave out one"
            )
        self._blank = np.nan if blank == "unknown" else 0.0
        self._found: tuple[str, ...] | None = None

    @cached_property
    def _names(self) -> tuple[str, ...]:
        names = names_of_file(self._given) if isinstance(self._given, str) else tuple(self._given or ())
        for option, values in (("unknown_values", self._unknown), ("negative_values", self._negative)):
            for name in names:
                if word(name) in values:
                    raise LabelError(f"Lists: {name!r} is a label and stands in {option}; leave out one")
        return names

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        if self._given is not None:
            return self._names
        if self._found is None:
            raise LabelError(f"Lists: the labels of column {self._column!r} {NOT_FOUND_YET}")
        return self._found

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that lists the labels."""
        return (self._column,)

    @property
    def files(self) -> tuple[Path, ...]:
        """The text file of the names, where they stand in one."""
        return (file_of_names(self._given),) if isinstance(self._given, str) else ()

    @property
    def unnamed(self) -> bool:
        """Whether the names were neither given nor found yet."""
        return self._given is None and self._found is None

    def find_names(self, paths: Sequence[Path], reader: Reader | None, taken: Sequence[str]) -> None:
        """Take the first file's class names, or else all that the files list, sorted; see `LabelScheme.find_names`."""
        found = class_names(paths[0], self._column)
        if found is None:
            entries: dict[str, object] = {}
            for path in paths:
                for batch in (reader or reader_for(path)).batches(path, [self._column]):
                    for cell in _different(batch.column(0)):
                        self._collect(cell, entries)
            if self._entries in ("ids", "hot") or (
                entries
                and self._entries == "auto"
                and all(integer(one) is not None for one in entries.values())
            ):
                raise LabelError(
                    f"{paths[0]}: column {self._column!r} lists numbers, which do not say what the labels are called. "
                    "Give the names in their order: labels.init_args.names: [flood, fire] (entries: names takes the "
                    "numbers themselves for names)"
                )
            found = tuple(sorted(entries))
        check_names(found, f"column {self._column!r} of {', '.join(map(str, paths))}")
        self._found = found

    def _collect(self, cell: object, entries: dict[str, object]) -> None:
        try:
            several, fault = readings(cell, self._separator)
        except ValueError:
            return  # targets() names the row
        for entry in [] if fault or _is_blank(cell) else several[-1]:
            text = _name(entry)
            if text and word(text) not in self._unknown | self._negative:
                entries.setdefault(text, entry)

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        column = label_column(table, self._column)
        classes_of, class_codes_N = _classes(table, self._column)
        cells = _Cells(self)
        codes = np.empty(len(column), np.int64)
        start = 0
        for chunk in column.chunks:
            which = slice(start, start + len(chunk))
            codes[which] = cells.codes(chunk, class_codes_N[which], classes_of)
            start += len(chunk)
        if cells.faults or {"ids", "hot"} <= set(cells.first):
            self._refuse(table, column, codes, cells)
        if not cells.rows:
            return np.zeros((0, len(self.names)), np.float32)
        return np.stack(cells.rows)[codes]

    def _refuse(self, table: pa.Table, column: pa.ChunkedArray, codes_N: np.ndarray, cells: _Cells) -> None:
        if cells.faults:
            wrong_N = np.isin(codes_N, list(cells.faults))
            row, rest = int(np.flatnonzero(wrong_N)[0]), int(wrong_N.sum()) - 1
            reason = cells.faults[int(codes_N[row])]
            more = f" Likewise {rest:,} more rows." if rest else ""
        else:
            ids, hot = (int(np.flatnonzero(codes_N == cells.first[kind])[0]) for kind in ("ids", "hot"))
            row, more = ids, ""
            reason = (
                f"these are ids, but {place(table, hot)} holds {shown(column[hot].as_py())}, a 0 or 1 a label. Say "
                "which they are: entries: ids, or entries: hot"
            )
        raise LabelError(
            f"{place(table, row)}: label column {self._column!r} holds {shown(column[row].as_py())}: {reason}.{more}"
        )

    def row(self, cell: object, classes: tuple[str, ...] | None) -> tuple[np.ndarray, str]:
        """Return a cell's targets (L,) and what its entries are: names, ids, hot, or "" where that makes no difference.

        Raises:
            ValueError: It cannot be read; says why.
        """
        blank_L = np.full(len(self.names), self._blank, np.float32)
        if _is_blank(cell) and not (isinstance(cell, str) and cell.strip() in self.names):
            return blank_L, ""
        several, fault = readings(cell, self._separator)
        listed = several[-1]
        if fault and all(self._as_names(one) is None for one in several):
            raise ValueError(fault)
        if not listed:
            return np.zeros(len(self.names), np.float32), ""
        if all(entry == "" for entry in listed):
            return blank_L, ""
        asked = ("names", "ids", "hot") if self._entries == "auto" else (self._entries,)
        found: dict[str, np.ndarray] = {}
        if "names" in asked:
            named = next((row for one in several if (row := self._as_names(one)) is not None), None)
            if named is not None:
                found["names"] = named
        for kind, read in (("ids", self._as_ids), ("hot", self._as_hot)):
            if kind in asked and (row := read(listed, classes)) is not None:
                found[kind] = row
        return self._one(found, several, classes)

    def _one(
        self, found: dict[str, np.ndarray], several: list[list[object]], classes: tuple[str, ...] | None
    ) -> tuple[np.ndarray, str]:
        if classes is not None and "ids" in found:
            return found["ids"], ""  # the file itself says that they are
        if "names" in found:
            found.pop("ids", None)  # a label called 2 is meant by 2
        if not found:
            raise ValueError(self._reason(several))
        first = next(iter(found.values()))
        if all(np.array_equal(first, row, equal_nan=True) for row in found.values()):
            return first, next(iter(found)) if len(found) == 1 else ""
        ways = {"names": "names", "ids": "ids", "hot": "a 0 or 1 a label"}
        raise ValueError(
            f"this can be read as {' or as '.join(ways[kind] for kind in found)}. Say which: entries: "
            f"{' or entries: '.join(found)}"
        )

    def _as_names(self, entries: list[object]) -> np.ndarray | None:
        row_L = np.zeros(len(self.names), np.float32)
        for entry in entries:
            text = _name(entry)
            if text in self._position:
                row_L[self._position[text]] = 1.0
            elif word(text) in self._unknown:
                row_L[row_L == 0] = np.nan
            elif entry is None or (text and word(text) not in self._negative):
                return None
        # An entry that means unknown may stand before a label.
        return row_L

    def _as_ids(self, entries: list[object], classes: tuple[str, ...] | None) -> np.ndarray | None:
        names = self.names if classes is None else classes
        ids = [integer(entry) for entry in entries if entry != ""]
        if (
            None in ids
            or len(set(ids)) < len(ids)
            or not all(0 <= one < len(names) for one in ids if one is not None)
        ):
            return None
        return self._as_names([names[one] for one in ids if one is not None])

    def _as_hot(self, entries: list[object], classes: tuple[str, ...] | None) -> np.ndarray | None:
        if len(entries) != len(self.names):
            return None
        values = [
            np.nan if entry is None else float(entry) if isinstance(entry, bool) else integer(entry)
            for entry in entries
        ]
        if any(value is None or (value not in (0, 1) and value == value) for value in values):
            return None
        return np.array(values, np.float32)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.names)}

    def _reason(self, several: list[list[object]]) -> str:
        entries = next(
            (one for one in several[1:] if any(_name(entry) in self._position for entry in one)), several[-1]
        )
        if None in entries:
            return "a list holds null beside its entries"
        wrong = next((entry for entry in entries if self._as_names([entry]) is None), entries[0])
        names = list(self.names)
        listed = ", ".join(names[:_SHOWN]) + (
            f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        )
        if isinstance(wrong, bool) or integer(wrong) is not None:
            return (
                f"these are {len(entries)} numbers; wanted are {_WANTED}. The {len(names)} labels: {listed}"
            )
        text = _name(wrong)
        return (
            f"{shown(text)} is no label.{did_you_mean(text, names)} The labels: {listed}. Add it to `names`, to "
            "negative_values if it means none of them, or to unknown_values; if a label's own name is cut, set "
            "`separator`"
        )


class _Cells:
    """The different cells of a column, each read once.

    Attributes:
        rows: Targets (L,) of each.
        faults: By its number, why a cell cannot be read.
        first: Of each kind of entries the first cell that can be of no other.
    """

    def __init__(self, scheme: Lists) -> None:
        self.rows: list[np.ndarray] = []
        self.faults: dict[int, str] = {}
        self.first: dict[str, int] = {}
        self._scheme = scheme
        self._numbers: dict[tuple[int, str, str], int] = {}

    def codes(
        self, chunk: pa.Array, class_codes_N: np.ndarray, classes_of: Sequence[tuple[str, ...] | None]
    ) -> np.ndarray:
        """Return (N,) the number of each cell of a chunk."""
        if pa.types.is_string_view(chunk.type):
            chunk = chunk.cast(pa.string())
        if is_text(chunk.type):
            chunk = chunk.dictionary_encode()
        if not pa.types.is_dictionary(chunk.type):
            cells = zip(chunk.to_pylist(), class_codes_N.tolist(), strict=True)
            return np.fromiter(
                (self._number(cell, code, classes_of) for cell, code in cells), np.int64, len(chunk)
            )
        codes_N = np.empty(len(chunk), np.int64)
        texts = [*chunk.dictionary.to_pylist(), None]
        indices_N = chunk.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
        for code in np.unique(class_codes_N):
            of_code_N = class_codes_N == code
            met = np.unique(indices_N[of_code_N])
            numbers = np.zeros(len(texts), np.int64)
            numbers[met] = [self._number(texts[at], int(code), classes_of) for at in met]
            codes_N[of_code_N] = numbers[indices_N[of_code_N]]
        return codes_N

    def _number(self, cell: object, code: int, classes_of: Sequence[tuple[str, ...] | None]) -> int:
        key = (code, type(cell).__name__, str(cell))
        if key not in self._numbers:
            number = self._numbers[key] = len(self.rows)
            try:
                row_L, kind = self._scheme.row(cell, classes_of[code])
            except ValueError as error:
                row_L, kind = np.full(len(self._scheme.names), np.nan, np.float32), ""
                self.faults[number] = str(error)
            self.rows.append(row_L)
            if kind:
                self.first.setdefault(kind, number)
        return self._numbers[key]


def _classes(table: pa.Table, column: str) -> tuple[list[tuple[str, ...] | None], np.ndarray]:
    """Return the class names that each file of the table holds (None for none), and (N,) the file of each row."""
    if "file" not in table.column_names:
        return [None], np.zeros(table.num_rows, np.int64)
    encoded = table["file"].combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    files = encoded.dictionary.to_pylist()
    return [class_names(Path(file), column) for file in files], encoded.indices.to_numpy(zero_copy_only=False)


def _different(column: pa.Array) -> list[object]:
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column.unique().to_pylist() if is_text(column.type) else column.to_pylist()


def _is_blank(cell: object) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and word(cell) in ("", "nan"))


def _name(entry: object) -> str:
    number = integer(entry)
    return str(number) if number is not None and not isinstance(entry, str) else str(entry)
