"""Copies of an author's files that are missing, empty, cut or damaged, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tocsin.errors import DataError
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import quoted

__all__ = ["Attempt", "check_bad_row", "check_refused", "check_torn", "is_text"]

_SHARES = (0.35, 0.6, 0.9)


@dataclass
class Attempt:
    """What reading a damaged copy came to: rows, or an error; and the errors that `on_bad_row` was given."""

    rows: list[str] = field(default_factory=list)
    error: Exception | None = None
    bad: list[DataError] = field(default_factory=list)


def is_text(data: bytes) -> bool:
    """Whether a file's bytes are lines of text, which tell less about their end than a format with a footer."""
    try:
        return b"\0" not in data and bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def check_refused(findings: Findings, what: str, name: str, error: Exception | None) -> bool:
    """Check that what must fail failed with a DataError that names the file; one fault otherwise."""
    wanted = (
        "A DataError that names the file is wanted: DataError(…, file=path). It is told without a traceback."
    )
    if error is None:
        findings.add(f"{what} raised nothing. {wanted}")
    elif not isinstance(error, DataError):
        findings.add(f"{what} raised {type(error).__name__}: {quoted(str(error), 150)}. {wanted}")
    elif name not in str(error):
        findings.add(
            f"{what} raised DataError: {quoted(str(error), 150)}, which does not name the file. {wanted}"
        )
    else:
        return True
    return False


def check_torn(
    findings: Findings, what: str, name: str, data: bytes, whole: list[str], read: Callable[[bytes], Attempt]
) -> None:
    """Read copies that end too early: no other error than a DataError, and no row lost where the format can tell.

    Args:
        findings: Where the first fault goes.
        what: What is read, for the message.
        name: The file's name.
        data: All its bytes.
        whole: Its rows.
        read: Reads a copy that holds the given bytes.
    """
    for share in _SHARES:
        size = int(len(data) * share)
        cut = data[:size]
        attempt = read(cut)
        where = f"{what}, of which only the first {size:,} of {len(data):,} bytes were left,"
        if attempt.error is not None:
            if not check_refused(findings, where, name, attempt.error):
                return
            continue
        rows = attempt.rows
        if rows == whole:
            continue
        lost = f"{where} gave {len(rows)} of {len(whole)} rows and raised nothing. "
        if not is_text(data):
            findings.add(
                f"{lost}A file of this format can tell that it is torn: let the error of its library come through as a "
                "DataError that names the file."
            )
            return
        known = set(whole)
        strange = [row for row in rows if row not in known]
        if len(strange) > 1:  # the last row may be cut where the format cannot tell
            findings.add(
                f"{where} gave rows that the whole file does not hold, such as {quoted(strange[0])}, and raised "
                "nothing. Raise a DataError that names file and row."
            )
            return
        ended, _, rest = cut.rpartition(b"\n")
        if rest.strip() and rows == read(ended + b"\n").rows:
            findings.add(
                f"{lost}The last line ends in the middle ({quoted(rest.decode('utf-8', 'replace'))}) and was left out. "
                "Raise a DataError that names file and row: the file is torn."
            )
            return


def check_bad_row(
    findings: Findings,
    what: str,
    name: str,
    data: bytes,
    whole: list[str],
    read: Callable[[bytes, bool], Attempt],
    keeps_place: bool,
) -> None:
    """Read a copy with a byte that is not UTF-8 in a middle line, without and with `on_bad_row`.

    Args:
        findings: Where the first fault goes.
        what: What is read, for the message.
        name: The file's name.
        data: All its bytes; nothing is checked unless they are lines of text.
        whole: Its rows.
        read: Reads a copy that holds the given bytes, with `on_bad_row` where that is true.
        keeps_place: Whether a bad row is yielded as nulls (messages), or left out (pairs).
    """
    lines = data.splitlines(keepends=True)
    at = len(lines) // 2
    if not is_text(data) or len(lines) < 3 or len(lines[at].strip()) < 2:
        return
    middle = len(lines[at].rstrip()) // 2
    lines[at] = lines[at][:middle] + b"\xff" + lines[at][middle:]
    copy = b"".join(lines)
    what = f"{what}, in whose line {at + 1} a byte is not UTF-8,"
    raising = read(copy, False)
    if raising.error is None:
        return  # another encoding, in which every byte means something
    if not check_refused(findings, what, name, raising.error):
        return
    skipping = read(copy, True)
    if isinstance(skipping.error, DataError) and skipping.error.row is None:
        return  # a fault of the whole file
    what = f"{what} read with on_bad_row"
    if skipping.error is not None:
        said = f"{type(skipping.error).__name__}: {quoted(str(skipping.error), 150)}"
        findings.add(
            f"{what} raised {said}. With on_bad_row a bad row is handed to it, and the reading goes on."
        )
    elif not skipping.bad:
        findings.add(
            f"{what} never called it, though without it {quoted(str(raising.error), 100)} is raised."
        )
    elif not all(isinstance(fault, DataError) and fault.row is not None for fault in skipping.bad):
        findings.add(
            f"{what} gave it {quoted(skipping.bad[0], 100)}. A DataError with file and row is wanted: "
            "DataError(…, file=path, row=number)."
        )
    elif keeps_place and len(skipping.rows) != len(whole):
        findings.add(
            f"{what} gave {len(skipping.rows)} rows, and the file holds {len(whole)}. Yield a bad row as nulls, so "
            "that later rows keep their numbers."
        )
    elif not keeps_place and not len(whole) - len(skipping.bad) <= len(skipping.rows) < len(whole):
        findings.add(
            f"{what} gave {len(skipping.rows)} pairs of {len(whole)} after {len(skipping.bad)} bad rows. A bad pair is "
            "left out, and no other one."
        )
