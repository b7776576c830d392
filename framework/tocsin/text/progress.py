"""What is shown on a terminal or in a log: a progress bar with rate and time left, and tables at their width."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tocsin.escaping import terminal_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["progress_bar", "table_console"]


def table_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or as whole tables where there is none (a pipe, a log)."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # What is shown comes from data: "[/red]" and ":fire:" are text.
    return Console(stderr=stderr, markup=False, emoji=False, width=None if terminal else 140)


@contextlib.contextmanager
def progress_bar(
    what: str, total: int | None, *, unit: str, show: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the block runs; yields the function that moves it on by a number of units.

    Args:
        what: What is being done, such as "reading".
        total: How many units there are, or about how many; None when nobody knows, then no time left is
            shown.
        unit: What is counted, in the plural ("messages").
        show: False shows nothing.
    """
    if not show:
        yield lambda _: None
        return
    from rich.console import Console  # rich takes longer to import than a small file to read
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:,}} {unit}"),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(terminal_text(what), total=total)
        yield lambda units: bar.advance(task, units)
        done = next(state for state in bar.tasks if state.id == task).completed
        bar.update(task, total=done)  # the total may have been an estimate
