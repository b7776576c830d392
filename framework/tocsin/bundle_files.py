"""What a bundle notes of its files: `tocsin.json` holds size and SHA-256 of each, and a SHA-256 of itself.

A changed, missing or added byte in any of them is refused when the bundle is loaded, before anything of it is used (.6
s a GB). The model card alone may be edited, which is said. What lies beside and no loader reads (hidden files,
pictures, further Markdown) is said, too; any other added file is refused, and so is every link.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tocsin.checksums import (
    Entry,
    Problem,
    bounded_json,
    checksummed_json,
    compared,
    entries_of,
    identity_of,
    is_unchanged_json,
    listing,
    open_regular,
)
from tocsin.errors import BundleError
from tocsin.files import file_sha256, whole_file

__all__ = [
    "CARD",
    "FORMAT",
    "MANIFEST",
    "BundleWarning",
    "check_bundle",
    "copy_bundle",
    "noted_files",
    "read_bundle_file",
    "verify_bundle",
    "write_bundle_file",
]

MANIFEST = "tocsin.json"
CARD = "README.md"
FORMAT = 2
_MOST = 1 << 24  # bytes of tocsin.json
_UNREAD = {".md", ".rst", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".html", ".csv", ".tsv"}
_OF_SYSTEMS = {"thumbs.db", "desktop.ini", "license", "license.txt", "notice", "notice.txt", "citation.cff"}
_SHOWN = 3
_checked: set[tuple[Any, ...]] = set()  # bundles that this process found sound


class BundleWarning(UserWarning):
    """A bundle gives less than it could, or something in its folder is not as it was written and is not used."""


def write_bundle_file(
    folder: Path, plain: Mapping[str, Any], files: Mapping[str, Entry] | None = None
) -> None:
    """Write `tocsin.json`, whole or not at all; last of all files: a folder without it is known to be incomplete.

    Args:
        folder: The bundle.
        plain: What it says, but for `files` and `digest`.
        files: What it notes of the others; None to read them all now.

    Raises:
        ValueError: There is a link among the files.
    """
    noted = listing(folder, MANIFEST) if files is None else files
    entries = {name: {"sha256": entry.sha256, "bytes": entry.bytes} for name, entry in noted.items()}
    with whole_file(folder / MANIFEST) as part:
        part.write_bytes(checksummed_json({**plain, "files": entries}))


def read_bundle_file(folder: Path) -> dict[str, Any]:
    """The mapping that `tocsin.json` holds, of whatever kind of bundle; other files are not looked at.

    Raises:
        BundleError: Missing, altered, not JSON, too large, or of another format.
    """
    path = folder / MANIFEST
    try:
        with open_regular(path, follow=False) as file:
            content = file.read(_MOST + 1)
        plain = bounded_json(content, _MOST)
    except FileNotFoundError:
        raise BundleError(
            f"{folder} holds no {MANIFEST}, so it is no Tocsin bundle, or one whose writing was cut short. Wanted the "
            "folder `bundle` of a run."
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as JSON: {error}.") from error
    if isinstance(plain, dict) and plain.get("format") == 1 and "digest" not in plain:
        raise BundleError(
            f"{path} is of format 1, which notes no checksums, so nobody can tell whether its files are whole. This "
            f"version of Tocsin reads format {FORMAT}: fit again (tocsin fit), or load the bundle with the version "
            f"that wrote it ({str(plain.get('written_by'))[:40]})."
        )
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        found = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
        raise BundleError(
            f"{path} is of format {repr(found)[:40]}; this version of Tocsin reads format {FORMAT}. A higher number "
            "was written by a later version of Tocsin: install that."
        )
    if not is_unchanged_json(content):
        raise BundleError(
            f"{path} was changed after it was written: its SHA-256 is not the one that stands at its end. Take the "
            "bundle afresh; what it decides is set by tocsin calibrate, not by hand."
        )
    return plain


def noted_files(folder: Path, plain: Mapping[str, Any]) -> dict[str, Entry]:
    """What `tocsin.json` notes of the other files.

    Raises:
        BundleError: Nothing of that kind.
    """
    try:
        return entries_of(plain.get("files"))
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST} is damaged: {error}.") from error


def verify_bundle(folder: Path) -> list[Problem]:
    """Compare all files of a bundle, of whatever kind, with what its `tocsin.json` notes; no network is loaded.

    Args:
        folder: The bundle.

    Returns:
        All that is not as it was written; what is not `fatal` is only to be said. Empty for a sound bundle.
    """
    try:
        files = noted_files(folder, read_bundle_file(folder))
    except BundleError as error:
        path = folder / MANIFEST
        return [Problem(str(path), str(error).removeprefix(f"{path} "))]
    try:
        return list(compared(folder, files, MANIFEST, _is_unread))
    except OSError as error:
        return [Problem(str(error.filename or folder), f"cannot be read: {error.strerror or error}")]


def check_bundle(folder: Path, *, again: bool = True) -> None:
    """Refuse a bundle whose files are not those that it was written with; say what does no harm, by a BundleWarning.

    Args:
        folder: The bundle.
        again: Also where this process found it sound and no file has another size or time since.

    Raises:
        BundleError: A file is missing, altered or added; names the first.
    """
    if not again and identity_of(folder) in _checked:
        return
    problems = verify_bundle(folder)
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        more = f" (and {len(fatal) - 1:,} more files)" if len(fatal) > 1 else ""
        raise BundleError(
            f"{fatal[0]}{more}. The bundle {folder} is not as it was written: take the folder afresh, whole."
        )
    # The members of an ensemble are bundles, too.
    _checked.update(
        identity_of(path.parent) for path in (folder / MANIFEST, *folder.glob(f"members/*/{MANIFEST}"))
    )
    for problem in problems:
        if Path(problem.file).name == CARD:
            warnings.warn(
                f"{problem}: the model card was edited, or its writing cut short. It changes no prediction.",
                BundleWarning,
                stacklevel=3,
            )
    beside = [problem.file for problem in problems if Path(problem.file).name != CARD]
    if beside:
        shown = ", ".join(beside[:_SHOWN]) + (" …" if len(beside) > _SHOWN else "")
        warnings.warn(
            f"{folder} holds {len(beside):,} files that it was not written with, and that nothing reads: {shown}.",
            BundleWarning,
            stacklevel=3,
        )


def copy_bundle(source: Path, place: Path) -> None:
    """Copy the files that a bundle was written with, checked; nothing else that lies there, and nothing by a link.

    Args:
        source: The bundle.
        place: A new folder.

    Raises:
        BundleError: As `check_bundle`.
    """
    check_bundle(source)
    files = noted_files(source, read_bundle_file(source))
    for name in (*files, MANIFEST):
        target = place / name
        if name == CARD and not (source / name).exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(source / name, follow=False) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        if name in files and name != CARD and file_sha256(target) != files[name].sha256:
            raise BundleError(f"{source / name} changed while it was copied. Try again.")


def _is_unread(name: str) -> bool:
    """Whether a file of that name is read by no loader, so that its being added or altered is only said."""
    parts = PurePosixPath(name).parts
    return (
        any(part.startswith(".") for part in parts)
        or parts[-1].lower() in _OF_SYSTEMS
        or PurePosixPath(name).suffix.lower() in _UNREAD
    )
