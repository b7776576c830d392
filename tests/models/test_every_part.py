"""What every loss, head and pooling of the registry must hold; one that is added later is tried without being named.

In float64 against finite differences, in float32 and bfloat16, with one row, with 500 labels, with nothing known.

Axes: B messages, T tokens, D width, N messages of the training split, L labels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.models import test_heads, test_losses, test_poolings
from tocsin.models.heads import Head
from tocsin.models.losses import BinaryCrossEntropy, Loss
from tocsin.models.pooling import Pooling
from tocsin.plugins import builtin
from tocsin.plugins.manager import load_plugins

LOSSES, HEADS, POOLINGS = builtin.tocsin_losses(), builtin.tocsin_heads(), builtin.tocsin_poolings()
WIDTH = 8


def each(kinds: list[Any]) -> Any:
    return pytest.mark.parametrize("kind", kinds, ids=[kind.__name__ for kind in kinds])


both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`.float()`, by which losses make bfloat16 logits exact, leaves float64 alone; new tensors are float64 too."""
    plain = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, "float", lambda self: self if self.dtype == torch.float64 else plain(self)
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def stirred(part: Any) -> Any:
    """Weights away from where they begin: what begins at zero hides what it does. No dropout."""
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return part.eval()


def loss_of(kind: type[Loss], labels: int) -> Loss:
    generator = np.random.default_rng(0)
    targets_NL = (generator.random((40, labels)) < np.linspace(0.05, 0.8, labels)).astype(np.float32)
    targets_NL[generator.random((40, labels)) < 0.2] = np.nan
    loss = kind()
    loss.prepare(targets_NL)
    return loss


def head_of(kind: type[Head], labels: int) -> Head:
    from transformers import AutoConfig

    head = kind()
    head.build(
        AutoConfig.for_model("bert", hidden_size=WIDTH, num_attention_heads=2, num_hidden_layers=1), labels
    )
    return stirred(head)


def pooling_of(kind: type[Pooling]) -> Pooling:
    from transformers import AutoConfig

    pooling = kind()
    pooling.build(AutoConfig.for_model("bert", hidden_size=WIDTH, num_attention_heads=2, num_hidden_layers=1))
    return stirred(pooling)


def read_by(head: Head, hidden_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    return hidden_BTD, mask_BT, hidden_BTD.mean(1) if head.needs == "vector" else None


def states(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(3, 4, WIDTH).to(dtype), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def follows_differences(module: nn.Module, hidden_BTD: Tensor, rest: Any) -> bool:
    """gradcheck of the states and of every weight; `rest` gives the module's arguments from the states."""
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]

    def output(states_BTD: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), rest(states_BTD))

    leaves = [hidden_BTD, *(module.get_parameter(name).detach().clone() for name in names)]
    return torch.autograd.gradcheck(output, [leaf.requires_grad_() for leaf in leaves])


def test_the_lists_below_are_the_registrys() -> None:
    registry = load_plugins({"TOCSIN_PLUGINS": "off"})
    for role, kinds in (("loss", LOSSES), ("head", HEADS), ("pooling", POOLINGS)):
        assert set(registry.components(role).values()) == set(kinds)
    # And those whose formulas are tried by hand, with other settings than their defaults.
    assert {kind for kind, _ in test_losses.CASES} == set(LOSSES)
    assert {kind for kind, *_ in test_heads.HEADS.values()} == set(HEADS)
    assert set(test_poolings.EVERY) == set(POOLINGS)


# Losses ---------------------------------------------------------------------------------------------------------------


