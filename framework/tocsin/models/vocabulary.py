"""Which rows of the embedding table are trained, and which pieces a tokenizer keeps.

A multilingual table of 250,000 pieces costs more in gradients and optimiser state than the rest of a small encoder,
while a corpus touches a fraction of its rows. `RowsInUse` trains that fraction alone and writes it back at save:
rows that never occur have gradient zero, and AdamW without decay leaves such a row where it is, so nothing is lost.
Axes: B messages, T tokens, D width, V vocabulary, R rows in use.
"""

import copy
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tocsin.errors import ConfigError
from tocsin.models.heap import trim
from tocsin.models.mapped import copy_of, rows_of, source_of

__all__ = ["PackedTokenizer", "RowsInUse", "check_tokenizer", "cut_pieces", "kept_pieces"]

_LARGE = 1 << 25  # bytes of a gradient: glibc takes no freed memory for more, and such a step lasts seconds
_WORTH_PACKING = 20_000  # pieces; of 60,000 a tokenizer takes 60 MB
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "spm.model"),
)


class RowsInUse(nn.Module):
    """An embedding table `(V, D)` of which only the rows `(R, D)` in use are parameters.

    In training every id must be in use. In evaluation, pieces that training never met are read from the full table.

    Args:
        table_VD: The full table; kept, without gradient, outside the state that checkpoints hold.
        piece_ids: Ids in use, each once, sorted; `(R,)`.
        padding_idx: Id whose row gets no gradient, as in the embedding that this stands in for; null for none.

    Attributes:
        source: The file that the full table is mapped from, where it is.
        sparse_gradient: Whether a pass's gradient holds only the rows that the pass met (a coalesced sparse tensor)
            rather than all in use: less memory on a CPU, the same sums. `dense_gradient` makes it whole.
    """

    sparse_gradient = False

    piece_ids: Tensor
    table_VD: Tensor
    position_V: Tensor

    def __init__(self, table_VD: Tensor, piece_ids: Iterable[int], padding_idx: int | None) -> None:
        super().__init__()
        ids = torch.as_tensor(list(piece_ids), dtype=torch.int64)
        table_VD = table_VD.detach()
        self.source = source_of(table_VD)
        self.weight = nn.Parameter(rows_of(table_VD, ids, self.source))
        self.padding_idx = padding_idx
        position = torch.full((table_VD.shape[0],), -1, dtype=torch.int64)
        position[ids] = torch.arange(len(ids))
        self.padding_row = (
            None if padding_idx is None or position[padding_idx] < 0 else int(position[padding_idx])
        )
        self.register_buffer("piece_ids", ids)
        self.register_buffer("table_VD", table_VD, persistent=False)
        self.register_buffer("position_V", position, persistent=False)

    @property
    def num_embeddings(self) -> int:
        """V, as of the full table."""
        return self.table_VD.shape[0]

    def forward(self, input_ids_BT: Tensor) -> Tensor:
        """Rows `(B, T, D)` for ids `(B, T)` of the full vocabulary."""
        rows_BT = self.position_V[input_ids_BT]
        if self.training:
            if self.sparse_gradient:
                met_BTD: Tensor = _RowsMet.apply(self.weight, rows_BT, self.padding_row)
                return met_BTD
            return F.embedding(rows_BT, self.weight, self.padding_row)
        trained_BTD = F.embedding(rows_BT.clamp(min=0), self.weight)
        # A mapped table comes into memory page by page: only rows that training never met are looked up in it.
        unmet_BT = torch.where(rows_BT >= 0, self.piece_ids[0], input_ids_BT)
        return torch.where((rows_BT >= 0).unsqueeze(-1), trained_BTD, F.embedding(unmet_BT, self.table_VD))

    def dense_gradient(self) -> None:
        """Once a step's passes are through, put the gradient of all rows in use in place of a sparse one."""
        gradient = self.weight.grad
        if gradient is not None and gradient.is_sparse:
            if self.weight.nbytes >= _LARGE:
                # The passes' activations are freed, but still the process's: a step's peak would be both.
                trim()
            self.weight.grad = gradient.to_dense()

    def full_table(self) -> Tensor:
        """The table `(V, D)` with the trained rows written back; rows not in use are bit-equal to the source's."""
        table_VD = copy_of(self.table_VD, self.source)
        table_VD[self.piece_ids] = self.weight.detach().to(table_VD.dtype)
        return table_VD


class _RowsMet(torch.autograd.Function):
    """An embedding whose gradient holds the rows that were looked up. torch's own sparse one adds nothing up.

    A row's gradients are added in the order of the dense kernel, which this calls for the rows met alone; passes are
    added one after the other, as dense gradients are: every sum is that of a dense gradient, to the bit.
    """

    @staticmethod
    def forward(ctx: Any, weight_RD: Tensor, rows_BT: Tensor, padding_row: int | None) -> Tensor:
        ctx.save_for_backward(rows_BT)
        ctx.shape, ctx.padding_row = weight_RD.shape, padding_row
        return F.embedding(rows_BT, weight_RD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rows_BT,), (gradient_BTD,) = ctx.saved_tensors, gradients
        met_U, place_BT = torch.unique(rows_BT, return_inverse=True)
        padding = -1 if ctx.padding_row is None else int(torch.searchsorted(met_U, ctx.padding_row))
        if padding >= 0 and (padding == len(met_U) or int(met_U[padding]) != ctx.padding_row):
            padding = -1
        sums_UD = torch.ops.aten.embedding_dense_backward(
            gradient_BTD.contiguous(), place_BT, len(met_U), padding, False
        )
        # torch warns where nobody says whether to check what is given.
        sparse_RD = torch.sparse_coo_tensor(
            met_U[None], sums_UD, ctx.shape, is_coalesced=True, check_invariants=True
        )
        return sparse_RD, None, None


