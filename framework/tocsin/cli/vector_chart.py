"""The chart of `tocsin match` and `tocsin sts`: a dot a language and model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.escaping import figure_text, print_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tocsin.vectors import Estimate

__all__ = ["chart", "write_chart"]

# colours that differ for colour-blind eyes (Okabe and Ito 2008); shapes tell them apart in grey
_STYLES = (
    ("#000000", "o"),
    ("#d55e00", "s"),
    ("#0072b2", "^"),
    ("#009e73", "D"),
    ("#cc79a7", "v"),
    ("#e69f00", "P"),
)
_TALLEST = 16.0  # inches: more cannot be seen at a glance
_ROW = 0.13  # inches, the least that keeps the names of languages apart


def chart(figures: Mapping[str, Mapping[str, Estimate]], label: str, limit: float | None = None) -> Figure:
    """Draw a dot a language and model with its interval, languages by the first model's figure, the best on top.

    Args:
        figures: Model -> language -> figure; every model has the same languages.
        label: What is drawn.
        limit: Where to draw a line, if anywhere.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    first, by_first = next(iter(figures.items()))
    languages = sorted(by_first, key=lambda lang: (-by_first[lang].point, lang))
    room = (_TALLEST - 1.5) / len(languages)
    row = min(room, max(_ROW, min(0.1 + 0.1 * len(figures), 9.0 / len(languages))))
    figure = Figure(figsize=(8, 1.5 + len(languages) * row), layout="constrained")
    axes = figure.subplots()
    thickness = 0.7 / len(figures)
    size = min(5.0, max(2.0, 72 * row * thickness))
    for at, (name, by_lang) in enumerate(figures.items()):
        found = [by_lang[lang] for lang in languages]
        # An interval that was moved or clipped may end at the figure itself, but not short of it by more than rounding.
        reach = [
            [max(0.0, one.point - one.low) for one in found],
            [max(0.0, one.high - one.point) for one in found],
        ]
        places = [line + (at - (len(figures) - 1) / 2) * thickness for line in range(len(languages))]
        colour, marker = _STYLES[at % len(_STYLES)]
        axes.errorbar(
            [one.point for one in found], places, xerr=reach, linestyle="none", color=colour, marker=marker,
            markersize=size, elinewidth=0.6, label=figure_text(name),
        )  # fmt: skip
    axes.set_yticks(range(len(languages)), list(map(figure_text, languages)), fontsize=min(7.0, 66 * row))
    axes.set_ylim(len(languages) - 0.4, -0.6)
    axes.grid(axis="both", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"{label} (with 95% interval)")
    if limit is not None:
        axes.axvline(limit, color="0.3", linestyle=":", linewidth=1)
        top = axes.get_xaxis_transform()
        axes.text(limit, 1.0, f"{limit:g}", transform=top, ha="center", va="bottom", fontsize=7, color="0.3")
    order = "highest on top" if len(figures) == 1 else f"in the order of {first}, highest on top"
    axes.set_title(figure_text(f"languages {order}"), fontsize=8, loc="left")
    if len(figures) > 1:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def write_chart(
    path: Path, figures: Mapping[str, Mapping[str, Estimate]], label: str, limit: float | None = None
) -> bool:
    """Write `chart` as PNG and return whether it was: without matplotlib say so on stderr and draw nothing.

    Args:
        path: The PNG to write.
        figures: As in `chart`, like the rest.
        label: What is drawn.
        limit: Where to draw a line, if anywhere.

    Raises:
        ConfigError: The file cannot be written.
    """
    from tocsin.errors import ConfigError
    from tocsin.files import whole_file

    try:
        figure = chart(figures, label, limit)
    except ImportError:
        print_lines(
            f"no {path.name}: pip install 'tocsin[figures]' adds matplotlib, which draws it", stderr=True
        )
        return False
    try:
        with whole_file(path) as part:
            figure.savefig(part, format="png", dpi=130)
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written ({error.strerror or error}).") from error
    return True
