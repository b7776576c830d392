"""Each wrong label scheme has one fault, and the check names that one. N messages, L labels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.errors import DataError, LabelError
from tocsin.labels.lists import Lists
from tocsin.labels.schemes import Columns, LabelScheme
from tocsin.labels.soft import Soft
from tocsin.plugins.templates.label_scheme import TemplateLabelScheme
from tocsin.plugins.testing import NonConforming, check_label_scheme
from tocsin.text.messages import source_column

NAMES = ["water", "food", "fire"]


class _Three(LabelScheme):
    """Right: three columns. The wrong ones below differ from it by one thing each."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(NAMES)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(NAMES)

    def targets(self, table: pa.Table) -> np.ndarray:
        return Columns(NAMES).targets(table)


@pytest.mark.parametrize(
    ("scheme", "arguments"),
    [
        (Columns, {"names": NAMES}),
        (Columns, {"names": ["id", "lang", "text"]}),
        (Columns, {"names": ["one"], "unknown_values": [2]}),
        (
            Columns,
            {
                "names": NAMES,
                "unknown_values": ["NA"],
                "positive_values": ["ja"],
                "negative_values": ["nein"],
            },
        ),
        (Soft, {"names": NAMES, "unknown_values": [-1]}),
        (Lists, {"names": NAMES}),
        (TemplateLabelScheme, {"names": NAMES}),
        (_Three, {}),
    ],
)
def test_right_ones_pass(scheme: type[LabelScheme], arguments: dict[str, Any]) -> None:
    check_label_scheme(scheme, **arguments)


class _Shares(_Three):
    """Right: probabilities. The wrong ones below differ from it by one thing each."""

    soft = True

    def targets(self, table: pa.Table) -> np.ndarray:
        return Soft(NAMES).targets(table)


def test_probabilities_of_a_soft_scheme_pass() -> None:
    check_label_scheme(_Shares)


def test_probabilities_of_a_scheme_that_does_not_say_so() -> None:
    class _Silent(_Shares):
        """Wrong."""

        soft = False

    table = pa.table({name: [0.25, None, 1.0] for name in NAMES})
    with pytest.raises(NonConforming) as caught:
        check_label_scheme(_Silent, table)
    assert "holds 0.25 among its values. Wanted are 0, 1, and NaN for unknown. If its labels" in str(
        caught.value
    )
    assert "the property `soft` must say so: True" in str(caught.value)


def test_a_soft_scheme_that_passes_on_what_is_no_probability() -> None:
    class _Loose(_Shares):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            try:
                return super().targets(table)
            except LabelError as error:
                if "holds '1.5'" not in str(error):
                    raise
                return np.zeros((table.num_rows, 3), np.float32)

    assert "targets() of a table with '1.5' in column 'water', 'food', 'fire' raised nothing" in only_fault(
        check_label_scheme, _Loose
    )


def test_a_soft_scheme_whose_probabilities_are_none() -> None:
    class _Doubled(_Shares):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            return super().targets(table) * 2

    assert "holds 2.0 among its values. Wanted are probabilities from 0 to 1, and NaN" in only_fault(
        check_label_scheme, _Doubled
    )


def test_names_in_a_file(tmp_path: Any) -> None:
    (tmp_path / "labels.txt").write_text("water\nfood\n")
    check_label_scheme(Columns, names=str(tmp_path / "labels.txt"))


