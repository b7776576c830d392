"""Each wrong encoder has one fault, and the check names that one. Axes: B messages, T tokens, D width."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.builders import tiny_encoder
from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.encoders import TransformerEncoder
from tocsin.plugins.testing import check_encoder

KINDS = ("bert", "roberta", "xlm-roberta", "distilbert")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny encoder of each architecture, and a BERT with a trained pooler."""
    base = tmp_path_factory.mktemp("encoders")
    made = {kind: tiny_encoder(base / kind, kind) for kind in KINDS}
    made["pooler"] = tiny_encoder(base / "pooler", pooler=True)
    return {kind: str(folder) for kind, folder in made.items()}


@pytest.fixture
def bert(folders: dict[str, str]) -> str:
    return folders["bert"]


@pytest.mark.parametrize("kind", [*KINDS, "pooler"])
@pytest.mark.parametrize("arguments", [{}, {"freeze": "all"}, {"keep_layers": [1]}], ids=str)
def test_right_encoders_pass(folders: dict[str, str], kind: str, arguments: dict[str, Any]) -> None:
    check_encoder(TransformerEncoder, name=folders[kind], **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"freeze": "embeddings"},
        {"freeze": 1, "prompt": "query: "},
        {"keep_pieces": 60},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_every_setting_passes(bert: str, arguments: dict[str, Any]) -> None:
    check_encoder(TransformerEncoder, name=bert, **arguments)


def test_the_constructor_reads_no_weights(bert: str) -> None:
    class _WrongEager(TransformerEncoder):
        """Loads at once.

        Args:
            name: Folder.
        """

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.load()

    fault = only_fault(check_encoder, _WrongEager, name=bert)
    assert "The constructor reads or makes weights (model.embeddings.word_embeddings.weight" in fault
    assert "Read them in load()" in fault


def test_a_folder_that_is_not_there_is_quoted(tmp_path: Path) -> None:
    fault = only_fault(check_encoder, TransformerEncoder, name=str(tmp_path / "nowhere"))
    assert fault.startswith(
        "Reading tokenizer, config and prompt raised ConfigError: TransformerEncoder: nothing could"
    )


def test_load_is_idempotent(bert: str) -> None:
    class _WrongAgain(TransformerEncoder):
        """Loads every time."""

        def load(self) -> None:
            self.model = None
            super().load()

    fault = only_fault(check_encoder, _WrongAgain, name=bert)
    assert "A second load() made new weights" in fault


def test_weights_belong_to_the_module(bert: str) -> None:
    class _WrongHidden(TransformerEncoder):
        """Hides its model."""

        def load(self) -> None:
            super().load()
            self._modules.pop("model", None)
            self.__dict__["model"] = self.__dict__.get("model") or object()

    assert "After load() it has no weights" in only_fault(check_encoder, _WrongHidden, name=bert)


def test_padding_does_not_count(bert: str) -> None:
    class _WrongMask(TransformerEncoder):
        """Forgets the mask."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, torch.ones_like(mask_BT))

    found = faults(check_encoder, _WrongMask, name=bert)
    assert "With other ids under a 0 of the mask the states of real tokens moved by " in found[0]
    assert "attention_mask" in found[0]


def test_messages_do_not_see_one_another(bert: str) -> None:
    class _WrongCentred(TransformerEncoder):
        """Subtracts the mean of the pass."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            hidden_BTD = super().forward(input_ids_BT, mask_BT)
            return hidden_BTD - hidden_BTD[:, :1].mean(0, keepdim=True)

    found = faults(check_encoder, _WrongCentred, name=bert)
    assert any("A message alone and the same message beside others gave states" in fault for fault in found)


def test_states_have_the_models_shape(bert: str) -> None:
    class _WrongPooled(TransformerEncoder):
        """One vector a message."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT)[:, 0]

    class _WrongType(TransformerEncoder):
        """Half as wide numbers."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT).half()

    class _WrongSingle(TransformerEncoder):
        """Drops an axis of length 1."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT).squeeze(1)

    class _WrongNan(TransformerEncoder):
        """0 / 0."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT) * float("nan")

    assert "One message of one token gave (1, 16) float32" in only_fault(
        check_encoder, _WrongSingle, name=bert
    )
    assert "States of ordinary messages are infinite or NaN" in only_fault(
        check_encoder, _WrongNan, name=bert
    )
    fault = only_fault(check_encoder, _WrongPooled, name=bert)
    assert "gave (4, 16) float32; wanted the last layer's states (4, " in fault
    assert "float16; wanted the last layer's states" in only_fault(check_encoder, _WrongType, name=bert)


