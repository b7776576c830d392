"""The check of exporters. L labels."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickletools
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tocsin.bundles.exporters import Exporter
from tocsin.bundles.load import Bundle
from tocsin.errors import BundleError
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import check_arguments_remembered, quoted, undisturbed
from tocsin.plugins.testing.tiny import tiny_bundle

__all__ = ["check_exporter"]

_BUNDLES = {
    "a bundle of 3 labels with the architecture's own head": (3, True),
    "a bundle of 1 label with a LinearHead": (1, False),
    "a bundle of 500 labels with a LinearHead": (500, False),
}
_TEXTS = ["water on the road", "", "no fire tonight"]
_LONGEST_MEMBER = 1 << 28  # bytes; no archive is unpacked beyond


@undisturbed()
def check_exporter(component: type[Exporter], /, **arguments: Any) -> None:
    """Check an exporter: files in the folder and nowhere else, nothing pickled, the bundle as it was.

    Three tiny bundles are made for it, of 1, 3 and 500 labels; one that the format cannot hold may be refused with a
    BundleError, but not all.

    Args:
        component: The class.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "exporter", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        _check_exports(findings, component, arguments)
    findings.conclude()


def _check_exports(findings: Findings, component: type[Exporter], arguments: dict[str, Any]) -> None:
    refusals: list[BundleError] = []
    for what, (labels, native) in _BUNDLES.items():
        with tempfile.TemporaryDirectory(prefix="tocsin-check-") as name:
            home = Path(name).resolve()
            bundle = tiny_bundle(home / "given", labels, native)
            try:
                faultless = _check_export(findings, component, arguments, bundle, home, what)
            except BundleError as error:
                refusals.append(error)
                continue
        if not faultless:
            return
    findings.expect(
        len(refusals) < len(_BUNDLES),
        f"export() refused every bundle of the check: {quoted(str(refusals[-1]) if refusals else '', 200)} It was "
        f"offered {', '.join(_BUNDLES)}, all of a BERT of width 16; at least one of them must be written.",
    )


def _check_export(
    findings: Findings,
    component: type[Exporter],
    arguments: dict[str, Any],
    bundle: Bundle,
    home: Path,
    what: str,
) -> bool:
    """Export one bundle twice; return whether that was faultless."""
    before = bundle.predict(_TEXTS).probabilities
    given = _contents(home)
    written: list[dict[str, bytes]] = []
    for turn, folder in (("", home / "first"), (" a second time, by another object,", home / "second")):
        folder.mkdir()
        working = home / "working"
        working.mkdir(exist_ok=True)
        what = f"export({what}, folder){turn}"
        try:
            with contextlib.chdir(working):
                component(**arguments).export(bundle, folder)
        except BundleError:
            raise
        except Exception as error:
            findings.add(
                f"{what} raised {type(error).__name__}: {quoted(str(error), 200)}. A BundleError that says why is "
                "wanted where a bundle cannot be put into this format."
            )
            return False
        now = _contents(home)
        own = {path: content for path, content in now.items() if path.startswith(f"{folder.name}/")}
        outside = {path: content for path, content in now.items() if path not in own}
        if not _check_outside(findings, what, given, outside) or not _check_files(
            findings, what, folder, own
        ):
            return False
        given = now
        written.append({path.partition("/")[2]: content for path, content in own.items()})
    after = bundle.predict(_TEXTS).probabilities
    return findings.expect(
        sorted(written[0]) == sorted(written[1]),
        f"{what} wrote {_listed(written[1])}, the first time {_listed(written[0])}. The same bundle gives the same "
        "files.",
    ) and findings.expect(
        np.array_equal(before, after, equal_nan=True),  # NaN: a text without content
        f"After {what} the bundle gives other probabilities than before. Export from a copy (copy.deepcopy) of what "
        "you change.",
    )


def _check_outside(findings: Findings, what: str, before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Check that the bundle's folder and the working folder are as they were."""
    places = {"given": "the bundle's own folder", "working": "the working folder"}
    for path in sorted({*before, *after}):
        if before.get(path) == after.get(path):
            continue
        top, _, inner = path.partition("/")
        place = places.get(top, f"{top}, beside the folder")
        verb = "wrote" if path not in before else "deleted" if path not in after else "changed"
        findings.add(
            f"{what} {verb} {inner or path} in {place}. Write into the folder handed over and nowhere else: "
            "`folder / name`."
        )
        return False
    return True


def _check_files(findings: Findings, what: str, folder: Path, own: dict[str, bytes]) -> bool:
    """Check that there are files with content, no links, and nothing pickled."""
    if not any(own.values()):
        findings.add(f"{what} wrote {_listed(own)}. At least one file with something in it is wanted.")
        return False
    links = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink())
    if links:
        findings.add(f"{what} made a link, {links[0]}, which breaks when the folder is moved. Copy the file.")
        return False
    for path, content in own.items():
        pickled = _pickled(content)
        if pickled:
            findings.add(
                f"{what} wrote {path.partition('/')[2]}, which {pickled}: whoever loads it runs the code that it "
                "names. Write weights as safetensors, and facts as JSON."
            )
            return False
    return True


def _pickled(content: bytes) -> str:
    """Say how a file's content is pickled; nothing where it is not."""
    if content[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError, zlib.error):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_LONGEST_MEMBER)
    if zipfile.is_zipfile(io.BytesIO(content)):
        broken = (zipfile.BadZipFile, RuntimeError, NotImplementedError)
        with contextlib.suppress(*broken), zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                inner = _pickled(archive.read(member)) if member.file_size <= _LONGEST_MEMBER else ""
                if inner:
                    return f"is an archive whose member {member.filename} {inner}"
        return ""
    if content[:6] == b"\x93NUMPY":
        header = content[:1024].partition(b"}")[0]
        return "holds numpy objects, which are pickled" if b"'|O'" in header else ""
    return "is pickled" if _is_pickle(content) else ""


def _is_pickle(content: bytes) -> bool:
    """Tell whether bytes begin with a whole pickle. It is read, never run."""
    if content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05":
        return _operations(content) > 0
    # Older pickles have no mark of their own, and a short text may read as one: all of it must be a pickle.
    return content[-1:] == b"." and _operations(content, whole=True) > 2


def _operations(content: bytes, whole: bool = False) -> int:
    """Count the operations of the pickle that content begins with, 0 for none."""
    stream = io.BytesIO(content)
    try:
        count = sum(1 for _ in pickletools.genops(stream))
    except Exception:  # whatever is no pickle: the parser promises no kind of error
        return 0
    return 0 if whole and stream.tell() != len(content) else count


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _listed(files: dict[str, bytes]) -> str:
    return (
        ", ".join(f"{path} ({len(content):,} bytes)" for path, content in sorted(files.items())[:5])
        or "no file"
    )
