from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control, rankdata

from tests.scores.cases import make_table
from tocsin.errors import ConfigError, DataError, LabelError
from tocsin.scores import comparison
from tocsin.scores.comparison import (
    COMPARED,
    Comparison,
    SliceMean,
    adjusted,
    compare,
    midranks,
    randomisation,
)
from tocsin.scores.comparison_report import comparison_sections, comparison_to_dict
from tocsin.scores.metrics import evaluate
from tocsin.scores.resampling import group_numbers, swaps
from tocsin.scores.statistics import Difference, paired_bootstrap
from tocsin.scores.table import ScoresTable


@pytest.fixture(scope="module")
def found() -> Comparison:
    better, worse = make_table(300, seed=1, skill=2.5), make_table(300, seed=2, skill=0.5)
    return compare(better, worse, draws=99, by=["lang"])


def test_figures_and_differences_are_those_of_the_paired_bootstrap(found: Comparison) -> None:
    better, worse = make_table(300, seed=1, skill=2.5), make_table(300, seed=2, skill=0.5)
    differences = paired_bootstrap(better, worse, COMPARED, 99)
    for figure in COMPARED:
        one = found.figures[figure]
        assert one.difference == differences[figure]
        assert (one.a, one.b) == (evaluate(better).flat()[figure], evaluate(worse).flat()[figure])
        assert one.p_value == pytest.approx(1 / 100)  # no exchange comes near so large a difference
        assert one.detectable == pytest.approx(2.8016 * one.difference.error, rel=1e-4)


def test_exchanging_is_what_swapping_rows_by_hand_gives() -> None:
    a, b = (
        make_table(60, 3, seed=1),
        make_table(60, 3, seed=2, logits_NL=None, probabilities_NL=np.full((60, 3), 0.5)),
    )
    b = replace(b, probabilities_NL=np.random.default_rng(0).random((60, 3)).round(1))
    drawn = randomisation(a, b, COMPARED, 8, seed=3)
    swapped_ND = next(iter(swaps(60, 8, 3)))
    known = ~np.isnan(a.targets_NL)
    ranks = []
    for table in (a, b):
        by_label = np.zeros((60, 3))
        for i in range(3):
            by_label[known[:, i], i] = rankdata(table.ranking_NL[known[:, i], i])
        pooled = np.zeros((60, 3))
        pooled[known] = rankdata(table.ranking_NL[known])
        ranks.append({"macro": by_label, "micro": pooled, "scores": table.probabilities})
    for d in range(8):
        kept = swapped_ND[:, d, None] == 0
        pair: list[dict[str, dict[str, float]]] = []
        for first, second in (ranks, ranks[::-1]):
            mixed = {name: np.where(kept, first[name], second[name]) for name in first}
            # ranks are no probabilities: divided by more than the largest, they keep their order
            pair.append(
                {
                    name: evaluate(
                        replace(
                            a, logits_NL=None, probabilities_NL=scores / (1 if name == "scores" else 1000)
                        )
                    ).flat()
                    for name, scores in mixed.items()
                }
            )
        for figure in COMPARED:
            average, metric = figure.split("_", 1)
            kind = average if metric in ("roc_auc", "average_precision") else "scores"
            wanted = pair[0][kind][figure] - pair[1][kind][figure]
            assert drawn.figures[figure][d] == pytest.approx(wanted, abs=1e-9), (figure, d)


def test_p_is_exact_where_all_exchanges_can_be_listed() -> None:
    a, b = make_table(8, 1, seed=1, skill=1), make_table(8, 1, seed=5, skill=0)
    targets = np.array([[1], [0], [1], [0], [0], [1], [0], [1]])
    a, b = replace(a, targets_NL=targets), replace(b, targets_NL=targets)
    ranks = [rankdata(table.ranking_NL[:, 0]) / 100 for table in (a, b)]

    def difference(swapped: tuple[bool, ...]) -> float:
        sides = [np.where(swapped, ranks[1 - side], ranks[side]) for side in (0, 1)]
        tables = [replace(a, logits_NL=None, probabilities_NL=side[:, None]) for side in sides]
        return evaluate(tables[0]).macro["roc_auc"] - evaluate(tables[1]).macro["roc_auc"]

    everything = np.abs([difference(swapped) for swapped in itertools.product([False, True], repeat=8)])
    exact = np.mean(everything >= everything[0] - 1e-12)
    p = compare(a, b, ["macro_roc_auc"], draws=4000).figures["macro_roc_auc"].p_value
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000) + 1 / 4000)