def test_evaluation_mode_is_deterministic(bert: str) -> None:
    class _WrongDropout(TransformerEncoder):
        """Drops always."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return F.dropout(super().forward(input_ids_BT, mask_BT), 0.1)

    fault = only_fault(check_encoder, _WrongDropout, name=bert)
    assert "In evaluation mode the same ids gave states that differ" in fault


def test_gradients_reach_what_is_trained(bert: str) -> None:
    class _WrongDetached(TransformerEncoder):
        """Trains nothing."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT).detach()

    class _WrongSpare(TransformerEncoder):
        """Keeps a layer that nothing uses."""

        def load(self) -> None:
            if self.model is None:
                super().load()
                self.spare = nn.Linear(2, 2, bias=False)

    class _WrongTable(TransformerEncoder):
        """Knows no table."""

        def embedding_parameters(self) -> list[nn.Parameter]:
            return []

    class _WrongZero(TransformerEncoder):
        """Holds its table still."""

        def load(self) -> None:
            if self.model is None:
                super().load()
                self.embedding_parameters()[0].register_hook(torch.zeros_like)

    fault = only_fault(check_encoder, _WrongZero, name=bert)
    assert "The gradient of embedding_parameters() is 0 everywhere" in fault
    assert "its states carry no gradient" in only_fault(check_encoder, _WrongDetached, name=bert)
    fault = only_fault(check_encoder, _WrongSpare, name=bert)
    assert "No gradient reaches spare.weight" in fault
    assert "embedding_parameters() gives no weights" in only_fault(check_encoder, _WrongTable, name=bert)


def test_frozen_is_frozen(bert: str) -> None:
    class _WrongFrozen(TransformerEncoder):
        """Says so alone."""

        @property
        def frozen(self) -> bool:
            return True

    class _WrongTrain(TransformerEncoder):
        """Trains its dropout."""

        def train(self, mode: bool = True) -> Any:
            nn.Module.train(self, mode)
            return self

    class _WrongEval(TransformerEncoder):
        """Never trains."""

        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    fault = only_fault(check_encoder, _WrongFrozen, name=bert)
    assert "frozen is true, but model.embeddings.word_embeddings.weight" in fault
    fault = only_fault(check_encoder, _WrongTrain, name=bert, freeze="all")
    assert "after train() the encoder, " in fault
    assert "in training mode" in fault
    assert "After train() it is not in training mode" in only_fault(check_encoder, _WrongEval, name=bert)


def test_the_digest_is_that_of_weights_and_prompt(bert: str) -> None:
    class _WrongName(TransformerEncoder):
        """Of the name."""

        @property
        def digest(self) -> str:
            return hashlib.sha256((self.name + self.prompt).encode()).hexdigest()

    class _WrongPrompt(TransformerEncoder):
        """Without the prompt."""

        @property
        def digest(self) -> str:
            kept, self.prompt = self.prompt, ""
            try:
                return super().digest
            finally:
                self.prompt = kept

    class _WrongObject(TransformerEncoder):
        """Of the object."""

        @property
        def digest(self) -> str:
            return hashlib.sha256(f"{super().digest}{id(self)}".encode()).hexdigest()

    class _WrongForm(TransformerEncoder):
        """Short."""

        @property
        def digest(self) -> str:
            return super().digest[:8]

    assert "After its weights changed the digest is the same" in only_fault(
        check_encoder, _WrongName, name=bert
    )
    assert "With another prompt the digest is the same" in only_fault(check_encoder, _WrongPrompt, name=bert)
    assert "it gave two digests" in only_fault(check_encoder, _WrongObject, name=bert)
    assert "wanted the 64 hexadecimal digits" in only_fault(check_encoder, _WrongForm, name=bert)


