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
    shape_of,
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

    It is given messages of 1 to 7 tokens and must return one vector each, of the states' own type; padding and other
    messages must not matter; it must leave its inputs as they are, hold no weights, be rebuilt from its arguments, and
    be what it tells sentence-transformers.

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
        self.arguments = arguments
        self.make = lambda: component(**arguments).eval()
        self.pooling = self.make()
        self.hidden_BTD, self.mask_BT = token_states(_WIDTH)

    def run(self) -> None:
        names = [name for name, _ in self.pooling.named_parameters()]
        self.findings.expect(
            not names,
            f"It has weights of its own ({', '.join(names[:3])}), and a MultilabelClassifier refuses such a pooling: a "
            "bundle holds the weights of encoder and head. Make it part of a head that reads tokens.",
        )
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
        gradient_BTD: Tensor | None = None
        if vector_BD.requires_grad:
            (gradient_BTD,) = torch.autograd.grad(vector_BD[others].sum(), hidden_BTD, allow_unused=True)
        self.findings.expect(
            finite(vector_BD[others], gradient_BTD),
            "A message whose mask is all 0 (an empty text, or a row that fills a pass up) made numbers of the other "
            "messages infinite or NaN. Divide by mask_BT.sum(1).clamp(min=1).",
        )

    def _gradients(self) -> None:
        hidden_BTD = self.hidden_BTD.clone().requires_grad_()
        vector_BD = self.pooling(hidden_BTD, self.mask_BT)
        if not self.findings.expect(
            vector_BD.requires_grad,
            "No gradient flows through it, so the encoder would not be trained: drop torch.no_grad() and .detach().",
        ):
            return
        weights_BD = torch.randn_like(vector_BD)
        (gradient_BTD,) = torch.autograd.grad((vector_BD * weights_BD).sum(), hidden_BTD, allow_unused=True)
        size_BT = torch.zeros(self.mask_BT.shape) if gradient_BTD is None else gradient_BTD.abs().sum(-1)
        reached = bool(((size_BT * self.mask_BT).sum(1) > 0).all())
        self.findings.expect(
            reached and finite(gradient_BTD),
            "No finite gradient reaches the real tokens of some messages, so the encoder would not learn from them.",
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
        again = type(self.pooling)(**json.loads(json.dumps(self.pooling.arguments))).eval()
        moved = distance(again(self.hidden_BTD, self.mask_BT), self.pooling(self.hidden_BTD, self.mask_BT))
        self.findings.expect(
            moved <= tolerance(self.hidden_BTD),
            f"Built again from its arguments, as a bundle does, it gave vectors that differ by {moved:.2g}: "
            "something in it follows from no argument. Draw no random numbers in the constructor.",
        )
