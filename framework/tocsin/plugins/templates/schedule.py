"""A learning rate that stays, then falls."""

from tocsin.plugins import ConfigError, Schedule

__all__ = ["TemplateSchedule"]


class TemplateSchedule(Schedule):
    """The base rate for a share of the steps, then a straight line down to 0.

    Args:
        hold: Share of all optimiser steps at the base rate, 0 up to 1.
    """

    def __init__(self, hold: float = 0.8) -> None:
        if not 0.0 <= hold < 1.0:
            raise ConfigError(
                f"TemplateSchedule: hold is {hold}; wanted a share of the steps, from 0 up "
                "to, not including, 1."
            )
        self.hold = hold

    def factor(self, step: int, total: int) -> float:
        """Return the factor for step `step` (from 0) of `total`."""
        progress = min(1.0, step / max(1, total))
        return min(1.0, (1.0 - progress) / (1.0 - self.hold))
