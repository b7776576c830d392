"""What the settings of the data may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin.batches.corpus import SPLITS
from tocsin.errors import ConfigError

__all__ = [
    "check_counts",
    "check_pair_settings",
    "check_settings",
    "check_share",
    "file_names",
    "packs_passes",
    "pass_budget",
]

_LONGEST = 255  # bytes of a file's name
_SHOWN = 60  # characters of a value that a message quotes
# Measured on two cores: small passes keep activations in the processor's cache; a GPU wants large matrices.
_TOKENS_PER_PASS = {"cpu": 1024, "cuda": 16384}


def pass_budget(given: int | None, trainer: Any) -> int:
    """Return the tokens of a pass: those given, else what suits the Trainer's device (a CPU without a Trainer)."""
    if given is not None:
        return given
    device = trainer.strategy.root_device.type if trainer is not None else "cpu"
    return _TOKENS_PER_PASS.get(device, _TOKENS_PER_PASS["cuda"])


def packs_passes(trainer: Any) -> bool:
    """Return whether the Trainer's model works on the real tokens of a pass alone; a model need not say."""
    packs = getattr(getattr(trainer, "lightning_module", None), "packs", None)
    return packs is not None and bool(packs(trainer.strategy.root_device))


def file_names(names: object, setting: str, *, needed: bool = False) -> list[str]:
    """Return one file name, several or none as a list.

    Args:
        names: A path, a list of paths, or None for none.
        setting: What holds it, for messages.
        needed: Refuse none.

    Raises:
        ConfigError: It is neither; says what it is, and that tables in memory have to be written first.
    """
    several: list[object] = (
        [] if names is None and not needed else [*names] if isinstance(names, list | tuple) else [names]
    )
    paths = [str(one) for one in several if _can_be_a_path(one)]
    if len(paths) == len(several) and (paths or not needed):
        return paths
    wrong = next((one for one in several if not _can_be_a_path(one)), None)
    what = "an empty list" if not several else _said(wrong)
    written = (
        " Write a table to a file first: frame.to_parquet('train.parquet')."
        if hasattr(wrong, "columns")
        else ""
    )
    raise ConfigError(
        f"LabelledMessages: {setting} is {what}; wanted is the path of a message file (Parquet, CSV, TSV, JSON lines), "
        f"or a list of such paths.{written}"
    )


def _can_be_a_path(value: object) -> bool:
    """Tell whether a file can be called so: a message's text is often too long, or holds what no name does."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        return False
    try:
        return all(len(part.encode("utf-8")) <= _LONGEST for part in Path(value).parts)
    except UnicodeEncodeError:
        return False


def _said(value: object) -> str:
    """Say what a value is without showing what is in it: a table may hold private messages."""
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"a {type(value).__name__} of {len(text):,} characters"
    return f"a {type(value).__name__}"


def check_counts(**counts: int) -> None:
    """Refuse a count below 1; ConfigError names it."""
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"LabelledMessages: {name} is {value}; wanted at least 1.")


def check_share(data: str, max_unknown: float) -> float:
    """Return `max_unknown`; ConfigError where it is no share from 0 to 1."""
    if not 0 <= max_unknown <= 1:
        raise ConfigError(f"{data}: max_unknown is {max_unknown}; wanted a share of tokens from 0 to 1.")
    return max_unknown


def check_settings(
    tokens_per_pass: int | None, balanced: float | None, min_positives: int, max_messages: Mapping[str, int]
) -> None:
    """Refuse values that mean nothing; see `LabelledMessages` for what each is.

    Raises:
        ConfigError: Says what was given and what was wanted.
    """
    if tokens_per_pass is not None and tokens_per_pass < 1:
        raise ConfigError(
            f"LabelledMessages: tokens_per_pass is {tokens_per_pass}; wanted at least 1, or null."
        )
    if balanced is not None and not 0 < balanced <= 1:
        raise ConfigError(
            f"LabelledMessages: balanced is {balanced}; wanted a share of messages above 0 and at most 1, such as "
            "0.01, or null for each message once."
        )
    if min_positives < 0:
        raise ConfigError(f"LabelledMessages: min_positives is {min_positives}; wanted at least 0.")
    for split, most in max_messages.items():
        if split not in SPLITS:
            raise ConfigError(
                f"LabelledMessages: max_messages names {split!r}; the splits are {', '.join(SPLITS)}."
            )
        if most < 0:
            raise ConfigError(f"LabelledMessages: max_messages of {split} is {most}; wanted at least 0.")


def check_pair_settings(
    counts: Mapping[str, float | None],
    shares: Mapping[str, float | None],
    held_out: int,
    languages: Sequence[str] | None,
) -> None:
    """Refuse values that mean nothing; see `ParallelSentences` for what each is.

    Args:
        counts: By name, what must be at least 1 or None.
        shares: By name, what must be from 0 to 1 or None.
        held_out: At least 0.
        languages: Not empty.

    Raises:
        ConfigError: Says what was given and what was wanted.
    """
    for name, number in counts.items():
        if number is not None and not number >= 1:
            raise ConfigError(f"ParallelSentences: {name} is {number}; wanted at least 1.")
    if held_out < 0:
        raise ConfigError(f"ParallelSentences: held_out is {held_out}; wanted at least 0.")
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise ConfigError(f"ParallelSentences: {name} is {share}; wanted a number from 0 to 1.")
    if languages is not None and not languages:
        raise ConfigError("ParallelSentences: languages is empty; wanted codes, or null for all languages.")