def test_groups_are_exchanged_whole() -> None:
    groups = group_numbers(np.repeat(np.arange(30), 4), 120)
    for swapped_ND in swaps(120, 20, 0, group_N=groups):
        assert set(np.unique(swapped_ND)) == {0, 1}
        assert (swapped_ND.reshape(30, 4, 20) == swapped_ND.reshape(30, 4, 20)[:, :1]).all()
    table = make_table(120, slices={"user": groups})
    other = make_table(120, seed=3)
    assert compare(table, other, draws=50, groups="user").figures != compare(table, other, draws=50).figures


def test_a_model_against_itself_differs_by_nothing() -> None:
    table = make_table()
    one = compare(table, table, draws=20).figures["macro_average_precision"]
    assert (one.difference.point, one.difference.low, one.difference.high) == (0, 0, 0)
    assert (one.p_value, one.detectable) == (1, 0)


def test_rows_in_another_order_give_the_same() -> None:
    a, b = make_table(seed=1), make_table(seed=2)
    shuffled = b.select(np.random.default_rng(0).permutation(len(b)))
    assert compare(a, shuffled, draws=20).figures == compare(a, b, draws=20).figures


def test_midranks_equal_scipy() -> None:
    scores = np.array([0.5, 0.1, 0.5, 0.9, 0.3, 0.5])
    targets = np.array([1, 0, np.nan, 0, 1, 1])
    known = ~np.isnan(targets)
    assert midranks(scores, targets)[known].tolist() == rankdata(scores[known]).tolist()
    assert midranks(scores, targets)[2] == 0


def test_adjustments_by_hand_and_by_scipy() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    # Holm: .005 x 4, .01 x 3, .03 x 2, and .04 x 1 is not below the one before
    assert adjusted(p, "holm") == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    many = np.random.default_rng(0).random(40) ** 3
    assert adjusted(many, "benjamini-hochberg") == pytest.approx(false_discovery_control(many, method="bh"))
    assert (adjusted(many, "holm") >= adjusted(many, "benjamini-hochberg")).all()
    assert adjusted(np.array([0.9, 0.8]), "holm").tolist() == [1.0, 1.0]
    assert np.isnan(adjusted(np.array([np.nan]))).all()


def test_labels_are_adjusted_for_their_number(found: Comparison) -> None:
    tested = found.labels["roc_auc"]
    assert list(tested) == [f"label {i}" for i in range(4)]
    for undefined in ("label 2", "label 3"):  # without a negative, without a positive
        assert np.isnan([tested[undefined].p_value, tested[undefined].adjusted, tested[undefined].a]).all()
    p = np.array([one.p_value for one in tested.values()])
    assert [one.adjusted for one in tested.values()] == pytest.approx(adjusted(p), nan_ok=True)
    assert tested["label 0"].difference.low > 0


def test_slices_are_compared_alone(found: Comparison) -> None:
    assert list(found.by["lang"]) == list(found.sizes["lang"])
    assert sum(found.sizes["lang"].values()) == 300
    better, worse = make_table(300, seed=1, skill=2.5), make_table(300, seed=2, skill=0.5)
    french = better.langs == "fr"
    alone = compare(
        better.select(french),
        worse.select(french),
        ["macro_roc_auc", "macro_average_precision", "macro_f1"],
        99,
    )
    assert found.by["lang"]["fr"]["macro_f1"].difference == alone.figures["macro_f1"].difference
    with pytest.raises(DataError, match="no column 'country'"):
        compare(better, worse, draws=2, by=["country"])


def test_slices_without_anything_to_say_are_nan() -> None:
    langs = np.array(["en"] * 118 + ["fr", "ht"], dtype=object)
    targets = make_table().targets_NL.copy()
    targets[118] = 0
    targets[119] = np.nan
    pair = [make_table(seed=seed, langs=langs, targets_NL=targets) for seed in (1, 2)]
    found = compare(*pair, draws=30, by=["lang"])
    for value in ("fr", "ht"):
        for one in found.by["lang"][value].values():
            assert np.isnan(
                [one.a, one.b, one.difference.point, one.difference.low, one.p_value, one.adjusted]
            ).all()
    shown = comparison_sections(("a", "b"), found)[1]
    assert next(row for row in shown.rows if row[0] == "fr")[2:5] == ("–", "–", "–")
    assert comparison_to_dict(("a", "b"), found)["by"]["lang"]["ht"]["macro_f1"]["p_value"] is None


def test_the_effect_comes_first_and_p_after_it(found: Comparison) -> None:
    sections = comparison_sections(("good", "bad"), found, per_label=True)
    assert sections[0].columns == ("", "good", "bad", "difference", "95% interval", "p", "detectable")
    assert sections[0].rows[0][0] == "macro ROC-AUC"
    assert sections[0].rows[0][3].startswith("+0.")
    losses = {row[0]: row for row in sections[0].rows}["macro Brier"]
    brier = found.figures["macro_brier"]
    assert losses[1] == f"{brier.a:.4f}"
    assert losses[3:5] == (
        f"{brier.difference.point:+.4f}",
        f"[{brier.difference.low:+.4f}, {brier.difference.high:+.4f}]",
    )
    assert [section.title for section in sections[1:]] == [
        "By lang",
        "Labels: ROC-AUC",
        "Labels: AP",
        "Labels: F1",
    ]
    assert sections[2].notes == ("2 of 2 labels differ at 5% after Holm's adjustment for 2 labels.",)
    few = comparison_sections(("good", "bad"), replace(found, labels={"f1": {}}))
    assert few[-1].rows == ()


