"""Right calibrators, ensemblers and rules of unusual kinds pass; those that look at other messages do not.

N messages, L labels, K tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tests.plugins.testing.rejections import only_fault
from tocsin.labels.schemes import check_same_labels
from tocsin.plugins.testing import check_calibrator, check_decision_rule, check_ensembler
from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler
from tocsin.scores.table import ScoresTable


def log_odds(table: ScoresTable) -> np.ndarray:
    p_NL = np.clip(table.probabilities, 1e-7, 1 - 1e-7)
    return np.log(p_NL / (1 - p_NL))


class _Learned:
    """One plain dictionary, with the labels' names."""

    learned: dict[str, Any]

    def state(self) -> dict[str, Any]:
        return self.learned

    def restore(self, state: dict[str, Any]) -> Self:
        self.learned = state
        return self

    def compare(self, table: ScoresTable) -> None:
        check_same_labels(table.labels, tuple(self.learned["labels"]), where="what was learned")


class _Isotonic(_Learned, Calibrator):
    """Isotonic regression of each label, clipped."""

    def learn(self, table: ScoresTable) -> None:
        steps = []
        targets_NL = table.known_targets("Calibration")
        for label in range(len(table.labels)):
            known_N = ~np.isnan(targets_NL[:, label])
            if known_N.sum() < 2:
                steps.append([[0.0, 1.0], [0.0, 1.0]])
                continue
            fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
                table.probabilities[known_N, label], targets_NL[known_N, label]
            )
            steps.append([fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()])
        self.learned = {"labels": list(table.labels), "steps": steps}

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        p_NL = np.stack(
            [
                np.interp(p_N, *step)
                for p_N, step in zip(table.probabilities.T, self.learned["steps"], strict=True)
            ],
            axis=1,
        )
        return replace(table, logits_NL=None, probabilities_NL=np.clip(p_NL, 1e-4, 1 - 1e-4))


class _PerLanguage(_Learned, Calibrator):
    """A temperature for each language with enough known targets, and one for the others."""

    def learn(self, table: ScoresTable) -> None:
        targets_NL = table.known_targets("Calibration")
        logits_NL, known_NL = log_odds(table), ~np.isnan(targets_NL)
        langs_N = self.langs(table)
        self.learned = {
            "labels": list(table.labels),
            "": self.best(logits_NL[known_NL], targets_NL[known_NL]),
        }
        for lang in {str(lang) for lang in langs_N} - {""}:
            known_here_NL = known_NL & (langs_N == lang)[:, None]
            if known_here_NL.sum() >= 30:
                self.learned[lang] = self.best(logits_NL[known_here_NL], targets_NL[known_here_NL])

    def langs(self, table: ScoresTable) -> np.ndarray:
        none = [""] * len(table)
        return np.array(none if table.langs is None else [lang or "" for lang in table.langs], dtype=object)

    def best(self, logits: np.ndarray, targets: np.ndarray) -> float:
        temperatures = [0.5, 1.0, 2.0, 4.0, 8.0]
        losses = [np.mean(np.logaddexp(0, logits / t) - targets * logits / t) for t in temperatures]
        return temperatures[int(np.argmin(losses))]

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        temperatures_N = np.array([self.learned.get(lang, self.learned[""]) for lang in self.langs(table)])
        return replace(table, logits_NL=log_odds(table) / temperatures_N[:, None], probabilities_NL=None)


class _Stacking(_Learned, Ensembler):
    """A logistic regression of each label on the log odds of all tables."""

    def learn(self, tables: Sequence[ScoresTable]) -> None:
        targets_NL, weights = tables[0].known_targets("Stacking"), []
        for label in range(len(tables[0].labels)):
            odds_NK = np.stack([log_odds(table)[:, label] for table in tables], axis=1)
            known_N = ~np.isnan(targets_NL[:, label])
            if len(np.unique(targets_NL[known_N, label])) < 2:
                weights.append([1 / len(tables)] * len(tables) + [0.0])
                continue
            fitted = LogisticRegression().fit(odds_NK[known_N], targets_NL[known_N, label])
            weights.append([*fitted.coef_[0].tolist(), float(fitted.intercept_[0])])
        self.learned = {"labels": list(tables[0].labels), "weights": weights}

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        self.compare(tables[0])
        weights = np.array(self.learned["weights"])
        odds_NLK = np.stack([log_odds(table) for table in tables], axis=2)
        logits_NL = (odds_NLK * weights[:, :-1]).sum(2) + weights[:, -1]
        return replace(tables[0], logits_NL=logits_NL, probabilities_NL=None)


