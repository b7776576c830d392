from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.scores.cases import NULL, make_table
from tocsin.errors import DataError
from tocsin.scores.insights import confusion, worst_errors
from tocsin.scores.report import assess, sections, to_dict


def test_confusion_by_hand() -> None:
    targets = [[1, 0, 0], [1, 0, NULL], [1, 1, 0], [0, 1, 0], [NULL, 1, 1]]
    on = [[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    found = confusion(make_table(5, 3, targets_NL=targets, decisions_NL=on))
    assert found.together_LL.tolist() == [[3, 1, 0], [1, 3, 1], [0, 1, 1]]
    # carries label 0 and not 1: rows 0 and 1, where 1 is on and 0 is not
    assert found.missed_LL[0, 1] == 2
    assert found.taken_LL[0, 1] == 1.0
    # carries label 1 and not 0: row 3, where 0 is on and 1 is not; rows 2 and 4 do not count
    assert found.missed_LL[1, 0] == 1
    assert found.taken_LL[1, 0] == 1.0
    # carries label 0 and not 2: rows 0 and 2; in row 1 label 2 is unknown
    assert (found.missed_LL[0, 2], found.taken_LL[0, 2]) == (0, 0.0)
    assert np.diag(found.taken_LL).tolist() == pytest.approx([2 / 3, 1 / 3, 1.0])
    assert found.pairs() == [(0, 1), (1, 0)]


def test_exclusive_labels_give_the_usual_confusion_matrix() -> None:
    generator = np.random.default_rng(0)
    true, given = generator.integers(0, 4, (2, 300))
    found = confusion(make_table(300, 4, targets_NL=np.eye(4)[true], decisions_NL=np.eye(4)[given]))
    expected = confusion_matrix(true, given)
    np.fill_diagonal(expected, 0)
    assert found.missed_LL.tolist() == expected.tolist()


def test_the_worst_errors_are_named_by_id_in_any_row_order() -> None:
    table = make_table(200)
    found = worst_errors(table, most=8, each=2)
    assert len(found) == 8
    assert [error.loss for error in found] == sorted((error.loss for error in found), reverse=True)
    kinds = [(error.label, error.target) for error in found]
    assert max(kinds.count(kind) for kind in kinds) <= 2
    for error in found:
        row, label = table.ids.tolist().index(error.id), table.labels.index(error.label)
        assert table.targets_NL[row, label] == error.target
        assert table.probabilities[row, label] == pytest.approx(error.probability)
        assert (error.probability >= 0.5) != bool(error.target)
    assert worst_errors(table.select(np.random.default_rng(0).permutation(200)), 8, 2) == found


def test_nothing_wrong_is_an_empty_list() -> None:
    targets = np.random.default_rng(0).integers(0, 2, (50, 2))
    assert worst_errors(make_table(50, 2, targets_NL=targets, logits_NL=targets * 8.0 - 4)) == []
    with pytest.raises(DataError, match="needs targets"):
        worst_errors(make_table(targets_NL=None))


def test_the_report_shows_both_when_asked() -> None:
    table = make_table(200)
    plain, detailed = (assess(table, "mine", draws=0, details=details) for details in (False, True))
    assert [section.title for section in sections(plain)] == ["Scores of mine"]
    titles = [section.title for section in sections(detailed, per_label=True)]
    assert titles == ["Scores of mine", "Labels", "Labels taken for one another", "Worst errors"]
    found = to_dict(detailed)["results"][0]
    assert len(found["worst_errors"]) == len(detailed.worst or ())
    assert np.shape(found["together"]) == (4, 4)
    empty = table.select(np.array([], dtype=int))
    assert sections(assess(empty, "none", draws=0, details=True))
