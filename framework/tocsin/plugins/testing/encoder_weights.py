"""What an encoder's weights must hold: their digest, their names, their table. Axes: B messages, T tokens, D width."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tocsin.models.encoders import Encoder
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import distance, tolerance

__all__ = ["Tried", "check_weights", "states"]


class Tried(NamedTuple):
    """An encoder under test.

    Args:
        encoder: Loaded.
        make: Builds and loads another, with constructor arguments changed as given.
        ids_BT: Token ids of some messages, the last with a piece of its own.
        mask_BT: Their mask.
        share: By what share of the largest state two ways to the same states may differ.
    """

    encoder: Encoder
    make: Callable[..., Encoder]
    ids_BT: Tensor
    mask_BT: Tensor
    share: float


def states(encoder: Encoder, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """States `(B, T, D)` in evaluation mode, without gradient."""
    encoder.eval()
    with torch.no_grad():
        return encoder(ids_BT, mask_BT)


def check_weights(findings: Findings, tried: Tried, *, prompts: bool) -> None:
    """Check digest, pretrained_state() and, last, use_rows(), which changes the embedding table for good.

    Args:
        findings: Takes the faults.
        tried: The encoder, whose forward works.
        prompts: Whether the constructor takes a prompt.
    """
    again = tried.make()
    with findings.trying("digest"):
        _digest(findings, tried, again, prompts=prompts)
    _grow(again)  # what training did must come out
    with findings.trying("digest and pretrained_state() after a change of the weights"):
        # A frozen encoder may keep its digest, for its weights never change.
        findings.expect(
            tried.encoder.frozen or again.digest != tried.encoder.digest,
            "After its weights changed the digest is the same: vectors of other weights would be taken from "
            "the cache. Hash the weights, not the name.",
        )
        _state(findings, tried, again)
    with findings.trying("use_rows()"):
        _rows_in_use(findings, tried)


def _digest(findings: Findings, tried: Tried, again: Encoder, *, prompts: bool) -> None:
    own = tried.encoder.digest
    findings.expect(
        isinstance(own, str) and re.fullmatch("[0-9a-f]{64}", own) is not None,
        f"digest is {own!r:.80}; wanted the 64 hexadecimal digits of a SHA-256.",
    )
    findings.expect(
        again.digest == own,
        "Built and loaded twice, it gave two digests: cached vectors would never be found again. Hash "
        "weights and prompt alone, by sorted names, without times, paths or random numbers.",
    )
    if prompts:
        findings.expect(
            tried.make(prompt=f"{tried.encoder.prompt}other: ").digest != own,
            "With another prompt the digest is the same: vectors of other texts would be taken from the "
            "cache. Hash the prompt too.",
        )


def _state(findings: Findings, tried: Tried, encoder: Encoder) -> None:
    from transformers import AutoModel

    state = {name: value.float() for name, value in encoder.pretrained_state().items()}
    expected_BTD = states(encoder, tried.ids_BT, tried.mask_BT).float()
    model = AutoModel.from_config(copy.deepcopy(encoder.config)).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    absent = [name for name in missing if not name.startswith("pooler.") and "position_ids" not in name]
    if not findings.expect(
        not absent and not unexpected,
        f"transformers' {type(model).__name__} of its config misses {_some(absent)} in pretrained_state() and "
        f"does not know {_some(unexpected)}; wanted the names of the base model, without a prefix. A bundle "
        "holds these weights.",
    ):
        return
    with torch.no_grad():
        states_BTD = model(input_ids=tried.ids_BT, attention_mask=tried.mask_BT).last_hidden_state
    real_BT = tried.mask_BT.bool()
    moved = distance(states_BTD[real_BT], expected_BTD[real_BT])
    findings.expect(
        moved <= tolerance(expected_BTD, tried.share),
        f"transformers' {type(model).__name__} with pretrained_state() gave states that differ by {moved:.2g} "
        "from the encoder's own, so a bundle would predict otherwise than training did. Does forward add to "
        "the model, or does pretrained_state() give the weights as they were before training?",
    )


def _rows_in_use(findings: Findings, tried: Tried) -> None:
    encoder = tried.encoder
    before = {name: tuple(value.shape) for name, value in encoder.pretrained_state().items()}
    expected_BTD = states(encoder, tried.ids_BT, tried.mask_BT)
    # The last message keeps pieces of its own, which training never meets.
    ids = sorted(set(tried.ids_BT[:-1].flatten().tolist()))
    encoder.use_rows(ids)
    with findings.trying("use_rows() a second time with the same ids", "A resumed fit calls it twice."):
        encoder.use_rows(ids)
    moved = distance(states(encoder, tried.ids_BT, tried.mask_BT), expected_BTD)
    findings.expect(
        moved <= tolerance(expected_BTD, tried.share),
        f"After use_rows() the states moved by {moved:.2g}; wanted the same for pieces in use and, in "
        "evaluation, for the others.",
    )
    after = {name: tuple(value.shape) for name, value in encoder.pretrained_state().items()}
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if not findings.expect(
        not changed,
        f"After use_rows() pretrained_state() differs in {_some(changed)} by name or shape; wanted the full "
        "table, with the rows in use written back.",
    ):
        return
    table = [weight for weight in encoder.embedding_parameters() if weight.requires_grad]
    if not table:
        return
    full = {name: value.clone() for name, value in encoder.pretrained_state().items()}
    with torch.no_grad():
        table[0].add_(1.0)
    trained = encoder.pretrained_state()
    findings.expect(
        any(distance(value, trained[name]) > 0.5 for name, value in full.items()),
        "After use_rows() and a change of the rows in use, pretrained_state() still holds the old table: "
        "what was trained would be lost. Write the rows back into the full table there.",
    )


def _grow(encoder: nn.Module) -> None:
    """Change every weight that is not 0 a little, as training would."""
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(1.05)


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (" …" if len(names) > 3 else "")) or "nothing"
