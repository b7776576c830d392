from __future__ import annotations

import io
import sys
import time

import pytest
from rich.console import Console

from tests.training.tiny import TinyClassifier, TinyData
from tocsin.training import progress
from tocsin.training.progress import FitProgressBar, _Clock, _duration


def fit(trainer, bar: FitProgressBar, **settings: object) -> None:
    trainer(callbacks=[bar], enable_progress_bar=True, enable_checkpointing=False, **settings).fit(
        TinyClassifier(), datamodule=TinyData(batch_size=4)
    )


def test_a_log_gets_plain_lines_at_each_tenth(trainer, capsys) -> None:
    fit(trainer, FitProgressBar())
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("fit: ")]
    assert len(steps) == 10
    assert steps[-1].startswith("fit: step 32/32 (100%), epoch 2, loss 0.")
    assert "messages/s, " in steps[0]
    assert steps[0].endswith(" left")
    validations = [line for line in lines if line.startswith("validation: ")]
    assert [line.split(",")[0] for line in validations] == ["validation: epoch 1", "validation: epoch 2"]
    assert "macro_roc_auc 0." in validations[0]
    assert len(lines) == 12
    assert "\x1b" not in "".join(lines)


def test_the_clock_starts_at_the_first_step_not_with_what_a_model_computes_before(trainer) -> None:
    class Prepares(TinyClassifier):
        def on_train_start(self) -> None:
            self.prepared = time.monotonic()

    bar, model = FitProgressBar(), Prepares()
    trainer(callbacks=[bar], enable_progress_bar=True, enable_checkpointing=False).fit(
        model, datamodule=TinyData(batch_size=4)
    )
    assert bar._clock.started > model.prepared


def test_evaluation_alone_says_its_figures(trainer, capsys) -> None:
    built = trainer(callbacks=[FitProgressBar(every_seconds=0.0)], enable_progress_bar=True)
    built.test(TinyClassifier(), datamodule=TinyData(), verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("test: pass 1/4 (25%)")
    assert lines[-1].startswith("test: macro_roc_auc 0.")


def test_a_terminal_gets_bars(trainer, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    bar = FitProgressBar()
    bar._console_kwargs = {"file": screen, "force_terminal": True, "width": 160}
    fit(trainer, bar)
    shown = screen.getvalue()
    assert "Epoch 1/1" in shown
    assert "loss: 0." in shown
    assert "it/s" in shown
    assert "v_num" not in shown
    assert "fit: step" not in shown


@pytest.fixture(autouse=True)
def _console_is_put_back(monkeypatch: pytest.MonkeyPatch):
    import rich

    monkeypatch.setattr(rich, "_console", Console())


def test_silence_is_broken_after_a_while(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = _Clock(30.0, total=1000)
    assert not clock.due(1)
    now[0] = 31.0
    assert clock.due(2)
    assert not clock.due(3)
    assert clock.due(100)
    clock.messages = 3100
    assert clock.rate(100) == ["100.0 messages/s", "5 min left"]


def test_a_resumed_fit_counts_its_own_steps(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = _Clock(30.0, done=500, total=1000)
    now[0] = 10.0
    assert clock.rate(600) == ["40 s left"]
    assert clock.steps(600) == "step 600/1,000 (60%)"


def test_endless_data_has_no_time_left() -> None:
    clock = _Clock(30.0)
    assert clock.steps(7) == "step 7"
    assert clock.rate(7) == []


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
