"""Each wrong head has one fault, and the check names that one. Axes: B messages, T tokens, D width, L labels."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.heads import Head, LinearHead
from tocsin.models.native_head import NativeHead
from tocsin.plugins import ConfigError
from tocsin.plugins.testing import check_head


class _RightMeanTokens(Head):
    """A right head that reads tokens, from which the wrong ones below differ by one thing each."""

    needs: ClassVar[str] = "tokens"

    def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
        self.linear = nn.Linear(encoder_config.hidden_size, labels)

    def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
        return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1)

    def forward(self, hidden_BTD: Tensor | None, mask_BT: Tensor | None, vector_BD: Tensor | None) -> Tensor:
        assert hidden_BTD is not None
        assert mask_BT is not None
        return self.linear(self.mean(hidden_BTD, mask_BT))


@pytest.mark.parametrize(
    ("head", "arguments"),
    [
        (LinearHead, {}),
        (LinearHead, {"dropout": 0.5}),
        (NativeHead, {}),
        (NativeHead, {"dropout": 0.3, "identity_scale": 1.0}),
        (_RightMeanTokens, {}),
    ],
)
def test_right_heads_pass(head: type[Head], arguments: dict[str, float]) -> None:
    check_head(head, **arguments)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "distilbert"])
def test_a_head_for_one_architecture_alone_passes(kind: str) -> None:
    class _Picky(NativeHead):
        """For one architecture."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            if encoder_config.model_type != kind:
                raise ConfigError(f"for {kind}")
            super().build(encoder_config, labels, pooler)

    check_head(_Picky)


def test_a_head_whose_output_starts_at_zero_passes_and_hides_nothing() -> None:
    class _Zero(_RightMeanTokens):
        """Zero at the start."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            nn.init.zeros_(self.linear.weight)

    class _WrongZero(_Zero):
        """Zero at the start, and padding counts."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return hidden_BTD.mean(1)

    check_head(_Zero)
    assert "padding must not count" in only_fault(check_head, _WrongZero)


def test_the_check_leaves_the_generators_as_they_were() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    check_head(LinearHead)
    with torch.no_grad():
        check_head(_RightMeanTokens)
        assert not torch.is_grad_enabled()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_needs_is_one_of_two_words() -> None:
    class _WrongNeeds(_RightMeanTokens):
        """Wrong."""

        needs = "token"

    assert "needs is 'token'" in only_fault(check_head, _WrongNeeds)


def test_needs_must_be_what_forward_reads() -> None:
    class _WrongVector(_RightMeanTokens):
        """Says vector, reads tokens."""

        needs = "vector"

    fault = only_fault(check_head, _WrongVector)
    assert "do not depend on vector_BD" in fault
    assert "needs" in fault


def test_weights_are_not_made_by_the_constructor() -> None:
    class _WrongEarly(_RightMeanTokens):
        """Wrong."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().mean(hidden_BTD, mask_BT) * self.scale

    fault = only_fault(check_head, _WrongEarly)
    assert "constructor makes weights (scale)" in fault
    assert "build()" in fault


def test_one_label_keeps_its_axis() -> None:
    class _WrongSqueeze(_RightMeanTokens):
        """Wrong."""

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD).squeeze()

    fault = only_fault(check_head, _WrongSqueeze)
    assert "5 messages and 1 label gave (5,) float32; wanted logits of shape (5, 1)" in fault


def test_logits_are_not_probabilities() -> None:
    class _WrongSigmoid(_RightMeanTokens):
        """Wrong."""

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD).sigmoid()

    assert "are they probabilities" in only_fault(check_head, _WrongSigmoid)


def test_logits_are_finite() -> None:
    class _WrongLogarithm(_RightMeanTokens):
        """Wrong."""

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD).log()

    assert "Logits of 5 ordinary messages are infinite or NaN" in only_fault(check_head, _WrongLogarithm)


def test_states_under_padding_do_not_count() -> None:
    class _WrongMean(_RightMeanTokens):
        """Wrong."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return hidden_BTD.mean(1)

    fault = only_fault(check_head, _WrongMean)
    assert "With other states under the padding the logits moved by up to " in fault
    assert "mask_BT is 1 for real tokens" in fault


