from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.scores.cases import make_table
from tocsin.errors import DataError
from tocsin.scores.baselines import BASELINES, baselines, prevalence
from tocsin.scores.metrics import METRICS


def test_constants_score_what_arithmetic_says() -> None:
    table = make_table()
    found = baselines(table)
    assert tuple(found) == BASELINES
    share = prevalence(table.targets_NL)
    for metrics in found.values():
        assert metrics.per_label["roc_auc"][:2].tolist() == [0.5, 0.5]
        assert metrics.per_label["average_precision"][:2] == pytest.approx(share[:2])
        assert np.isnan(
            [metrics.per_label[name][2:] for name in METRICS[:5]]
        ).all()  # no negative, no positive
    assert found["all on"].per_label["f1"][:2] == pytest.approx(2 * share[:2] / (1 + share[:2]))
    assert found["all on"].macro["recall"] == 1.0
    assert found["all off"].macro["f1"] == found["all off"].micro["recall"] == 0.0
    assert np.isnan(found["all off"].macro["precision"])


def test_the_prior_ranks_between_labels_only() -> None:
    table = make_table()
    cells = ~np.isnan(table.targets_NL)
    scores = np.broadcast_to(prevalence(table.targets_NL), table.targets_NL.shape)
    expected = roc_auc_score(table.targets_NL[cells], scores[cells])
    assert baselines(table)["prior"].micro["roc_auc"] == pytest.approx(expected, abs=1e-12)
    assert expected > 0.8


def test_the_note_says_whose_prevalence_it_is() -> None:
    table = make_table()
    assert baselines(table)["prior"].note == "prevalence of these messages"
    given = baselines(table, [0.9, 0.1, 0.1, np.nan])["prior"]
    assert given.note == "prevalence of the training split"
    assert given.per_label["recall"][:2].tolist() == [1.0, 0.0]
    in_metadata = make_table(metadata={"train_prevalence": "[0.9, 0.1, 0.1, null]"})
    assert baselines(in_metadata)["prior"].flat() == pytest.approx(given.flat(), nan_ok=True)
    assert baselines(in_metadata)["prior"].note == given.note


def test_the_scores_themselves_are_not_read() -> None:
    a, b = baselines(make_table(skill=0)), baselines(make_table(skill=5, decisions_NL=np.ones((120, 4))))
    for name in BASELINES:
        assert a[name].flat() == pytest.approx(b[name].flat(), nan_ok=True)


@pytest.mark.parametrize("prior", [[0.1], [0.1, 0.2, 0.3, 1.4], [-0.1, 0, 0, 0]])
def test_a_prior_that_is_none_is_refused(prior: list[float]) -> None:
    with pytest.raises(DataError, match=r"4 shares in \[0, 1\]"):
        baselines(make_table(), prior)


def test_damaged_metadata_is_named() -> None:
    with pytest.raises(DataError, match="train_prevalence must be a JSON list"):
        baselines(make_table(metadata={"train_prevalence": "{"}))


def test_prevalence_leaves_nulls_out() -> None:
    assert prevalence(np.array([[1, np.nan], [0, np.nan], [np.nan, np.nan]]))[0] == 0.5
    assert np.isnan(prevalence(np.array([[np.nan]]))[0])
