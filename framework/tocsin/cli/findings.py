"""What `tocsin doctor` found: one kind of finding, and how a check that fails becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tocsin.errors import TocsinError

__all__ = ["NOTE", "OK", "PROBLEM", "Finding", "first_line", "guarded", "shortened"]

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        state: `OK`, `NOTE` (worth knowing) or `PROBLEM`.
        text: What was found, one sentence.
        advice: What to do; "" for nothing.
    """

    state: str
    text: str
    advice: str = ""


def guarded(
    what: str, check: Callable[..., Iterable[Finding]], *arguments: object, advice: str = ""
) -> Iterator[Finding]:
    """Yield what a check finds; what it raises is a problem, whatever it is.

    Args:
        what: The thing that is checked, as the beginning of a sentence.
        check: May raise anything: it reads damaged files and imports plugins.
        arguments: Of the check.
        advice: What to do where it raises.
    """
    try:
        yield from check(*arguments)
    except TocsinError as error:
        yield Finding(PROBLEM, shortened(str(error)), advice)
    except Exception as error:
        yield Finding(
            PROBLEM, f"{what} cannot be checked: {type(error).__name__}: {first_line(error)}", advice
        )


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shortened(text: str, most: int = 600) -> str:
    """A message cut where it is long: damaged files make long ones."""
    return text if len(text) <= most else f"{text[:most]} …"
