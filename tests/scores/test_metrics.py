from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from tests.scores.cases import CASES, NULL, known, make_table
from tocsin.errors import DataError
from tocsin.scores import metrics as ours
from tocsin.scores.metrics import LOSSES, METRICS, UNKNOWN, evaluate, evaluate_by

RANKS = {"roc_auc": reference.roc_auc_score, "average_precision": reference.average_precision_score}
DECISIONS = {
    "f1": reference.f1_score,
    "precision": reference.precision_score,
    "recall": reference.recall_score,
}


def is_defined(metric: str, targets: np.ndarray, on: np.ndarray) -> bool:
    if not targets.any():
        return False
    return not targets.all() and (metric != "precision" or bool(on.any()))


@pytest.mark.parametrize("metric", RANKS)
@pytest.mark.parametrize("case", CASES)
def test_rank_metrics_equal_scikit_learn(case: str, metric: str) -> None:
    value = getattr(ours, metric)(*CASES[case])
    targets, scores = known(case)
    if is_defined(metric, targets, scores >= 0.5):
        assert value == pytest.approx(RANKS[metric](targets, scores), abs=1e-12)
    else:
        assert np.isnan(value)


@pytest.mark.parametrize("metric", RANKS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole weights with zeros", "fractional weights"])
@pytest.mark.parametrize("case", CASES)
def test_weighted_rank_metrics_equal_scikit_learn(case: str, whole: bool, metric: str) -> None:
    targets, scores = CASES[case]
    generator = np.random.default_rng(1)
    weights = generator.integers(0, 4, len(targets)) if whole else generator.random(len(targets))
    value = getattr(ours, metric)(targets, scores, weights)
    cells = ~np.isnan(targets) & (weights > 0)
    if is_defined(metric, targets[cells] == 1, scores[cells] >= 0.5):
        expected = RANKS[metric](targets[cells] == 1, scores[cells], sample_weight=weights[cells])
        assert value == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(value)


@pytest.mark.parametrize("metric", DECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_decision_metrics_equal_scikit_learn(case: str, metric: str) -> None:
    value = getattr(ours, metric)(*CASES[case], threshold=0.5)
    targets, scores = known(case)
    if is_defined(metric, targets, scores >= 0.5):
        assert value == pytest.approx(DECISIONS[metric](targets, scores >= 0.5), abs=1e-12)
    else:
        assert np.isnan(value)


def test_rank_metrics_do_not_depend_on_row_order() -> None:
    targets, scores = CASES["many ties"]
    order = np.random.default_rng(0).permutation(len(targets))
    for metric in RANKS:
        function = getattr(ours, metric)
        assert function(targets, scores) == function(targets[order], scores[order])


def test_integer_and_bool_targets_are_taken() -> None:
    assert ours.roc_auc(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3])) == 1.0
    assert ours.f1(np.array([False, True]), np.array([0.1, 0.9])) == 1.0


def test_nan_scores_and_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="1 scores are NaN"):
        ours.roc_auc(np.array([0, 1]), np.array([0.1, np.nan]))
    with pytest.raises(DataError, match="must have one shape"):
        ours.average_precision(np.array([0, 1]), np.array([0.1]))


@pytest.mark.parametrize("metric", METRICS[:5])
def test_averages_equal_scikit_learn_on_full_targets(metric: str) -> None:
    table = make_table(n_labels=2, targets_NL=np.random.default_rng(1).integers(0, 2, (120, 2)))
    targets, scores = table.known_targets("A test"), table.probabilities
    given = scores if metric in RANKS else scores >= 0.5
    result = evaluate(table)
    for average in ("macro", "micro", "weighted"):
        expected = {**RANKS, **DECISIONS}[metric](targets, given, average=average)
        assert result.flat()[f"{average}_{metric}"] == pytest.approx(expected, abs=1e-12)


def test_undefined_labels_are_nan_and_left_out() -> None:
    table = make_table()
    result = evaluate(table)
    # Without a negative as without a positive: "always on" would have an F1 of 1.
    assert np.isnan([result.per_label[metric][[2, 3]] for metric in METRICS[:5]]).all()
    assert np.isfinite([result.per_label[metric][[2, 3]] for metric in LOSSES]).all()
    assert result.defined == dict.fromkeys(METRICS[:5], 2) | dict.fromkeys(LOSSES, 4)
    assert result.macro["roc_auc"] == pytest.approx(result.per_label["roc_auc"][:2].mean())
    by_positives = np.average(result.per_label["roc_auc"][:2], weights=result.positives[:2])
    assert result.weighted["roc_auc"] == pytest.approx(by_positives)


