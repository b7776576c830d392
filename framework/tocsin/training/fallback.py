"""Checkpoints that have no room in their folder: in another one, else in memory, until there is room again."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tocsin.errors import CheckpointError
from tocsin.files import FullDiskWarning, fallback_folder, is_no_room
from tocsin.training.checkpoint_files import AtomicCheckpointIO

__all__ = ["FallbackCheckpointIO"]


class FallbackCheckpointIO(AtomicCheckpointIO):
    """Writes as `AtomicCheckpointIO`; a full or read-only disk does not end the fit.

    A checkpoint without room goes to a folder below $TMPDIR, which is named once, and where that has none, stays in
    memory. Each later save tries its own place first, and takes there what had to go elsewhere.

    Attributes:
        moved: Path of a checkpoint -> where it lies instead; None: in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved: dict[Path, Path | None] = {}
        self._memory: dict[Path, bytes] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`, else elsewhere.

        Raises:
            CheckpointError: The checkpoint holds more than plain data.
        """
        target = Path(path)
        try:
            super().save_checkpoint(checkpoint, target, storage_options)
        except (CheckpointError, OSError) as error:
            if not is_no_room(error):
                raise
            self._elsewhere(checkpoint, target, error)
            return
        self._forget(target)
        self._bring_back()

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, wherever it lies."""
        target = Path(path)
        if target in self._memory:
            loaded: dict[str, Any] = torch.load(
                io.BytesIO(self._memory[target]), map_location=map_location or "cpu", weights_only=True
            )
            return loaded
        return super().load_checkpoint(self.where(target) or target, map_location, weights_only)

    def duplicate(self, path: str | os.PathLike[str], copy: str | os.PathLike[str]) -> None:
        """Let the checkpoint at `path` stand at `copy` too, or lie elsewhere with it."""
        source, target = Path(path), Path(copy)
        if source not in self.moved:
            try:
                super().duplicate(source, target)
                self._forget(target)
                return
            except (CheckpointError, OSError) as error:
                if not is_no_room(error):
                    raise
                self._say(target, error)
        # One file for both: neither is replaced but by a whole one.
        self.moved[target] = self.moved.get(source, source)
        self._memory.pop(target, None)
        if source in self._memory:
            self._memory[target] = self._memory[source]

    def where(self, path: Path) -> Path | None:
        """Where a checkpoint lies on a disk: at `path` itself, or what stands in for it; None: in memory alone."""
        return self.moved.get(path, path)

    def _elsewhere(self, checkpoint: dict[str, Any], target: Path, error: Exception) -> None:
        place = _stand_in(target)
        self._say(target, error)
        self._forget(target)
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            super().save_checkpoint(checkpoint, place)
            self.moved[target] = place
        except (CheckpointError, OSError) as second:
            content = io.BytesIO()
            torch.save(checkpoint, content)
            self._memory[target], self.moved[target] = content.getvalue(), None
            warnings.warn(
                f"{target.name} has no room in {place.parent} either ({_short(second)}); it is kept in memory.",
                FullDiskWarning,
                stacklevel=3,
            )

    def _say(self, target: Path, error: Exception) -> None:
        if self.moved:  # said, and nothing has changed since
            return
        folder = _stand_in(target).parent
        warnings.warn(
            f"{target} cannot be written ({_short(error)}). The fit goes on; its checkpoints go to {folder}, and come "
            "back with the first save that has room.",
            FullDiskWarning,
            stacklevel=4,
        )

    def _forget(self, target: Path) -> None:
        """Drop what stood in for a checkpoint that is written anew."""
        place = self.moved.pop(target, None)
        self._memory.pop(target, None)
        if place == _stand_in(target) and place not in self.moved.values():
            super().remove_checkpoint(place)

    def _bring_back(self) -> None:
        """Let checkpoints that lie elsewhere take their own places, now that a save had room."""
        for target, place in list(self.moved.items()):
            try:
                if place is not None:
                    super().duplicate(place, target)
                else:
                    content = io.BytesIO(self._memory[target])
                    super().save_checkpoint(torch.load(content, weights_only=True), target)
            except (CheckpointError, OSError):
                return
            self._forget(target)
            with suppress(OSError):
                _stand_in(target).parent.rmdir()
                _stand_in(target).parent.parent.rmdir()


def _stand_in(target: Path) -> Path:
    return fallback_folder(target.parent.parent) / target.parent.name / target.name


def _short(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause or error).splitlines()[0]
