"""A packed pass gives what a padded one gives, without computing the padding."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.models import packing
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.gradient_cache import PassesTwice
from tocsin.models.packing import Packing

PACKED = ["bert", "roberta", "xlm-roberta", "camembert", "electra"]
PADDED = ["distilbert", "deberta-v2", "modernbert"]


def encoder_of(folder: Path, kind: str, **options: Any) -> TransformerEncoder:
    encoder = TransformerEncoder(str(tiny_encoder(folder / kind, kind)), **options)
    encoder.load()
    return encoder.eval()


def a_pass(lengths: list[int], pad_id: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(4, 40, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return torch.where(mask == 1, ids, pad_id), mask


def states(
    encoder: TransformerEncoder, ids: torch.Tensor, mask: torch.Tensor, packed: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """States of the real tokens, and the gradients of a number made of them."""
    encoder._packs = packed
    encoder.zero_grad()
    hidden = encoder(ids, mask) * mask.unsqueeze(-1)
    assert encoder._packs == packed  # nothing fell back
    (hidden**2 * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    return hidden.detach(), {
        name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None
    }


def assert_same(
    found: tuple[torch.Tensor, dict[str, torch.Tensor]], wanted: tuple[torch.Tensor, dict[str, torch.Tensor]]
) -> None:
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, atol=3e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("without_dropout_kernel", [False, True])
def test_states_and_gradients_are_those_of_the_padded_pass(
    tmp_path: Path, kind: str, without_dropout_kernel: bool
) -> None:
    encoder = encoder_of(tmp_path, kind)
    assert encoder.packs(torch.device("cpu"))
    assert not encoder.packs(torch.device("meta"))
    ids, mask = a_pass([9, 1, 6, 3, 7])
    ids[2, 3] = 1  # a message that spells out the padding token
    if without_dropout_kernel:
        # Training takes another attention than evaluation: with a dropout that drops nothing they must agree.
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 1e-9
        encoder.train()
    assert_same(states(encoder, ids, mask, True), states(encoder, ids, mask, False))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_lengths(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    folder = tmp_path_factory.getbasetemp() / "packing"
    encoder = TransformerEncoder(
        str(folder if folder.exists() else tiny_encoder(folder, "xlm-roberta"))
    ).eval()
    ids, mask = a_pass(lengths)
    encoder.load()
    assert_same(states(encoder, ids, mask, True), states(encoder, ids, mask, False))


@pytest.mark.parametrize("kind", PADDED)
def test_other_architectures_stay_padded(tmp_path: Path, kind: str) -> None:
    encoder = encoder_of(tmp_path, kind)
    assert not encoder.packs(torch.device("cpu"))
    ids, mask = a_pass([5, 2])
    assert torch.isfinite(encoder(ids, mask)).all()


@pytest.mark.parametrize("kind", PACKED)
def test_layers_see_real_tokens_only(tmp_path: Path, kind: str) -> None:
    encoder = encoder_of(tmp_path, kind)
    shapes = []
    model: Any = encoder.model
    model.encoder.layer[0].intermediate.register_forward_hook(
        lambda m, given, out: shapes.append(tuple(given[0].shape))
    )
    ids, mask = a_pass([9, 1, 6])
    hidden = encoder(ids, mask)
    assert shapes == [(1, 16, 16)]
    assert hidden.shape == (3, 9, 16)
    assert (hidden[mask == 0] == 0).all()


def test_a_model_that_does_not_pass_it_on_is_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packing, attention would take all messages for one: another version of transformers may do that."""
    encoder = encoder_of(tmp_path, "bert")
    ids, mask = a_pass([9, 1, 6])
    wanted = encoder(ids, mask)
    model: Any = encoder.model
    whole = model.forward
    monkeypatch.setattr(model, "forward", lambda packing=None, **given: whole(**given))
    found = encoder(ids, mask) * mask.unsqueeze(-1)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert not encoder.packs(torch.device("cpu"))
    assert model.config._attn_implementation == "sdpa"


def test_what_is_saved_names_no_attention_of_ours(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, "roberta")
    model: Any = encoder.model
    for config in (encoder.config, model.config):
        assert "tocsin" not in json.dumps(config.to_dict(), default=str)


def test_dropout_falls_on_attention_too() -> None:
    """The mean over many draws is attention without dropout, for it is linear in what is dropped."""
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    query, key, value = torch.randn(3, 1, 2, 8, 4)
    module = torch.nn.Module()

    def attend(p: float) -> torch.Tensor:
        return packing._attention(module, query, key, value, None, dropout=p, packing=Packing(mask))[0]

    draws = torch.stack([attend(0.5) for _ in range(4000)])
    error = draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - attend(0.0)).abs() < 5 * error + 1e-6).all()
    assert (draws.std(0) > 0.01).all()


def test_evaluation_takes_the_fused_kernel(tmp_path: Path) -> None:
    """torch's other one keeps every score of every head."""
    encoder = encoder_of(tmp_path, "xlm-roberta")
    with torch.no_grad(), torch.profiler.profile() as profile:
        encoder(*a_pass([9, 1, 6]))
    names = {event.key for event in profile.key_averages()}
    assert any("flash_attention_for_cpu" in name for name in names)
    assert not any("attention_math" in name for name in names)