@each(LOSSES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.usefixtures("wide")
def test_a_loss_has_the_gradient_of_finite_differences(kind: type[Loss], soft: bool) -> None:
    loss = loss_of(kind, 5).double()
    logits_BL = torch.randn(4, 5, dtype=torch.float64) * 2
    targets_BL = torch.rand(4, 5).double() * 0.7 + 0.15 if soft else torch.randint(0, 2, (4, 5)).double()
    mask_BL = (torch.rand(4, 5) < 0.7).double()
    mask_BL[0], mask_BL[1] = 0.0, 1.0  # a message of which nothing is known, one of which all is

    def total(z_BL: Tensor) -> Tensor:
        value, weight = loss(z_BL, targets_BL, mask_BL)
        assert value.dtype == torch.float64, "the fixture `wide` did not reach this loss"
        assert weight == mask_BL.sum()
        return value

    assert torch.autograd.gradcheck(total, [logits_BL.requires_grad_()])


@each(LOSSES)
@both_types
@pytest.mark.parametrize(("messages", "labels"), [(1, 500), (1, 1), (7, 500)])
def test_a_loss_of_one_row_or_500_labels_is_the_sum_of_its_rows(
    kind: type[Loss], dtype: torch.dtype, messages: int, labels: int
) -> None:
    loss = loss_of(kind, labels)
    logits_BL = (torch.randn(messages, labels) * 2).to(dtype)
    targets_BL, mask_BL = torch.randint(0, 2, (messages, labels)).float(), torch.ones(messages, labels)
    leaf_BL = logits_BL.clone().requires_grad_()
    total, weight = loss(leaf_BL, targets_BL, mask_BL)
    total.backward()
    assert (total.dtype, leaf_BL.grad.dtype, float(weight)) == (torch.float32, dtype, messages * labels)
    added = 0.0
    for row in range(messages):
        alone, _ = loss(logits_BL[row : row + 1], targets_BL[row : row + 1], mask_BL[row : row + 1])
        added += float(alone.detach())
    assert float(total.detach()) == pytest.approx(added, rel=1e-5)
    exact_BL = logits_BL.float().requires_grad_()
    loss(exact_BL, targets_BL, mask_BL)[0].backward()
    torch.testing.assert_close(leaf_BL.grad.float(), exact_BL.grad, rtol=1e-2, atol=1e-3)
    assert exact_BL.grad.count_nonzero() > 0.5 * messages * labels or kind.__name__ == "AsymmetricLoss"


@each(LOSSES)
@both_types
@pytest.mark.parametrize("labels", [1, 500])
@pytest.mark.parametrize("under", [0.0, 1e4, float("nan"), float("-inf")])
def test_a_loss_of_nothing_known_is_zero_with_a_gradient_of_zero(
    kind: type[Loss], dtype: torch.dtype, labels: int, under: float
) -> None:
    loss = loss_of(kind, labels)
    leaf_BL = torch.full((2, labels), under, dtype=dtype).requires_grad_()
    total, weight = loss(leaf_BL, torch.zeros(2, labels), torch.zeros(2, labels))
    total.backward()
    assert total == 0
    assert weight == 0
    assert not leaf_BL.grad.any()  # NaN counts as something


# Heads ----------------------------------------------------------------------------------------------------------------


@each(HEADS)
@pytest.mark.usefixtures("wide")
def test_a_head_has_the_gradients_of_finite_differences(kind: type[Head]) -> None:
    head = head_of(kind, 3)
    hidden_BTD, mask_BT = states(torch.float64)
    assert follows_differences(head, hidden_BTD, lambda states_BTD: read_by(head, states_BTD, mask_BT))


@each(HEADS)
@pytest.mark.parametrize("labels", [1, 500])
@both_types
def test_a_head_of_one_row_or_500_labels(kind: type[Head], labels: int, dtype: torch.dtype) -> None:
    head = head_of(kind, labels)
    hidden_BTD, mask_BT = states()
    exact_BL = head(*read_by(head, hidden_BTD, mask_BT))
    assert exact_BL.shape == (3, labels)
    for rows in (slice(0, 3), slice(1, 2)):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits_BL = head(*read_by(head, hidden_BTD[rows].to(dtype), mask_BT[rows]))
        near = {"rtol": 0.05, "atol": 0.1} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(logits_BL.float(), exact_BL[rows], **near)
    # A head of one label may hardly tell three random messages apart: that of 500 shows that the tolerance is narrow.
    assert labels == 1 or exact_BL.detach().std() > 0.3


@each(HEADS)
@both_types
def test_a_head_learns_nothing_where_nothing_is_known(kind: type[Head], dtype: torch.dtype) -> None:
    head = head_of(kind, 500)
    hidden_BTD, mask_BT = states(dtype)
    hidden_BTD.requires_grad_()
    for known in (0.0, 1.0):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits_BL = head(*read_by(head, hidden_BTD, mask_BT))
        total, _ = BinaryCrossEntropy()(logits_BL, torch.zeros(3, 500), torch.full((3, 500), known))
        leaves = [hidden_BTD, *(p for p in head.parameters() if p.requires_grad)]
        found = torch.autograd.grad(total, leaves, allow_unused=False)
        assert all(bool(gradient.any()) == bool(known) for gradient in found)


# Poolings -------------------------------------------------------------------------------------------------------------


@each(POOLINGS)
@pytest.mark.usefixtures("wide")
def test_a_pooling_has_the_gradients_of_finite_differences(kind: type[Pooling]) -> None:
    pooling = pooling_of(kind)
    hidden_BTD, mask_BT = states(torch.float64)
    assert follows_differences(pooling, hidden_BTD, lambda states_BTD: (states_BTD, mask_BT))


@each(POOLINGS)
@both_types
def test_a_pooling_of_one_row_is_that_row_of_several(kind: type[Pooling], dtype: torch.dtype) -> None:
    pooling = pooling_of(kind)
    hidden_BTD, mask_BT = states()
    exact_BD = pooling(hidden_BTD, mask_BT)
    for row in range(3):
        for tokens in (4, int(mask_BT[row].sum())):  # with padding, and without it
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                vector_BD = pooling(
                    hidden_BTD[row : row + 1, :tokens].to(dtype), mask_BT[row : row + 1, :tokens]
                )
            assert (vector_BD.shape, vector_BD.dtype) == ((1, WIDTH), dtype)
            near = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {"rtol": 1e-6, "atol": 1e-6}
            torch.testing.assert_close(vector_BD.float(), exact_BD[row : row + 1], **near)


@each(POOLINGS)
@both_types
def test_a_pooling_of_no_tokens_gives_numbers_and_hands_no_gradient_to_padding(
    kind: type[Pooling], dtype: torch.dtype
) -> None:
    pooling = pooling_of(kind).to(dtype)
    hidden_BTD, mask_BT = states(dtype)
    mask_BT[1] = 0
    vector_BD = pooling(hidden_BTD.requires_grad_(), mask_BT)
    vector_BD.float().square().sum().backward()
    assert vector_BD.isfinite().all()
    assert hidden_BTD.grad.isfinite().all()
    assert hidden_BTD.grad[0].any()
    assert not hidden_BTD.grad[2, 1:].any()
    assert all(bool(p.grad.isfinite().all()) for p in pooling.parameters() if p.requires_grad)
