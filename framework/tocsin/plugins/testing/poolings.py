"""The conformance check of poolings. Axes: B messages, T tokens, D width."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tocsin.models.pooling import Pooling
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import (
    LENGTHS,
    changed,
    clones,
    distance,
    finite,
    longer,
    own_random,
    seed_everything,
    shape_of,
    stir,
    token_states,
    tolerance,
    under_padding,
)

__all__ = ["check_pooling"]

_WIDTH = 16


def _mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return (hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)


def _scaled_mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return (hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True).sqrt()


def _weighted_mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT = mask_BT * torch.arange(1, mask_BT.shape[1] + 1)
    return (hidden_BTD * weights_BT[..., None]).sum(1) / weights_BT.sum(1, keepdim=True)


def _max(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return hidden_BTD.masked_fill(mask_BT[..., None] == 0, float("-inf")).amax(1)


def _last(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return hidden_BTD[torch.arange(len(hidden_BTD)), mask_BT.sum(1) - 1]


MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda hidden_BTD, mask_BT: hidden_BTD[:, 0],
    "lasttoken": _last,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _scaled_mean,
    "weightedmean": _weighted_mean,
}
"""The pooling modes of sentence-transformers, each by its formula."""


def check_pooling(component: type[Pooling], /, **arguments: Any) -> None:
    """Check that a pooling keeps its contract.

    It is built for a tiny encoder, given messages of 1 to 7 tokens and must return one vector each, of the states' own
    type, and leave its inputs as they are; padding and other messages must not matter; gradients must reach every
    weight, where it has any; it must be rebuilt from its arguments and its saved weights, and be what it tells
    sentence-transformers.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "pooling", arguments)
        if usable:
            _PoolingCheck(findings, component, arguments).run()
        findings.conclude()


