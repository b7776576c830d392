"""The conformance check of encoders. Axes: B messages, T tokens, D width, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tocsin.models.encoders import Encoder
from tocsin.plugins.signatures import parameters_of
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.encoder_weights import Tried, check_weights, states
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import distance, finite, own_random, shape_of, tolerance

__all__ = ["check_encoder"]

_TEXTS = (
    "Water is rising near the bridge, please send help to the school today.",
    "Necesitamos agua y comida para la noche.",
    "Eau et nourriture.",
    "fire",
)
_LONGEST_TRIED = 1024
"""Tokens of a message at an encoder's stated limit that a check still computes."""


def check_encoder(component: type[Encoder], /, **arguments: Any) -> None:
    """Check that an encoder keeps its contract.

    It is loaded and given a few short messages. It must return one state a token, without padding or other messages
    mattering (to 1e-4 of the largest state in float32, 5e-2 in narrower types); its tokenizer, configuration, weights,
    digest and pooler must belong together; and transformers must read its weights. A large encoder takes as long as
    three loads of it.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "encoder", arguments)
        if usable:
            _EncoderCheck(findings, component, arguments).run()
        findings.conclude()


class _EncoderCheck:
    ids_BT: Tensor
    mask_BT: Tensor

    def __init__(self, findings: Findings, component: type[Encoder], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.component = component
        self.arguments = arguments
        self.encoder = component(**arguments)
        self.share = 1e-4

    def run(self) -> None:
        early = [name for name, _ in (*self.encoder.named_parameters(), *self.encoder.named_buffers())]
        self.findings.expect(
            not early,
            f"The constructor reads or makes weights ({', '.join(early[:3])}); the parser builds a component up "
            "to three times, also where only its help is shown. Read them in load().",
        )
        if not self._passes("Reading tokenizer, config and prompt", self._papers):
            return
        if not self._passes("load()", self._load) or not self._passes("A forward", self._forward):
            return
        if not self._passes("The same ids twice, in evaluation mode", self._determinism):
            return  # what follows compares states, and would only repeat this
        for what, test in (
            ("A forward with other padding", self._padding),
            ("A forward of one message or one token", self._rows),
            ("A forward with a message without real tokens", self._empty),
            ("max_tokens", self._longest),
            ("A backward pass", self._gradients),
            ("pooler", self._pooler),
        ):
            self._passes(what, test)
        tried = Tried(self.encoder, self._loaded, self.ids_BT, self.mask_BT, self.share)
        check_weights(self.findings, tried, prompts="prompt" in parameters_of(self.component))

    def _passes(self, what: str, test: Callable[[], None]) -> bool:
        before = len(self.findings.faults)
        with self.findings.trying(what):
            test()
        return len(self.findings.faults) == before

    # Before any weight is read ----------------------------------------------------------------------------------------

    def _papers(self) -> None:
        prompt = getattr(self.encoder, "prompt", None)
        self.findings.expect(
            isinstance(prompt, str),
            f'prompt is {prompt!r:.60}; wanted a text that is put before every message, such as "query: ", or "".',
        )
        tokenizer, config = self.encoder.tokenizer, self.encoder.config
        if not self.findings.expect(
            bool(getattr(tokenizer, "is_fast", False)),
            f"tokenizer is {type(tokenizer).__name__}; wanted a fast one (PreTrainedTokenizerFast, "
            "AutoTokenizer), which the token cache needs.",
        ):
            return
        absent = [name for name in ("model_type", "hidden_size", "vocab_size") if not hasattr(config, name)]
        if not self.findings.expect(
            not absent,
            f"config is {type(config).__name__} without {', '.join(absent)}; wanted a transformers configuration, "
            "such as AutoConfig.from_pretrained gives.",
        ):
            return
        largest = max(tokenizer.get_vocab().values())
        self.findings.expect(
            largest < config.vocab_size,
            f"The tokenizer has the id {largest}, and config.vocab_size is {config.vocab_size}: such a piece has "
            "no row in the embedding table. Tokenizer and weights do not belong together.",
        )
        if not self.findings.expect(
            tokenizer.pad_token_id is not None,
            "The tokenizer has no padding token, with which passes are filled up. Set tokenizer.pad_token.",
        ):
            return
        tokens = [tokenizer(prompt + text)["input_ids"] for text in _TEXTS] if isinstance(prompt, str) else []
        longest = max(map(len, tokens), default=0)
        padded = [ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids in tokens]
        lengths = torch.tensor([len(ids) for ids in tokens])
        self.ids_BT = torch.tensor(padded)
        self.mask_BT = (torch.arange(longest)[None, :] < lengths[:, None]).long()

    # With weights -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        self.encoder.load()
        first = {name: (id(weight), weight.sum().item()) for name, weight in self.encoder.named_parameters()}
        self.findings.expect(
            bool(first),
            "After load() it has no weights: parameters() is empty. Assign the model to an attribute of the module.",
        )
        self.encoder.load()
        again = {name: (id(weight), weight.sum().item()) for name, weight in self.encoder.named_parameters()}
        self.findings.expect(
            first == again,
            "A second load() made new weights, so trained ones would be lost: pooler, digest and forward may "
            "each call it. Return at once where the model is there.",
        )

    def _loaded(self, **changes: Any) -> Encoder:
        encoder = self.component(**(self.arguments | changes))
        encoder.load()
        return encoder

    def _forward(self) -> None:
        hidden_BTD = states(self.encoder, self.ids_BT, self.mask_BT)
        width = self.encoder.width
        wanted = (*self.ids_BT.shape, width)
        kinds = {weight.dtype for weight in self.encoder.parameters() if weight.is_floating_point()}
        fits = (
            isinstance(hidden_BTD, Tensor) and tuple(hidden_BTD.shape) == wanted and hidden_BTD.dtype in kinds
        )
        if not self.findings.expect(
            fits,
            f"Ids {tuple(self.ids_BT.shape)} gave {shape_of(hidden_BTD)}; wanted the last layer's states "
            f"{wanted}, B by T by width (config.hidden_size is {width}), in the type of the weights "
            f"({_names(kinds)}).",
        ):
            return
        self.share = 1e-4 if hidden_BTD.dtype == torch.float32 else 5e-2
        self.findings.expect(
            finite(hidden_BTD), "States of ordinary messages are infinite or NaN; wanted finite numbers."
        )

    def _determinism(self) -> None:
        one, other = (states(self.encoder, self.ids_BT, self.mask_BT) for _ in range(2))
        self.findings.expect(
            torch.equal(one, other),
            f"In evaluation mode the same ids gave states that differ by {distance(one, other):.2g}; wanted the "
            "same. Dropout must follow eval().",
        )

    def _padding(self) -> None:
        expected_BTD = states(self.encoder, self.ids_BT, self.mask_BT)
        real_BT = self.mask_BT.bool()
        pad = self.encoder.tokenizer.pad_token_id
        more_BT = torch.full((len(self.ids_BT), 3), pad)
        longer_BT = torch.cat([self.ids_BT, more_BT], dim=1), torch.cat([self.mask_BT, more_BT * 0], dim=1)
        other_BT = torch.where(real_BT, self.ids_BT, self.ids_BT[0, 1])
        for what, (ids_BT, mask_BT) in (
            ("other ids under a 0 of the mask", (other_BT, self.mask_BT)),
            ("3 more padding tokens", longer_BT),
        ):
            states_BTD = states(self.encoder, ids_BT, mask_BT)[:, : self.ids_BT.shape[1]]
            moved = distance(states_BTD[real_BT], expected_BTD[real_BT])
            if not self.findings.expect(
                moved <= tolerance(expected_BTD, self.share),
                f"With {what} the states of real tokens moved by {moved:.2g}; padding must not count. Hand "
                "mask_BT over as attention_mask.",
            ):
                return

    def _rows(self) -> None:
        together_BTD = states(self.encoder, self.ids_BT, self.mask_BT)
        for row, length in enumerate(self.mask_BT.sum(1).tolist()):
            ids_BT, mask_BT = self.ids_BT[row : row + 1, :length], self.mask_BT[row : row + 1, :length]
            moved = distance(states(self.encoder, ids_BT, mask_BT)[0], together_BTD[row, :length])
            if not self.findings.expect(
                moved <= tolerance(together_BTD, self.share),
                f"A message alone and the same message beside others gave states that differ by {moved:.2g}; a "
                "message must not see the others of its pass.",
            ):
                return
        one_BTD = states(self.encoder, self.ids_BT[:1, :1], self.mask_BT[:1, :1])
        self.findings.expect(
            tuple(one_BTD.shape) == (1, 1, self.encoder.width) and finite(one_BTD),
            f"One message of one token gave {shape_of(one_BTD)}; wanted (1, 1, {self.encoder.width}), all finite.",
        )

    def _empty(self) -> None:
        mask_BT = self.mask_BT.clone()
        mask_BT[1] = 0
        real_BT = mask_BT.bool()
        expected_BTD = states(self.encoder, self.ids_BT, self.mask_BT)
        moved = distance(states(self.encoder, self.ids_BT, mask_BT)[real_BT], expected_BTD[real_BT])
        self.findings.expect(
            moved <= tolerance(expected_BTD, self.share),
            "A message whose mask is all 0 (an empty text, or a row that fills a pass up) moved the other "
            f"messages' states by {moved:.2g}; wanted them untouched.",
        )

    def _longest(self) -> None:
        longest = self.encoder.max_tokens
        if not self.findings.expect(
            longest is None or (isinstance(longest, int) and longest > 0),
            f"max_tokens is {longest!r}; wanted a whole number of tokens above 0, or None where there is no bound.",
        ):
            return
        if longest is not None and longest <= _LONGEST_TRIED:
            ids_BT = self.ids_BT[:1, 1:2].repeat(1, longest)
            with self.findings.trying(
                f"A message of max_tokens = {longest} tokens",
                "State how many tokens the encoder has positions for.",
            ):
                states(self.encoder, ids_BT, torch.ones_like(ids_BT))

    def _gradients(self) -> None:
        frozen = self.encoder.frozen
        trained = {name: weight for name, weight in self.encoder.named_parameters() if weight.requires_grad}
        self.encoder.train()
        training = [name or "the encoder" for name, part in self.encoder.named_modules() if part.training]
        table = self.encoder.embedding_parameters()
        own = {id(weight) for weight in self.encoder.parameters()}
        self.findings.expect(
            bool(table) and all(id(weight) in own for weight in table),
            "embedding_parameters() gives no weights of the encoder; wanted the weight of its token table, which "
            "takes no decay.",
        )
        if frozen:
            self.findings.expect(
                not trained,
                f"frozen is true, but {', '.join(list(trained)[:3])} require a gradient. Call "
                "requires_grad_(False) in load().",
            )
            self.findings.expect(
                not training,
                f"frozen is true, but after train() {', '.join(training[:3])} is in training mode: dropout would "
                "make its cached vectors random. Override train() so that it stays in evaluation mode.",
            )
            self.encoder.eval()
            return
        self.findings.expect(
            "the encoder" in training,
            "After train() it is not in training mode; only a frozen encoder stays in evaluation.",
        )
        hidden_BTD = self.encoder(self.ids_BT, self.mask_BT)
        if not self.findings.expect(
            bool(trained) and hidden_BTD.requires_grad,
            "It is not frozen, but its states carry no gradient, so nothing would be trained: drop torch.no_grad() and "
            ".detach(), or let frozen be true.",
        ):
            return
        weights_BTD = torch.randn_like(hidden_BTD) * self.mask_BT.unsqueeze(-1)
        found = torch.autograd.grad(
            (hidden_BTD * weights_BTD).sum(), list(trained.values()), allow_unused=True
        )
        self.encoder.eval()
        unused = [name for name, gradient in zip(trained, found, strict=True) if gradient is None]
        self.findings.expect(
            not unused,
            f"No gradient reaches {', '.join(unused[:3])}: training on several devices would wait for it for "
            "ever. Remove what forward does not use (a pooler: add_pooling_layer=False), or freeze it.",
        )
        by_id = {id(weight): gradient for weight, gradient in zip(trained.values(), found, strict=True)}
        self.findings.expect(
            all(bool(by_id[id(weight)].any()) for weight in table if by_id.get(id(weight)) is not None),
            "The gradient of embedding_parameters() is 0 everywhere; wanted it at the rows of the pieces that occur.",
        )

    def _pooler(self) -> None:
        pooler = self.encoder.pooler
        if pooler is None:
            return
        width = self.encoder.width
        shapes = {name: tuple(value.shape) for name, value in pooler.items()}
        self.findings.expect(
            shapes == {"dense.weight": (width, width), "dense.bias": (width,)},
            f"pooler holds {shapes}; wanted dense.weight ({width}, {width}) and dense.bias ({width},), or None.",
        )


def _names(kinds: set[torch.dtype]) -> str:
    return ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds)) or "float32"