def test_tables_that_cannot_be_compared_are_refused_with_the_reason() -> None:
    table = make_table()
    with pytest.raises(LabelError, match="same labels in another order"):
        compare(table, replace(table, labels=table.labels[::-1]))
    with pytest.raises(
        LabelError,
        match=r"labels of the second scores table .* the first: they lack 'label 3' and have 'storm'",
    ):
        compare(table, replace(table, labels=(*table.labels[:3], "storm")))
    with pytest.raises(
        DataError, match=r"4 of 120 ids are only in the first.*'m0', 'm1', 'm2' only in the first"
    ):
        compare(table, table.select(np.arange(4, 120)))
    with pytest.raises(ConfigError, match=r"no adjustment 'hölm'. Did you mean 'holm'"):
        compare(table, table, adjustment="hölm")
    with pytest.raises(DataError, match="needs targets"):
        compare(table, replace(table, targets_NL=None))


def test_a_mean_over_slices_adds_up_the_variances_of_independent_differences() -> None:
    def tested(a: float, b: float, error: float) -> comparison.Tested:
        return comparison.Tested(a, b, Difference(a - b, 0, 0, 0, 100, error), 0.5, 0.5)

    slices = [tested(0.7, 0.5, 0.03), tested(0.5, 0.4, 0.04), tested(np.nan, np.nan, np.nan)]
    mean = SliceMean.of(slices)
    assert (mean.a, mean.b, mean.difference, mean.slices) == pytest.approx((0.6, 0.45, 0.15, 2))
    # sqrt(.03² + .04²) / 2 = .025
    assert (mean.low, mean.high) == pytest.approx((0.15 - 1.959964 * 0.025, 0.15 + 1.959964 * 0.025))
    assert SliceMean.of(slices[2:]).slices == 0


def test_groups_that_may_span_slices_leave_the_mean_out(found: Comparison) -> None:
    mean = found.means["lang"]["macro_average_precision"]
    parts = [one["macro_average_precision"] for one in found.by["lang"].values()]
    assert mean.slices == len(parts) > 1
    assert mean.difference == pytest.approx(np.mean([one.a - one.b for one in parts]))
    assert mean.low < mean.difference < mean.high
    better, worse = make_table(300, seed=1, skill=2.5), make_table(300, seed=2, skill=0.5)
    assert not compare(better, worse, draws=99, by=["lang"], groups="lang").means


def test_a_difference_that_never_varies_has_no_spread() -> None:
    """One positive, which one model finds: in every draw that has it the difference is 1; chance is not shut out."""
    targets_NL = np.zeros((200, 1))
    targets_NL[17] = 1
    found, missed = np.full((200, 1), -3.0), np.full((200, 1), -3.0)
    found[17] = 3.0
    rest_NL = np.random.default_rng(0).normal(size=(200, 1))
    noise_NL = np.random.default_rng(1).normal(size=(200, 1))
    tables = [
        ScoresTable(
            ids=np.arange(200),
            labels=("a", "b"),
            logits_NL=np.hstack(logits),
            targets_NL=np.hstack([targets_NL, rest_NL > 0]),
        )
        for logits in ((found, rest_NL), (missed, rest_NL + noise_NL))
    ]
    one = compare(*tables, ["macro_f1"], draws=60).labels["f1"]["a"]
    assert one.difference.point == 1
    assert np.isnan([one.difference.low, one.difference.high, one.difference.error, one.detectable]).all()
    assert not one.difference.beyond_chance
    assert one.difference.draws == 0
    same = compare(tables[0], tables[0], ["macro_f1"], draws=60).figures["macro_f1"].difference
    assert (same.point, same.low, same.high, same.error) == (0, 0, 0, 0)


def test_a_mean_over_slices_leaves_out_those_without_a_spread() -> None:
    known = comparison.Tested(0.7, 0.6, Difference(0.1, 0.0, 0.2, 0.03, 100, 0.05), 0.1, 0.1)
    silent = comparison.Tested(1.0, 0.0, Difference(1.0, np.nan, np.nan, np.nan, 0), 1.0, 1.0)
    mean = SliceMean.of([known, silent])
    assert (mean.slices, mean.difference) == (1, pytest.approx(0.1))
    assert (mean.low, mean.high) == pytest.approx((0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05), abs=1e-4)