def test_the_number_of_padding_columns_does_not_count() -> None:
    class _WrongDivisor(_RightMeanTokens):
        """Divides by T."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return (hidden_BTD * mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)).mean(1)

    found = faults(check_head, _WrongDivisor)
    assert "With 2 more padding tokens the logits moved" in found[0]
    assert "divide by mask_BT.sum(1), not by T" in found[0]


def test_padding_that_counts_while_the_vector_is_read_too_is_found() -> None:
    class _WrongMixed(LinearHead):
        """A vector head that also peeks at padding."""

        def classify(self, features_BF: Tensor) -> Tensor:
            return super().classify(features_BF)

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD) + hidden_BTD.sum((1, 2)).unsqueeze(1)

    found = faults(check_head, _WrongMixed)
    assert "padding must not count" in found[0]
    assert any("forward() and classify(features(…))" in fault for fault in found)


def test_messages_do_not_see_one_another() -> None:
    class _WrongCentred(_RightMeanTokens):
        """Subtracts the mean of the pass."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            vector_BD = super().mean(hidden_BTD, mask_BT)
            return vector_BD - vector_BD.mean(0)

    assert any(
        "A message alone and the same message beside others" in f for f in faults(check_head, _WrongCentred)
    )


def test_nor_in_training_mode() -> None:
    class _WrongBatchNorm(_RightMeanTokens):
        """Wrong."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            self.norm = nn.BatchNorm1d(encoder_config.hidden_size)

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return self.norm(super().mean(hidden_BTD, mask_BT))

    fault = only_fault(check_head, _WrongBatchNorm)
    assert "In training mode the first message's logits depend on the other messages" in fault
    assert "nn.LayerNorm" in fault


@pytest.mark.parametrize("fill", ["infinite scores", "no clamp"])
def test_a_message_without_tokens_harms_no_other(fill: str) -> None:
    class _WrongEmpty(_RightMeanTokens):
        """Attends, or averages, with 0 / 0."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
            if fill == "no clamp":
                return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
            scores_BT = hidden_BTD.sum(-1).masked_fill(mask_BT == 0, float("-inf"))
            return (scores_BT.softmax(1).unsqueeze(-1) * hidden_BTD).sum(1)

    fault = only_fault(check_head, _WrongEmpty)
    assert "A message whose mask is all 0" in fault
    assert "not -inf" in fault


def test_weights_are_held_by_the_state() -> None:
    class _WrongList(_RightMeanTokens):
        """Keeps layers in a list."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            self.layers = [nn.Linear(encoder_config.hidden_size, labels)]

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            layer = self.layers[0]
            return F.linear(
                self.mean(hidden_BTD, mask_BT), layer.weight.to(hidden_BTD), layer.bias.to(hidden_BTD)
            )

    fault = only_fault(check_head, _WrongList)
    assert "state_dict() does not hold all of it" in fault
    assert "nn.ModuleList" in fault


def test_gradients_flow() -> None:
    class _WrongDetached(_RightMeanTokens):
        """Trains the head alone."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return super().mean(hidden_BTD, mask_BT).detach()

    class _WrongNoGrad(_RightMeanTokens):
        """Trains nothing."""

        @torch.no_grad()
        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return super().forward(hidden_BTD, mask_BT, vector_BD)

    class _WrongUnused(_RightMeanTokens):
        """Makes a layer that it does not use."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            self.spare = nn.Linear(2, 2, bias=False)

    assert "do not depend on hidden_BTD" in only_fault(check_head, _WrongDetached)
    assert "carry no gradient" in only_fault(check_head, _WrongNoGrad)
    assert "No gradient reaches spare.weight" in only_fault(check_head, _WrongUnused)


def test_dropout_rests_in_evaluation_mode() -> None:
    class _WrongDropout(_RightMeanTokens):
        """Drops always."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            return F.dropout(super().mean(hidden_BTD, mask_BT), 0.5)

    fault = only_fault(check_head, _WrongDropout)
    assert "In evaluation mode the same input gave logits that differ" in fault
    assert "training=self.training" in fault


