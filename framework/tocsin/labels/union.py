"""Several label schemes as one. N messages, L labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tocsin.errors import LabelError
from tocsin.labels.schemes import LabelScheme
from tocsin.text.readers import Reader

__all__ = ["Union"]


class Union(LabelScheme):
    """Several label schemes as one: the labels of the first, then those of the second, and so on.

    Args:
        schemes: The schemes, in the order in which their labels stand in the logits. No label may stand in two of
            them.
    """

    def __init__(self, schemes: list[LabelScheme]) -> None:
        if not schemes:
            raise LabelError("Union: schemes is empty; name at least one label scheme")
        self.schemes = tuple(schemes)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        owners: dict[str, int] = {}
        for number, scheme in enumerate(self.schemes):
            for name in scheme.names:
                if owners.setdefault(name, number) != number:
                    raise LabelError(
                        f"Union: the label {name!r} stands in scheme {owners[name] + 1} "
                        f"({type(self.schemes[owners[name]]).__name__}) and in scheme {number + 1} "
                        f"({type(scheme).__name__}). Each label needs a name of its own: leave it out of one"
                    )
        return tuple(owners)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of all schemes, in the order of the logits."""
        return self._names

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all schemes, each once."""
        return tuple(dict.fromkeys(name for scheme in self.schemes for name in scheme.columns))

    @property
    def soft(self) -> bool:
        """Whether a scheme among them is."""
        return any(scheme.soft for scheme in self.schemes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of all schemes, each once."""
        return tuple(dict.fromkeys(path for scheme in self.schemes for path in scheme.files))

    @property
    def unnamed(self) -> bool:
        """Whether the names of a scheme among them have still to be found."""
        return any(scheme.unnamed for scheme in self.schemes)

    def find_names(self, paths: Sequence[Path], reader: Reader | None, taken: Sequence[str]) -> None:
        """Let each scheme find its names that has none; see `LabelScheme.find_names`."""
        for scheme in self.schemes:
            if scheme.unnamed:
                others = [name for one in self.schemes if not one.unnamed for name in one.columns]
                scheme.find_names(paths, reader, [*taken, *others])

    def targets(self, table: pa.Table) -> np.ndarray:
        """Return the targets of a table, (N, L) float32; see `LabelScheme.targets`."""
        targets_NL = np.empty((table.num_rows, len(self.names)), np.float32)
        first = 0
        for scheme in self.schemes:
            targets_NL[:, first : first + len(scheme.names)] = scheme.targets(table)
            first += len(scheme.names)
        return targets_NL