def _unigram(specification: dict[str, Any]) -> list[list[Any]]:
    model = specification["model"]
    if model.get("type") != "Unigram":
        raise ConfigError(
            f"keep_pieces was given for a tokenizer of type {model.get('type')!r}; only Unigram tokenizers (XLM-R, E5, "
            "LaBSE's successors) score their pieces. Leave keep_pieces at null."
        )
    return model["vocab"]


def kept_pieces(tokenizer_json: str, count: int) -> list[int]:
    """Ids of the `count` pieces to keep: all special and added tokens and byte pieces, then the best by score, sorted.

    Args:
        tokenizer_json: A `tokenizer.json` with a Unigram model.
        count: Pieces to keep in all.

    Raises:
        ConfigError: Not a Unigram tokenizer, or `count` leaves no room beside the special tokens.
    """
    specification = json.loads(tokenizer_json)
    vocabulary = _unigram(specification)
    kept = {token["id"] for token in specification.get("added_tokens", [])}
    kept |= {i for i, (piece, _) in enumerate(vocabulary) if piece.startswith("<0x") and piece.endswith(">")}
    unknown = specification["model"].get("unk_id")
    if unknown is not None:
        kept.add(unknown)
    if count <= len(kept):
        raise ConfigError(
            f"keep_pieces is {count}, but {len(kept)} special pieces are kept in any case; give more."
        )
    # Stable: equal scores keep the tokenizer's own order, so that two machines cut alike.
    by_score = sorted((i for i in range(len(vocabulary)) if i not in kept), key=lambda i: -vocabulary[i][1])
    return sorted(kept | set(by_score[: count - len(kept)]))


def cut_pieces(tokenizer_json: str, kept: list[int]) -> str:
    """The `tokenizer.json` that holds only the pieces `kept`, renumbered in their order.

    Order is preserved, so that special ids at the start of a vocabulary (XLM-R derives positions from the pad id) stay
    at their places. Ids in added tokens and in the post-processor's template are renumbered alike.
    """
    specification = json.loads(tokenizer_json)
    vocabulary = _unigram(specification)
    renumbered = {old: new for new, old in enumerate(kept)}
    in_model = [i for i in kept if i < len(vocabulary)]
    if in_model != kept[: len(in_model)]:
        raise ConfigError(
            "The tokenizer's added tokens lie between its pieces; its vocabulary cannot be cut."
        )
    specification["model"]["vocab"] = [vocabulary[i] for i in in_model]
    if specification["model"].get("unk_id") is not None:
        specification["model"]["unk_id"] = renumbered[specification["model"]["unk_id"]]
    for token in specification.get("added_tokens", []):
        token["id"] = renumbered[token["id"]]
    _renumber_template(specification.get("post_processor"), renumbered)
    return json.dumps(specification, ensure_ascii=False)


class PackedTokenizer(NamedTuple):
    """A fast tokenizer that takes up little memory.

    Args:
        shell: The transformers object without what tokenises.
        content: That, as its own JSON, compressed.
        specials_as_text: Whether it reads special tokens in texts as any other text.
    """

    shell: Any
    content: bytes
    specials_as_text: bool

    @classmethod
    def of(cls, tokenizer: Any) -> "PackedTokenizer | None":
        """Pack a copy; None where it is small, or has parts in Python, which cannot be written down."""
        if len(tokenizer) < _WORTH_PACKING:
            return None
        try:
            content = tokenizer.backend_tokenizer.to_str()
        except Exception:  # tokenizers raises no narrower one
            return None
        shell = copy.copy(tokenizer)
        shell._tokenizer = None
        specials = tokenizer.backend_tokenizer.encode_special_tokens
        return cls(shell, zlib.compress(content.encode(), level=1), specials)

    def unpacked(self) -> Any:
        """The tokenizer, as it was."""
        from tokenizers import Tokenizer

        self.shell._tokenizer = Tokenizer.from_str(zlib.decompress(self.content).decode())
        self.shell._tokenizer.encode_special_tokens = self.specials_as_text  # which the JSON does not hold
        return self.shell


def _renumber_template(processor: dict[str, Any] | None, renumbered: dict[int, int]) -> None:
    if not processor:
        return
    for part in processor.get("processors", []):
        _renumber_template(part, renumbered)
    special = processor.get("special_tokens")
    if isinstance(special, dict):
        for token in special.values():
            token["ids"] = [renumbered[i] for i in token["ids"]]
    for pair in ("sep", "cls"):
        if isinstance(processor.get(pair), list):
            processor[pair][1] = renumbered[processor[pair][1]]


def check_tokenizer(tokenizer: Any, rows: int | None, source: str, encoder: str) -> None:
    """Refuse a tokenizer that is not the encoder's own: transformers makes an empty one where its files are missing.

    Args:
        tokenizer: As it was read.
        rows: Of the encoder's embedding table (V); None where its configuration does not say.
        source: The folder or hub name that both were read from.
        encoder: What messages call the encoder.

    Raises:
        ConfigError: It has less than half as many tokens as the table has rows, which are rounded up by some hundreds.
    """
    if not isinstance(rows, int) or len(tokenizer) * 2 >= rows:
        return
    folder = Path(source)
    there = [name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    found = (
        f" Of a tokenizer's files the folder holds {', '.join(there) or 'none'}." if folder.is_dir() else ""
    )
    raise ConfigError(
        f"{encoder}: the tokenizer that could be read from {source!r} has {len(tokenizer):,} tokens, and the encoder's "
        f"embedding table {rows:,} rows: most words would be unknown.{found} Copy the encoder's own tokenizer files "
        "(tokenizer.json and tokenizer_config.json, or vocab.txt, or sentencepiece.bpe.model) beside its config.json."
    )
