"""Numbers of a report as text and as JSON, alike in all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["UNDEFINED", "digits_of", "interval_text", "number", "signed", "without_nan"]

UNDEFINED = "–"


def digits_of(figure: str) -> int:
    """Return decimals of a figure beside others' of its kind: 4 for Brier and log loss, which differ by little; else 3.

    Args:
        figure: Such as "macro_brier", or "brier".
    """
    return 4 if figure.endswith(("brier", "log_loss")) else 3


def number(value: float, digits: int = 3) -> str:
    """Return "0.123", or a dash where it is undefined."""
    return f"{value:.{digits}f}" if np.isfinite(value) else UNDEFINED


def signed(value: float, digits: int = 3) -> str:
    """Return "+0.123", or a dash where it is undefined."""
    return f"{value:+.{digits}f}" if np.isfinite(value) else UNDEFINED


def interval_text(low: float, high: float, digits: int = 3, *, plus: bool = False) -> str:
    """Return "[0.123, 0.456]", or a dash where it is undefined.

    Args:
        low: Lower end.
        high: Upper end.
        digits: Decimals.
        plus: Whether the ends carry their signs, as those of differences do.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNDEFINED
    form = signed if plus else number
    return f"[{form(low, digits)}, {form(high, digits)}]"


def without_nan(value: Any) -> Any:
    """Return plain data for JSON: None in place of numbers that are not finite, lists in place of tuples."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
