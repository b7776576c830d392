"""The chain from raw scores to decisions: ensembler -> calibrator -> decision rule, each of them optional.

A chain is fitted on a validation table, kept in a bundle as plain data, and applied wherever scores are read. The
raw scores stay in the table: `calibrated_NL` and `decisions_NL` come beside them.

N messages, L labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from tocsin.errors import ConfigError, DataError, TocsinError
from tocsin.labels.schemes import check_same_labels
from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
from tocsin.scores.table import ScoresTable

__all__ = ["STEPS", "Chain", "check_applies", "facts_of", "fit_chain", "ids_digest"]

STEPS = ("ensembler", "calibrator", "decision_rule")
"""The roles in a chain, in the order in which they are applied."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Fitted steps for L labels.

    Args:
        labels: The label names in order.
        ensembler: Makes one table out of the members'; None where there is one model.
        calibrator: None for probabilities as they are.
        decision_rule: None for the threshold of whoever applies the chain.
        facts: What it was fitted on, see `facts_of`.

    Raises:
        ConfigError: There is no step at all.
    """

    labels: tuple[str, ...]
    ensembler: Ensembler | None = None
    calibrator: Calibrator | None = None
    decision_rule: DecisionRule | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not list(self.steps()):
            raise ConfigError(
                "A chain needs a calibrator or a decision rule (or an ensembler); none was given."
            )

    def steps(self) -> Iterator[tuple[str, Any]]:
        """Yield each step's role and component, in order."""
        for role in STEPS:
            component = getattr(self, role)
            if component is not None:
                yield role, component

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that applying it reads beside the scores."""
        return tuple(dict.fromkeys(name for _, step in self.steps() for name in step.columns))

    @property
    def name(self) -> str:
        """The steps' names, in order."""
        return " -> ".join(type(step).__name__ for _, step in self.steps())

    def fit(self, tables: ScoresTable | Sequence[ScoresTable]) -> Self:
        """Fit fresh steps of the same classes and arguments; returns another chain and leaves this one alone."""
        fresh = {role: type(step)(**step.arguments) for role, step in self.steps()}
        return fit_chain(tables, **fresh)  # type: ignore[return-value]

    def apply(self, tables: ScoresTable | Sequence[ScoresTable]) -> ScoresTable:
        """Return the table with `calibrated_NL` (where a step changes scores) and `decisions_NL` (where one decides).

        Args:
            tables: One table, or the members' in the order of the fit where the chain begins with an ensembler. What
                an earlier chain put into them is dropped.

        Raises:
            LabelError: Other labels than those the chain was fitted for.
            DataError: A step needs a column that the table lacks.
        """
        raw = _joint(tables, self.ensembler)
        check_same_labels(raw.labels, self.labels, where="this chain", what="the labels of the scores")
        scored = raw if self.calibrator is None else self.calibrator.apply(raw)
        decided = None if self.decision_rule is None else self.decision_rule.apply(scored).decisions_NL
        return replace(
            raw,
            calibrated_NL=None if self.calibrator is None else scored.probabilities,
            decisions_NL=decided,
            metadata={**raw.metadata, "chain": self.name},
        )


def fit_chain(
    tables: ScoresTable | Sequence[ScoresTable],
    *,
    ensembler: Ensembler | None = None,
    calibrator: Calibrator | None = None,
    decision_rule: DecisionRule | None = None,
) -> Chain:
    """Fit the steps one after another, each on what the one before makes of the same messages.

    Args:
        tables: One table of validation scores with targets, or the members' where there is an ensembler.
        ensembler: Changed by the fit, like the other steps.
        calibrator: Likewise.
        decision_rule: Likewise.

    Raises:
        DataError: A table has no targets, is of a test split, or tables differ in their messages.
        LabelError: The tables' labels differ.
        ConfigError: There is no step at all.
    """
    single = [tables] if isinstance(tables, ScoresTable) else list(tables)
    if ensembler is not None:
        ensembler.fit(single)
    table = _joint(single, ensembler)
    chain = Chain(
        labels=table.labels,
        ensembler=ensembler,
        calibrator=calibrator,
        decision_rule=decision_rule,
        facts=facts_of(table),
    )
    if calibrator is not None:
        table = calibrator.fit(table).apply(table)
    if decision_rule is not None:
        decision_rule.fit(table)
    return chain