class _TopTwo(_Learned, DecisionRule):
    """The two likeliest labels of each message."""

    def learn(self, table: ScoresTable) -> None:
        self.learned = {"labels": list(table.labels)}

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        ranks_NL = (-table.ranking_NL).argsort(1, kind="stable").argsort(1)
        return replace(table, decisions_NL=ranks_NL < 2)


class _Best(_Learned, DecisionRule):
    """For each label the score, of those that it learned from, with the best F1: decisions there hang on a digit."""

    def learn(self, table: ScoresTable) -> None:
        targets_NL = table.known_targets("Thresholds")
        cut = []
        for p_N, targets_N in zip(table.probabilities.T, targets_NL.T, strict=True):
            scores = [
                2 * np.sum((p_N >= p) & (targets_N == 1)) / max(1, np.sum(p_N >= p) + np.sum(targets_N == 1))
                for p in p_N
            ]
            cut.append(float(p_N[int(np.argmax(scores))]))
        self.learned = {"labels": list(table.labels), "cut": cut}

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        return replace(table, decisions_NL=table.probabilities >= np.array(self.learned["cut"]))


@pytest.mark.parametrize(
    ("check", "component"),
    [
        (check_calibrator, _Isotonic),
        (check_calibrator, _PerLanguage),
        (check_ensembler, _Stacking),
        (check_decision_rule, _TopTwo),
        (check_decision_rule, _Best),
    ],
)
def test_unusual_ones_pass(check: Any, component: type) -> None:
    check(component)


class _WrongQuantile(_TopTwo):
    """The likeliest third of the table."""

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        return replace(table, decisions_NL=table.ranking_NL >= np.quantile(table.ranking_NL, 2 / 3, axis=0))


class _WrongBest(_TopTwo):
    """Each label's likeliest ten messages, where there are as many."""

    def apply(self, table: ScoresTable) -> ScoresTable:
        self.compare(table)
        ranks_NL = (-table.ranking_NL).argsort(0, kind="stable").argsort(0)
        return replace(table, decisions_NL=ranks_NL < 10)


class _WrongCentred(_PerLanguage):
    """Moves the table's mean to 0."""

    def apply(self, table: ScoresTable) -> ScoresTable:
        scaled = super().apply(table)
        odds_NL = log_odds(scaled)
        return replace(scaled, logits_NL=odds_NL - odds_NL.mean(0), probabilities_NL=None)


class _WrongRanks(_Stacking):
    """The mean of each message's rank in the table."""

    def combine(self, tables: Sequence[ScoresTable]) -> ScoresTable:
        self.compare(tables[0])
        ranks_NL = sum(table.ranking_NL.argsort(0).argsort(0) + 0.5 for table in tables)
        return replace(tables[0], logits_NL=None, probabilities_NL=ranks_NL / (len(tables[0]) * len(tables)))


@pytest.mark.parametrize(
    ("check", "component", "noun"),
    [
        (check_decision_rule, _WrongQuantile, "decisions"),
        (check_decision_rule, _WrongBest, "decisions"),
        (check_calibrator, _WrongCentred, "probabilities"),
        (check_ensembler, _WrongRanks, "probabilities"),
    ],
)
def test_what_follows_from_the_other_messages_is_named(check: Any, component: type, noun: str) -> None:
    fault = only_fault(check, component)
    assert f"apply() gave 200 messages some {noun}, and one of them alone others" in fault
    assert "A message must get the same alone and in any batch" in fault
    assert "`learn`" in fault
