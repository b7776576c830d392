from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from tests.scores.cases import CASES, make_table
from tocsin.errors import ConfigError, DataError, LabelError
from tocsin.scores import resampling
from tocsin.scores.draws import Cells, Figures
from tocsin.scores.intervals import interval
from tocsin.scores.metrics import LOSSES, average_precision, evaluate, roc_auc
from tocsin.scores.ranking import weighted_rank_metrics
from tocsin.scores.resampling import group_numbers, message_weights
from tocsin.scores.statistics import (
    FIGURES,
    HEADLINE,
    affordable_draws,
    bootstrap,
    drawn_figures,
    paired_bootstrap,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("case", CASES)
def test_one_sort_serves_all_weightings(case: str, dtype: type) -> None:
    targets, scores = CASES[case]
    weights_ND = np.random.default_rng(0).poisson(1.0, (len(targets), 7)).astype(dtype)
    auc_D, ap_D = weighted_rank_metrics(targets, scores, weights_ND)
    for d in range(7):
        weights = weights_ND[:, d].astype(np.float64)
        assert auc_D[d] == pytest.approx(roc_auc(targets, scores, weights), abs=1e-12, nan_ok=True)
        assert ap_D[d] == pytest.approx(average_precision(targets, scores, weights), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", ["no ties", "few ties", "many ties", "mostly positive", "with nulls"])
def test_weighted_ranks_equal_scikit_learn(case: str) -> None:
    targets, scores = CASES[case]
    weights_ND = np.random.default_rng(3).random((len(targets), 3))
    auc_D, ap_D = weighted_rank_metrics(targets, scores, weights_ND)
    cells = ~np.isnan(targets)
    for d in range(3):
        given = {"y_true": targets[cells], "y_score": scores[cells], "sample_weight": weights_ND[cells, d]}
        assert auc_D[d] == pytest.approx(reference.roc_auc_score(**given), abs=1e-12)
        assert ap_D[d] == pytest.approx(reference.average_precision_score(**given), abs=1e-12)


def draws_by_repeating_rows(table, draws: int, seed: int) -> list[dict[str, float]]:  # type: ignore[no-untyped-def]
    blocks = np.concatenate(list(message_weights(len(table), draws, seed)), axis=1)
    rows = [np.repeat(np.arange(len(table)), times.astype(int)) for times in blocks.T]
    return [evaluate(table.select(chosen)).flat() for chosen in rows]


def test_every_figure_of_every_draw_equals_that_of_the_repeated_rows() -> None:
    table = make_table(60)
    expected = draws_by_repeating_rows(table, 25, seed=7)
    found = drawn_figures(Figures(Cells.of(table, FIGURES), FIGURES), 60, 25, 7, None)
    for name in FIGURES:
        values = [draw[name] for draw in expected]
        assert found.figures[name] == pytest.approx(np.array(values), abs=1e-12, nan_ok=True), name


def test_an_interval_is_that_of_its_draws() -> None:
    table = make_table(60)
    drawn = drawn_figures(Figures(Cells.of(table, ["macro_f1"]), ["macro_f1"]), 60, 50, 7, None)
    found = bootstrap(table, ["macro_f1"], draws=50, seed=7)["macro_f1"]
    assert (found.point, found.draws) == (evaluate(table).macro["f1"], 50)
    ends = interval(drawn.figures["macro_f1"], found.point, degrees=found.degrees, scale="logit")
    assert (found.low, found.high, found.draws) == ends


def test_draws_depend_on_the_seed_and_not_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table()
    whole = bootstrap(table, draws=50)
    assert bootstrap(table, draws=50) == whole
    assert bootstrap(table, draws=50, seed=1) != whole
    monkeypatch.setattr(resampling, "_blocks", lambda n, draws: [7] * 7 + [1])
    single = bootstrap(table, draws=50)
    for name in HEADLINE:
        assert (single[name].low, single[name].high) == pytest.approx(
            (whole[name].low, whole[name].high), abs=1e-9
        )


def test_an_interval_holds_its_figure_and_shrinks_with_messages() -> None:
    widths = []
    for n in (100, 1600):
        found = bootstrap(make_table(n), draws=200)
        assert all(found[name].low < found[name].point < found[name].high for name in HEADLINE)
        widths.append(found["micro_roc_auc"].high - found["micro_roc_auc"].low)
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.35)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = 0.7602  # ROC-AUC of unit normals one apart: Phi(1 / sqrt 2)
    hits = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        targets = (generator.random((150, 1)) < 0.4).astype(float)
        table = make_table(150, 1, logits_NL=generator.normal(size=(150, 1)) + targets, targets_NL=targets)
        interval = bootstrap(table, ["macro_roc_auc"], draws=200)["macro_roc_auc"]
        hits += interval.low <= truth <= interval.high
    assert 88 <= hits <= 100


def test_undefined_figures_have_undefined_intervals() -> None:
    table = make_table(targets_NL=np.zeros((120, 4)))
    found = bootstrap(table, ["macro_roc_auc", "macro_f1"], draws=10)
    assert found["macro_roc_auc"].draws == 0
    assert np.isnan([found["macro_f1"].point, found["macro_f1"].low, found["macro_f1"].high]).all()


def test_draws_without_the_only_positive_do_not_count() -> None:
    table = make_table(10, 1, targets_NL=np.eye(10)[:, :1])
    found = bootstrap(table, ["macro_roc_auc"], draws=400)["macro_roc_auc"]
    assert found.draws == pytest.approx(400 * (1 - 0.9**10), abs=40)


def test_groups_are_drawn_whole() -> None:
    pairs = np.repeat(np.arange(60), 2)
    for weights_ND in message_weights(120, 20, 0, group_N=group_numbers(pairs, 120)):
        assert (weights_ND[::2] == weights_ND[1::2]).all()
        assert (weights_ND.sum(axis=0) == 120).all()
    table = make_table(400, slices={"user": np.repeat(np.arange(40), 10)})
    by_name = bootstrap(table, draws=60, groups="user")
    assert by_name == bootstrap(table, draws=60, groups=table.slices["user"])
    assert by_name != bootstrap(table, draws=60)


def test_messages_of_unknown_group_stand_alone() -> None:
    numbers = group_numbers(np.array(["a", None, "b", None, "a"], dtype=object), 5)
    assert numbers[0] == numbers[4]
    assert sorted(set(numbers.tolist())) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="groups has 5 values"):
        group_numbers(numbers, 6)