def test_weights_follow_the_seed() -> None:
    class _WrongSeed(_RightMeanTokens):
        """Draws from a generator of its own."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            generator = torch.Generator()
            generator.seed()
            nn.init.normal_(self.linear.weight, generator=generator)

    fault = only_fault(check_head, _WrongSeed)
    assert "Built twice under one seed" in fault
    assert "linear.weight" in fault


def test_bfloat16_works() -> None:
    class _WrongFloat(_RightMeanTokens):
        """Multiplies float32 by bfloat16."""

        def forward(self, hidden_BTD: Any, mask_BT: Any, vector_BD: Any) -> Tensor:
            return self.linear(self.mean(hidden_BTD, mask_BT).float())

    class _WrongFill(_RightMeanTokens):
        """A float16 between, which overflows."""

        def mean(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
            wide_BD = super().mean(hidden_BTD, mask_BT)
            return wide_BD if wide_BD.dtype == torch.float32 else (wide_BD.half() * 1e5).to(wide_BD.dtype)

    assert "A forward with weights and states in bfloat16 raised" in only_fault(check_head, _WrongFloat)
    assert "infinite or NaN in places" in only_fault(check_head, _WrongFill)


def test_build_leaves_the_encoders_things_alone() -> None:
    class _WrongConfig(_RightMeanTokens):
        """Writes into the configuration."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            encoder_config.hidden_dropout_prob = 0.77

    class _WrongPooler(_RightMeanTokens):
        """Trains the encoder's own tensors."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            if pooler is not None:
                self.dense = nn.Parameter(pooler["dense.weight"])

    assert "build() changed hidden_dropout_prob in encoder_config" in only_fault(check_head, _WrongConfig)
    assert "changed the tensors of pooler" in only_fault(check_head, _WrongPooler)


def test_a_build_that_fails_is_quoted() -> None:
    class _WrongBuild(_RightMeanTokens):
        """Wrong."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            self.linear = nn.Linear(encoder_config.n_embd, labels)

    class _WrongRefusal(_RightMeanTokens):
        """Refuses all."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            raise ConfigError("only for the moon")

    fault = only_fault(check_head, _WrongBuild)
    assert "build() for a bert encoder of width 16 and 3 labels raised AttributeError" in fault
    assert "n_embd" in fault
    fault = only_fault(check_head, _WrongRefusal)
    assert "only for the moon" in fault
    assert "bert, roberta, xlm-roberta, distilbert" in fault


# Heads that read one vector a message ---------------------------------------------------------------------------------


def test_a_feature_heads_parts_fit_together() -> None:
    class _WrongPenultimate(LinearHead):
        """Something stands between."""

        def classify(self, features_BF: Tensor) -> Tensor:
            return super().classify(features_BF * 2.0)

    class _WrongDropping(LinearHead):
        """Drops before the probe."""

        def penultimate(self, features_BF: Tensor) -> Tensor:
            return self.dropout(features_BF)

        def classify(self, features_BF: Tensor) -> Tensor:
            return self.output()(self.penultimate(features_BF))

    class _WrongFeatures(LinearHead):
        """Trains in features()."""

        def build(self, encoder_config: Any, labels: int, pooler: dict[str, Tensor] | None = None) -> None:
            super().build(encoder_config, labels, pooler)
            self.dense = nn.Linear(encoder_config.hidden_size, encoder_config.hidden_size)

        def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
            assert vector_BD is not None
            return self.dense(vector_BD)

    class _WrongTokens(NativeHead):
        """Gives all tokens."""

        def features(self, hidden_BTD: Tensor, mask_BT: Tensor, vector_BD: Tensor | None) -> Tensor:
            return hidden_BTD

        def classify(self, features_BF: Tensor) -> Tensor:
            return super().classify(features_BF[:, 0])

    class _WrongWidth(LinearHead):
        """Cuts the vector."""

        def penultimate(self, features_BF: Tensor) -> Tensor:
            return features_BF[:, :3]

    assert "features() gave (5, 7, 16) float32; wanted one vector a message, (5, F)" in only_fault(
        check_head, _WrongTokens
    )
    assert "penultimate() gave (5, 3) float32; wanted what output() reads, (5, 16)" in only_fault(
        check_head, _WrongWidth
    )
    assert "something stands between the output layer" in only_fault(check_head, _WrongPenultimate)
    assert "In training mode penultimate() gave other numbers" in only_fault(check_head, _WrongDropping)
    assert "features() uses weights of the head" in only_fault(check_head, _WrongFeatures)


def test_a_feature_head_starts_from_a_probe() -> None:
    class _WrongSet(LinearHead):
        """Ignores the probe."""

        def set_output(self, weight_LF: Tensor, bias_L: Tensor) -> None:
            pass

    class _WrongOpen(NativeHead):
        """Leaves nothing to learn from."""

        def open_for_probe(self) -> None:
            _, dense, _ = self._layers()
            nn.init.zeros_(dense.weight)

    class _WrongOutput(LinearHead):
        """Hands out its dropout."""

        def output(self) -> Any:
            return self.dropout

        def classify(self, features_BF: Tensor) -> Tensor:
            assert self.linear is not None
            return self.linear(self.dropout(features_BF))

    assert "After set_output(weight_LF, bias_L) the logits differ" in only_fault(check_head, _WrongSet)
    assert "a probe has nothing to learn from" in only_fault(check_head, _WrongOpen)
    assert "output() gave Dropout" in only_fault(check_head, _WrongOutput)
