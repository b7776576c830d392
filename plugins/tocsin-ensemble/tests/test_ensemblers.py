"""Ensemblers: what they compute, pooling, and what they do where there is little or nothing to learn from."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ensemble_cases import members, select, sigmoid
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conformance import CASES

from tocsin.plugins import ConfigError, DataError, Ensembler, LabelError, ScoresTable
from tocsin_ensemble.fits import fit_logistic, fit_weights
from tocsin_ensemble.means import MeanEnsemble, WeightedEnsemble
from tocsin_ensemble.members import known_cells
from tocsin_ensemble.ranks import RankEnsemble, RankScale
from tocsin_ensemble.stacking import StackingEnsemble


def joint(ensembler: Ensembler, tables: list[ScoresTable]) -> np.ndarray:
    return ensembler.apply(tables).probabilities


def z_of(tables: list[ScoresTable]) -> np.ndarray:
    return np.stack([table.logits_NL.astype(np.float64) for table in tables])


def test_means_of_logits_and_of_probabilities() -> None:
    tables = members()
    np.testing.assert_allclose(
        joint(MeanEnsemble().fit(tables), tables), sigmoid(z_of(tables).mean(axis=0)), atol=1e-6
    )
    p_MNL = np.stack([table.probabilities for table in tables])
    of = MeanEnsemble("probabilities", weights=[3.0, 0.0, 1.0])
    np.testing.assert_allclose(joint(of.fit(tables), tables), (3 * p_MNL[0] + p_MNL[2]) / 4, atol=1e-12)
    np.testing.assert_allclose(of.member_weights(), np.tile([[0.75], [0.0], [0.25]], 3))
    # a mean of two numbers that a person can check
    two = [
        ScoresTable(ids=["a"], labels=("x",), probabilities_NL=[[p]], targets_NL=[[1]]) for p in (0.2, 0.6)
    ]
    assert joint(MeanEnsemble("probabilities").fit(two), two)[0, 0] == pytest.approx(0.4)
    assert joint(MeanEnsemble().fit(two), two)[0, 0] == pytest.approx(1 / (1 + np.sqrt(4 / 1.5)))


def test_a_weight_goes_with_its_member() -> None:
    left = MeanEnsemble(weights=[1.0, 2.0, 3.0]).without(1)
    assert left.arguments["weights"] == [1.0, 3.0]
    with pytest.raises(ConfigError, match="not all 0"):
        MeanEnsemble(weights=[1.0, 0.0]).without(0)
    assert StackingEnsemble(l2=2.0).without(0).arguments == {"l2": 2.0, "shrinkage": 20.0}


@pytest.mark.parametrize("of", ["logits", "probabilities"])
def test_weights_are_common_or_drawn_towards_the_common_ones(of: Any) -> None:
    tables = members()
    targets_NL = tables[0].targets_NL
    scores_MNL = z_of(tables) if of == "logits" else np.stack([table.probabilities for table in tables])
    cells = [known_cells(scores_MNL[:, :, i], targets_NL[:, i]) for i in range(3)]
    pooled = [np.concatenate(parts) for parts in zip(*cells, strict=True)]
    common = fit_weights(*pooled, logits=of == "logits")
    together = WeightedEnsemble(of=of).fit(tables)
    np.testing.assert_allclose(together.member_weights(), np.tile(common[:, None], 3), atol=1e-9)
    assert common[0] > common[1] > common[2]  # members stand by their noise
    ensembler = WeightedEnsemble(of=of, per_label=True, shrinkage=50.0).fit(tables)
    for i, (scores_nM, y_n) in enumerate(cells):
        seen = min(y_n.sum(), (1 - y_n).sum())
        share = seen / (seen + 50.0)
        own = fit_weights(scores_nM, y_n, logits=of == "logits")
        np.testing.assert_allclose(
            ensembler.member_weights()[:, i], share * own + (1 - share) * common, atol=1e-9
        )
    assert np.isclose(ensembler.member_weights().sum(axis=0), 1.0).all()


def test_stacking_is_a_regression_a_label_drawn_towards_the_common_one() -> None:
    tables = members()
    z_MNL, targets_NL = z_of(tables), tables[0].targets_NL
    cells = [known_cells(z_MNL[:, :, i], targets_NL[:, i]) for i in range(3)]
    common = fit_logistic(*(np.concatenate(parts) for parts in zip(*cells, strict=True)), 2.0)
    ensembler = StackingEnsemble(l2=2.0, shrinkage=30.0).fit(tables)
    for i, (z_nM, y_n) in enumerate(cells):
        seen = min(y_n.sum(), (1 - y_n).sum())
        share = seen / (seen + 30.0)
        fit = share * fit_logistic(z_nM, y_n, 2.0) + (1 - share) * common
        wanted = sigmoid(np.einsum("mn,m->n", z_MNL[:, :, i], fit[:-1]) + fit[-1])
        np.testing.assert_allclose(joint(ensembler, tables)[:, i], wanted, atol=1e-6)


def test_without_shrinkage_stacking_is_scikit_learns_per_label() -> None:
    from sklearn.linear_model import LogisticRegression

    tables, new = members(1), members(2)
    ensembler = StackingEnsemble(shrinkage=0.0).fit(tables)
    for i in range(3):
        known = ~np.isnan(tables[0].targets_NL[:, i])
        peer = LogisticRegression(tol=1e-10, solver="newton-cholesky").fit(
            z_of(tables)[:, known, i].T, tables[0].targets_NL[known, i]
        )
        np.testing.assert_allclose(
            joint(ensembler, new)[:, i], peer.predict_proba(z_of(new)[:, :, i].T)[:, 1], atol=1e-5
        )


def test_ranks_are_scipys_and_so_is_the_order_of_their_mean() -> None:
    from scipy.stats import rankdata

    tables = members(rows=300)
    ensembler = RankEnsemble().fit(tables)
    ranks_MNL = np.stack([(rankdata(z_NL, axis=0) - 0.5) / 300 for z_NL in z_of(tables)])
    for m in range(3):
        for i in range(3):
            found = ensembler.scales_ML[m][i].ranks(z_of(tables)[m, :, i])
            np.testing.assert_allclose(found, ranks_MNL[m, :, i], atol=1e-12)
    joint_NL = ensembler.apply(tables).logits_NL
    for i in range(3):
        order = np.argsort(ranks_MNL.mean(axis=0)[:, i], kind="stable")
        assert (np.diff(joint_NL[order, i]) >= -1e-6).all()


def test_ties_share_their_midrank_and_beyond_the_reference_the_order_holds() -> None:
    scale = RankScale.of(np.array([2.0, 1.0, 1.0, 3.0]), 1000)
    np.testing.assert_allclose(scale.ranks(np.array([1.0, 2.0, 3.0, 1.5])), [0.25, 0.625, 0.875, 0.4375])
    far = scale.ranks(np.array([-9.0, -1.0, 0.0, 1.0, 3.0, 4.0, 7.0]))
    assert (np.diff(far) > 0).all()
    assert far.min() > 0
    assert far.max() < 1
    z = np.linspace(-3, 8, 101)
    np.testing.assert_allclose(scale.logits(scale.ranks(z)), z, atol=1e-6)


def test_knots_bound_what_is_kept_and_hardly_change_it() -> None:
    tables, new = members(3, rows=3000), members(4, rows=500)
    few, all_ = RankEnsemble(knots=100).fit(tables), RankEnsemble(knots=10_000).fit(tables)
    assert max(len(scale.logits_K) for scales in few.scales_ML for scale in scales) <= 100
    assert np.abs(joint(few, new) - joint(all_, new)).max() < 0.02


def test_a_ranked_member_alone_stays_what_it_is() -> None:
    tables = members(noise=(1.0,))
    np.testing.assert_allclose(
        RankEnsemble().fit(tables).apply(tables).logits_NL, tables[0].logits_NL, atol=1e-4
    )


def test_ranks_do_not_mind_the_scale_of_a_member() -> None:
    """A member whose scores are squeezed by any rising function has the same say in the order."""
    tables = members(5)
    squeezed = [tables[0], replace(tables[1], logits_NL=np.cbrt(tables[1].logits_NL)), tables[2]]
    one, other = (RankEnsemble().fit(each).apply(each).logits_NL for each in (tables, squeezed))
    for i in range(3):
        clear = np.abs(np.diff(np.sort(one[:, i]))) > 1e-4
        order = np.argsort(one[:, i])
        assert (np.diff(other[order, i])[clear] > -1e-6).all()


def test_fitted_members_beat_the_best_and_the_mean_where_one_is_poor() -> None:
    tables, new = members(6, rows=3000, noise=(0.8, 1.0, 6.0)), members(7, rows=3000, noise=(0.8, 1.0, 6.0))
    known = ~np.isnan(new[0].targets_NL)
    y = new[0].targets_NL[known]

    def loss(p_NL: np.ndarray) -> float:
        p = np.clip(p_NL[known], 1e-7, 1 - 1e-7)
        return float(-np.mean(np.log(np.where(y == 1, p, 1 - p))))

    alone = min(loss(table.probabilities) for table in new)
    for kind in (WeightedEnsemble, StackingEnsemble):
        assert loss(joint(kind().fit(tables), new)) < alone - 0.005
    assert loss(joint(MeanEnsemble().fit(tables), new)) > alone


@pytest.mark.parametrize(("kind", "arguments"), CASES)
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_one_kind_of_target_is_defined(kind: Any, arguments: dict[str, Any], value: float) -> None:
    """All negative, all positive, none known: of all labels the mean, of one label what the others taught."""
    tables = members()
    alike = [replace(table, targets_NL=np.full_like(table.targets_NL, value)) for table in tables]
    found = joint(kind(**arguments).fit(alike), tables)
    if kind is not RankEnsemble:
        of = arguments.get("of", "logits")
        np.testing.assert_allclose(found, joint(MeanEnsemble(of).fit(tables), tables), atol=1e-6)
    targets_NL = tables[0].targets_NL.copy()
    targets_NL[:, 2] = value
    one = kind(**arguments).fit([replace(table, targets_NL=targets_NL) for table in tables])
    assert np.isfinite(one.apply(tables).ranking_NL).all()
    if kind is WeightedEnsemble and arguments.get("per_label"):
        common = WeightedEnsemble(arguments.get("of", "logits")).fit(
            [replace(table, targets_NL=targets_NL) for table in tables]
        )
        np.testing.assert_allclose(one.member_weights()[:, 2], common.member_weights()[:, 2])


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_one_row_is_defined_or_refused_by_name(kind: Any, arguments: dict[str, Any]) -> None:
    tables = select(members(), np.array([3]))
    tables = [replace(table, targets_NL=np.array([[1.0, 0.0, np.nan]])) for table in tables]
    if kind is RankEnsemble:
        with pytest.raises(DataError, match="at least 2 are wanted"):
            kind(**arguments).fit(tables)
    else:
        assert np.isfinite(joint(kind(**arguments).fit(tables), tables)).all()


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_a_single_member_keeps_its_order(kind: Any, arguments: dict[str, Any]) -> None:
    tables = members(noise=(1.0,))
    found = kind(**arguments).fit(tables).apply(tables).probabilities
    for i in range(3):
        order = np.argsort(tables[0].logits_NL[:, i], kind="stable")
        assert (np.diff(found[order, i]) >= -1e-6).all()
    if kind in (MeanEnsemble, WeightedEnsemble):
        np.testing.assert_allclose(found, tables[0].probabilities, atol=1e-6)


def test_endless_logits_are_bounded_and_nan_is_named() -> None:
    tables = members()
    logits_NL = tables[0].logits_NL.copy()
    logits_NL[5, 1], logits_NL[6, 1] = np.inf, -np.inf
    endless = [replace(tables[0], logits_NL=logits_NL), *tables[1:]]
    for kind, arguments in CASES:
        assert np.isfinite(kind(**arguments).fit(endless).apply(endless).ranking_NL).all()
    logits_NL[7, 1] = np.nan
    with pytest.raises(DataError, match="message 'm7' for label 'fire' is NaN"):
        replace(tables[0], logits_NL=logits_NL)


def test_what_does_not_fit_is_refused() -> None:
    tables = members()
    for kind, arguments in CASES:
        fitted = kind(**arguments).fit(tables)
        with pytest.raises(DataError, match="fitted for 3 members and got the scores of 2"):
            fitted.apply(tables[:2])
        with pytest.raises(LabelError):
            fitted.apply([replace(table, labels=("a", "b", "c")) for table in tables])
        with pytest.raises(DataError, match="of the test split"):
            kind(**arguments).fit([replace(table, metadata={"split": "test"}) for table in tables])
        state = json.loads(json.dumps(fitted.state()))
        state["members"] = 2
        with pytest.raises(ValueError, match="2 members"):
            kind(**arguments).restore(state)


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_a_state_of_endless_members_is_refused_without_room_for_them(
    kind: Any, arguments: dict[str, Any]
) -> None:
    state = json.loads(json.dumps(kind(**arguments).fit(members()).state()))
    state["members"] = 20_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="20000000 members"):
            kind(**arguments).restore(state)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def _put(*path: Any, value: Any) -> Any:
    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (WeightedEnsemble, _put("weights", 0, 0, value=float("nan"))),
        (WeightedEnsemble, _put("weights", 0, value=[-1.0, 1.0, 1.0])),
        (MeanEnsemble, _put("weights", 0, value=[0.5, 0.5, 0.5])),
        (StackingEnsemble, _put("slopes", 0, 0, value=float("inf"))),
        (StackingEnsemble, _put("intercepts", 1, value=float("nan"))),
        (RankEnsemble, _put("scales", 0, 0, "logits", 3, value=float("nan"))),
        (RankEnsemble, _put("scales", 0, 0, "logits", 0, value=99.0)),
        (RankEnsemble, _put("scales", 0, 0, "ranks", 0, value=0.0)),
        (RankEnsemble, _put("scales", 0, 0, "ranks", 0, value=0.9)),
        (RankEnsemble, _put("scales", 0, 0, "ranks", value=[0.5])),
        (RankEnsemble, _put("scales", 0, 0, "spread", value=0.0)),
        (RankEnsemble, _put("scales", 0, 0, value={"logits": [], "ranks": [], "spread": 1.0})),
    ],
)
def test_a_state_that_no_fit_leaves_is_refused(kind: Any, change: Any) -> None:
    state = json.loads(json.dumps(kind().fit(members()).state()))
    kind().restore(state)
    change(state)
    with pytest.raises(ValueError, match=r"weights are|slopes or|a rank scale"):
        kind().restore(state)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MeanEnsemble("ranks"), "of is 'ranks'"),
        (lambda: MeanEnsemble(weights=[]), "wanted one number a member"),
        (lambda: MeanEnsemble(weights=[1.0, -1.0]), "none below 0"),
        (lambda: MeanEnsemble(weights=[0.0, 0.0]), "not all 0"),
        (lambda: MeanEnsemble(weights=[float("nan"), 1.0]), "wanted one number a member"),
        (lambda: MeanEnsemble(weights=[1.0]).fit(members()), "1 weights were given for 3 members"),
        (lambda: WeightedEnsemble(shrinkage=-1.0), "shrinkage is -1"),
        (lambda: StackingEnsemble(l2=0.0), "l2 is 0"),
        (lambda: StackingEnsemble(shrinkage=float("inf")), "shrinkage is inf"),
        (lambda: RankEnsemble(knots=1), "knots is 1"),
    ],
)
def test_wrong_arguments_say_what_was_wanted(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CASES))
def test_the_order_of_messages_is_nothing(seed: int, case: Any) -> None:
    kind, arguments = case
    tables = members(seed % 5, rows=120)
    order = np.random.default_rng(seed).permutation(120)
    one, other = (kind(**arguments).fit(each) for each in (tables, select(tables, order)))
    assert json.dumps(one.state()) == json.dumps(other.state())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CASES))
def test_what_is_applied_to_is_never_learned_from(seed: int, case: Any) -> None:
    """Poisoned test rows: their targets, scores and number change nothing of what another message gets."""
    kind, arguments = case
    tables, generator = members(3, rows=120), np.random.default_rng(seed)
    ensembler = kind(**arguments).fit(tables)
    before, first = json.dumps(ensembler.state()), joint(ensembler, tables)
    size = int(generator.integers(1, 60))
    poison = [
        ScoresTable(
            ids=[f"p{i}" for i in range(size)],
            labels=tables[0].labels,
            logits_NL=generator.normal(0.0, 20.0, (size, 3)),
            targets_NL=np.ones((size, 3)),
            metadata={"split": "test"},
        )
        for _ in tables
    ]
    ensembler.apply(poison)
    assert json.dumps(ensembler.state()) == before
    np.testing.assert_array_equal(joint(ensembler, tables), first)
    mixed = [
        replace(
            table,
            ids=np.concatenate([table.ids, bad.ids]),
            logits_NL=np.concatenate([table.logits_NL, bad.logits_NL]),
            targets_NL=np.concatenate([table.targets_NL, bad.targets_NL]),
            langs=None,
        )
        for table, bad in zip(tables, poison, strict=True)
    ]
    np.testing.assert_array_equal(joint(ensembler, mixed)[:120], first)