def test_repeating_every_message_in_groups_keeps_the_interval() -> None:
    table = make_table(200)
    doubled = table.select(np.repeat(np.arange(200), 2))
    groups = np.repeat(np.arange(200), 2)
    alone, grouped = (
        bootstrap(table, ["micro_roc_auc"], 100)["micro_roc_auc"],
        bootstrap(doubled, ["micro_roc_auc"], 100, groups=groups)["micro_roc_auc"],
    )
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-9)


def test_a_better_model_is_found_better_and_an_equal_one_not() -> None:
    good, bad = make_table(600, seed=1, skill=2.0), make_table(600, seed=2, skill=0.5)
    for name, difference in paired_bootstrap(good, bad, draws=200).items():
        assert difference.beyond_chance, name
        better = -1 if name.endswith(LOSSES) else 1
        assert min(better * difference.low, better * difference.high) > 0
        assert difference.low < difference.point < difference.high
        assert difference.share_not_above == (better < 0)
        assert difference.point == evaluate(good).flat()[name] - evaluate(bad).flat()[name]
    assert paired_bootstrap(bad, good, draws=200)["macro_roc_auc"].share_not_above == 1
    itself = paired_bootstrap(good, good, draws=20)["macro_roc_auc"]
    assert (itself.point, itself.low, itself.high, itself.beyond_chance) == (0, 0, 0, False)
    similar = paired_bootstrap(make_table(600, seed=3), make_table(600, seed=4), draws=200)["macro_roc_auc"]
    assert not similar.beyond_chance


def test_pairing_is_narrower_than_two_intervals() -> None:
    table = make_table(600)
    noise = np.random.default_rng(0).normal(size=table.logits_NL.shape)
    near = replace(table, logits_NL=table.logits_NL + 0.2 * noise)
    paired = paired_bootstrap(table, near, ["macro_roc_auc"], 200)["macro_roc_auc"]
    alone = bootstrap(table, ["macro_roc_auc"], 200)["macro_roc_auc"]
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_rows_in_another_order_are_matched_by_id() -> None:
    a, b = make_table(seed=1), make_table(seed=2)
    shuffled = b.select(np.random.default_rng(0).permutation(len(b)))
    assert paired_bootstrap(a, shuffled, draws=20) == paired_bootstrap(a, b, draws=20)


def test_tables_that_cannot_be_paired_are_refused_with_the_reason() -> None:
    table = make_table()
    with pytest.raises(LabelError, match="label 0"):
        paired_bootstrap(table, replace(table, labels=table.labels[::-1]))
    twice = table.select(np.append(np.arange(120), 5))
    with pytest.raises(DataError, match=r"second scores table has 1 ids in several rows \(id 'm5': 2\)"):
        paired_bootstrap(table, twice)
    with pytest.raises(
        DataError, match=r"1 of 120 ids are only in the first, 0 of 119 .* 'm0' only in the first"
    ):
        paired_bootstrap(table, table.select(np.arange(1, 120)))
    other = table.targets_NL.copy()
    other[7, 0] = 1 - other[7, 0]
    other[8, 1] = np.nan if other[8, 1] == other[8, 1] else 1
    with pytest.raises(DataError, match=r"disagree about 2 targets.*label 'label 0' of message 'm7'"):
        paired_bootstrap(table, replace(table, targets_NL=other))
    with pytest.raises(DataError, match="needs targets"):
        paired_bootstrap(table, replace(table, targets_NL=None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["macro_rocauc"]}, "no figure 'macro_rocauc'. Did you mean 'macro_roc_auc'"),
        ({"draws": 0}, "draws is 0"),
        ({"level": 95}, "level is 95"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap(make_table(), **settings)


def test_there_must_be_messages() -> None:
    with pytest.raises(DataError, match="no messages"):
        bootstrap(make_table().select(np.array([], dtype=int)))


@pytest.mark.parametrize(
    ("messages", "most", "wanted"),
    [(10, 1000, 1000), (10, 50, 50), (1_000_000, 1000, 720), (50_000_000, 1000, 100), (50_000_000, 40, 40)],
)
def test_draws_are_as_many_as_asked_for_or_affordable(messages: int, most: int, wanted: int) -> None:
    class Long:
        labels = ("a", "b")

        def __len__(self) -> int:
            return messages

    assert affordable_draws(Long(), most) == wanted  # type: ignore[arg-type]
