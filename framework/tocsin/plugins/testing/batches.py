"""What the checks of readers share: batches of exactly the columns asked for, and rows that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import kind_of, outcome, quoted

__all__ = ["check_amount", "check_batches", "difference", "row_texts"]


def check_batches(findings: Findings, what: str, batches: list[Any], columns: Sequence[str]) -> bool:
    """Check that each is a pyarrow.RecordBatch of exactly these columns; one fault otherwise."""
    for batch in batches:
        if not isinstance(batch, pa.RecordBatch):
            findings.add(
                f"{what} yielded {kind_of(batch)}. A pyarrow.RecordBatch is wanted; a Table gives its batches by "
                "to_batches()."
            )
            return False
        if batch.schema.names != list(columns):
            findings.add(
                f"{what} yielded a batch of the columns {quoted(batch.schema.names)}. Exactly the columns asked for "
                "are wanted, in the order asked for."
            )
            return False
    return True


def row_texts(batches: list[pa.RecordBatch]) -> list[str]:
    """Return each row as text: values that are not a number compare as equal then."""
    return [repr(list(row.values())) for batch in batches for row in batch.to_pylist()]


def difference(before: list[str], after: list[str]) -> str:
    """Say where two readings of a file part, for a message."""
    if len(before) != len(after):
        return f"{len(before)} rows, then {len(after)}"
    at = next(number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    return f"row {at + 1} was {before[at][:60]}, then {after[at][:60]}"


def check_amount(findings: Findings, what: str, action: Callable[[], Any]) -> None:
    """Check that an approximate number is a whole one or None."""
    done, amount = outcome(findings, what, action)
    right = amount is None or (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0)
    findings.expect(
        not done or right,
        f"{what} gave {quoted(amount)}. A whole number is wanted, or None where it is not known.",
    )
