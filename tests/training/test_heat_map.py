"""The heat map of matching accuracy: what is drawn, in which order, and nothing where it cannot be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from tocsin.models.matching import Figures
from tocsin.training.heat_map import MatchingHeatMap, matching_figure

HISTORY = [
    Figures(
        step,
        {"fra": 0.5 + step / 40, "swh": 0.2 + step / 40, "deu": 0.9},
        {"fra": 1.0, "swh": 2.0, "deu": 1.0},
    )
    for step in range(0, 20, 4)
]


def drawn(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The axes of a picture."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    made: list[Any] = []
    plain = Figure.add_subplot
    monkeypatch.setattr(
        Figure, "add_subplot", lambda self, *a, **k: made.append(plain(self, *a, **k)) or made[-1]
    )
    matching_figure(HISTORY, **options)
    return made[0]


def test_rows_are_languages_hardest_first_and_columns_are_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(monkeypatch)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["swh", "deu", "fra"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "4", "8", "12", "16"]
    values = axes.images[0].get_array()
    np.testing.assert_allclose(values[0], [0.2, 0.3, 0.4, 0.5, 0.6])
    assert [text.get_text() for text in axes.texts[:5]] == [".20", ".30", ".40", ".50", ".60"]
    # White on dark and black on light, so that grey alone is enough to read it.
    assert [text.get_color() for text in axes.texts[:5]] == ["white", "white", "white", "white", "black"]


def test_of_many_columns_the_first_and_last_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(monkeypatch, columns=2, languages=2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "16"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["swh", "deu"]
    assert "1 easier language" in axes.get_title()


def test_the_title_fits_the_narrowest_picture() -> None:
    """A picture's outermost columns of pixels are white: nothing runs over its edges."""
    pytest.importorskip("matplotlib")
    many = {f"l{number:02d}": number / 80 for number in range(80)}
    image = matching_figure([Figures(0, many)], languages=60)
    assert (image[:, [0, -1]] == 255).all()
    assert (image[:60].min(axis=(1, 2)) < 128).any()  # the title is there


def test_a_language_that_came_later_leaves_a_gap() -> None:
    pytest.importorskip("matplotlib")
    image = matching_figure([Figures(0, {"fra": 1.0}), Figures(1, {"fra": 1.0, "swh": 1.0})])
    assert image.ndim == 3
    assert image.dtype == np.uint8


def fitted(folder: Path, history: list[Figures]) -> TensorBoardLogger:
    logger = TensorBoardLogger(str(folder), name="", version="")
    trainer: Any = SimpleNamespace(
        sanity_checking=False, is_global_zero=True, global_step=4, loggers=[logger]
    )
    module: Any = SimpleNamespace(history=history)
    callback = MatchingHeatMap()
    for _ in range(2):
        callback.on_validation_end(trainer, module)
    logger.experiment.close()
    return logger


def images(folder: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return list(events.Tags()["images"])


def test_it_is_written_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    fitted(tmp_path, HISTORY)
    assert images(tmp_path) == ["validation/languages"]


def test_without_history_or_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fitted(tmp_path / "none", [])
    assert images(tmp_path / "none") == []
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends.backend_agg", None)
    with caplog.at_level("INFO"):
        fitted(tmp_path / "without", HISTORY)
    assert images(tmp_path / "without") == []
    assert caplog.text.count("tocsin[figures]") == 1
