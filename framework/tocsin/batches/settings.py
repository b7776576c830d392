"""What the settings of the data may be."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.batches.corpus import SPLITS
from tocsin.errors import ConfigError

__all__ = ["check_counts", "check_settings"]


def check_counts(**counts: int) -> None:
    """Refuse a count below 1; ConfigError names it."""
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"LabelledMessages: {name} is {value}; wanted at least 1.")


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
