# mypy: disable-error-code="empty-body"
"""The hooks of Tocsin: what a plugin may offer and what it may watch.

One rule: a hook may offer a class or observe a moment; it may never change a number. What changes a number
is a component that the YAML names, so that the saved config tells the whole truth.

A plugin is a module with functions of these names, each marked `@tocsin.plugins.hookimpl`, named by an entry
point of the group `tocsin.v1`. A function may take fewer arguments than its hook, never others.

An **offering** hook is called once, when a verb needs components of its role, each plugin alone. It returns a
list of classes (not of objects): concrete subclasses of the role's base, every constructor argument annotated
and documented, no `*args` or `**kwargs`, cheap and pure to build (the parser may build one three times). A
class's name is its short name in YAML, so it differs from that of every other component of its role. Import
heavy libraries inside the hook, not above it: every verb imports the module. What goes wrong here (an
exception, `sys.exit`, something else than such classes, a name that is taken) switches the plugin off as a
whole: `tocsin plugins --check` names it with its cause, and everybody else's work goes on.

An **observing** hook is called at its moment with what there is to see, and must leave it as it is. What it
raises is reported in a warning; the verb goes on.

Examples of each, ready to run: docs/hooks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pluggy import HookspecMarker

if TYPE_CHECKING:
    from tocsin.bundles.exporters import Exporter
    from tocsin.labels.schemes import LabelScheme
    from tocsin.models.encoders import Encoder
    from tocsin.models.heads import Head
    from tocsin.models.losses import Loss, VectorLoss
    from tocsin.models.optimizers import Optimizer
    from tocsin.models.pooling import Pooling
    from tocsin.models.schedules import Schedule
    from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
    from tocsin.scores.sections import Section
    from tocsin.scores.table import ScoresTable
    from tocsin.text.cleaners import Cleaner
    from tocsin.text.pairs import PairReader
    from tocsin.text.readers import Reader
    from tocsin.text.splitters import Splitter
    from tocsin.training.runs import Run

hookspec = HookspecMarker("tocsin")


# What a message file goes through before any model -------------------------------------------------------------------


@hookspec
def tocsin_readers() -> Sequence[type[Reader]]:
    """Offer readers: a message file -> record batches, in file order.

    Called when a verb reads messages. The YAML names a reader (`data.init_args.reader`); only the core's own
    are also chosen by a file's ending. A bad row is reported with file and row and does not end the file.
    """


@hookspec
def tocsin_pair_readers() -> Sequence[type[PairReader]]:
    """Offer readers of parallel sentences: files -> record batches of (english, text, lang, source).

    Called when a verb reads pairs for distillation. Batches are streamed: no reader may hold its source in
    memory.
    """


@hookspec
def tocsin_cleaners() -> Sequence[type[Cleaner]]:
    """Offer cleaners: one message's text -> its cleaned text.

    Called when a verb reads messages, and when a bundle that names the cleaner is loaded. A cleaner depends
    on the text alone; an empty result is allowed.
    """


@hookspec
def tocsin_splitters() -> Sequence[type[Splitter]]:
    """Offer splitters: a table of messages -> each row's split, and what crosses between splits.

    Called when a verb reads messages. Equal tables and settings must give equal splits on every machine.
    """


@hookspec
def tocsin_label_schemes() -> Sequence[type[LabelScheme]]:
    """Offer label schemes: ordered label names, and targets `(N, L)` of 0, 1 or NaN (unknown).

    Called when a verb reads a YAML's `labels`. The names, in order, are in every checkpoint and bundle. A scheme
    whose property `soft` is true may give any probability in [0, 1].
    """


# The parts of a model ------------------------------------------------------------------------------------------------


@hookspec
def tocsin_encoders() -> Sequence[type[Encoder]]:
    """Offer encoders: token ids `(B, T)` -> hidden states `(B, T, D)`, with their tokenizer.

    Called when a verb builds a model. Weights are read by `load()`, not by the constructor.
    """


@hookspec
def tocsin_poolings() -> Sequence[type[Pooling]]:
    """Offer poolings: hidden states `(B, T, D)` and mask `(B, T)` -> one vector a message `(B, D)`.

    Called when a verb builds a model or loads a bundle. What padding holds must not change the vector.
    """


@hookspec
def tocsin_heads() -> Sequence[type[Head]]:
    """Offer heads: a pooled vector `(B, D)` or hidden states `(B, T, D)` -> logits `(B, L)`.

    Called when a verb builds a model or loads a bundle. A bundle holds the head's weights and its
    constructor's arguments; it is loaded only where the plugin is installed.
    """


@hookspec
def tocsin_losses() -> Sequence[type[Loss]]:
    """Offer losses: logits, targets and mask `(B, L)` -> `(sum, weight)`.

    Called when a verb builds a model. The step divides the sums of all its passes and ranks by their weights;
    a loss that returns a mean trains with another learning rate than its config says.
    """


@hookspec
def tocsin_vector_losses() -> Sequence[type[VectorLoss]]:
    """Offer losses of distillation: vectors of student and teacher `(B, D)` with weights -> `(sum, weight)`.

    Called when a verb builds a distiller. The step divides as for `tocsin_losses`.
    """


@hookspec
def tocsin_optimizers() -> Sequence[type[Optimizer]]:
    """Offer optimisers: parameter groups -> a torch optimiser.

    Called when a verb builds a model.
    """


@hookspec
def tocsin_schedules() -> Sequence[type[Schedule]]:
    """Offer schedules: optimiser step, of how many -> factor on the learning rate.

    Called when a verb builds a model.
    """


# After the scores ----------------------------------------------------------------------------------------------------


@hookspec
def tocsin_calibrators() -> Sequence[type[Calibrator]]:
    """Offer calibrators: a scores table -> the same table with calibrated probabilities.

    Called when a verb fits or applies one. What is learned is plain data, and never from test rows.
    """


@hookspec
def tocsin_ensemblers() -> Sequence[type[Ensembler]]:
    """Offer ensemblers: scores tables of the same messages -> one scores table.

    Called when a verb fits or applies one. What is learned is plain data, and never from test rows.
    """


@hookspec
def tocsin_decision_rules() -> Sequence[type[DecisionRule]]:
    """Offer decision rules: a scores table -> the same table with decisions `(N, L)`.

    Called when a verb fits or applies one. What is learned is plain data, and never from test rows.
    """


@hookspec
def tocsin_exporters() -> Sequence[type[Exporter]]:
    """Offer exporters: a loaded bundle -> files of another format.

    Called by `tocsin export`. The folder becomes visible when the exporter has returned.
    """


# Moments to observe --------------------------------------------------------------------------------------------------


@hookspec
def tocsin_report_sections(scores: ScoresTable) -> Sequence[Section]:
    """Observe a scores table that is being reported, and return sections to stand below the report's own.

    Called by `tocsin evaluate` for each table, and after `fit`, `validate` and `test`. Return `Section`s of
    text; an empty list adds nothing. `scores` must be left as it is. A plugin that raises or returns
    something else is named in a warning, and its sections are left out.
    """


@hookspec
def tocsin_run_started(run: Run) -> None:
    """Observe that a run began.

    Called once by `fit`, `validate` and `test`, on every rank, when the run's folder exists and before
    anything is read. An observer that raises is named in a warning; the run goes on.
    """


@hookspec
def tocsin_run_ended(run: Run, error: BaseException | None) -> None:
    """Observe that a run ended.

    Called once, on every rank, after the last file is written. `error` is None when all went well, else what
    ended the run. An observer that raises is named in a warning.
    """