def test_transformers_reads_its_weights(bert: str) -> None:
    class _WrongPrefix(TransformerEncoder):
        """Names of its own."""

        def pretrained_state(self) -> dict[str, Tensor]:
            return {f"model.{name}": value for name, value in super().pretrained_state().items()}

    class _WrongSource(TransformerEncoder):
        """The weights as they were read."""

        def pretrained_state(self) -> dict[str, Tensor]:
            if not hasattr(self, "kept"):
                self.kept = {name: value.clone() for name, value in super().pretrained_state().items()}
            return self.kept

        def load(self) -> None:
            if self.model is None:
                super().load()
                self.pretrained_state()

    class _WrongAddition(TransformerEncoder):
        """More than the model."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            return super().forward(input_ids_BT, mask_BT) * 2.0

    fault = only_fault(check_encoder, _WrongPrefix, name=bert)
    assert "does not know model.embeddings." in fault
    assert "without a prefix" in fault
    found = faults(check_encoder, _WrongSource, name=bert)
    assert any(
        "does pretrained_state() give the weights as they were before training" in fault for fault in found
    )
    fault = only_fault(check_encoder, _WrongAddition, name=bert)
    assert "a bundle would predict otherwise than training did" in fault


def test_rows_in_use_are_the_same_table(bert: str) -> None:
    class _WrongLost(TransformerEncoder):
        """Forgets to write the rows back."""

        def pretrained_state(self) -> dict[str, Tensor]:
            state = super().pretrained_state()
            if hasattr(self, "source"):
                state["embeddings.word_embeddings.weight"] = self.source
            return state

        def use_rows(self, piece_ids: Sequence[int]) -> None:
            if not hasattr(self, "source"):
                self.source = super().pretrained_state()["embeddings.word_embeddings.weight"].clone()
            super().use_rows(piece_ids)

    class _WrongCut(TransformerEncoder):
        """Gives the rows alone."""

        def pretrained_state(self) -> dict[str, Tensor]:
            state = super().pretrained_state()
            state["embeddings.word_embeddings.weight"] = self.embedding_parameters()[0].detach()
            return state

    class _WrongZero(TransformerEncoder):
        """Forgets the other rows."""

        def use_rows(self, piece_ids: Sequence[int]) -> None:
            table = self._loaded().get_input_embeddings()
            rest = [row for row in range(table.num_embeddings) if row not in piece_ids]
            with torch.no_grad():
                table.weight[rest] = 0.0

    class _WrongOnce(TransformerEncoder):
        """Cannot be told twice."""

        told = False

        def use_rows(self, piece_ids: Sequence[int]) -> None:
            if self.told:
                raise RuntimeError("told before")
            self.told = True

    assert "what was trained would be lost" in only_fault(check_encoder, _WrongLost, name=bert)
    fault = only_fault(check_encoder, _WrongCut, name=bert)
    assert "pretrained_state() differs in embeddings.word_embeddings.weight by name or shape" in fault
    assert "After use_rows() the states moved by" in only_fault(check_encoder, _WrongZero, name=bert)
    fault = only_fault(check_encoder, _WrongOnce, name=bert)
    assert "use_rows() a second time with the same ids raised RuntimeError: told before" in fault


def test_tokenizer_and_weights_belong_together(bert: str) -> None:
    class _WrongVocabulary(TransformerEncoder):
        """A tokenizer with more pieces."""

        @property
        def tokenizer(self) -> Any:
            tokenizer = super().tokenizer
            tokenizer.add_tokens(["<place>"])
            return tokenizer

    class _WrongSlow(TransformerEncoder):
        """A tokenizer of its own."""

        @property
        def tokenizer(self) -> Any:
            return str.split

    class _WrongConfig(TransformerEncoder):
        """A mapping."""

        @property
        def config(self) -> Any:
            return {"hidden_size": 16}

    class _WrongPad(TransformerEncoder):
        """Nothing to pad with."""

        @property
        def tokenizer(self) -> Any:
            tokenizer = super().tokenizer
            tokenizer.pad_token = None
            return tokenizer

    assert "has no padding token" in only_fault(check_encoder, _WrongPad, name=bert)
    fault = only_fault(check_encoder, _WrongVocabulary, name=bert)
    assert "has no row in the embedding table" in fault
    assert "wanted a fast one" in only_fault(check_encoder, _WrongSlow, name=bert)
    fault = only_fault(check_encoder, _WrongConfig, name=bert)
    assert "config is dict without model_type, hidden_size, vocab_size" in fault


def test_prompt_pooler_and_limit_are_what_they_say(bert: str) -> None:
    class _WrongPrompt(TransformerEncoder):
        """None for nothing.

        Args:
            name: Folder.
        """

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.prompt = None  # type: ignore[assignment]

    class _WrongPooler(TransformerEncoder):
        """Other names."""

        @property
        def pooler(self) -> dict[str, Tensor] | None:
            return {"weight": torch.zeros(16, 16)}

    class _WrongLimit(TransformerEncoder):
        """Promises too much."""

        @property
        def max_tokens(self) -> int | None:
            return 100

    class _WrongZero(TransformerEncoder):
        """No room at all."""

        @property
        def max_tokens(self) -> int | None:
            return 0

    assert "max_tokens is 0; wanted a whole number" in only_fault(check_encoder, _WrongZero, name=bert)
    assert "prompt is None; wanted a text" in only_fault(check_encoder, _WrongPrompt, name=bert)
    fault = only_fault(check_encoder, _WrongPooler, name=bert)
    assert "pooler holds {'weight': (16, 16)}; wanted dense.weight (16, 16)" in fault
    fault = only_fault(check_encoder, _WrongLimit, name=bert)
    assert "A message of max_tokens = 100 tokens raised" in fault
    assert "State how many tokens the encoder has positions for" in fault


def test_a_message_without_tokens_harms_no_other(bert: str) -> None:
    class _WrongEmpty(TransformerEncoder):
        """Scales by the shortest message of the pass."""

        def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
            shortest = mask_BT.sum(1).min().clamp(max=1)
            return super().forward(input_ids_BT, mask_BT) / shortest

    fault = only_fault(check_encoder, _WrongEmpty, name=bert)
    assert "A message whose mask is all 0" in fault
    assert "moved the other messages' states by inf" in fault
