"""Right heads that are built in unusual ways pass. Axes: B messages, T tokens, D width, H heads, L labels."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.plugins.testing.rejections import only_fault
from tocsin.models.heads import Head, LinearHead
from tocsin.plugins.testing import check_head


class _Vector(Head):
    """Layers on the pooled vector."""

    needs: ClassVar[str] = "vector"

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        self.layers = self.made(encoder_config.hidden_size, labels)

    def made(self, width: int, labels: int) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, labels))

    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        assert vector_BD is not None
        return self.logits(vector_BD)

    def logits(self, vector_BD: Tensor) -> Tensor:
        return self.layers(vector_BD)


class _RarePrior(_Vector):
    """Starts at the log odds of rare labels, on normalised vectors."""

    def made(self, width: int, labels: int) -> nn.Module:
        linear = nn.Linear(width, labels)
        nn.init.constant_(linear.bias, -12.0)
        return linear

    def logits(self, vector_BD: Tensor) -> Tensor:
        return self.layers(F.normalize(vector_BD, dim=1))


class _Temperature(_Vector):
    """A learned, clamped temperature, which begins at its bound."""

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        super().build(encoder_config, labels, pooler)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def logits(self, vector_BD: Tensor) -> Tensor:
        return super().logits(vector_BD) * self.log_scale.clamp(max=0.1).exp()


class _Tied(_Vector):
    """Two layers share one weight."""

    def made(self, width: int, labels: int) -> nn.Module:
        first, second = nn.Linear(width, width), nn.Linear(width, width)
        second.weight = first.weight
        return nn.Sequential(first, nn.GELU(), second, nn.GELU(), nn.Linear(width, labels))


class _Cosine(_Vector):
    """Cosines to a vector for each label, with a learned scale and bias."""

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        self.labels_LD = nn.Parameter(torch.randn(labels, encoder_config.hidden_size))
        self.scale, self.bias = nn.Parameter(torch.tensor(2.3)), nn.Parameter(torch.tensor(-10.0))

    def logits(self, vector_BD: Tensor) -> Tensor:
        cosines_BL = F.normalize(vector_BD, dim=1) @ F.normalize(self.labels_LD, dim=1).T
        return cosines_BL * self.scale.exp() + self.bias


class _Tokens(Head):
    """Base of those that read tokens."""

    needs: ClassVar[str] = "tokens"

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        width = encoder_config.hidden_size
        self.make(width)
        self.out = nn.Linear(width, labels)

    def make(self, width: int) -> None: ...

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        assert hidden_BTD is not None
        assert mask_BT is not None
        return self.out(self.read(hidden_BTD, mask_BT))


class _PackedGru(_Tokens):
    """A GRU in both directions over packed tokens; its last states."""

    def make(self, width: int) -> None:
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        lengths_B = mask_BT.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(hidden_BTD, lengths_B, batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1].transpose(0, 1).flatten(1)


class _MaskedGru(_Tokens):
    """A GRU over all columns, and the mean of its states at real tokens."""

    def make(self, width: int) -> None:
        self.gru = nn.GRU(width, width, batch_first=True)

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        states_BTD, _ = self.gru(hidden_BTD)
        mask_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
        return (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)


class _PaddedGru(_PackedGru):
    """A packed GRU whose states are padded again, and their maximum."""

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        lengths_B = mask_BT.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(hidden_BTD, lengths_B, batch_first=True, enforce_sorted=False)
        states_BTD, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, padding_value=-2.0, total_length=hidden_BTD.shape[1]
        )
        return states_BTD.amax(1)


class _MultiHead(_Tokens):
    """Multi-head attention of a learned query."""

    def make(self, width: int) -> None:
        self.query_D = nn.Parameter(torch.randn(width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        query_B1D = self.query_D.to(hidden_BTD.dtype).expand(len(hidden_BTD), 1, -1)
        ignored_BT = mask_BT == 0
        ignored_BT = ignored_BT & ~ignored_BT.all(1, keepdim=True)
        return self.attention(query_B1D, hidden_BTD, hidden_BTD, key_padding_mask=ignored_BT)[0].squeeze(1)


class _ScoredTokens(_Tokens):
    """Attention by a linear layer whose bias the softmax takes out again."""

    def make(self, width: int) -> None:
        self.score = nn.Linear(width, 1)

    def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        scores_BT = self.score(hidden_BTD).squeeze(-1).float()
        weights_BT = scores_BT.masked_fill(mask_BT == 0, torch.finfo(torch.float32).min).softmax(1)
        return (weights_BT.to(hidden_BTD.dtype).unsqueeze(-1) * hidden_BTD).sum(1)


@pytest.mark.parametrize(
    "head",
    [
        _Vector,
        _RarePrior,
        _Temperature,
        _Tied,
        _Cosine,
        _PackedGru,
        _MaskedGru,
        _PaddedGru,
        _MultiHead,
        _ScoredTokens,
    ],
)
def test_unusual_heads_pass(head: type[Head]) -> None:
    check_head(head)


def test_log_probabilities_are_no_logits() -> None:
    class _WrongLogSigmoid(LinearHead):
        """The logarithm of the probability."""

        def classify(self, features_BF: Tensor) -> Tensor:
            return F.logsigmoid(super().classify(features_BF))

    class _WrongLogSoftmax(_MultiHead):
        """Of a softmax."""

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD).log_softmax(1)

    for wrong in (_WrongLogSigmoid, _WrongLogSoftmax):
        fault = only_fault(check_head, wrong)
        assert "None of 2,500 logits is above 0, whatever the weights: are they log-probabilities" in fault
        assert "Return logits, the log odds" in fault


def test_changed_inputs_are_named_before_anything_else() -> None:
    class _WrongVector(_Vector):
        """Doubles the vector that others read too."""

        def logits(self, vector_BD: Tensor) -> Tensor:
            return super().logits(vector_BD.mul_(2))

    class _WrongTokens(_MaskedGru):
        """Blanks the states."""

        def read(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().read(hidden_BTD.masked_fill_(mask_BT.unsqueeze(-1) == 0, 0.0), mask_BT)

    class _WrongTraining(_Vector):
        """Drops in place."""

        def made(self, width: int, labels: int) -> nn.Module:
            return nn.Sequential(nn.Dropout(0.5, inplace=True), nn.Linear(width, labels))

    class _WrongFeatures(LinearHead):
        """Scales a copy in forward, and the cached features in classify."""

        def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
            return super().features(hidden_BTD, mask_BT, vector_BD).clone()

        def classify(self, features_BF: Tensor) -> Tensor:
            return super().classify(features_BF.add_(1.0))

    fault = only_fault(check_head, _WrongVector)
    assert "In evaluation mode forward() changed vector_BD, which it was given" in fault
    assert "no in-place operation" in fault
    assert "forward() changed hidden_BTD, which" in only_fault(check_head, _WrongTokens)
    assert "In training mode forward() changed vector_BD" in only_fault(check_head, _WrongTraining)
    assert "classify() changed features_BF, which it was given" in only_fault(check_head, _WrongFeatures)
