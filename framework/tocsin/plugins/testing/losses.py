"""The conformance check of losses over labels. Axes: N messages of the training split, B messages, L labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tocsin.models.losses import Loss
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.sums import (
    added_up,
    follows_differences,
    gradient_flows,
    is_sum_and_weight,
    load_saved,
)
from tocsin.plugins.testing.tensors import (
    counted,
    distance,
    finite,
    number,
    own_random,
    seed_everything,
    shown,
    tolerance,
)

__all__ = ["check_loss"]

_MESSAGES = 6
_FIX_STATE = (
    'Keep what prepare() learns in a buffer: register_buffer("name", None) in the constructor, then self.name = '
    "torch.tensor(…)."
)
_FIX_WIDE = "Begin with logits_BL.float(), sum in float32 and return that."
_FIX_NULL = (
    "Take each loss times its mask, or by torch.where(mask_BL.bool(), losses_BL, 0.0), before the sum; where a loss is "
    "infinite neither is enough: use F.logsigmoid, not the logarithm of a sigmoid."
)


def check_loss(component: type[Loss], /, **arguments: Any) -> None:
    """Check that a loss keeps its contract.

    It is prepared on targets with nulls and given random logits of 1, 3 and 500 labels. It must return a sum and its
    weight that add up over passes, fall as logits move towards their targets, and stay finite: for right and wrong
    logits up to ±10,000, for bfloat16, and for targets between 0 and 1. Under a 0 of the mask it is given other targets
    and logits of ±3 and ±50, which must move neither the sum nor the gradient. The loss of one label must not level
    off far above 0 as its logit grows on the right side, as it does where logits go through a sigmoid first.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "loss", arguments)
        if usable:
            _LossCheck(findings, component, arguments).run()
        findings.conclude()


def _training_targets(labels: int) -> np.ndarray:
    """Targets `(N, L)`: nulls, and with several labels one without positives and one without negatives."""
    targets_NL = (np.random.rand(40, labels) < 0.3).astype(np.float32)
    targets_NL[0], targets_NL[1] = 1.0, 0.0
    if labels > 1:
        targets_NL[:, 0], targets_NL[:, 1] = 0.0, 1.0
    targets_NL[np.random.rand(40, labels) < 0.1] = np.nan
    return targets_NL


def _batch(labels: int, messages: int = _MESSAGES) -> tuple[Tensor, Tensor, Tensor]:
    """Logits between -1.5 and 1.5, targets 0 or 1, and a mask with both values, as a pass has them."""
    logits_BL = torch.rand(messages, labels) * 3.0 - 1.5
    mask_BL = (torch.rand(messages, labels) < 0.8).float()
    mask_BL[0, 0] = 1.0
    mask_BL[-1, -1] = 0.0 if messages > 1 else 1.0
    targets_BL = (torch.rand(messages, labels) < 0.5).float() * mask_BL
    targets_BL[0, 0] = 1.0
    return logits_BL, targets_BL, mask_BL


