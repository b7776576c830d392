"""TemplateDecisionRule: the contract of decision rules, and what it decides."""

import numpy as np

from tocsin.plugins import ScoresTable
from tocsin.plugins.testing import check_decision_rule
from tocsin_template.decision_rule import TemplateDecisionRule


def test_it_conforms() -> None:
    check_decision_rule(TemplateDecisionRule)
    check_decision_rule(TemplateDecisionRule, threshold=0.2)


def test_a_label_is_on_from_the_threshold_upwards() -> None:
    table = ScoresTable(
        ids=np.arange(3),
        labels=("flood",),
        probabilities_NL=np.array([[0.2], [0.3], [0.9]]),
        targets_NL=np.array([[0], [1], [1]]),
    )
    decided = TemplateDecisionRule(threshold=0.3).fit(table).apply(table)
    assert decided.decisions_NL is not None
    assert decided.decisions_NL.ravel().tolist() == [False, True, True]