def facts_of(table: ScoresTable) -> dict[str, str]:
    """Return what a chain notes of the table that it is fitted on.

    `messages`, `ids_digest`, `scores_digest` (of ids, raw scores and targets), and what the table says of itself:
    `run`, `split`, `checkpoint` (SHA-256 of the file whose weights gave the scores) and its `step`.
    """
    told = ("run", "split", "checkpoint", "step")
    return {
        "messages": str(len(table)),
        "ids_digest": ids_digest(table),
        "scores_digest": table.content_digest,
        **{key: table.metadata[key] for key in told if key in table.metadata},
    }


def shared_messages(table: ScoresTable, other: ScoresTable) -> int:
    """Return how many of the other table's messages stand in the first: by id, and with the same scores.

    Ids alone say little: other programs often number the rows of each file.
    """
    places = {repr(one): row for row, one in enumerate(table.ids)}
    rows_M = np.array([places.get(repr(one), -1) for one in other.ids], dtype=np.int64)
    found_NL, told_ML = table.raw_probabilities[rows_M], other.raw_probabilities
    return int(np.count_nonzero((rows_M >= 0) & np.isclose(found_NL, told_ML, rtol=0, atol=1e-6).all(axis=1)))


def ids_digest(table: ScoresTable) -> str:
    """SHA-256 of a table's ids, whatever the order of its rows."""
    return hashlib.sha256(
        "\n".join(sorted(map(repr, table.ids))).encode("utf-8", "surrogatepass")
    ).hexdigest()


def _joint(tables: ScoresTable | Sequence[ScoresTable], ensembler: Ensembler | None) -> ScoresTable:
    members = [tables] if isinstance(tables, ScoresTable) else list(tables)
    if ensembler is not None:
        return ensembler.apply(members).uncalibrated()
    if len(members) != 1:
        raise DataError(
            f"{len(members)} scores tables were given to a chain without an ensembler; one is wanted."
        )
    return members[0].uncalibrated()


def check_applies(chain: Chain, labels: Sequence[str], members: int = 1) -> None:
    """Try a chain on made-up scores, in every language that a state names: it must fit the labels.

    Args:
        chain: Restored.
        labels: Of the bundle, in order.
        members: How many tables an ensembler at its beginning takes.

    Raises:
        LabelError: It, or one of its steps, was fitted for other labels.
        DataError: A step gives no probabilities or decisions.
    """
    check_same_labels(chain.labels, labels, where="the bundle", what="the chain's labels")
    try:
        langs = [None, "en", None, *(_names_in(chain) if "lang" in chain.columns else [])]
        rows = len(langs)
        table = ScoresTable(
            ids=np.arange(rows),
            labels=tuple(labels),
            logits_NL=np.linspace(-3.0, 3.0, rows * len(labels)).reshape(rows, len(labels)),
            langs=np.array(langs, dtype=object),
        )
        result = chain.apply([table] * members)
    except TocsinError:
        raise
    except Exception as error:  # a plugin's component may raise anything
        raise DataError(
            f"The chain {chain.name} cannot be applied: {type(error).__name__}: {error}"
        ) from error
    if chain.decision_rule is not None and result.decisions_NL is None:
        raise DataError(f"The rule {type(chain.decision_rule).__name__} gives no decisions.")


def _names_in(chain: Chain) -> list[str]:
    """Every key of a mapping in the steps' states: those of languages are among them, and others do no harm."""
    found: set[str] = set()
    left: list[Any] = [step.state() for _, step in chain.steps()]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found.update(key for key in value if isinstance(key, str))
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(each for each in value if isinstance(each, dict | list))
    return sorted(found)