def test_micro_pools_the_known_cells() -> None:
    table = make_table()
    cells = ~np.isnan(table.targets_NL)
    targets, scores = table.targets_NL[cells], table.probabilities[cells]
    result = evaluate(table)
    assert result.micro["roc_auc"] == pytest.approx(reference.roc_auc_score(targets, scores), abs=1e-12)
    assert result.micro["f1"] == pytest.approx(reference.f1_score(targets, scores >= 0.5), abs=1e-12)


def test_unknown_targets_never_count() -> None:
    table = make_table()
    scores = table.logits_NL.copy()
    scores[np.isnan(table.targets_NL)] = 9.0
    assert evaluate(make_table(logits_NL=scores)).flat() == pytest.approx(evaluate(table).flat(), nan_ok=True)


def test_logits_and_their_probabilities_give_the_same_figures() -> None:
    table = make_table()
    other = make_table(logits_NL=None, probabilities_NL=table.probabilities)
    assert evaluate(other).flat() == pytest.approx(evaluate(table).flat(), nan_ok=True)


def test_extreme_logits_keep_their_order() -> None:
    logits, targets = np.array([[20.0], [30.0], [-40.0]]), np.array([[0], [1], [0]])
    table = make_table(3, 1, logits_NL=logits, targets_NL=targets)
    assert table.probabilities[0] == table.probabilities[1]
    assert evaluate(table).macro["roc_auc"] == 1.0


def test_thresholds_by_label_and_decisions_of_a_rule() -> None:
    table = make_table(n_labels=2)
    by_label = evaluate(table, [0.2, 0.8])
    for i, threshold in enumerate([0.2, 0.8]):
        expected = ours.f1(table.targets_NL[:, i], table.probabilities[:, i], threshold)
        assert by_label.per_label["f1"][i] == expected
    decided = make_table(n_labels=2, decisions_NL=table.probabilities >= [0.2, 0.8])
    assert evaluate(decided).flat() == by_label.flat()
    with pytest.raises(DataError, match="2 \\(one a label\\)"):
        evaluate(table, [0.1, 0.2, 0.3])


def test_slices_are_evaluated_alone_and_nulls_have_a_name() -> None:
    table = make_table()
    by_language = evaluate_by(table, "lang")
    assert set(by_language) == {"en", "fr", "ht", UNKNOWN}
    assert [m.n for m in by_language.values()] == sorted((m.n for m in by_language.values()), reverse=True)
    assert sum(m.n for m in by_language.values()) == len(table)
    french = table.select(table.langs == "fr")
    assert by_language["fr"].flat() == pytest.approx(evaluate(french).flat(), nan_ok=True)
    assert set(evaluate_by(table, "genre")) == {"direct", "news"}
    with pytest.raises(DataError, match=r"no column 'country'.*lang, genre"):
        evaluate_by(table, "country")


def test_numbers_as_slices() -> None:
    table = make_table(slices={"year": np.array([2013.0, np.nan] * 60), "kind": np.array([1, 2] * 60)})
    assert set(evaluate_by(table, "kind")) == {"1", "2"}
    assert set(evaluate_by(table, "year")) == {"2013.0", UNKNOWN}


def test_tables_without_targets_or_rows() -> None:
    with pytest.raises(DataError, match="Evaluation needs targets"):
        evaluate(make_table(targets_NL=None))
    empty = evaluate(make_table().select(np.array([], dtype=int)))
    assert empty.n == 0
    assert np.isnan(list(empty.flat().values())).all()
    assert empty.defined["roc_auc"] == 0


def test_plain_data_has_no_nan() -> None:
    plain = evaluate(make_table(), note="a note").to_dict()
    assert plain["note"] == "a note"
    assert plain["labels_defined"]["roc_auc"] == [2, 4]
    assert {name: plain["per_label"]["label 3"][name] for name in METRICS[:5]} == dict.fromkeys(METRICS[:5])
    assert plain["coverage"]["known_targets"] == pytest.approx((~np.isnan(make_table().targets_NL)).mean())
    assert plain["macro_roc_auc"] == evaluate(make_table()).macro["roc_auc"]


def test_null_targets_of_any_kind() -> None:
    assert np.isnan(ours.roc_auc(np.array([NULL, NULL]), np.array([0.1, 0.9])))


def test_coverage_counts_cells_messages_and_decisions() -> None:
    targets = [[1, NULL], [NULL, NULL], [0, 0], [NULL, 1]]
    found = evaluate(make_table(4, 2, logits_NL=[[1, -1], [-1, -1], [1, 1], [-1, -1]], targets_NL=targets))
    assert found.coverage == {
        "known_targets": 4 / 8,
        "messages_with_a_known_target": 3 / 4,
        "messages_with_a_decision": 2 / 4,
    }
    nobody = evaluate(make_table().select(np.array([], dtype=int)))
    assert np.isnan(list(nobody.coverage.values())).all()