class _PoolingCheck:
    def __init__(self, findings: Findings, component: type[Pooling], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.pooling = component(**arguments).eval()
        self.hidden_BTD, self.mask_BT = token_states(_WIDTH)

    def run(self) -> None:
        early = [name for name, _ in self.pooling.named_parameters()]
        self.findings.expect(
            not early,
            f"The constructor makes weights ({', '.join(early[:3])}) before the width is known, on every of the "
            "parser's builds. Make them in build(encoder_config).",
        )
        before = len(self.findings.faults)
        with self.findings.trying(f"build() for a bert encoder of width {_WIDTH}"):
            self.pooling.build(_tiny_config())
        if len(self.findings.faults) > before:
            return
        # As training would: weights that begin at zero hide what they do.
        stir(self.pooling)
        given = clones((self.hidden_BTD, self.mask_BT))
        vector_BD = self.findings.attempt(
            f"Pooling states {tuple(self.hidden_BTD.shape)} under their mask", lambda: self.pooling(*given)
        )
        if vector_BD is None:
            return
        other = changed(("hidden_BTD", "mask_BT"), (self.hidden_BTD, self.mask_BT), given)
        if not self.findings.expect(
            not other,
            f"forward() changed {' and '.join(other)}, which it was given: the head reads the same states. Write no "
            "in-place operation (name_, *=) on it; hidden_BTD.masked_fill(…) makes a copy.",
        ) or not self._shape(vector_BD, self.hidden_BTD):
            return
        for what, test in (
            ("Pooling states of other sizes and types", self._sizes),
            ("Pooling the same states twice", self._determinism),
        ):
            before = len(self.findings.faults)
            with self.findings.trying(what):
                test()
            if len(self.findings.faults) > before:
                return  # what follows compares vectors, and would only repeat this
        for what, test in (
            ("Pooling with other padding", self._padding),
            ("Pooling each message alone", self._rows),
            ("Pooling a message without real tokens", self._empty),
            ("A backward pass", self._gradients),
            ("sentence_transformers_mode", self._mode),
            ("Building it again from its arguments", self._rebuilt),
        ):
            with self.findings.trying(what):
                test()

    def _shape(self, vector_BD: Any, hidden_BTD: Tensor) -> bool:
        wanted = torch.empty(hidden_BTD.shape[0], hidden_BTD.shape[2], dtype=hidden_BTD.dtype)
        return self.findings.expect(
            isinstance(vector_BD, Tensor) and shape_of(vector_BD) == shape_of(wanted),
            f"States {shape_of(hidden_BTD)} gave {shape_of(vector_BD)}; wanted one vector a message, "
            f"{shape_of(wanted)}. Compute in float32 where that helps, and end with .to(hidden_BTD.dtype).",
        ) and self.findings.expect(
            finite(vector_BD), f"States {shape_of(hidden_BTD)} gave numbers that are infinite or NaN."
        )

    def _sizes(self) -> None:
        for lengths, dtype in (((1,), torch.float32), ((1, 1), torch.float32), (LENGTHS, torch.bfloat16)):
            hidden_BTD, mask_BT = token_states(_WIDTH, lengths, dtype)
            if not self._shape(self.pooling(hidden_BTD, mask_BT), hidden_BTD):
                return

    def _determinism(self) -> None:
        one, other = (self.pooling(self.hidden_BTD, self.mask_BT) for _ in range(2))
        self.findings.expect(
            torch.equal(one, other),
            f"In evaluation mode the same states gave vectors that differ by {distance(one, other):.2g}; wanted the "
            "same. Use randomness only where self.training is true.",
        )

    def _padding(self) -> None:
        expected_BD = self.pooling(self.hidden_BTD, self.mask_BT)
        others = under_padding(self.hidden_BTD, self.mask_BT), self.mask_BT
        for what, (hidden_BTD, mask_BT) in (
            ("other states under the padding", others),
            ("2 more padding tokens", longer(self.hidden_BTD, self.mask_BT, 2)),
        ):
            moved = distance(self.pooling(hidden_BTD, mask_BT), expected_BD)
            if not self.findings.expect(
                moved <= tolerance(expected_BD),
                f"With {what} the vectors moved by {moved:.2g}; padding must not count. Mask the states (mask_BT is 1 "
                "for real tokens) before you sum, compare or attend, and divide by mask_BT.sum(1), not by T.",
            ):
                return

    def _rows(self) -> None:
        together_BD = self.pooling(self.hidden_BTD, self.mask_BT)
        alone_BD = torch.cat(
            [
                self.pooling(self.hidden_BTD[row : row + 1], self.mask_BT[row : row + 1])
                for row in range(len(self.mask_BT))
            ]
        )
        moved = distance(alone_BD, together_BD)
        self.findings.expect(
            moved <= tolerance(together_BD),
            f"A message alone and the same message beside others gave vectors that differ by {moved:.2g}; a message "
            "must not see the others of its pass. Reduce over T (dim 1), never over B (dim 0).",
        )

    def _empty(self) -> None:
        mask_BT = self.mask_BT.clone()
        mask_BT[1] = 0
        others = [row for row in range(len(mask_BT)) if row != 1]
        hidden_BTD = self.hidden_BTD.clone().requires_grad_()
        vector_BD = self.pooling(hidden_BTD, mask_BT)
        gradients: tuple[Tensor | None, ...] = ()
        if vector_BD.requires_grad:
            leaves = [hidden_BTD, *(w for w in self.pooling.parameters() if w.requires_grad)]
            gradients = torch.autograd.grad(vector_BD[others].sum(), leaves, allow_unused=True)
        self.findings.expect(
            finite(vector_BD[others], *gradients),
            "A message whose mask is all 0 (an empty text, or a row that fills a pass up) made numbers of the other "
            "messages, or the weights' gradients, infinite or NaN. Divide by mask_BT.sum(1).clamp(min=1), and fill "
            "masked scores with torch.finfo(x.dtype).min, not -inf.",
        )

    def _gradients(self) -> None:
        hidden_BTD = self.hidden_BTD.clone().requires_grad_()
        vector_BD = self.pooling(hidden_BTD, self.mask_BT)
        if not self.findings.expect(
            vector_BD.requires_grad,
            "No gradient flows through it, so the encoder would not be trained: drop torch.no_grad() and .detach().",
        ):
            return
        trained = {name: weight for name, weight in self.pooling.named_parameters() if weight.requires_grad}
        gradient_BTD, *found = torch.autograd.grad(
            (vector_BD * torch.randn_like(vector_BD)).sum(),
            [hidden_BTD, *trained.values()],
            allow_unused=True,
        )
        size_BT = torch.zeros(self.mask_BT.shape) if gradient_BTD is None else gradient_BTD.abs().sum(-1)
        reached = bool(((size_BT * self.mask_BT).sum(1) > 0).all())
        self.findings.expect(
            reached and finite(gradient_BTD),
            "No finite gradient reaches the real tokens of some messages, so the encoder would not learn from them.",
        )
        unreached = [n for n, g in zip(trained, found, strict=True) if g is None or not bool(g.any())]
        self.findings.expect(
            not unreached and finite(*found),
            f"No finite gradient reaches {', '.join(unreached[:5]) or 'its weights'}: training would leave them as "
            "built. Use each weight in forward, or do not make it.",
        )

    def _mode(self) -> None:
        mode = self.pooling.sentence_transformers_mode
        if mode is None:
            return
        if not self.findings.expect(
            mode in MODES,
            f"sentence_transformers_mode is {mode!r}, which sentence-transformers does not know. Known: "
            f"{', '.join(MODES)}; None where it has no such mode.",
        ):
            return
        moved = distance(
            self.pooling(self.hidden_BTD, self.mask_BT), MODES[mode](self.hidden_BTD, self.mask_BT)
        )
        self.findings.expect(
            moved <= tolerance(self.hidden_BTD),
            f"sentence_transformers_mode is {mode!r}, but the vectors differ from that pooling by {moved:.2g}: "
            "sentence-transformers would compute others from the bundle than Tocsin. Return None.",
        )

    def _rebuilt(self) -> None:
        state = {name: value.detach().clone() for name, value in self.pooling.state_dict().items()}
        seed_everything(2)
        again = type(self.pooling)(**json.loads(json.dumps(self.pooling.arguments))).eval()
        again.build(_tiny_config())
        if any(True for _ in self.pooling.parameters()):
            again.load_state_dict(state)
        moved = distance(again(self.hidden_BTD, self.mask_BT), self.pooling(self.hidden_BTD, self.mask_BT))
        self.findings.expect(
            moved <= tolerance(self.hidden_BTD),
            f"Built again from its arguments, as a bundle does, it gave vectors that differ by {moved:.2g}: "
            "something in it follows from no argument and is no weight. Draw no random numbers in the constructor; "
            "what learns is an nn.Parameter or a module, made in build().",
        )


def _tiny_config() -> Any:
    from transformers import BertConfig

    return BertConfig(hidden_size=_WIDTH, num_hidden_layers=1, num_attention_heads=2, vocab_size=100)