class _LossCheck:
    def __init__(self, findings: Findings, component: type[Loss], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.component = component
        self.arguments = arguments
        self.losses: dict[int, Loss] = {}

    def run(self) -> None:
        for labels in (3, 1, 500):
            if not self._prepared(labels) or not self._values(labels):
                return
        for what, test in (
            ("The same input twice", self._determinism),
            ("A pass cut in two", self._sums),
            ("A backward pass", self._flows),
        ):
            before = len(self.findings.faults)
            with self.findings.trying(what):
                test()
            if len(self.findings.faults) > before:
                return  # what follows compares sums and gradients, and would only repeat this
        tests = (
            ("weight()", self._weight),
            ("Other logits under null labels", self._nulls),
            ("A pass without any known label", self._all_null),
            ("Small steps of the logits", self._gradients),
            ("Logits nearer to their targets", self._direction),
            ("Large logits on the right side", self._confidence),
            ("Logits of ±10,000", self._extremes),
            ("Logits in bfloat16", self._bfloat16),
            ("Targets between 0 and 1", self._soft),
            ("Saving and loading after prepare()", self._saving),
        )
        for what, test in tests:
            with self.findings.trying(what):
                test()

    def _prepared(self, labels: int) -> bool:
        loss = self.component(**self.arguments)
        targets_NL = _training_targets(labels)
        kept_NL = targets_NL.copy()
        before = len(self.findings.faults)
        with self.findings.trying(
            f"prepare() on training targets ({targets_NL.shape[0]}, {labels})",
            "They are a numpy array with NaN where a label is unknown.",
        ):
            loss.prepare(targets_NL)
        self.findings.expect(
            np.array_equal(targets_NL, kept_NL, equal_nan=True),
            "prepare() changed the training targets it was shown, which the fit uses. Work on a copy.",
        )
        self.losses[labels] = loss
        return len(self.findings.faults) == before

    def _values(self, labels: int) -> bool:
        for messages in (_MESSAGES, 1):
            batch = _batch(labels, messages)
            kept = [tensor.clone() for tensor in batch]
            what = f"{counted(messages, 'message')} of {counted(labels, 'label')}"
            with self.findings.trying(f"A forward of {what}"):
                if not is_sum_and_weight(self.findings, what, self.losses[labels](*batch)):
                    return False
                return self.findings.expect(
                    all(torch.equal(one, other) for one, other in zip(batch, kept, strict=True)),
                    "forward() changed the logits, targets or mask that it was given. Write no in-place "
                    "operation (name_) on them.",
                )
            return False
        return True

    def _determinism(self) -> None:
        batch = _batch(3)
        one, other = (self.losses[3](*batch)[0] for _ in range(2))
        self.findings.expect(
            torch.equal(one, other),
            f"The same logits, targets and mask gave {shown(one)}, then {shown(other)}; wanted the same "
            "number.",
        )

    def _sums(self) -> None:
        if self.component.couples_rows:
            return
        batch = _batch(3)
        added_up(self.findings, self.losses[3], batch, "labels that are known")

    def _weight(self) -> None:
        for labels, loss in self.losses.items():
            logits_BL, targets_BL, mask_BL = _batch(labels)
            _, weight = loss(logits_BL, targets_BL, mask_BL)
            known = loss.weight(targets_BL, mask_BL)
            if not self.findings.expect(
                isinstance(known, Tensor) and distance(known, weight) <= tolerance(weight, 1e-6),
                f"weight(targets, mask) gave {shown(known)} and forward {shown(weight)}; wanted the same: a "
                "step knows its weight before the first forward. Override weight() along with forward().",
            ):
                return
            _, other = loss(logits_BL * -0.5 + 1.0, targets_BL, mask_BL)
            if not self.findings.expect(
                distance(other, weight) == 0.0,
                f"Other logits gave another weight ({shown(other)} after {shown(weight)}); it must follow "
                "from targets and mask alone.",
            ):
                return

    def _gradient(self, logits_BL: Tensor, targets_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        logits_BL = logits_BL.clone().requires_grad_()
        total, _ = self.losses[logits_BL.shape[1]](logits_BL, targets_BL, mask_BL)
        if not total.requires_grad:  # no known label, or a fault that the backward pass names
            return total, torch.zeros_like(logits_BL)
        (gradient_BL,) = torch.autograd.grad(total, logits_BL, allow_unused=True)
        return total.detach(), torch.zeros_like(logits_BL) if gradient_BL is None else gradient_BL

    def _nulls(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(3)
        total, gradient_BL = self._gradient(logits_BL, targets_BL, mask_BL)
        known_BL = mask_BL.bool()
        for what, logit, target in (
            ("3 for every logit and 1 for every target", 3.0, 1.0),
            ("-3 for every logit and 1 for every target", -3.0, 1.0),
            # Finite: logits are real numbers, and torch.where's own gradient beside an infinite loss is NaN.
            ("50 for every logit", 50.0, 0.0),
            ("-50 for every logit", -50.0, 0.0),
        ):
            other, other_BL = self._gradient(
                torch.where(known_BL, logits_BL, logit), torch.where(known_BL, targets_BL, target), mask_BL
            )
            moved = distance(other, total)
            if not self.findings.expect(
                moved <= tolerance(total, 1e-5),
                f"With {what} under a 0 of the mask the loss moved by {moved:.2g}; a null label must not count. "
                f"{_FIX_NULL}",
            ):
                return
            moved = distance(other_BL, gradient_BL)
            if not self.findings.expect(
                moved <= tolerance(gradient_BL, 1e-5) and not bool(other_BL[~known_BL].any()),
                f"With {what} under a 0 of the mask the gradient of the logits moved by {moved:.2g}, or is not 0 "
                f"there; a null label must not count. {_FIX_NULL}",
            ):
                return

    def _all_null(self) -> None:
        for labels in self.losses:
            logits_BL, targets_BL, mask_BL = _batch(labels)
            mask_BL, targets_BL = torch.zeros_like(mask_BL), torch.zeros_like(targets_BL)
            total, gradient_BL = self._gradient(logits_BL, targets_BL, mask_BL)
            weight = self.losses[labels].weight(targets_BL, mask_BL)
            if not self.findings.expect(
                number(total) == 0.0 and not bool(gradient_BL.any()) and finite(weight),
                f"A pass whose labels are all null gave the loss {shown(total)} with the weight "
                f"{shown(weight)} and a gradient of up to {number(gradient_BL.abs().max()):.2g}; wanted 0, a "
                "finite weight and 0. Such passes occur; divide by nothing that may be 0.",
            ):
                return

    def _flows(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(3)
        gradient_flows(
            self.findings, lambda x: self.losses[3](x, targets_BL, mask_BL)[0], logits_BL, "logits"
        )

    def _gradients(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(3)
        follows_differences(
            self.findings, lambda x: self.losses[3](x, targets_BL, mask_BL)[0], logits_BL, "logits"
        )

    def _direction(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(3)
        # Around 0: a loss with smoothed targets is lowest at a logit of 2 or so, and rises beyond.
        logits_BL = logits_BL / 3.0
        before = number(self.losses[3](logits_BL, targets_BL, mask_BL)[0])
        towards_BL = 0.25 * (2.0 * targets_BL - 1.0) * mask_BL
        moves = [("every logit", towards_BL)]
        if not self.component.couples_rows:  # there, some logits alone may compare worse with the others
            # Not one logit at a time: under a softmax, the label that leads others on the right side may well fall.
            moves += [
                ("every positive label's logit", towards_BL.clamp(min=0.0)),
                ("every negative label's logit", towards_BL.clamp(max=0.0)),
            ]
        for what, move_BL in moves:
            rise = number(self.losses[3](logits_BL + move_BL, targets_BL, mask_BL)[0]) - before
            if not self.findings.expect(
                rise <= 1e-4 * max(1.0, abs(before)),
                f"Moving {what} by 0.25 towards its target raised the loss by {rise:.2g}; it must not rise. Is a sign "
                "turned, or are logits and targets swapped?",
            ):
                return

    def _confidence(self) -> None:
        """Follow one label's loss as its logit grows: it may level off at 0 or rise again, but not stop far above 0.

        A loss that compares labels or messages is 0 here, or always the same, and passes.
        """
        mask_BL = torch.ones(1, 1)
        for target in (1.0, 0.0):
            targets_BL = torch.full((1, 1), target)
            at = {
                size: number(
                    self.losses[1](torch.full((1, 1), (2.0 * target - 1.0) * size), targets_BL, mask_BL)[0]
                )
                for size in (0.0, 2.0, 20.0, 40.0)
            }
            high = at[20.0] > 0.2 * at[0.0] > 0.0
            fell = at[2.0] - at[20.0] > 0.01 * at[20.0]
            flat = abs(at[20.0] - at[40.0]) < 0.001 * at[20.0]
            if not self.findings.expect(
                not (high and fell and flat),
                f"A label whose target is {target:.0f} costs {at[0.0]:.3g} at the logit 0, and still {at[20.0]:.3g} at "
                f"{(2.0 * target - 1.0) * 20.0:.0f}, however far it goes on the right side; wanted about 0. Are the "
                "logits put through a sigmoid before a loss that takes it itself? Give "
                "binary_cross_entropy_with_logits the logits as they are.",
            ):
                return

    def _extremes(self) -> None:
        for labels in self.losses:
            _, targets_BL, mask_BL = _batch(labels)
            for sign, what in ((1.0, "on the right side"), (-1.0, "on the wrong side")):
                large_BL = sign * 1e4 * (2.0 * targets_BL - 1.0)
                total, gradient_BL = self._gradient(large_BL, targets_BL, mask_BL)
                if not self.findings.expect(
                    finite(total, gradient_BL),
                    f"Logits of ±10,000 {what} of their targets gave the loss {shown(total)} or a gradient that "
                    "is not finite. Use F.logsigmoid or binary_cross_entropy_with_logits; log(sigmoid(x)) and "
                    "exp(x) overflow.",
                ):
                    return

    def _bfloat16(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(500)
        expected, _ = self.losses[500](logits_BL, targets_BL, mask_BL)
        narrow_BL = logits_BL.to(torch.bfloat16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            result = self.losses[500](narrow_BL, targets_BL, mask_BL)
        if not is_sum_and_weight(self.findings, "bfloat16 logits under autocast", result, _FIX_WIDE):
            return
        moved = distance(result[0], expected)
        self.findings.expect(
            moved <= 0.05 * max(1.0, abs(number(expected))),
            f"bfloat16 logits gave the loss {shown(result[0])}, the same in float32 {shown(expected)}. {_FIX_WIDE}",
        )

    def _soft(self) -> None:
        logits_BL, targets_BL, mask_BL = _batch(3)
        total, gradient_BL = self._gradient(logits_BL, torch.rand_like(targets_BL) * mask_BL, mask_BL)
        self.findings.expect(
            finite(total, gradient_BL),
            f"Targets between 0 and 1 (a teacher's probabilities) gave the loss {shown(total)} or a gradient "
            "that is not finite; wanted finite numbers.",
        )

    def _saving(self) -> None:
        loss = self.losses[3]
        batch = _batch(3)
        seed_everything(2)
        with self.findings.trying("A loss built again and given the saved state", _FIX_STATE):
            again = self.component(**json.loads(json.dumps(loss.arguments)))
            load_saved(again, loss)
            expected, other = loss(*batch)[0], again(*batch)[0]
            self.findings.expect(
                distance(other, expected) <= tolerance(expected, 1e-6),
                f"Built again and given the saved state, it gave the loss {shown(other)} where the prepared one "
                f"gives {shown(expected)}: a resumed fit would go on with another loss. {_FIX_STATE}",
            )
