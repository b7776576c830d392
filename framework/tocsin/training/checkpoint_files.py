"""Checkpoint files that survive a kill, a full disk and a flipped byte, and execute nothing when read."""

import errno
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from tocsin.errors import CheckpointError
from tocsin.files import FullDiskWarning, file_sha256, fsync_path, temporary_name, write_text
from tocsin.training.checkpoint_format import (
    PlainDataError,
    check_content,
    hash_with_footer,
    read_footer,
    write_footer,
)
from tocsin.training.portable_paths import with_absolute_paths, with_portable_paths

__all__ = ["RUN_KEY", "AtomicCheckpointIO", "CheckpointWarning", "manifest_path", "verify_checkpoint"]

RUN_KEY = "tocsin_run"
"""Key, in a checkpoint, of what a run goes on from beside Lightning's own state."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class CheckpointWarning(UserWarning):
    """A checkpoint was read that cannot be compared with what was written."""


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Return where a checkpoint's hash is kept: NAME.ckpt.sha256 beside NAME.ckpt."""
    return Path(f"{os.fspath(path)}.sha256")


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its place, then renames it; reads plain data only, and only unaltered bytes.

    Lightning's own writer goes through the system's temporary folder without fsync: on another filesystem a
    full disk replaces a good checkpoint by a torn one.

    The SHA-256 of the file's bytes stands at its end (see `checkpoint_format`). Beside NAME.ckpt lies the manifest
    NAME.ckpt.sha256: JSON with the SHA-256 of the whole file and the size in bytes. While a checkpoint replaces
    another, the manifest admits both, so that a kill at any moment leaves a pair that agrees.

    Attributes:
        kept: Path of a checkpoint -> where the one that a save replaces is kept.
    """

    def __init__(self) -> None:
        self.kept: dict[Path, Path] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`, whole or not at all.

        Args:
            checkpoint: Plain data: tensors, numbers, texts, lists and dicts of them.
            path: A local file; its folder is made where it is missing.
            storage_options: Must be None.

        Raises:
            CheckpointError: The disk is full or read-only, or the checkpoint holds more than plain data. The
                checkpoint that stood at `path` stays loadable.
        """
        if storage_options is not None:
            raise CheckpointError(
                f"{path}: storage options are for remote stores; checkpoints are local files"
            )
        target = _local(path)

        def write(temporary: Path) -> dict[str, Any]:
            entry = _write(_with_callbacks(checkpoint, with_portable_paths, target.parent), temporary)
            _check_plain(temporary, target)
            return entry

        self._replace(target, write)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data, after comparing its bytes with its digests.

        Args:
            path: A local file.
            map_location: Where tensors go; the CPU unless said otherwise.
            weights_only: Not honoured: a checkpoint never gets to run code.

        Raises:
            CheckpointError: The file is missing, torn or altered, of a later version, of absurd size, or wants code
                to be run.
        """
        source = _local(path)
        footer = verify_checkpoint(source)
        try:
            loaded = torch.load(source, map_location=map_location or "cpu", weights_only=True)
        except UnpicklingError as error:
            raise _foreign(source, _first_line(error)) from error
        except MemoryError:
            raise
        except Exception as error:  # whatever a damaged file makes torch say
            raise CheckpointError(
                f"{source} cannot be read as a checkpoint; it is torn or another kind ({_first_line(error)})"
            ) from error
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{source} holds a {type(loaded).__name__}, not a checkpoint's dict")
        if RUN_KEY in loaded and not footer:
            raise CheckpointError(f"{source} was altered or damaged: the digest at its end is gone")
        return _with_callbacks(loaded, with_absolute_paths, source.parent)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint and its manifest; nothing happens when they are not there."""
        target = _local(path)
        target.unlink(missing_ok=True)
        manifest_path(target).unlink(missing_ok=True)

    def duplicate(self, path: str | os.PathLike[str], copy: str | os.PathLike[str]) -> None:
        """Write the checkpoint at `path` to `copy` too: bytes of their own, so that damage to one spares the other.

        Raises:
            CheckpointError: The disk is full or read-only; what stood at `copy` stays loadable.
        """
        source = _local(path)

        def write(temporary: Path) -> dict[str, Any]:
            shutil.copyfile(source, temporary)
            fsync_path(temporary)
            return _entries(source)[0]

        self._replace(_local(copy), write)

    def _replace(self, target: Path, write: Any) -> None:
        """Let `write(temporary)` make the file that then takes the place of `target`."""
        temporary, kept = temporary_name(target), self.kept.get(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                entry = write(temporary)
            except OSError as error:
                if error.errno not in _NO_SPACE or kept is None or not kept.exists():
                    raise
                # `target` itself still stands: what it replaced makes room.
                temporary.unlink(missing_ok=True)
                self.remove_checkpoint(kept)
                warnings.warn(
                    f"{kept} was removed to make room for {target.name}: {error}",
                    FullDiskWarning,
                    stacklevel=4,
                )
                entry = write(temporary)
            if kept is not None and target.exists():
                _keep(target, kept)
            _put_in_place(temporary, target, entry)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{target}: the checkpoint could not be written ({type(error).__name__}: {error}); an "
                "earlier checkpoint of that name is kept. Is the disk full, or the folder read-only?"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def verify_checkpoint(path: Path) -> bool:
    """Compare a checkpoint's bytes with its digests, and its sizes and shapes with reason; nothing is loaded.

    Returns:
        Whether the file carries its own digest. One without digest and manifest is warned of.

    Raises:
        CheckpointError: See `AtomicCheckpointIO.load_checkpoint`.
    """
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        there = f"; there: {', '.join(others)}" if others else ""
        raise CheckpointError(f"{path}: there is no such checkpoint{there}")
    try:
        own, admitted = read_footer(path), _admitted(path)
        size = path.stat().st_size
        if admitted and not any(entry["bytes"] == size for entry in admitted):
            raise CheckpointError(
                f"{path} is torn: it has {size:,} bytes, its manifest says {admitted[0]['bytes']:,}"
            )
        if own is not None or admitted:
            whole, before = hash_with_footer(path)
            if admitted and not any(entry["sha256"] == whole for entry in admitted):
                raise CheckpointError(
                    f"{path} was altered or damaged: its SHA-256 is {whole}, its manifest says "
                    f"{admitted[0]['sha256']}. Take another checkpoint"
                )
            if own is not None and own.sha256 != before:
                raise CheckpointError(
                    f"{path} was altered or damaged: the SHA-256 of its content is {before}, at its end stands "
                    f"{own.sha256}. Take another checkpoint"
                )
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
    try:
        check_content(path)
    except PlainDataError as error:
        raise _foreign(path, str(error).rpartition(": ")[2]) from error
    if own is None and not admitted:
        rank_zero_warn(
            f"{path} has neither a digest nor a manifest: damage to its numbers could not be noticed.",
            category=CheckpointWarning,
        )
    return own is not None


class _HashingFile(io.RawIOBase):
    """Passes bytes on to a file and hashes them on the way, so that a large checkpoint is not read again.

    The last write is not hashed yet: the archive's end is changed when the footer is written.
    """

    def __init__(self, file: io.BufferedWriter) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.last = b""
        self.error: OSError | None = None  # torch.save tells of it in words of its own

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(self.last)
        if memoryview(data).nbytes <= io.DEFAULT_BUFFER_SIZE:
            self.last = bytes(data)
        else:
            self.last = b""
            self.hash.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _with_callbacks(
    checkpoint: dict[str, Any], change: Callable[[Any, Path], Any], folder: Path
) -> dict[str, Any]:
    """Return a checkpoint whose callbacks' states are changed; a ModelCheckpoint of the user's names files by path."""
    if "callbacks" not in checkpoint:
        return checkpoint
    return {**checkpoint, "callbacks": change(checkpoint["callbacks"], folder)}


def _write(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    saves = checkpoint.get(RUN_KEY, {}).get("save", 0)
    with open(path, "wb") as file:
        hashing = _HashingFile(file)
        try:
            torch.save(checkpoint, hashing)  # type: ignore[arg-type]
        except RuntimeError:
            if hashing.error is None:
                raise
            raise hashing.error from None
        step = checkpoint.get("global_step", 0)
        write_footer(file, hashing.hash, hashing.last, save=saves, step=step if isinstance(step, int) else 0)
        file.flush()
        os.fsync(file.fileno())
    hashing.hash.update(hashing.hash.hexdigest().encode())  # the digest is part of the file
    return {"sha256": hashing.hash.hexdigest(), "bytes": path.stat().st_size}


def _check_plain(written: Path, target: Path) -> None:
    """Refuse now, at the first save, what a resumed run could not read."""
    try:
        check_content(written)
    except PlainDataError as error:
        raise CheckpointError(
            f"{target}: the state to be saved holds more than plain data ({str(error).rpartition(': ')[2]}), so "
            "that it could never be read again. Keep tensors, numbers, texts, lists and dicts in the state "
            "of modules, data and callbacks."
        ) from error
    except CheckpointError as error:
        raise CheckpointError(
            f"{target}: the state to be saved could never be read again ({error})"
        ) from error


def _keep(target: Path, kept: Path) -> None:
    """Let `kept` be what stands at `target` now; until `target` is replaced in a moment, both are one file."""
    temporary = temporary_name(kept)
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(target, temporary)
        except OSError:  # no links on this filesystem
            shutil.copyfile(target, temporary)
            fsync_path(temporary)
        _put_in_place(temporary, kept, *_entries(target))
    finally:
        temporary.unlink(missing_ok=True)


def _put_in_place(temporary: Path, target: Path, *entries: dict[str, Any]) -> None:
    manifest = manifest_path(target)
    after = [{**entries[0], "previous": list(entries[1:])} if len(entries) > 1 else entries[0]]
    if target.exists():
        # a kill after this line leaves the old bytes, after the next the new ones: the manifest admits both
        write_text(manifest, json.dumps({**entries[0], "previous": [*entries[1:], *_entries(target)]}) + "\n")
    else:
        manifest.unlink(missing_ok=True)  # of a checkpoint whose removal was interrupted
    os.replace(temporary, target)
    fsync_path(target.parent)
    write_text(manifest, json.dumps(after[0]) + "\n")


def _admitted(path: Path) -> list[dict[str, Any]]:
    """What the manifest of a checkpoint admits; nothing where it has none."""
    try:
        with open(manifest_path(path), encoding="utf-8") as file:
            content = json.loads(file.read(1 << 20))
        newest = {"sha256": str(content["sha256"]), "bytes": int(content["bytes"])}
        return [
            newest,
            *(
                {"sha256": str(each["sha256"]), "bytes": int(each["bytes"])}
                for each in content.get("previous", [])
            ),
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(
            f"{manifest_path(path)} is not a checkpoint's manifest ({error}); remove it only if you trust "
            f"{path.name}"
        ) from error


def _entries(path: Path) -> list[dict[str, Any]]:
    """What a manifest of an existing checkpoint is to admit; an entry made now when it has none, or a damaged one."""
    try:
        admitted = _admitted(path)
    except CheckpointError:
        admitted = []
    return admitted or [{"sha256": file_sha256(path), "bytes": path.stat().st_size}]


def _foreign(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a plain-data checkpoint: reading it would run code, which is refused ({what})"
    )


def _local(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if "://" in text:
        raise CheckpointError(
            f"{text}: checkpoints are local files here; for a remote store give the trainer the plugin "
            "lightning.pytorch.plugins.TorchCheckpointIO"
        )
    return Path(text)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
