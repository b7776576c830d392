"""Each wrong pooling has one fault, and the check names that one. Axes: B messages, T tokens, D width."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.pooling import AttentionPooling, ClsPooling, MaxPooling, MeanPooling, Pooling
from tocsin.plugins.testing import check_pooling
from tocsin.plugins.testing.poolings import MODES


class _RightMean(MeanPooling):
    """A mean that sentence-transformers does not know, from which the wrong ones below differ by one thing each."""

    @property
    def sentence_transformers_mode(self) -> str | None:
        return None


@pytest.mark.parametrize("pooling", [MeanPooling, ClsPooling, MaxPooling, AttentionPooling, _RightMean])
def test_right_poolings_pass(pooling: type[Pooling]) -> None:
    check_pooling(pooling)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_each_known_mode_has_its_formula(mode: str) -> None:
    hidden_BTD = torch.tensor([[[1.0], [4.0], [100.0]]])
    mask_BT = torch.tensor([[1, 1, 0]])
    expected = {"cls": 1.0, "lasttoken": 4.0, "max": 4.0, "mean": 2.5, "weightedmean": 3.0}
    expected["mean_sqrt_len_tokens"] = 5.0 / 2**0.5
    torch.testing.assert_close(MODES[mode](hidden_BTD, mask_BT), torch.tensor([[expected[mode]]]))


def test_padding_does_not_count() -> None:
    class _WrongMean(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return hidden_BTD.mean(1)

    fault = only_fault(check_pooling, _WrongMean)
    assert "With other states under the padding the vectors moved by " in fault
    assert "mask_BT is 1 for real tokens" in fault


def test_a_maximum_that_sees_padding_is_found() -> None:
    class _WrongMax(Pooling):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return (hidden_BTD * mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)).amax(1)

        @property
        def sentence_transformers_mode(self) -> str | None:
            return None

    found = faults(check_pooling, _WrongMax)
    assert "With 2 more padding tokens the vectors moved" in found[0]


def test_messages_do_not_see_one_another() -> None:
    class _WrongCentred(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            vector_BD = super().forward(hidden_BTD, mask_BT)
            return vector_BD / (1e-3 + vector_BD.abs().amax(0))

    fault = only_fault(check_pooling, _WrongCentred)
    assert "A message alone and the same message beside others" in fault
    assert "never over B (dim 0)" in fault


def test_the_type_is_kept() -> None:
    class _WrongType(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT).float()

    fault = only_fault(check_pooling, _WrongType)
    assert (
        "States (5, 7, 16) bfloat16 gave (5, 16) float32; wanted one vector a message, (5, 16) bfloat16"
        in fault
    )


def test_vectors_are_finite() -> None:
    class _WrongRoot(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT).sqrt()

    assert "gave numbers that are infinite or NaN" in only_fault(check_pooling, _WrongRoot)


def test_one_token_keeps_the_axes() -> None:
    class _WrongSqueeze(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT).squeeze(0)

    assert "States (1, 1, 16) float32 gave (16,) float32" in only_fault(check_pooling, _WrongSqueeze)


def test_a_message_without_tokens_harms_no_other() -> None:
    class _WrongEmpty(_RightMean):
        """One total for the pass, without a guard."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
            vector_BD = (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
            return vector_BD + vector_BD.sum() * 0

    fault = only_fault(check_pooling, _WrongEmpty)
    assert "A message whose mask is all 0" in fault
    assert "clamp(min=1)" in fault


def test_gradients_flow() -> None:
    class _WrongDetached(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT).detach()

    class _WrongHalf(_RightMean):
        """Trains on long messages alone."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            short_B11 = (mask_BT.sum(1) < 2).view(-1, 1, 1)
            return super().forward(torch.where(short_B11, hidden_BTD.detach(), hidden_BTD), mask_BT)

    assert "No gradient flows through it" in only_fault(check_pooling, _WrongDetached)
    assert "the real tokens of some messages" in only_fault(check_pooling, _WrongHalf)


def test_evaluation_mode_is_deterministic() -> None:
    class _WrongDropout(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return F.dropout(super().forward(hidden_BTD, mask_BT), 0.5)

    assert "only where self.training is true" in only_fault(check_pooling, _WrongDropout)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("cls", "the vectors differ from that pooling by"),
        ("median", "which sentence-transformers does not know"),
    ],
)
def test_the_mode_is_the_truth(mode: str, words: str) -> None:
    class _WrongMode(MeanPooling):
        """Wrong."""

        @property
        def sentence_transformers_mode(self) -> str | None:
            return mode

    fault = only_fault(check_pooling, _WrongMode)
    assert f"sentence_transformers_mode is {mode!r}" in fault
    assert words in fault


def test_it_learns_what_build_makes_and_follows_from_its_arguments() -> None:
    class _RightWeights(_RightMean):
        """Learns a scale."""

        def build(self, encoder_config: Any) -> None:
            self.scale_D = nn.Parameter(torch.ones(encoder_config.hidden_size))

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT) * self.scale_D.to(hidden_BTD.dtype)

    class _WrongUnused(_RightWeights):
        """Makes a weight that nothing reads."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return _RightMean.forward(self, hidden_BTD, mask_BT)

    class _WrongDrawn(_RightWeights):
        """Draws a scale in build and does not save it."""

        def build(self, encoder_config: Any) -> None:
            super().build(encoder_config)
            self.register_buffer("drawn_D", torch.rand(encoder_config.hidden_size), persistent=False)

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT) * self.drawn_D.to(hidden_BTD.dtype)

    class _WrongWeights(_RightMean):
        """Learns a scale that its constructor makes."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT) * self.scale.to(hidden_BTD.dtype)

    class _WrongProjection(_RightMean):
        """Draws a projection."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("signs", torch.randn(16).sign())

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD, mask_BT) * self.signs.to(hidden_BTD.dtype)

    check_pooling(_RightWeights)
    assert "No finite gradient reaches scale_D" in only_fault(check_pooling, _WrongUnused)
    assert "follows from no argument and is no weight" in only_fault(check_pooling, _WrongDrawn)
    assert "The constructor makes weights (scale) before the width is known" in only_fault(
        check_pooling, _WrongWeights
    )
    assert "Draw no random numbers in the constructor" in only_fault(check_pooling, _WrongProjection)


