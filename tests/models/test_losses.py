"""Losses against hand-computed values, loops over single labels, torch and finite differences; nulls never count.

Axes: B messages, N messages of the training split, L labels.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tocsin.errors import ConfigError
from tocsin.models.losses import AsymmetricLoss, BinaryCrossEntropy, DistributionBalancedLoss, FocalLoss, Loss
from tocsin.models.losses.asymmetric import asymmetric_loss
from tocsin.models.losses.cross_entropy import binary_cross_entropy
from tocsin.models.losses.distribution_balanced import (
    label_statistics,
    negative_tolerant_cross_entropy,
    rebalancing_weights,
)
from tocsin.models.losses.focal import focal_loss
from tocsin.plugins.testing import check_loss

Cases = list[tuple[type[Loss], dict[str, Any]]]
CASES: Cases = [
    (BinaryCrossEntropy, {}),
    (BinaryCrossEntropy, {"pos_weight": "auto", "label_smoothing": 0.1}),
    (FocalLoss, {}),
    (FocalLoss, {"gamma": 0.5, "alpha": None}),
    (AsymmetricLoss, {}),
    (AsymmetricLoss, {"gamma_negative": 0.5, "gamma_positive": 0.3, "clip": 0.0}),
    (DistributionBalancedLoss, {}),
]
every_loss = pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=[f"{kind.__name__}-{number}" for number, (kind, _) in enumerate(CASES)]
)


def _training(labels: int, seed: int = 0) -> np.ndarray:
    """Targets `(N, L)` of a training split with nulls; labels differ in frequency."""
    generator = np.random.default_rng(seed)
    targets_NL = (generator.random((60, labels)) < np.linspace(0.05, 0.8, labels)).astype(np.float32)
    targets_NL[generator.random((60, labels)) < 0.2] = np.nan
    return targets_NL


def _made(kind: type[Loss], options: dict[str, Any], training_NL: np.ndarray) -> Loss:
    loss = kind(**options)
    loss.prepare(training_NL)
    return loss


def _batch(messages: int, labels: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_BL = torch.randn(messages, labels, generator=generator) * 3
    targets_BL = torch.randint(0, 2, (messages, labels), generator=generator).float()
    mask_BL = (torch.rand(messages, labels, generator=generator) < 0.7).float()
    return logits_BL, targets_BL, mask_BL


def _gradient(loss: Loss, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    leaf_BL = logits_BL.clone().requires_grad_()
    total, _ = loss(leaf_BL, targets_BL, mask_BL)
    (gradient_BL,) = torch.autograd.grad(total, leaf_BL)
    return total.detach(), gradient_BL


# Each formula, one label at a time ------------------------------------------------------------------------------------


def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


def _smoothed(z: float, y: float, weight: float, smoothing: float) -> float:
    p, wrong = _sigmoid(z), smoothing / 2
    positive = -(1 - wrong) * math.log(p) - wrong * math.log(1 - p)
    negative = -wrong * math.log(p) - (1 - wrong) * math.log(1 - p)
    return y * weight * positive + (1 - y) * negative


def _focal(z: float, y: float, gamma: float, alpha: float) -> float:
    """Equations 4 and 5 of the paper, for y of 0 or 1."""
    p_t = _sigmoid(z) if y == 1 else 1 - _sigmoid(z)
    return -(alpha if y == 1 else 1 - alpha) * (1 - p_t) ** gamma * math.log(p_t)


def _asymmetric(z: float, y: float, negative: float, positive: float, clip: float) -> float:
    p = _sigmoid(z)
    p_m = max(p - clip, 0.0)
    return -y * (1 - p) ** positive * math.log(p) - (1 - y) * p_m**negative * math.log(1 - p_m)


def _looped(logits_BL: Tensor, targets_BL: Tensor, formula: Callable[[float, float], float]) -> Tensor:
    return torch.tensor(
        [
            [formula(z, y) for z, y in zip(zs, ys, strict=True)]
            for zs, ys in zip(logits_BL.tolist(), targets_BL.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("soft", [False, True])
def test_label_smoothing_is_cross_entropy_with_softer_truths(soft: bool) -> None:
    logits, targets, _ = (values.double() for values in _batch(6, 4))
    targets = targets * 0.7 + 0.1 if soft else targets
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets * 0.9 + 0.05, reduction="none"
    )
    torch.testing.assert_close(binary_cross_entropy(logits, targets, None, 0.1), wanted)
    weight = torch.tensor([2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    mine = binary_cross_entropy(logits, targets, weight, 0.1)
    for label, w in enumerate(weight.tolist()):
        looped = _looped(
            logits[:, label : label + 1],
            targets[:, label : label + 1],
            lambda z, y, w=w: _smoothed(z, y, w, 0.1),
        )
        torch.testing.assert_close(mine[:, label : label + 1], looped)


def test_label_smoothing_by_hand() -> None:
    # p = 3/4, e = .2: the positive costs -.9 ln(3/4) - .1 ln(1/4).
    loss = BinaryCrossEntropy(label_smoothing=0.2)
    total, weight = loss(torch.tensor([[math.log(3.0)]]), torch.ones(1, 1), torch.ones(1, 1))
    assert float(total) == pytest.approx(0.9 * 0.2876820724 + 0.1 * 1.3862943611, rel=1e-6)
    assert weight == 1
    # It is least at the smoothed truth, whatever a positive weighs.
    grid = torch.linspace(-6, 6, 2401, dtype=torch.float64)[:, None]
    for pos_weight in (0.01, 50.0):
        losses = binary_cross_entropy(grid, torch.ones_like(grid), torch.tensor([pos_weight]), 0.2)
        assert float(torch.sigmoid(grid[losses.argmin()])) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("weight", [None, 3.0])
def test_cross_entropy_is_torchs_over_known_labels(weight: float | None) -> None:
    logits, targets, known = _batch(5, 4)
    loss = BinaryCrossEntropy(weight)
    loss.prepare(np.where(known.numpy() > 0, targets.numpy(), np.nan))
    factor = None if weight is None else torch.full((4,), weight)
    every = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=factor, reduction="none"
    )
    total, count = loss(logits, targets, known)
    torch.testing.assert_close(total, every[known == 1].sum())
    assert count == known.sum()


def test_automatic_pos_weight_is_negatives_over_positives_within_bounds() -> None:
    targets = np.array([[1, 0, np.nan], [0, 0, 1], [0, 0, 1], [0, 0, np.nan]], dtype=np.float32)
    loss = BinaryCrossEntropy("auto", max_pos_weight=50.0)
    loss.prepare(targets)
    torch.testing.assert_close(loss.pos_weight_L, torch.tensor([3.0, 1.0, 1 / 50.0]))
    loss.prepare(
        np.array([[0.5], [0.25], [np.nan], [0.25]], dtype=np.float32)
    )  # one positive of three, in shares
    torch.testing.assert_close(loss.pos_weight_L, torch.tensor([2.0]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_is_the_papers_for_hard_targets(gamma: float) -> None:
    logits, targets, _ = (values.double() for values in _batch(8, 5))
    wanted = _looped(logits, targets, lambda z, y: _focal(z, y, gamma, 0.25))
    torch.testing.assert_close(focal_loss(logits, targets, gamma, 0.25), wanted)


def test_focal_loss_by_hand_and_at_its_borders() -> None:
    # p = 3/4: a positive costs 1/4 (1/4)^2 times -ln(3/4), a negative 3/4 (3/4)^2 times -ln(1/4).
    z = torch.tensor([[math.log(3.0), math.log(3.0)]], dtype=torch.float64)
    wanted = torch.tensor([[0.0044950324, 0.5848429336]], dtype=torch.float64)
    torch.testing.assert_close(focal_loss(z, torch.tensor([[1.0, 0.0]]), 2.0, 0.25), wanted)
    logits, targets, _ = (values.double() for values in _batch(8, 5))
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(focal_loss(logits, targets, 0.0, None), plain)
    # A soft target is reached, unlike with the products of the hard formula.
    grid = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    losses = focal_loss(grid, torch.full_like(grid, 0.3), 2.0, None)
    assert float(torch.sigmoid(grid[losses.argmin()])) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("settings_", [(4.0, 1.0, 0.05), (4.0, 0.0, 0.2), (2.0, 1.0, 0.0), (0.0, 0.0, 0.0)])
def test_asymmetric_loss_is_the_papers(settings_: tuple[float, float, float]) -> None:
    logits, targets, _ = (values.double() for values in _batch(8, 5))
    for ys in (targets, targets * 0.6 + 0.2):
        wanted = _looped(logits, ys, lambda z, y: _asymmetric(z, y, *settings_))
        torch.testing.assert_close(asymmetric_loss(logits, ys, *settings_), wanted)
    if settings_ == (0.0, 0.0, 0.0):
        plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        torch.testing.assert_close(asymmetric_loss(logits, targets, *settings_), plain)


def test_asymmetric_loss_by_hand() -> None:
    # p = 3/4 and a margin of 1/4: the negative costs (1/2)^4 times -ln(1/2), the positive 1/4 times -ln(3/4).
    z = torch.tensor([[math.log(3.0), math.log(3.0), -math.log(3.0)]], dtype=torch.float64)
    mine = asymmetric_loss(z, torch.tensor([[0.0, 1.0, 0.0]]), 4.0, 1.0, 0.25)
    wanted = torch.tensor([[0.0433216988, 0.0719205181, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(mine, wanted)


def test_distribution_balanced_loss_by_hand() -> None:
    # 4 messages; n = 2, 1, 0 (counted as 1); the second label is known 3 times. Shares: 2/4, 1/3, 1/8 (half of 4).
    training = np.array([[1, 0, 0], [1, 1, 0], [0, np.nan, 0], [0, 0, 0]], dtype=np.float32)
    positives, prior = label_statistics(training)
    np.testing.assert_allclose(positives, [2, 1, 1])
    np.testing.assert_allclose(prior, [0.0, math.log(1 / 2), math.log(1 / 7)], atol=1e-12)
    # A message with the first two labels on: r = (1/2)/(3/2), 1/(3/2), 1/(3/2).
    weights = rebalancing_weights(
        torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).double(), torch.tensor(positives), 0.1, 10.0, 0.2
    )
    wanted = [0.1 + _sigmoid(10 * (r - 0.2)) for r in (1 / 3, 2 / 3, 2 / 3)]
    torch.testing.assert_close(weights[0], torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(weights[1], torch.full((3,), 1.1, dtype=torch.float64))
    # z = 1, v = -.5 ln(1/2) = ln(2)/2, s = 2: ln(1 + e^(v-1)) on, ln(1 + e^(2(1-v)))/2 off.
    shift = math.log(2) / 2
    mine = negative_tolerant_cross_entropy(
        torch.ones(1, 2).double(), torch.tensor([[1.0, 0.0]]).double(), torch.full((2,), shift), 2.0
    )
    by_hand = [[math.log(1 + math.exp(shift - 1)), math.log(1 + math.exp(2 * (1 - shift))) / 2]]
    torch.testing.assert_close(mine, torch.tensor(by_hand, dtype=torch.float64))


def test_distribution_balanced_loss_is_the_papers_over_known_labels() -> None:
    training_NL = _training(5)
    loss = DistributionBalancedLoss(alpha=0.2, beta=8.0, mu=0.3, negative_scale=3.0, prior_scale=0.1)
    loss.prepare(training_NL)
    logits_BL, targets_BL, mask_BL = _batch(9, 5)
    total, count = 0.0, 0
    for z_L, y_L, known_L in zip(logits_BL.tolist(), targets_BL.tolist(), mask_BL.tolist(), strict=True):
        n = [sum(1 for value in column if value == 1) for column in training_NL.T]
        known = [sum(1 for value in column if not math.isnan(value)) for column in training_NL.T]
        drawn = sum(1 / n[i] for i in range(5) if known_L[i] and y_L[i] == 1)
        for i in (i for i in range(5) if known_L[i]):
            ratio = 1 / n[i] / drawn if drawn else math.inf
            weight = 0.2 + (_sigmoid(8.0 * (ratio - 0.3)) if drawn else 1.0)
            shifted = z_L[i] - 0.1 * math.log(known[i] / n[i] - 1)
            on = math.log(1 + math.exp(-shifted))
            off = math.log(1 + math.exp(3.0 * shifted)) / 3.0
            total, count = total + weight * (on if y_L[i] == 1 else off), count + 1
    mine, weight_sum = loss(logits_BL, targets_BL, mask_BL)
    assert float(mine) == pytest.approx(total, rel=1e-5)
    assert weight_sum == count


def test_distribution_balanced_loss_counts_what_is_never_known_always_on_or_soft() -> None:
    training = np.array([[np.nan, 1, 0.5], [np.nan, 1, 0.25]], dtype=np.float32)
    positives, prior = label_statistics(training)
    np.testing.assert_allclose(positives, [1, 2, 1])
    np.testing.assert_allclose(prior, [0.0, math.log(1.5 / 0.5), math.log(0.75 / 1.25)], atol=1e-12)
    with pytest.raises(ConfigError, match="counted no training targets"):
        DistributionBalancedLoss()(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1))


# What every loss must hold --------------------------------------------------------------------------------------------


@every_loss
def test_it_conforms(kind: type[Loss], options: dict[str, Any]) -> None:
    check_loss(kind, **options)


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": lambda z, y: binary_cross_entropy(z, y, torch.tensor([2.0, 0.5, 1.0]).double(), 0.0),
    "smoothed": lambda z, y: binary_cross_entropy(z, y, torch.tensor([2.0, 0.5, 1.0]).double(), 0.2),
    "focal": lambda z, y: focal_loss(z, y, 2.0, 0.25),
    "focal below 1": lambda z, y: focal_loss(z, y, 0.5),
    "asymmetric": lambda z, y: asymmetric_loss(z, y, 4.0, 1.0, 0.05),
    "asymmetric without margin": lambda z, y: asymmetric_loss(z, y, 2.0, 0.5, 0.0),
    "negative-tolerant": lambda z, y: negative_tolerant_cross_entropy(
        z, y, torch.tensor([0.3, -0.2, 1.0]).double(), 2.0
    ),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("soft", [False, True])
def test_gradients_are_those_of_finite_differences(name: str, soft: bool) -> None:
    logits, targets, _ = (values.double() for values in _batch(4, 3, seed=3))
    targets = targets * 0.6 + 0.15 if soft else targets
    assert torch.autograd.gradcheck(lambda z: FUNCTIONS[name](z, targets), logits.requires_grad_())


@every_loss
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    messages=st.integers(1, 6),
    labels=st.integers(1, 5),
    nulls=st.floats(0.0, 1.0),
    soft=st.booleans(),
    under=st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e30, 0.0]),
    seed=st.integers(0, 10_000),
)
def test_nulls_count_nowhere(
    kind: type[Loss],
    options: dict[str, Any],
    messages: int,
    labels: int,
    nulls: float,
    soft: bool,
    under: float,
    seed: int,
) -> None:
    """With nulls, value and gradient are those of the known entries alone, whatever stands under a null."""
    generator = torch.Generator().manual_seed(seed)
    logits_BL, targets_BL, _ = _batch(messages, labels, seed)
    if soft:
        targets_BL = torch.rand(messages, labels, generator=generator)
    known_BL = torch.rand(messages, labels, generator=generator) >= nulls
    mask_BL = known_BL.float()
    training_NL = _training(labels, seed)
    loss = _made(kind, options, training_NL)
    total, gradient_BL = _gradient(loss, logits_BL, targets_BL, mask_BL)

    # Bit for bit, whatever stands there.
    other, other_BL = _gradient(
        loss, torch.where(known_BL, logits_BL, under), torch.where(known_BL, targets_BL, 0.7), mask_BL
    )
    assert torch.equal(other, total)
    assert torch.equal(other_BL, gradient_BL)
    assert not gradient_BL[~known_BL].any()

    # What the messages without any known label leave when they are left out: equal to float32's last digit, since
    # processors compute the end of an array by other instructions than its bulk.
    some_B = known_BL.any(1)
    rest, rest_BL = _gradient(loss, logits_BL[some_B], targets_BL[some_B], mask_BL[some_B])
    torch.testing.assert_close(rest_BL, gradient_BL[some_B], rtol=5e-7, atol=1e-12)
    torch.testing.assert_close(rest, total, rtol=1e-6, atol=1e-12)

    # And what a loss that never heard of the null labels gives for the rest of each message.
    added = 0.0
    for row in range(messages):
        columns = known_BL[row].nonzero().flatten().tolist()
        if not columns:
            continue
        alone = _made(kind, options, training_NL[:, columns])
        part, part_1K = _gradient(
            alone,
            logits_BL[row : row + 1, columns],
            targets_BL[row : row + 1, columns],
            torch.ones(1, len(columns)),
        )
        added += float(part)
        torch.testing.assert_close(part_1K[0], gradient_BL[row, columns], rtol=2e-6, atol=1e-9)
    assert float(total) == pytest.approx(added, rel=2e-6, abs=1e-9)
    assert loss.weight(targets_BL, mask_BL) == known_BL.sum()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_row_500_labels_and_all_null(
    kind: type[Loss], options: dict[str, Any], dtype: torch.dtype
) -> None:
    loss = _made(kind, options, _training(500))
    logits_BL, targets_BL, mask_BL = _batch(1, 500)
    logits_BL = logits_BL.to(dtype)
    total, gradient_BL = _gradient(loss, logits_BL, targets_BL, mask_BL)
    assert total.dtype == torch.float32
    assert gradient_BL.dtype == dtype
    exact, exact_BL = _gradient(loss, logits_BL.float(), targets_BL, mask_BL)
    torch.testing.assert_close(total, exact)  # summed in float32 all the same
    torch.testing.assert_close(gradient_BL.float(), exact_BL, rtol=1e-2, atol=1e-3)
    nothing, nothing_BL = _gradient(loss, torch.full_like(logits_BL, float("nan")), targets_BL, mask_BL * 0)
    assert nothing == 0
    assert not nothing_BL.any()
    assert loss.weight(targets_BL, mask_BL * 0) == 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (BinaryCrossEntropy, {"pos_weight": 0.0}),
        (BinaryCrossEntropy, {"pos_weight": -1.0}),
        (BinaryCrossEntropy, {"max_pos_weight": 0.5}),
        (BinaryCrossEntropy, {"label_smoothing": 1.0}),
        (BinaryCrossEntropy, {"label_smoothing": -0.1}),
        (FocalLoss, {"gamma": -1.0}),
        (FocalLoss, {"alpha": 1.0}),
        (AsymmetricLoss, {"gamma_negative": -1.0}),
        (AsymmetricLoss, {"gamma_positive": float("nan")}),
        (AsymmetricLoss, {"clip": 1.0}),
        (DistributionBalancedLoss, {"alpha": -0.1}),
        (DistributionBalancedLoss, {"beta": 0.0}),
        (DistributionBalancedLoss, {"mu": -0.1}),
        (DistributionBalancedLoss, {"negative_scale": 0.5}),
        (DistributionBalancedLoss, {"prior_scale": float("inf")}),
    ],
)
def test_settings_out_of_range_are_named(kind: type[Loss], options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"{kind.__name__}: {name} is .*; wanted "):
        kind(**options)
