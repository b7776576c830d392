# mypy: disable-error-code="empty-body"
"""The hooks of Tocsin: what a plugin may offer and what it may watch.

One rule: a hook may offer a class or observe a moment; it may never change a number. What changes a number
is a component that the YAML names, so that the saved config tells the whole truth.

A plugin is a module with functions of these names, each marked ``@tocsin.plugins.hookimpl``. The offering
hooks are called once, when a verb needs components, each plugin alone. Each returns classes (not objects):
concrete subclasses of the role, every constructor argument annotated and documented, no ``**kwargs``, cheap
and pure to build. A class's name is its short name in YAML, so it must differ from every other component's
of its role. A plugin that raises, returns something else or takes another's name is switched off as a whole
with its cause, and everybody else's work goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pluggy import HookspecMarker

if TYPE_CHECKING:
    from tocsin.labels.schemes import LabelScheme
    from tocsin.models.encoders import Encoder
    from tocsin.models.heads import Head
    from tocsin.models.losses import Loss
    from tocsin.models.optimizers import Optimizer
    from tocsin.models.pooling import Pooling
    from tocsin.models.schedules import Schedule
    from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
    from tocsin.text.cleaners import Cleaner
    from tocsin.text.readers import Reader
    from tocsin.text.splitters import Splitter
    from tocsin.training.runs import Run

hookspec = HookspecMarker("tocsin")


@hookspec
def tocsin_readers() -> Sequence[type[Reader]]:
    """Offer readers: a message file → record batches, chosen by the file's suffix or by name."""


@hookspec
def tocsin_cleaners() -> Sequence[type[Cleaner]]:
    """Offer cleaners: one message's text → its cleaned text, purely."""


@hookspec
def tocsin_splitters() -> Sequence[type[Splitter]]:
    """Offer splitters: a table of messages → each row's split, and what crosses between splits."""


@hookspec
def tocsin_label_schemes() -> Sequence[type[LabelScheme]]:
    """Offer label schemes: ordered label names, and targets ``(N, L)`` of 0, 1 or unknown."""


@hookspec
def tocsin_encoders() -> Sequence[type[Encoder]]:
    """Offer encoders: token ids ``(B, T)`` → hidden states ``(B, T, D)``, with their tokenizer."""


@hookspec
def tocsin_poolings() -> Sequence[type[Pooling]]:
    """Offer poolings: hidden states ``(B, T, D)`` and mask ``(B, T)`` → one vector a message ``(B, D)``."""


@hookspec
def tocsin_heads() -> Sequence[type[Head]]:
    """Offer heads: a pooled vector ``(B, D)`` or hidden states ``(B, T, D)`` → logits ``(B, L)``."""


@hookspec
def tocsin_losses() -> Sequence[type[Loss]]:
    """Offer losses: logits, targets and mask ``(B, L)`` → ``(sum, weight)``."""


@hookspec
def tocsin_optimizers() -> Sequence[type[Optimizer]]:
    """Offer optimisers: a module's parameters → a torch optimiser."""


@hookspec
def tocsin_schedules() -> Sequence[type[Schedule]]:
    """Offer schedules: optimiser steps → factor on the learning rate."""


@hookspec
def tocsin_calibrators() -> Sequence[type[Calibrator]]:
    """Offer calibrators: a scores table → a scores table of calibrated probabilities; fitted state is plain
    data.
    """


@hookspec
def tocsin_ensemblers() -> Sequence[type[Ensembler]]:
    """Offer ensemblers: several scores tables → one scores table; fitted state is plain data."""


@hookspec
def tocsin_decision_rules() -> Sequence[type[DecisionRule]]:
    """Offer decision rules: a scores table → a scores table with decisions; fitted state is plain data."""


@hookspec
def tocsin_run_started(run: Run) -> None:
    """Observe that a run began: called once by ``fit``, ``validate`` and ``test`` when the run's folder
    exists.

    An observer that raises is reported in a warning; the run goes on.
    """


@hookspec
def tocsin_run_ended(run: Run, error: BaseException | None) -> None:
    """Observe that a run ended: called once, after the last file is written.

    ``error`` is None when all went well, else what ended the run. An observer that raises is reported in a
    warning.
    """
