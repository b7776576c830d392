"""The chain from raw scores to decisions, and what cross-fitting says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from tests.scores.simulated import World
from tocsin.errors import ConfigError, DataError, LabelError
from tocsin.scores.calibrating import assess_chain
from tocsin.scores.calibration_report import report_sections, report_to_dict
from tocsin.scores.chain import check_applies, fit_chain, ids_digest
from tocsin.scores.crossfit import cross_fitted, fold_numbers, worth_of
from tocsin.scores.insights import worst_errors
from tocsin.scores.metrics import evaluate
from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
from tocsin.scores.statistics import bootstrap, paired_bootstrap
from tocsin.scores.table import ScoresTable


class Shift(Calibrator):
    """Moves logits by what makes the mean probability the prevalence, roughly: the log odds of it."""

    def __init__(self) -> None:
        self.by = 0.0
        self.labels: tuple[str, ...] = ()
        self.seen = 0

    def learn(self, table: ScoresTable) -> None:
        share = np.clip(np.nanmean(table.known_targets("x")), 0.01, 0.99)
        self.by, self.labels, self.seen = float(np.log(share / (1 - share))), table.labels, len(table)

    def apply(self, table: ScoresTable) -> ScoresTable:
        return replace(table, logits_NL=table.logits_NL + self.by)

    def state(self) -> dict[str, Any]:
        return {"by": self.by, "labels": list(self.labels)}

    def restore(self, state: dict[str, Any]) -> Self:
        self.by, self.labels = state["by"], tuple(state["labels"])
        return self


class Above(DecisionRule):
    """On from a quantile of what was learned from."""

    def __init__(self, quantile: float = 0.5) -> None:
        self.quantile = quantile
        self.limit = 0.5

    def learn(self, table: ScoresTable) -> None:
        self.limit = float(np.quantile(table.probabilities, self.quantile))

    def apply(self, table: ScoresTable) -> ScoresTable:
        return replace(table, decisions_NL=table.probabilities >= self.limit)

    def state(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def restore(self, state: dict[str, Any]) -> Self:
        self.limit = state["limit"]
        return self


class Mean(Ensembler):
    """The mean of logits."""

    def learn(self, tables: Any) -> None: ...

    def combine(self, tables: Any) -> ScoresTable:
        return replace(tables[0], logits_NL=np.mean([table.logits_NL for table in tables], axis=0))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> Self:
        return self


def scores(seed: int = 0, rows: int = 200, **fields: Any) -> ScoresTable:
    generator = np.random.default_rng(seed)
    targets_NL = (generator.random((rows, 2)) < 0.3).astype(float)
    given: dict[str, Any] = {
        "ids": [f"m{i}" for i in range(rows)],
        "labels": ("a", "b"),
        "logits_NL": targets_NL * 2 + generator.normal(size=(rows, 2)),
        "targets_NL": targets_NL,
        "langs": np.array(["en", "fr"], dtype=object)[generator.integers(0, 2, rows)],
        "metadata": {"run": "r", "split": "validation"},
    }
    return ScoresTable(**{**given, **fields})


def test_raw_scores_stay_beside_what_the_chain_makes(tmp_path) -> None:
    table = scores()
    chain = fit_chain(table, calibrator=Shift(), decision_rule=Above(0.8))
    result = chain.apply(table)
    by = chain.calibrator.by
    np.testing.assert_array_equal(result.logits_NL, table.logits_NL)
    np.testing.assert_array_equal(result.raw_probabilities, table.probabilities)
    np.testing.assert_allclose(result.probabilities, 1 / (1 + np.exp(-(table.logits_NL + by))), rtol=1e-5)
    np.testing.assert_array_equal(result.decisions_NL, result.probabilities >= chain.decision_rule.limit)
    assert result.metadata["chain"] == chain.name == "Shift -> Above"
    assert chain.facts == {
        "messages": "200",
        "ids_digest": ids_digest(table),
        "scores_digest": chain.facts["scores_digest"],
        "run": "r",
        "split": "validation",
    }

    result.write(tmp_path / "t.parquet")
    back = ScoresTable.read(tmp_path / "t.parquet")
    np.testing.assert_array_equal(back.calibrated_NL, result.calibrated_NL)
    np.testing.assert_array_equal(back.logits_NL, result.logits_NL)
    # figures are those of the chain; fitting and applying anew begin with the raw scores
    assert evaluate(back).macro["f1"] == evaluate(result).macro["f1"] != evaluate(table).macro["f1"]
    again = fit_chain(back, calibrator=Shift(), decision_rule=Above(0.8)).apply(back)
    np.testing.assert_array_equal(again.calibrated_NL, result.calibrated_NL)


def test_every_figure_is_of_the_calibrated_probabilities() -> None:
    """A calibrated table of logits gives the figures, intervals, errors of one that holds its probabilities alone."""
    table = fit_chain(scores(), calibrator=Shift()).apply(scores(1))
    alone = replace(
        table.uncalibrated(),
        logits_NL=None,
        probabilities_NL=table.calibrated_NL,
        decisions_NL=table.decisions_NL,
    )
    for measured, wanted in zip(
        (evaluate(table), worst_errors(table), bootstrap(table, ["macro_brier"], draws=20)["macro_brier"]),
        (evaluate(alone), worst_errors(alone), bootstrap(alone, ["macro_brier"], draws=20)["macro_brier"]),
        strict=True,
    ):
        assert repr(measured) == repr(wanted)
    brier = np.mean((table.calibrated_NL - table.targets_NL) ** 2)
    assert evaluate(table).macro["brier"] == pytest.approx(brier)
    drawn = bootstrap(table, ["macro_brier"], draws=200)["macro_brier"]
    assert drawn.low < brier < drawn.high


def test_single_steps_and_an_ensemble() -> None:
    table, other = scores(), scores(logits_NL=scores().logits_NL + 1)
    only_rule = fit_chain(table, decision_rule=Above()).apply(table)
    assert only_rule.calibrated_NL is None
    assert only_rule.decisions_NL is not None
    only_calibrator = fit_chain(table, calibrator=Shift()).apply(table)
    assert only_calibrator.decisions_NL is None
    chain = fit_chain([table, other], ensembler=Mean(), calibrator=Shift())
    assert chain.name == "Mean -> Shift"
    joint = chain.apply([table, other])
    np.testing.assert_allclose(joint.logits_NL, table.logits_NL + 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        joint.probabilities, 1 / (1 + np.exp(-(table.logits_NL + 0.5 + chain.calibrator.by))), rtol=1e-5
    )
    with pytest.raises(DataError, match="without an ensembler"):
        fit_chain([table, other], calibrator=Shift())
    with pytest.raises(ConfigError, match="none was given"):
        fit_chain(table)


def test_other_labels_and_the_test_split_are_refused() -> None:
    table = scores()
    chain = fit_chain(table, calibrator=Shift())
    with pytest.raises(LabelError):
        chain.apply(replace(table, labels=("b", "a")))
    with pytest.raises(LabelError):
        check_applies(chain, ("a", "c"))
    with pytest.raises(DataError, match="test split"):
        fit_chain(replace(table, metadata={"split": "test"}), calibrator=Shift())


def test_every_language_that_a_state_names_is_tried() -> None:
    class ByLanguage(Above):
        columns = ("lang",)
        limits: ClassVar[Any] = {"nested": [{"es": [0.5]}]}

        def apply(self, table: ScoresTable) -> ScoresTable:
            if "es" in table.langs:
                raise IndexError("list index out of range")
            return super().apply(table)

        def state(self) -> dict[str, Any]:
            return self.limits

    chain = fit_chain(scores(), decision_rule=ByLanguage())
    with pytest.raises(DataError, match="ByLanguage cannot be applied: IndexError"):
        check_applies(chain, ("a", "b"))
    chain.decision_rule.limits = {"nested": [{"fr": [0.5]}]}
    check_applies(chain, ("a", "b"))


def test_folds_follow_from_ids_and_groups_alone() -> None:
    table = scores(slices={"event": np.array(["x", "y", "z", None] * 50, dtype=object)})
    folds = fold_numbers(table, 5)
    assert set(folds) == {0, 1, 2, 3, 4}
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(fold_numbers(table.select(order), 5), folds[order])
    by_event = fold_numbers(table, 5, "event")
    for event in "xyz":
        assert len(set(by_event[table.slices["event"] == event])) == 1
    assert len(set(by_event[3::4])) > 1  # unknown ones are groups of their own
    with pytest.raises(ConfigError, match="folds is 1"):
        fold_numbers(table, 1)
    with pytest.raises(DataError, match="cannot be cut into folds"):
        fold_numbers(table.select(np.arange(1)), 5)


def test_each_message_is_judged_by_steps_that_had_not_seen_it() -> None:
    table = scores()
    chain = fit_chain(table, calibrator=Shift(), decision_rule=Above(0.8))
    held_out, folds = cross_fitted(chain, table, 4), fold_numbers(table, 4)
    for fold in range(4):
        rows = folds == fold
        fitted = fit_chain(table.select(~rows), calibrator=Shift(), decision_rule=Above(0.8))
        assert fitted.calibrator.seen == 200 - rows.sum()
        np.testing.assert_array_equal(
            fitted.apply(table.select(rows)).probabilities, held_out.probabilities[rows]
        )
        np.testing.assert_array_equal(
            fitted.apply(table.select(rows)).decisions_NL, held_out.decisions_NL[rows]
        )
    assert chain.calibrator.seen == 200  # and the chain itself stays what it was
    # a message's own target changes nothing of what it gets
    targets_NL = table.targets_NL.copy()
    targets_NL[17] = 1 - targets_NL[17]
    poisoned = cross_fitted(chain, replace(table, targets_NL=targets_NL), 4)
    np.testing.assert_array_equal(
        poisoned.probabilities[folds == folds[17]], held_out.probabilities[folds == folds[17]]
    )


def test_worth_is_what_scikit_learn_counts() -> None:
    from sklearn.metrics import f1_score

    table = scores()
    on, half = table.probabilities >= 0.7, table.probabilities >= 0.5
    worth = worth_of(table, on, half, Above().worth, draws=200)
    wanted = [f1_score(table.targets_NL[:, i], on[:, i]) for i in range(2)]
    assert [interval.point for interval in worth.labels] == pytest.approx(wanted)
    assert worth.macro.point == pytest.approx(np.mean(wanted))
    assert worth.other_macro.point == pytest.approx(f1_score(table.targets_NL, half, average="macro"))
    assert worth.gain.point == pytest.approx(worth.macro.point - worth.other_macro.point)
    assert worth.gain.low < worth.gain.point < worth.gain.high


@pytest.mark.parametrize("groups", [None, "event"])
def test_its_intervals_are_those_of_an_evaluation(groups: str | None) -> None:
    """`tocsin calibrate` and `tocsin evaluate` say the same of the same decisions, few positives or many."""
    table = World(shares=(0.3, 0.03), messages=300, grouped=True).draw(4)[0]
    on, half = table.probabilities >= 0.2, table.probabilities >= 0.5
    worth = worth_of(table, on, half, Above().worth, draws=150, seed=7, groups=groups)
    for found, threshold in ((worth.macro, 0.2), (worth.other_macro, 0.5)):
        told = bootstrap(table, ["macro_f1"], 150, 7, groups, thresholds=threshold)["macro_f1"]
        assert (found.low, found.high, found.draws) == pytest.approx((told.low, told.high, told.draws))
    decided = [replace(table, logits_NL=np.where(each, 1.0, -1.0)) for each in (on, half)]
    told = paired_bootstrap(*decided, ["macro_f1"], 150, 7, groups)["macro_f1"]
    gain = worth.gain
    assert (gain.low, gain.high, gain.error) == pytest.approx((told.low, told.high, told.error))
    assert gain.share_not_above == told.share_not_above


def test_a_label_that_is_turned_off_is_no_gain() -> None:
    """Precision is undefined there: the mean rises, though the one label that both have got worse."""

    class Precision(Above):
        def worth(self, hits: Any, false_alarms: Any, missed: Any, rejected: Any) -> Any:
            on = hits + false_alarms
            return np.divide(hits, on, out=np.full(on.shape, np.nan), where=on > 0)

    table = World(shares=(0.4, 0.05), messages=600).draw(3)[0]
    half = np.column_stack([table.probabilities[:, 0] >= 0.7, np.ones(600, bool)])
    on = np.column_stack([table.probabilities[:, 0] >= 0.3, np.zeros(600, bool)])
    worth = worth_of(table, on, half, Precision().worth, draws=100)
    assert worth.macro.point > worth.other_macro.point
    assert worth.gain.high < 0
    assert worth.gain.point == pytest.approx(worth.labels[0].point - np.mean(table.targets_NL[half[:, 0], 0]))
    assert (worth.defined, worth.other_defined, worth.compared) == (1, 2, 1)


def test_a_cost_is_read_on_its_own_scale_however_small() -> None:
    table = World(messages=200).draw(1)[0]
    on, half = table.probabilities >= 0.3, table.probabilities >= 0.5

    class Price(Above):
        def worth(self, hits: Any, false_alarms: Any, missed: Any, rejected: Any) -> Any:
            return (5 * missed + false_alarms) / (hits + false_alarms + missed + rejected)

    class Cents(Price):
        def worth(self, *counts: Any) -> Any:
            return super().worth(*counts) * 100

    prices, cents = (worth_of(table, on, half, r.worth, draws=80, share=False) for r in (Price(), Cents()))
    assert prices.macro.high < 1
    assert [100 * prices.macro.low, 100 * prices.macro.high] == pytest.approx(
        [cents.macro.low, cents.macro.high]
    )


def test_a_cost_keeps_its_scale() -> None:
    class Price(Above):
        def worth(self, hits: Any, false_alarms: Any, missed: Any, rejected: Any) -> Any:
            return (5 * missed + false_alarms) / (hits + false_alarms + missed + rejected) * 10

    table = World(messages=200).draw(1)[0]
    half = table.probabilities >= 0.5
    worth = worth_of(table, half, half, Price().worth, draws=100)
    assert worth.macro.low > 1
    assert worth.macro.low < worth.macro.point < worth.macro.high
    assert (worth.gain.point, worth.gain.low, worth.gain.high) == (0, 0, 0)


def test_the_report_says_what_it_says_everywhere() -> None:
    table = scores()
    report = assess_chain(fit_chain(table, calibrator=Shift(), decision_rule=Above(0.8)), table, draws=50)
    plain = report_to_dict(report)
    assert plain["decisions"]["per_label"]["a"]["positives"] == int(table.targets_NL[:, 0].sum())
    assert plain["calibration"]["Brier score"]["before"] == pytest.approx(
        np.mean((table.probabilities - table.targets_NL) ** 2), rel=1e-6
    )
    assert sum(facts["messages"] for facts in plain["languages"].values()) == 200
    titles = [section.title for section in report_sections(report)]
    assert [title.split(",")[0] for title in titles[1:]] == ["Decisions by Above", "Labels", "Languages"]
    empty = replace(table, targets_NL=np.full((200, 2), np.nan))
    nothing = report_to_dict(assess_chain(fit_chain(empty, decision_rule=Above()), empty, draws=10))
    assert nothing["decisions"]["macro"]["point"] is None  # undefined, not 0


class Found(Above):
    """After recall, and says so."""

    aim = "recall"

    @property
    def advice(self) -> str:
        return "Mind the fit."

    def worth(self, hits: Any, false_alarms: Any, missed: Any, rejected: Any) -> Any:
        return np.divide(hits, np.asarray(hits, float) + missed)


@pytest.mark.parametrize(
    ("rule", "beside", "columns"),
    [(Above(0.8), "f1", ["F1", "precision", "recall"]), (Found(0.8), "recall", ["recall", "precision"])],
)
def test_the_aim_stands_once_beside_what_raw_scores_have_of_it(
    rule: DecisionRule, beside: str, columns: list[str]
) -> None:
    table = scores()
    report = assess_chain(fit_chain(table, calibrator=Shift(), decision_rule=rule), table, draws=50)
    changes, decisions, labels, languages = report_sections(report)
    aim, *others = columns
    assert list(labels.columns[3:]) == [f"{aim} at .5", aim, "95% interval", *others]
    for row, half, figure in zip(labels.rows, report.at_half[beside], report.figures[beside], strict=True):
        assert row[3:5] == (f"{half:.3f}", f"{figure:.3f}")
        assert row[5].startswith("[")
    assert ("Mind the fit." in decisions.notes) == (aim == "recall")
    assert changes.rows[0][4][1] in "+-"  # the interval of a difference has signs
    assert any("labels on: the mean number" in note for note in languages.notes)
    half_of = report_to_dict(report)["decisions"]["per_label"]["a"]
    assert half_of["recall_raw_at_half"] == pytest.approx(float(report.at_half["recall"][0]))