def test_what_it_raises_is_quoted() -> None:
    class _WrongRaise(_RightMean):
        """Wrong."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            raise RuntimeError("no such axis")

    fault = only_fault(check_pooling, _WrongRaise)
    assert fault.startswith("Pooling states (5, 7, 16) under their mask raised RuntimeError: no such axis.")


class _ByPlace(_RightMean):
    """Right: earlier tokens weigh more, and the more so the shorter the message."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        place_BT = (mask_BT.cumsum(1) - 1).float()
        weights_BT = torch.exp(-place_BT / mask_BT.sum(1, keepdim=True).clamp(min=1)) * mask_BT
        weights_BT = weights_BT / weights_BT.sum(1, keepdim=True).clamp(min=1e-6)
        return (weights_BT.unsqueeze(-1) * hidden_BTD.float()).sum(1).to(hidden_BTD.dtype)


class _FirstAndLast(_RightMean):
    """Right: the mean of the first and the last real token."""

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        last_B = (mask_BT.sum(1) - 1).clamp(min=0)
        return (hidden_BTD[:, 0] + hidden_BTD[torch.arange(len(last_B)), last_B]) / 2


@pytest.mark.parametrize("pooling", [_ByPlace, _FirstAndLast])
def test_poolings_by_place_pass(pooling: type[Pooling]) -> None:
    check_pooling(pooling)


def test_states_are_left_as_they_are() -> None:
    class _WrongInPlace(_RightMean):
        """Blanks the padding of states that the head reads too."""

        def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(hidden_BTD.masked_fill_(mask_BT.unsqueeze(-1) == 0, 0.0), mask_BT)

    fault = only_fault(check_pooling, _WrongInPlace)
    assert "forward() changed hidden_BTD, which it was given" in fault
    assert "hidden_BTD.masked_fill(…) makes a copy" in fault
