"""Losses of distillation against numbers worked out by hand, and the rule that a weight is so many copies."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.losses import (
    Contrastive,
    CosineDistance,
    MeanSquaredError,
    SpreadOut,
    VectorLoss,
)
from tocsin.models.losses.combined import names_of

# A step of two pairs that share the English sentence 7, which stands in it once.
STUDENT = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
TEACHER = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
WEIGHT = torch.tensor([2.0, 1.0, 1.0])
ENGLISH = torch.tensor([7, 7, 7])


def test_the_papers_squared_error_by_hand() -> None:
    # ‖(1,0) - (0,1)‖² = 2 twice, ‖(0,2) - (0,1)‖² = 1, ‖(1,1) - (0,1)‖² = 1; over two pairs.
    total, weight = MeanSquaredError()(STUDENT, TEACHER, WEIGHT, ENGLISH)
    assert (total.item(), weight.item()) == (6.0, 2.0)
    total, weight = MeanSquaredError("mean")(STUDENT, TEACHER, WEIGHT, ENGLISH)
    assert (total.item(), weight.item()) == (3.0, 2.0)


def test_the_mean_is_twice_sentence_transformers_mean() -> None:
    """MSELoss of sentence-transformers is torch's mean over sides, pairs and width."""
    student, teacher = torch.randn(8, 5), torch.randn(4, 5).repeat(2, 1)
    total, weight = MeanSquaredError("mean")(student, teacher, torch.ones(8), torch.arange(4).repeat(2))
    torch.testing.assert_close(total / weight, 2 * F.mse_loss(student, teacher))


def test_cosine_distance_by_hand() -> None:
    total, weight = CosineDistance()(STUDENT, TEACHER, WEIGHT, ENGLISH)
    assert total.item() == pytest.approx(2 * 1.0 + 0.0 + (1 - math.sqrt(0.5)))
    assert weight.item() == 4.0


def test_spread_out_by_hand() -> None:
    """Three meanings; the two rows of the first do not push each other."""
    student = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    english = torch.tensor([1, 1, 2, 3])
    total, weight = SpreadOut()(student, student, torch.ones(4), english)
    # Ordered pairs: 0-2 and 1-2 (cosine 0), 0-3 and 1-3 (-1), 2-3 (0), each twice: mean -4/10, mean square 4/10.
    assert (total / weight).item() == pytest.approx(0.4**2 + max(0.0, 0.4 - 1 / 2))
    assert weight.item() == 4.0
    lonely, _ = SpreadOut()(student[:2].requires_grad_(), student[:2], torch.ones(2), english[:2])
    assert lonely.item() == 0.0
    lonely.backward()


def test_contrastive_is_a_cross_entropy_over_distinct_sentences() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 6, generator=generator)
    distinct = torch.randn(3, 6, generator=generator)
    english, own = torch.tensor([9, 4, 9, 6, 4]), torch.tensor([2, 0, 2, 1, 0])  # ascending: 4, 6, 9
    total, weight = Contrastive(0.1)(student, distinct[own], torch.ones(5), english)
    expected = 0.0
    for row in range(5):
        cosines = [
            float(student[row] @ distinct[c] / student[row].norm() / distinct[c].norm()) / 0.1
            for c in range(3)
        ]
        expected -= cosines[own[row]] - math.log(sum(math.exp(c) for c in cosines))
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == 5.0


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 3), min_size=2, max_size=6).filter(any),
    seed=st.integers(0, 1000),
    kind=st.sampled_from([MeanSquaredError, CosineDistance, Contrastive, SpreadOut]),
)
def test_a_weight_is_so_many_copies(counts: list[int], seed: int, kind: type[VectorLoss]) -> None:
    """Value and gradient: rows of weight w give what w copies give, in any order."""
    generator = np.random.default_rng(seed)
    n = len(counts)
    english = torch.from_numpy(generator.integers(0, n, n))
    teachers = torch.from_numpy(generator.normal(size=(n, 4)))[english].float()
    student = torch.from_numpy(generator.normal(size=(n, 4))).float().requires_grad_()
    loss = kind()
    total, weight = loss(student, teachers, torch.tensor(counts, dtype=torch.float32), english)
    rows = torch.from_numpy(generator.permutation(np.repeat(np.arange(n), counts)))
    copied, copies = loss(student[rows], teachers[rows], torch.ones(len(rows)), english[rows])
    torch.testing.assert_close(total, copied, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weight, copies)
    (one,) = torch.autograd.grad(total, student, retain_graph=True)
    (other,) = torch.autograd.grad(copied, student)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contrastive(0.0), "temperature is 0.0; wanted a number above 0"),
        (lambda: MeanSquaredError("max"), "scaling is 'max'; wanted sum or mean"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_terms_of_one_class_are_told_apart() -> None:
    assert names_of([Contrastive(0.1), Contrastive(0.2), SpreadOut()]) == [
        "Contrastive",
        "Contrastive-2",
        "SpreadOut",
    ]
