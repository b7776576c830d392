"""A calibrator, ensembler or decision rule on its way through fit, apply, state and restore. N messages, L labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tocsin.errors import DataError, LabelError, TocsinError
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.scored import all_unknown, equal, fields_of, scores, turned, without_positives
from tocsin.plugins.testing.surroundings import kind_of, outcome, quoted
from tocsin.scores.table import ScoresTable

__all__ = ["Trial"]

_MANY_LABELS = 500
_FEW = 40
_UNSEEN = 100  # number of the first invented model whose scores no component learns from
_TOLERANCE = 1e-5  # of a probability, where numbers are added up in another order


@dataclass
class Trial:
    """One component on its way through fit, apply, state and restore.

    Args:
        findings: Where faults go.
        component: Its class.
        arguments: Its constructor's arguments.
        tables: How many tables an ensembler gets at a time; None for a role that takes one table as it is.
        decides: Whether decisions are wanted, not scores.
    """

    findings: Findings
    component: Any
    arguments: dict[str, Any]
    tables: int | None
    decides: bool = False

    def run(self) -> None:
        """Go through everything; later steps are left out where an earlier one makes them meaningless."""
        given = self.make()
        what = self.words("200 messages, 3 labels")
        fitted = self.fitted(given, what)
        result = None if fitted is None else self.applied(fitted, given, what)
        if fitted is None or result is None:
            return
        plain = self.plain_state(fitted, what)
        if not self.check_repeats(fitted, given, result, plain):
            return  # nothing that follows could be compared
        for test in (self.check_targets_unseen, self.check_order_of_rows, self.check_some_rows):
            before = len(self.findings.faults)
            test(fitted, given, result)
            if len(self.findings.faults) > before:
                break  # the next would only show another side of it
        if plain is not None:
            restored = self.restored(plain, given, result)
            self.check_other_labels(fitted, restored, given, result)
        self.check_refusals(fitted)
        if self.tables is not None:
            self.check_members(fitted, given)
        self.check_cases()

    # Handing over ------------------------------------------------------------------------------------------------

    def make(self, count: int | None = None, **options: Any) -> list[ScoresTable]:
        """Invented tables: as many as the role takes, of the same messages, from different models."""
        return [scores(model=model, **options) for model in range(count or self.tables or 1)]

    def hand(self, tables: list[ScoresTable]) -> Any:
        """The tables as the role takes them."""
        return tables[0] if self.tables is None else tables

    def words(self, what: str, count: int | None = None) -> str:
        """A description of tables, for messages."""
        count = count or self.tables or 1
        return f"a table of {what}" if self.tables is None else f"{count} table{'s'[: count - 1]} of {what}"

    def values(self, table: ScoresTable) -> np.ndarray:
        """What the role is there to give: (N, L) decisions or probabilities."""
        return np.asarray(table.decisions_NL) if self.decides else table.probabilities

    def fitted(self, given: list[ScoresTable], what: str, may_refuse: bool = False) -> Any:
        """A fresh component, fitted; None and a fault where that fails."""
        fresh = self.component(**self.arguments)
        before = deepcopy(given)
        try:
            returned = fresh.fit(self.hand(given))
        except Exception as error:
            if not (may_refuse and isinstance(error, TocsinError)):
                hint = (
                    "Unknown targets are NaN and are left out; a label may have no positives, or no targets."
                )
                self.findings.add(
                    f"fit({what}) raised {type(error).__name__}: {quoted(str(error), 200)}. {hint}"
                )
            return None
        if returned is not fresh:
            self.findings.add(
                f"fit({what}) returned {kind_of(returned)}, not the object itself. Write `learn`, and leave `fit` to "
                "the role's base."
            )
            return None
        return fresh if self.unchanged(before, given, f"fit({what})") else None

    def applied(self, fitted: Any, given: list[ScoresTable], what: str) -> ScoresTable | None:
        """The table that it gives; None and a fault where that fails or breaks the contract."""
        before = deepcopy(given)
        what = f"apply({what})"
        done, result = outcome(self.findings, what, lambda: fitted.apply(self.hand(given)))
        if not done:
            return None
        if not isinstance(result, ScoresTable):
            self.findings.add(
                f"{what} gave {kind_of(result)}. A ScoresTable is wanted: dataclasses.replace(table, …) with what is "
                "new."
            )
            return None
        if not self.unchanged(before, given, what) or not self.kept(before[0], result, what):
            return None
        return result if self.right(before[0], result, what) else None

    def unchanged(self, before: list[ScoresTable], after: list[ScoresTable], what: str) -> bool:
        """Check that the tables handed in are as they were."""
        for one, other in zip(before, after, strict=True):
            for name, values in fields_of(one).items():
                if not equal(values, fields_of(other)[name]):
                    self.findings.add(
                        f"{what} changed {name} of the table that it was handed. Work on a copy (array.copy()) and "
                        "give it back with dataclasses.replace(table, …)."
                    )
                    return False
        return True

    def kept(self, table: ScoresTable, result: ScoresTable, what: str) -> bool:
        """Check that messages, labels and targets are those of the (first) table."""
        names: tuple[str, ...] = ("ids", "labels", "targets_NL", "langs", "slices")
        names += ("logits_NL", "probabilities_NL") if self.decides else ()
        before, after = fields_of(table), fields_of(result)
        lost = [name for name in names if not equal(before[name], after[name])]
        return self.findings.expect(
            not lost,
            f"{what} gave a table with other {', '.join(lost)} than it was handed. All but what the role is there for "
            "stays: dataclasses.replace(table, …) keeps it.",
        )

    def right(self, table: ScoresTable, result: ScoresTable, what: str) -> bool:
        """Check that there are decisions, or finite scores."""
        if self.decides:
            return self.findings.expect(
                result.decisions_NL is not None,
                f"{what} gave a table without decisions. Fill them: dataclasses.replace(table, decisions_NL=…), "
                f"{table.ranking_NL.shape} true or false.",
            )
        infinite = int((~np.isfinite(result.ranking_NL)).sum())
        return self.findings.expect(
            infinite == 0,
            f"{what} gave {infinite} infinite logits of {result.ranking_NL.size}. Clip probabilities before taking "
            "their logit, to [1e-7, 1 - 1e-7], or give probabilities.",
        )

    # What must hold ----------------------------------------------------------------------------------------------

    def plain_state(self, fitted: Any, what: str) -> str | None:
        """What `state()` gives, as JSON; None and a fault where JSON cannot hold it."""
        done, state = outcome(self.findings, f"state() after fit({what})", fitted.state)
        if not done:
            return None
        if not isinstance(state, dict):
            self.findings.add(
                f"state() gave {kind_of(state)}. A dict of what was learned is wanted, {{}} for nothing."
            )
            return None
        try:
            return json.dumps(state, allow_nan=False)
        except (TypeError, ValueError) as error:
            self.findings.add(
                f"state() after fit({what}) cannot be written as JSON ({error}): {quoted(state, 100)}. A bundle keeps "
                "it as JSON: turn arrays into lists (array.tolist()), numpy numbers into float, and NaN into None."
            )
            return None

    def check_repeats(
        self, fitted: Any, given: list[ScoresTable], result: ScoresTable, plain: str | None
    ) -> bool:
        """Apply twice, and fit a second object on the same tables; return whether applying gives the same twice."""
        what = self.words("the same messages")
        again = self.applied(fitted, given, what)
        if again is None:
            return False
        if not equal(self.values(again), self.values(result)):
            self.findings.add(
                f"apply({what}) gave other {self.noun} the second time. Applying draws no random number, and learns "
                "nothing."
            )
            return False
        if plain is not None and self.plain_state(fitted, what) != plain:
            self.findings.add(
                "state() was another one after apply(). Applying learns nothing: only `learn` does."
            )
            return False
        other = self.fitted(given, what)
        second = None if other is None else self.applied(other, given, what)
        if second is not None and not equal(self.values(second), self.values(result)):
            self.findings.add(
                f"Two objects with the same arguments, fitted on the same messages, gave different {self.noun}. Give a "
                "random generator a seed of its own: numpy.random.default_rng(seed)."
            )
        return True

    def check_targets_unseen(self, fitted: Any, given: list[ScoresTable], result: ScoresTable) -> None:
        """Take the targets away, then turn them round."""
        for what, change in (
            ("no targets", lambda table: None),
            ("all targets turned round", lambda table: 1 - table.targets_NL),
        ):
            tables = [replace(table, targets_NL=change(table)) for table in given]
            words = self.words(f"the same messages with {what}")
            other = self.applied(fitted, tables, words)
            if other is None:
                return
            if not equal(self.values(other), self.values(result)):
                self.findings.add(
                    f"apply({words}) gave other {self.noun}. Applying must not look at targets: new messages have "
                    "none, and figures on labelled ones would be false."
                )
                return

    def check_order_of_rows(self, fitted: Any, given: list[ScoresTable], result: ScoresTable) -> None:
        """Put the messages into another order: each keeps what it got."""
        order = np.random.default_rng(0).permutation(len(result))
        words = self.words("the same messages in another order")
        other = self.applied(fitted, [table.select(order) for table in given], words)
        if other is not None and not np.allclose(
            self.values(other), self.values(result)[order], rtol=0.0, atol=_TOLERANCE
        ):
            self.findings.add(
                f"apply({words}) gave messages other {self.noun} than before. They must follow from the message's "
                "scores, never from its place."
            )

    def check_some_rows(self, fitted: Any, given: list[ScoresTable], result: ScoresTable) -> None:
        """Hand over some of the messages alone: each keeps what it got among all of them.

        The scores are other ones than those learned from, on which a threshold may lie to the last digit.
        """
        given = [scores(model=_UNSEEN + number) for number in range(len(given))]
        together = self.applied(fitted, given, self.words(f"{len(result)} messages with other scores"))
        if together is None:
            return
        lowest_first = given[0].ranking_NL.sum(1).argsort()
        half = len(given[0]) // 2
        for what, rows in (
            ("one of them alone", lowest_first[half : half + 1]),
            ("the half of them with the highest scores", lowest_first[half:]),
            ("the half of them with the lowest scores", lowest_first[:half]),
        ):
            part = self.applied(fitted, [table.select(rows) for table in given], self.words(what))
            if part is None:
                return
            if not np.allclose(self.values(part), self.values(together)[rows], rtol=0.0, atol=_TOLERANCE):
                self.findings.add(
                    f"apply() gave {len(together)} messages some {self.noun}, and {what} others. A message must get "
                    "the same alone and in any batch: what depends on many messages (a mean, a quantile, a rank) "
                    "belongs into `learn`, which keeps it for state()."
                )
                return

    def restored(self, plain: str, given: list[ScoresTable], result: ScoresTable) -> Any:
        """A fresh component that took over the state, as JSON gives it back; None and a fault where that fails."""
        fresh = self.component(**self.arguments)
        what = f"restore({quoted(json.loads(plain), 100)}) of a fresh object"
        fix = "A bundle keeps the state as JSON, where tuples become lists and keys become text."
        done, returned = outcome(self.findings, what, lambda: fresh.restore(json.loads(plain)), fix)
        if not done:
            return None
        if returned is not fresh:
            self.findings.add(
                f"{what} returned {kind_of(returned)}, not the object itself. End it with `return self`."
            )
            return None
        faults = len(self.findings.faults)
        other = self.applied(fresh, given, f"{self.words('the same messages')}, after restore()")
        if other is None:
            return None
        if not equal(self.values(other), self.values(result)):
            self.findings.add(
                f"After {what}, apply() gave other {self.noun} than the fitted object. state() must hold everything "
                f"that was learned, and restore() must take it all over. {fix}"
            )
        elif self.plain_state(fresh, "restore()") != plain:
            self.findings.add(
                f"After {what}, state() is another one. It must survive being stored more than once."
            )
        return fresh if len(self.findings.faults) == faults else None

    def check_other_labels(
        self, fitted: Any, restored: Any, given: list[ScoresTable], result: ScoresTable
    ) -> None:
        """Hand over the same labels in another order, then others: they must be told apart by name."""
        backwards = [turned(table) for table in given]
        renamed = [replace(table, labels=tuple(f"other {name}" for name in table.labels)) for table in given]
        for object_, which in ((fitted, "fitted"), (restored, "restored")):
            if object_ is None:
                return
            for tables, difference in (
                (backwards, "the same labels in another order"),
                (renamed, "other labels"),
            ):
                words = self.words(difference)
                try:
                    other = object_.apply(self.hand(tables))
                except LabelError:
                    continue
                except Exception as error:
                    said = f"raised {type(error).__name__}: {quoted(str(error), 150)}"
                else:
                    # An ensembler that learned nothing of any label has nothing to compare.
                    same = self.values(other)[:, ::-1] if tables is backwards else self.values(other)
                    if self.tables is not None and equal(np.ascontiguousarray(same), self.values(result)):
                        continue
                    said = "raised nothing"
                self.findings.add(
                    f"apply({words}) of the {which} object {said}. A LabelError is wanted: keep the label names in "
                    "state(), and compare them."
                )
                return

    def check_refusals(self, fitted: Any) -> None:
        """Hand over what the role's base refuses: a component may have written over it."""
        of_test = [replace(table, metadata={**table.metadata, "split": "test"}) for table in self.make()]
        without = [replace(table, targets_NL=None) for table in self.make()]
        self.refused("fit", of_test, "the test split", DataError)
        self.refused("fit", without, "messages without targets", DataError)
        if self.tables is not None:
            first, second = self.make()
            other_ids = [first, replace(second, ids=second.ids[::-1])]
            self.refused("fit", other_ids, "different messages", DataError)
            self.refused("apply", other_ids, "different messages", DataError, fitted)
            self.refused("apply", [first, turned(second)], "labels in different orders", LabelError, fitted)

    def check_members(self, fitted: Any, given: list[ScoresTable]) -> None:
        """Leave a member out, and ask what members count for."""
        done, fewer = outcome(self.findings, "without(0)", lambda: fitted.without(0))
        if done:
            if fewer is fitted or type(fewer) is not type(fitted):
                self.findings.add(
                    f"without(0) gave {'the object itself' if fewer is fitted else kind_of(fewer)}. A fresh ensembler "
                    "of the same class is wanted, to be fitted on the other members' tables."
                )
            else:
                words = "the tables of the other members"
                outcome(self.findings, f"without(0).fit({words})", lambda: fewer.fit(given[1:]))
        done, weights = outcome(self.findings, "member_weights()", fitted.member_weights)
        wanted = (len(given), len(given[0].labels))
        if done and weights is not None and (np.shape(weights) != wanted or not np.isfinite(weights).all()):
            self.findings.add(
                f"member_weights() gave {quoted(weights, 100)}. {wanted} finite numbers are wanted, a row a member "
                "and a column a label; or None."
            )

    def refused(
        self, verb: str, tables: list[ScoresTable], what: str, wanted: type[Exception], by: Any = None
    ) -> None:
        """Check that a verb refuses some tables with an error of ours."""
        action: Callable[[Any], Any] = getattr(by or self.component(**self.arguments), verb)
        inner = {"fit": "learn", "apply": "combine"}[verb]
        try:
            action(self.hand(tables))
        except wanted:
            return
        except Exception as error:
            said = f"raised {type(error).__name__}: {quoted(str(error), 150)}"
        else:
            said = "raised nothing"
        self.findings.add(
            f"{verb}({self.words(what)}) {said}. The role's base raises a {wanted.__name__}: write `{inner}`, and do "
            f"not override `{verb}`."
        )

    def check_cases(self) -> None:
        """Fit and apply where something is scarce, or plenty."""
        cases: list[tuple[str, Callable[[], list[ScoresTable]]]] = [
            ("200 messages, one label without positives", partial(self.changed, without_positives)),
            ("200 messages, one label whose targets are all unknown", partial(self.changed, all_unknown)),
            ("200 messages, probabilities in place of logits", partial(self.make, probabilities=True)),
            ("200 messages, 1 label", partial(self.make, labels=1)),
            (f"{_FEW} messages, {_MANY_LABELS} labels", partial(self.make, rows=_FEW, labels=_MANY_LABELS)),
        ]
        for what, make in cases:
            given, words = make(), self.words(what)
            fitted = self.fitted(given, words)
            if fitted is not None and self.applied(fitted, given, words) is not None:
                self.plain_state(fitted, words)
        self.check_unknown_columns()
        counts = [None] if self.tables is None else [1, 3]
        for count in counts:
            given, words = self.make(count), self.words("200 messages", count)
            fitted = self.fitted(given, words)
            if fitted is not None and self.applied(fitted, given, words) is not None:
                one = [table.select(np.arange(1)) for table in given]
                self.applied(fitted, one, self.words("one message", count))
                # One message may be too little to learn from, but that must be said.
                self.fitted(one, self.words("one message", count), may_refuse=True)

    def check_unknown_columns(self) -> None:
        """Hand over messages of unknown languages: where these are all, a component that reads them may not learn."""
        given = self.make(langs=None, slices={})
        words = self.words("200 messages, no languages and no slices")
        before = len(self.findings.faults)
        fitted = self.fitted(given, words, may_refuse=bool(self.component(**self.arguments).columns))
        if fitted is None and len(self.findings.faults) == before:
            fitted = self.fitted(self.make(), self.words("200 messages"))
        if fitted is not None and self.applied(fitted, given, words) is not None:
            self.plain_state(fitted, words)

    def changed(self, change: Callable[[ScoresTable], ScoresTable]) -> list[ScoresTable]:
        """Invented tables after a change."""
        return [change(table) for table in self.make()]

    @property
    def noun(self) -> str:
        """What the role gives, for messages."""
        return "decisions" if self.decides else "probabilities"