class _Severity(LabelScheme):
    """Right: a severity from 1 to 5 in a column, severe from 4."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("any", "severe")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("severity",)

    def targets(self, table: pa.Table) -> np.ndarray:
        targets_NL = np.full((table.num_rows, 2), np.nan, np.float32)
        if "severity" not in table.column_names:
            raise LabelError("there is no column 'severity'")
        for row, value in enumerate(table["severity"].to_pylist()):
            if value is None:
                continue
            if str(value) not in set("12345"):
                where = f"{table['file'][row].as_py()}, row {table['row'][row].as_py()}"
                raise LabelError(f"{where}: column 'severity' holds {value!r}; 1 to 5 were wanted")
            targets_NL[row] = [1, int(value) >= 4]
        return targets_NL


def test_a_table_of_the_author() -> None:
    fault = only_fault(check_label_scheme, _Severity)
    assert "column 'severity' holds 0; 1 to 5 were wanted" in fault
    assert "check_label_scheme(_Severity, table, …), a few rows with the columns severity" in fault
    check_label_scheme(_Severity, pa.table({"severity": [1, 5, None, 3]}))


def test_names_of_a_set() -> None:
    orders = itertools.cycle([("water", "food"), ("food", "water")])

    class _Set(_Three):
        """Wrong."""

        @property
        def names(self) -> tuple[str, ...]:
            return next(orders)

    assert "keep it in a list (a set has none)" in only_fault(check_label_scheme, _Set)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["water"], "A tuple of strings is wanted"),
        (("water", "water"), "'water' is empty, padded or repeated"),
        (("water", ""), "'' is empty, padded or repeated"),
        ((), "there is none"),
        ((1, 2), "A tuple of strings is wanted"),
        (None, "`names` is None. A tuple of strings is wanted"),
    ],
)
def test_names_that_are_none(names: Any, said: str) -> None:
    class _Named(_Three):
        """Wrong."""

        @property
        def names(self) -> tuple[str, ...]:
            return names

    assert said in only_fault(check_label_scheme, _Named)


def _wrong(change: Any) -> type[LabelScheme]:
    class _Changed(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            return change(super().targets(table), table)

    return _Changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda targets, _: targets.astype(np.float64), "type float64. A float32 array of shape (500, 3)"),
        (
            lambda targets, _: targets[:, :2],
            "shape (500, 2) and type float32. A float32 array of shape (500, 3)",
        ),
        (lambda targets, _: targets.tolist(), "an object of type list"),
        (lambda targets, _: targets * 2 - 1, "holds 1.0 among its values"),
    ],
    ids=["float64", "a label is missing", "a list", "minus one"],
)
def test_no_matrix_of_targets(change: Any, said: str) -> None:
    found = faults(check_label_scheme, _wrong(change))
    if said.startswith("holds"):
        assert "holds -1.0 among its values. Wanted are 0, 1, and NaN" in found[0]
    else:
        assert said in found[0]
    assert len(found) == 1


def test_null_taken_for_no() -> None:
    fault = only_fault(check_label_scheme, _wrong(lambda targets, _: np.nan_to_num(targets)))
    assert "targets() of columns of nulls holds 1500 targets that are 0 or 1" in fault
    assert "Null means unknown: NaN is wanted" in fault


def test_rows_that_depend_on_others() -> None:
    def by_the_table(targets_NL: np.ndarray, _: pa.Table) -> np.ndarray:
        return targets_NL if len(targets_NL) != 1 else np.where(np.isnan(targets_NL), targets_NL, 0)

    def by_position(targets_NL: np.ndarray, _: pa.Table) -> np.ndarray:
        targets_NL[:10] = np.nan
        return targets_NL

    assert "One row was handed over" in only_fault(check_label_scheme, _wrong(by_the_table))
    assert "The rows were put into another order" in only_fault(check_label_scheme, _wrong(by_position))


def test_no_rows() -> None:
    def at_least_one(targets_NL: np.ndarray, _: pa.Table) -> np.ndarray:
        return targets_NL[[0]] * 0 + targets_NL

    fault = only_fault(check_label_scheme, _wrong(at_least_one))
    assert "A table without rows was handed over: targets() raised IndexError" in fault


def test_one_chunk_alone() -> None:
    class _Chunked(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            super().targets(table)
            first = [source_column(table, name).chunk(0) for name in NAMES]
            return np.stack([column.to_numpy(zero_copy_only=False) for column in first], 1).astype(np.float32)

    assert "gave an array of shape (166, 3)" in only_fault(check_label_scheme, _Chunked)


def test_random() -> None:
    def noise(targets_NL: np.ndarray, _: pa.Table) -> np.ndarray:
        unknown = np.random.rand(*targets_NL.shape) < 0.1
        return np.where(unknown, np.float32(np.nan), targets_NL)

    assert "The same table was read once more" in only_fault(check_label_scheme, _wrong(noise))


def test_wrong_values_are_swallowed() -> None:
    class _Lenient(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            columns = [source_column(table, name).to_pylist() for name in self.names_in(table)]
            rows = [
                [np.nan if v is None else float(v in (1, "1")) for v in row]
                for row in zip(*columns, strict=True)
            ]
            return np.array(rows, np.float32).reshape(table.num_rows, 3)

        def names_in(self, table: pa.Table) -> list[str]:
            try:
                return [name for name in NAMES if source_column(table, name) is not None]
            except DataError as error:
                raise LabelError(str(error)) from None

    fault = only_fault(check_label_scheme, _Lenient)
    assert "'no such label' in column 'water', 'food', 'fire' raised nothing" in fault
    assert "A slip in a file would become a wrong target" in fault


def test_an_error_that_names_nothing() -> None:
    class _Mute(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            try:
                return super().targets(table)
            except LabelError as error:
                if "no column" in str(error):
                    raise
                raise LabelError("column 'water' holds no label: 'no such label'") from None

    fault = only_fault(check_label_scheme, _Mute)
    assert (
        "does not name the file (invented.parquet), the row in its file (19, from the column `row`)" in fault
    )


def test_an_error_that_names_the_position() -> None:
    class _Position(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            try:
                return super().targets(table)
            except LabelError as error:
                raise LabelError(str(error).replace("row 19", "row 18")) from None

    assert "does not name the row in its file (19" in only_fault(check_label_scheme, _Position)


def test_errors_of_another_kind() -> None:
    class _Cast(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            try:
                return super().targets(table)
            except LabelError as error:
                if "no column" in str(error):
                    raise
                raise ValueError("could not convert string to float") from None

    class _Key(_Three):
        """Wrong."""

        def targets(self, table: pa.Table) -> np.ndarray:
            if "food" not in table.column_names:
                raise KeyError("food")
            return super().targets(table)

    assert "raised ValueError: 'could not convert" in only_fault(check_label_scheme, _Cast)
    fault = only_fault(check_label_scheme, _Key)
    assert "targets() of a table without the column 'food' raised KeyError" in fault
    assert "A LabelError that names the column is wanted" in fault


def test_many_labels() -> None:
    class _Bits(Columns):
        """Wrong.

        Args:
            names: The labels.
        """

        def __init__(self, names: list[str]) -> None:
            super().__init__(names)

        def targets(self, table: pa.Table) -> np.ndarray:
            targets_NL = super().targets(table)
            if len(self.names) > 64:
                raise OverflowError("more labels than bits")
            return targets_NL

    fault = only_fault(check_label_scheme, _Bits, names=NAMES)
    assert "With 500 labels, targets(a table of 60 messages" in fault
    assert "OverflowError" in fault


def test_digest_of_its_own() -> None:
    class _Digest(_Three):
        """Wrong."""

        @property
        def digest(self) -> str:
            return "3 labels"

    assert "`digest` is '3 labels', not the SHA-256" in only_fault(check_label_scheme, _Digest)
