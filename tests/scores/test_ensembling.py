"""What an ensemble is worth: the figures are those of bootstrap, compare and fits made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.scores.comparison import compare
from tocsin.scores.crossfit import fold_numbers
from tocsin.scores.ensemble_report import ensemble_sections, ensemble_to_dict
from tocsin.scores.ensembling import (
    JUDGED_BY,
    assess_ensemble,
    cross_fitted_joint,
    fit_ensemble,
    joint_table,
    steps_of,
)
from tocsin.scores.roles import Ensembler
from tocsin.scores.statistics import bootstrap, paired_bootstrap
from tocsin.scores.table import ScoresTable

NAMES = ["one", "two", "three"]


class Accurate(Ensembler):
    """Members by the inverse of their mean squared error."""

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        y_NL = tables[0].known_targets("x")
        errors = [np.nanmean((table.probabilities - y_NL) ** 2) for table in tables]
        self.weights_M = 1 / np.array(errors) / np.sum(1 / np.array(errors))
        self.seen = len(tables[0])

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        joint_NL = sum(w * table.logits_NL for w, table in zip(self.weights_M, tables, strict=True))
        return replace(tables[0], logits_NL=joint_NL)

    def state(self) -> dict[str, Any]:
        return {"weights": self.weights_M.tolist()}

    def restore(self, state: dict[str, Any]) -> Self:
        self.weights_M = np.array(state["weights"])
        return self


def members(seed: int = 0, rows: int = 240, count: int = 3, **fields: Any) -> list[ScoresTable]:
    generator = np.random.default_rng(seed)
    truth_NL = generator.normal(size=(rows, 2)) - 0.5
    targets_NL = (generator.random((rows, 2)) < 1 / (1 + np.exp(-2 * truth_NL))).astype(float)
    targets_NL[generator.random((rows, 2)) < 0.1] = np.nan
    given: dict[str, Any] = {
        "ids": [f"{seed} {i}" for i in range(rows)],
        "labels": ("a", "b"),
        "targets_NL": targets_NL,
        "slices": {"event": generator.integers(0, 60, rows)},
        "metadata": {"run": "r", "split": "validation", "train_prevalence": "[0.5, 0.5]"},
    }
    given.update(fields)
    return [
        ScoresTable(logits_NL=2 * truth_NL + generator.normal(size=(rows, 2)) * (1 + m), **given)
        for m in range(count)
    ]


@pytest.mark.parametrize("groups", [None, "event"])
def test_every_figure_is_that_of_the_tools_for_one_or_two_tables(groups: str | None) -> None:
    tables, test = members(), members(1, metadata={"split": "test"})
    chain = fit_ensemble(Accurate(), tables, NAMES, "e")
    report = assess_ensemble(chain, tables, NAMES, "e", test=test, folds=4, groups=groups, draws=60)
    joint = cross_fitted_joint(Accurate(), tables, NAMES, "e", 4, groups)
    applied = joint_table(Accurate().fit(tables), test, NAMES, "e")
    for judgement, of, scores in ((report.fitted, tables, joint), (report.tested, test, applied)):
        np.testing.assert_array_equal(judgement.joint.logits_NL, scores.logits_NL)
        options: dict[str, Any] = {"draws": 60, "groups": groups}
        assert judgement.ensemble == bootstrap(scores, JUDGED_BY, **options)
        assert judgement.members == [bootstrap(table, JUDGED_BY, **options) for table in of]
        for figure in JUDGED_BY:
            points = [found[figure].point for found in judgement.members]
            best = int(np.argmin(points) if figure.endswith(("loss", "brier")) else np.argmax(points))
            assert judgement.best[figure] == best
            wanted = compare(scores, of[best], [figure], **options).figures[figure]
            assert judgement.gains[figure] == wanted.difference
            assert judgement.p_values[figure] == wanted.p_value
    # and without a member: fitted anew
    for member in range(3):
        others = [table for number, table in enumerate(tables) if number != member]
        fewer = cross_fitted_joint(Accurate(), others, NAMES, "e", 4, groups)
        assert report.fitted.added[member] == paired_bootstrap(joint, fewer, JUDGED_BY, 60, groups=groups)
        fewer = Accurate().fit(others).apply([table for number, table in enumerate(test) if number != member])
        assert report.tested is not None
        assert report.tested.added[member] == paired_bootstrap(applied, fewer, JUDGED_BY, 60, groups=groups)
        assert report.tested.without[member]["macro_roc_auc"] == pytest.approx(
            report.tested.ensemble["macro_roc_auc"].point - report.tested.added[member]["macro_roc_auc"].point
        )


def test_each_message_is_judged_by_an_ensembler_that_had_not_seen_it() -> None:
    tables = members()
    joint = cross_fitted_joint(Accurate(), tables, NAMES, "e", 4)
    folds = fold_numbers(tables[0], 4)
    for fold in range(4):
        fitted = Accurate().fit([table.select(folds != fold) for table in tables])
        assert fitted.seen == int((folds != fold).sum())
        np.testing.assert_array_equal(
            fitted.apply([table.select(folds == fold) for table in tables]).logits_NL,
            joint.logits_NL[folds == fold],
        )
    targets_NL = tables[0].targets_NL.copy()
    targets_NL[17] = 1 - targets_NL[17]
    poisoned = cross_fitted_joint(
        Accurate(), [replace(table, targets_NL=targets_NL) for table in tables], NAMES, "e", 4
    )
    same = folds == folds[17]
    np.testing.assert_array_equal(poisoned.logits_NL[same], joint.logits_NL[same])
    assert (poisoned.logits_NL[~same] != joint.logits_NL[~same]).any()


def test_test_rows_teach_nothing() -> None:
    tables = members()
    chain = fit_ensemble(Accurate(), tables, NAMES, "e")
    before = chain.ensembler.state()
    plain = assess_ensemble(chain, tables, NAMES, draws=20)
    for seed in (1, 2):
        test = [replace(table, targets_NL=np.ones((240, 2))) for table in members(seed)]
        found = assess_ensemble(chain, tables, NAMES, test=test, draws=20)
        assert chain.ensembler.state() == before
        np.testing.assert_array_equal(found.fitted.joint.logits_NL, plain.fitted.joint.logits_NL)
        assert found.fitted.gains == plain.fitted.gains
    with pytest.raises(DataError, match="of the test split"):
        fit_ensemble(Accurate(), members(metadata={"split": "test"}), NAMES, "e")


def test_the_order_of_rows_is_nothing() -> None:
    tables = members()
    order = np.random.default_rng(0).permutation(240)
    one = cross_fitted_joint(Accurate(), tables, NAMES, "e")
    other = cross_fitted_joint(Accurate(), [table.select(order) for table in tables], NAMES, "e")
    np.testing.assert_allclose(other.logits_NL, one.logits_NL[order], atol=1e-6)


def test_facts_of_the_joint_table() -> None:
    tables = members()
    tables[1] = replace(tables[1], metadata={"split": "test"})
    joint = joint_table(Accurate().fit(members()), tables, NAMES, "e")
    assert joint.metadata == {
        "run": "e",
        "split": "test",  # one member's rows are a test's, so that nothing may be fitted on them
        "train_prevalence": "[0.5, 0.5]",
        "ensembler": "Accurate",
        "members": json.dumps(NAMES),
    }
    chain = fit_ensemble(Accurate(), members(), NAMES, "e")
    assert chain.facts["run"] == "e"
    assert json.loads(chain.facts["members"]) == NAMES


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_what_is_undefined_is_undefined(value: float) -> None:
    """All negative, all positive, none known: no rank metrics, and None in the JSON; losses where a target is known."""

    class Equal(Accurate):
        def learn(self, tables: Sequence[ScoresTable]) -> None:
            self.weights_M = np.full(len(tables), 1 / len(tables))

    tables = members(targets_NL=np.full((240, 2), value))
    report = assess_ensemble(fit_ensemble(Equal(), tables, NAMES, "e"), tables, NAMES, draws=10)
    plain = ensemble_to_dict(report)
    auc = plain["fitted"]["ensemble"]["macro_roc_auc"]
    assert auc["point"] is None
    assert plain["fitted"]["ensemble_minus_best"]["macro_roc_auc"]["p_value"] is None
    loss = plain["fitted"]["ensemble"]["macro_log_loss"]["point"]
    assert (loss is None) == bool(np.isnan(value))
    json.dumps(plain, allow_nan=False)
    cells = [cell for section in ensemble_sections(report) for row in section.rows for cell in row]
    assert "–" in cells


def test_what_the_only_weighted_member_adds_stays_open() -> None:
    class Only(Accurate):
        """The first member alone counts."""

        def without(self, member: int) -> Self:
            if member == 0:
                raise ConfigError("nothing is left")
            return super().without(member)

        def learn(self, tables: Sequence[ScoresTable]) -> None:
            self.weights_M = np.eye(len(tables))[0]

    tables, test = members(), members(1)
    chain = fit_ensemble(Only(), tables, NAMES, "e")
    done: list[int] = []
    report = assess_ensemble(chain, tables, NAMES, test=test, draws=10, advance=done.append)
    plain = ensemble_to_dict(report)
    for part in ("fitted", "tested"):
        added = plain[part]["ensemble_minus_without"]
        assert [added["one"][figure]["point"] for figure in JUDGED_BY] == [None] * 4
        assert [added["one"][figure]["without"] for figure in JUDGED_BY] == [None] * 4
        assert added["two"]["macro_roc_auc"]["point"] == 0.0
        assert plain[part]["ensemble"]["macro_roc_auc"]["point"] > 0.5
    json.dumps(plain, allow_nan=False)
    rows = {row[0]: row[1:] for row in ensemble_sections(report)[2].rows}
    assert set(rows["one"]) == {"–"}
    assert "–" not in rows["two"]
    assert sum(done) <= steps_of(3, 5, tested=True)


def test_a_single_member_has_nothing_to_be_left_without() -> None:
    tables = members(count=1)
    report = assess_ensemble(fit_ensemble(Accurate(), tables, ["one"], "e"), tables, ["one"], draws=10)
    assert report.fitted.added == []
    assert report.fitted.gains["macro_roc_auc"].point == pytest.approx(0.0, abs=1e-12)
    assert report.fitted.p_values["macro_roc_auc"] == 1.0
    assert len(ensemble_sections(report)) == 2


def test_steps_are_told_as_they_are_done() -> None:
    tables, test = members(), members(1)
    done: list[int] = []
    assess_ensemble(
        fit_ensemble(Accurate(), tables, NAMES, "e"), tables, NAMES, test=test, draws=5, advance=done.append
    )
    assert sum(done) <= steps_of(3, 5, tested=True) <= sum(done) + 6


def test_too_little_is_refused() -> None:
    tables = members()
    chain = fit_ensemble(Accurate(), tables, NAMES, "e")
    with pytest.raises(DataError, match="cannot be cut into folds"):
        assess_ensemble(chain, [table.select(np.arange(1)) for table in tables], NAMES)
    with pytest.raises(ConfigError, match="draws is 0"):
        assess_ensemble(chain, tables, NAMES, draws=0)
    with pytest.raises(ConfigError, match="folds is 1"):
        assess_ensemble(chain, tables, NAMES, folds=1)


def test_the_tables_name_slopes_and_write_losses_with_four_decimals() -> None:
    class Slopes(Accurate):
        apart = 0.5

        @property
        def weight_word(self) -> str:
            return "slope"

        def member_weights(self) -> np.ndarray:
            return np.array([[1.0, 1.0 + self.apart]] * 3)

    tables = members()
    report = assess_ensemble(fit_ensemble(Slopes(), tables, NAMES, "e"), tables, NAMES, draws=20)
    first, gains, added = ensemble_sections(report)
    of = report.fitted.ensemble["macro_brier"]
    assert first.rows[-1][4] == f"{of.point:.4f} [{of.low:.4f}, {of.high:.4f}]"
    loss = report.fitted.gains["macro_log_loss"]
    assert gains.rows[2][4:6] == (f"{loss.point:+.4f}", f"[{loss.low:+.4f}, {loss.high:+.4f}]")
    headings = ("slope", "macro AP without it", "macro AP", "macro ROC-AUC", "macro log loss")
    assert added.columns == ("member", *headings)
    assert added.rows[0][1] == "1.25 [1.00, 1.50]"
    assert added.notes[-1] == "slope: the member's; its mean over labels, in brackets the least and the most."
    Slopes.apart = 0.0  # one number: no word of least and most
    added = ensemble_sections(report)[2]
    assert (added.rows[0][1], added.notes[-1]) == ("1.00", "slope: the member's; the same for all labels.")