@pytest.mark.parametrize("training", [False, True])
def test_a_message_that_is_not_finite_spoils_no_other(tmp_path: Path, training: bool) -> None:
    encoder = encoder_of(tmp_path, "bert").train(training)
    ids, mask = a_pass([9, 1, 6])
    ids[0, 0] = 50
    assert (ids == 50).sum() == 1
    with torch.no_grad():
        encoder.embedding_parameters()[0][50] = float("nan")
        hidden = encoder(ids, mask)
    assert torch.isfinite(hidden).all(-1).all(-1).tolist() == [False, True, True]


def test_odd_masks(tmp_path: Path) -> None:
    """Messages without a token, holes, padding on the left, and nothing at all."""
    encoder = encoder_of(tmp_path, "bert")
    ids, mask = a_pass([9, 1, 6, 4])
    mask[0] = 0
    mask[2, 1] = 0
    mask[3] = mask[3].flip(0)
    assert_same(states(encoder, ids, mask, True), states(encoder, ids, mask, False))
    encoder._packs = True
    assert (encoder(ids, torch.zeros_like(mask)) == 0).all()


def test_more_tokens_than_positions(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, "roberta")  # 72 positions
    ids, mask = a_pass([30, 30, 29, 5])
    assert_same(states(encoder, ids, mask, True), states(encoder, ids, mask, False))


def test_a_configuration_that_cuts_the_feed_forward_into_chunks_is_padded(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"chunk_size_feed_forward": 3}))
    encoder = TransformerEncoder(str(folder)).eval()
    assert torch.isfinite(encoder(*a_pass([9, 1, 6]))).all()
    assert not encoder.packs(torch.device("cpu"))


def test_the_second_run_of_a_pass_drops_alike(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, "bert").train()
    passes = [a_pass([5, 3]), a_pass([2, 2, 2])]
    runs = PassesTwice(torch.device("cpu"))
    first = runs.first(passes, lambda part: encoder(*part))
    for number in (1, 0):
        with runs.again(number):
            assert torch.equal(encoder(*passes[number]), first[number])
    assert not torch.equal(encoder(*passes[0]), first[0])


def test_recomputed_activations_give_the_same_gradients(tmp_path: Path) -> None:
    ids, mask = a_pass([9, 1, 6])
    found = []
    for checkpointing in (False, True):
        encoder = encoder_of(tmp_path, "xlm-roberta", gradient_checkpointing=checkpointing).train()
        torch.manual_seed(5)
        found.append(states(encoder, ids, mask, True))
    assert_same(found[1], found[0])


def test_bfloat16_on_a_processor(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, "xlm-roberta")
    ids, mask = a_pass([9, 1, 6])
    wanted = encoder(ids, mask)
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        encoder(ids, mask).float().square().sum().backward()
        found = encoder.eval()(ids, mask).float()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0.02)


def test_messages_come_back_to_their_places() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    places = Packing(mask)
    value = torch.arange(1, 10).view(3, 3)
    assert places.pack(value).tolist() == [[1, 2, 4, 7, 8, 9]]
    rows = places.pack(value)[0].float().unsqueeze(1)
    assert torch.equal(places.unpack(rows).squeeze(-1), (value * mask).float())
    apart = places.heads_apart(torch.arange(24.0).view(1, 6, 2, 2).transpose(1, 2))
    assert apart.shape == (3, 2, 3, 2)
    together = places.heads_together(apart)
    assert torch.equal(together, torch.arange(24.0).view(1, 6, 2, 2))


def test_a_model_from_another_process_still_finds_its_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AttentionInterface

    encoder = encoder_of(tmp_path, "bert")
    ids, mask = a_pass([9, 1, 6])
    wanted = encoder(ids, mask)
    # As a process finds it that unpickled the encoder.
    monkeypatch.delitem(AttentionInterface._global_mapping, packing._NAME)
    packing.register_attention.cache_clear()
    assert torch.equal(encoder(ids, mask), wanted)


def test_an_exported_encoder_is_padded(tmp_path: Path) -> None:
    """What an exporter writes must serve other lengths."""
    encoder = encoder_of(tmp_path, "bert")
    any_size = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(encoder, a_pass([9, 1, 6]), dynamic_shapes=(any_size, any_size))
    ids, mask = a_pass([4, 2, 7, 5])
    found = program.module()(ids, mask) * mask.unsqueeze(-1)
    torch.testing.assert_close(found, encoder(ids, mask), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "packed"), [("bert", True), ("distilbert", False)])
def test_a_fit_cuts_its_passes_by_what_the_encoder_computes(tmp_path: Path, kind: str, packed: bool) -> None:
    model = tiny_classifier(tiny_encoder(tmp_path / "encoder", kind))
    data = tiny_data(tmp_path / "messages.parquet", tokens_per_pass=64)
    quiet_trainer(tmp_path, max_steps=1).fit(model, data)
    sampler: Any = data.train_dataloader().batch_sampler
    assert sampler.packed == packed
    facts = model.last_step
    assert (facts.padded_tokens == facts.tokens) == packed
    real = [int(sampler.lengths[part].sum()) for step in sampler for part in step]
    padded = [len(part) * int(sampler.lengths[part].max()) for step in sampler for part in step]
    assert max(real) <= 64
    assert (max(padded) > 64) == packed
