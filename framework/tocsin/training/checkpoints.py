"""Checkpoint files that survive a kill, a full disk and a flipped byte, and execute nothing when read."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal
from zipfile import BadZipFile

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from tocsin.errors import CheckpointError
from tocsin.files import file_sha256, fsync_path, temporary_name, write_text
from tocsin.training.portable_paths import with_absolute_paths, with_portable_paths

__all__ = ["AtomicCheckpointIO", "BestCheckpoint", "manifest_path"]


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Return where a checkpoint's hash is kept: NAME.ckpt.sha256 beside NAME.ckpt."""
    return Path(f"{os.fspath(path)}.sha256")


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its place, then renames it; reads plain data only, and only unaltered bytes.

    Lightning's own writer goes through the system's temporary folder without fsync: on another filesystem a
    full disk replaces a good checkpoint by a torn one.

    Beside NAME.ckpt lies the manifest NAME.ckpt.sha256: JSON with the SHA-256 and the size in bytes. While a
    checkpoint replaces another, the manifest admits both, so that a kill at any moment leaves a pair that
    agrees.
    """

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
        temporary = temporary_name(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            entry = _write(_with_callbacks(checkpoint, with_portable_paths, target.parent), temporary)
            _check_plain(temporary, target)
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

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data, after comparing its bytes with its manifest where it has one.

        Args:
            path: A local file.
            map_location: Where tensors go; the CPU unless said otherwise.
            weights_only: Not honoured: a checkpoint never gets to run code.

        Raises:
            CheckpointError: The file is missing, torn or altered, or wants code to be run.
        """
        source = _local(path)
        _verify(source)
        try:
            loaded = torch.load(source, map_location=map_location or "cpu", weights_only=True)
        except UnpicklingError as error:
            raise CheckpointError(
                f"{source} is not a plain-data checkpoint: reading it would run code, which is refused "
                f"({_first_line(error)})"
            ) from error
        except (RuntimeError, EOFError, ValueError, OSError, BadZipFile) as error:
            raise CheckpointError(
                f"{source} cannot be read as a checkpoint; it is torn or another kind ({_first_line(error)})"
            ) from error
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{source} holds a {type(loaded).__name__}, not a checkpoint's dict")
        return _with_callbacks(loaded, with_absolute_paths, source.parent)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint and its manifest; nothing happens when they are not there."""
        target = _local(path)
        target.unlink(missing_ok=True)
        manifest_path(target).unlink(missing_ok=True)

    def duplicate(self, path: str | os.PathLike[str], copy: str | os.PathLike[str]) -> None:
        """Let the checkpoint at `path` stand at `copy` too, without writing it again where links work.

        A hard link is safe: a save replaces a name and never writes into the file behind it.

        Raises:
            CheckpointError: The disk is full or read-only; what stood at `copy` stays loadable.
        """
        source, target = _local(path), _local(copy)
        temporary = temporary_name(target)
        try:
            temporary.unlink(missing_ok=True)
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            _put_in_place(temporary, target, _entries(source)[0])
        except OSError as error:
            raise CheckpointError(f"{target}: the checkpoint could not be written ({error})") from error
        finally:
            temporary.unlink(missing_ok=True)


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` (best score of the validation set) and `last.ckpt` (latest epoch; resume from it).

    Each name is overwritten; `last.ckpt` is written after every validation and at the end of a fit, whether
    or not the score rose. Without validation data only `last.ckpt` is kept.

    Args:
        monitor: Logged metric that decides; null: the model's own, validation/macro_roc_auc of a classifier and
            validation/matching of a distiller.
        mode: "max" when higher is better, "min" when lower is.
        dirpath: Folder of the checkpoints; null: `checkpoints` in the folder of the first logger.
        verbose: Say each time when the best changes.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        dirpath: str | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            verbose=verbose,
            save_last=True,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,  # otherwise a second best is best-v1.ckpt
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the model's own metric where none is given."""
        if self.monitor is None:
            self.monitor = str(getattr(pl_module, "monitored", "validation/macro_roc_auc"))
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so when there will be no best checkpoint."""
        super().on_train_start(trainer, pl_module)
        if not _validates(trainer):
            rank_zero_info("No validation data: there is no best checkpoint, only last.ckpt is kept.")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the validation that closes an epoch."""
        if self._should_save_on_train_epoch_end(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a validation in the middle of an epoch."""
        if not self._should_save_on_train_epoch_end(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Renew last.ckpt when the fit ended in the middle of an epoch."""
        # a fit that max_steps or a deadline ended in the middle of an epoch
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save(self, trainer: pl.Trainer) -> None:
        # Lightning renews last.ckpt only when the best changed: a resumed run would lose the epochs since
        # then.
        if self._should_skip_saving_checkpoint(trainer):
            return
        candidates = self._monitor_candidates(trainer)
        before = self._last_global_step_saved
        last = self.format_checkpoint_name(candidates, self.CHECKPOINT_NAME_LAST)
        if _validates(trainer):
            self.last_model_path = last  # part of the state that is saved with the best
            self._save_topk_checkpoint(trainer, candidates)
        files = trainer.strategy.checkpoint_io
        if self._last_global_step_saved != before and isinstance(files, AtomicCheckpointIO):
            if trainer.is_global_zero:
                files.duplicate(self.best_model_path, last)
            trainer.strategy.barrier("BestCheckpoint.last")
        else:
            self._save_last_checkpoint(trainer, candidates)


def _validates(trainer: pl.Trainer) -> bool:
    batches = trainer.num_val_batches
    return (sum(batches) if isinstance(batches, list) else batches) > 0


class _HashingFile(io.RawIOBase):
    """Passes bytes on to a file and hashes them on the way, so that a large checkpoint is not read again."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.bytes += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _write(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    with open(path, "wb") as file:
        hashing = _HashingFile(file)
        torch.save(checkpoint, hashing)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": hashing.hash.hexdigest(), "bytes": hashing.bytes}


def _with_callbacks(
    checkpoint: dict[str, Any], change: Callable[[Any, Path], Any], folder: Path
) -> dict[str, Any]:
    """Return a checkpoint whose callbacks' states are changed; they name the best and the last checkpoint by path."""
    if "callbacks" not in checkpoint:
        return checkpoint
    return {**checkpoint, "callbacks": change(checkpoint["callbacks"], folder)}


def _check_plain(written: Path, target: Path) -> None:
    """Refuse now, at the first save, what a resumed run could not read."""
    foreign = torch.serialization.get_unsafe_globals_in_checkpoint(written)
    if foreign:
        raise CheckpointError(
            f"{target}: the state to be saved holds more than plain data ({', '.join(sorted(foreign))}), so "
            "that it could never be read again. Keep tensors, numbers, texts, lists and dicts in the state "
            "of modules, data and callbacks."
        )


def _put_in_place(temporary: Path, target: Path, entry: dict[str, Any]) -> None:
    manifest = manifest_path(target)
    if target.exists():
        # a kill after this line leaves the old bytes, after the next the new ones: the manifest admits both
        write_text(manifest, json.dumps({**entry, "previous": _entries(target)}) + "\n")
    else:
        manifest.unlink(missing_ok=True)  # of a checkpoint whose removal was interrupted
    os.replace(temporary, target)
    fsync_path(target.parent)
    write_text(manifest, json.dumps(entry) + "\n")


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return what the manifest of an existing checkpoint admits; one entry made now when it has none."""
    try:
        content = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        newest = {"sha256": str(content["sha256"]), "bytes": int(content["bytes"])}
        return [newest, *content.get("previous", [])]
    except FileNotFoundError:
        return [{"sha256": file_sha256(path), "bytes": path.stat().st_size}]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{manifest_path(path)} is not a checkpoint's manifest ({error}); remove it only if you trust "
            f"{path.name}"
        ) from error


def _verify(path: Path) -> None:
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        there = f"; there: {', '.join(others)}" if others else ""
        raise CheckpointError(f"{path}: there is no such checkpoint{there}")
    if not manifest_path(path).exists():
        return  # written by another program; it is still read as plain data
    admitted = _entries(path)
    size = path.stat().st_size
    if not any(entry["bytes"] == size for entry in admitted):
        raise CheckpointError(
            f"{path} is torn: it has {size:,} bytes, its manifest says {admitted[0]['bytes']:,}"
        )
    digest = file_sha256(path)
    if not any(entry["sha256"] == digest for entry in admitted):
        raise CheckpointError(
            f"{path} was altered or damaged: its SHA-256 is {digest}, its manifest says "
            f"{admitted[0]['sha256']}. Take another checkpoint"
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
