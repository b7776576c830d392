"""The conformance check of losses over sentence vectors. Axes: B sentences, D width."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from tocsin.models.losses import VectorLoss
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

__all__ = ["check_vector_loss"]

_WIDTHS = (384, 1)
_SENTENCES = 6
_FIX_WIDE = "Begin with student_BD.float() and teacher_BD.float(), sum in float32 and return that."


def check_vector_loss(component: type[VectorLoss], /, **arguments: Any) -> None:
    """Check that a loss over student and teacher vectors keeps its contract.

    It is given random vectors of width 384 and 1. It must return a sum and its weight that add up over passes, count a
    row as many times as its weight says, be smallest where the student equals the teacher, train the student
    alone, and stay finite.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "vector_loss", arguments)
        if usable:
            _VectorLossCheck(findings, component, arguments).run()
        findings.conclude()


class _VectorLossCheck:
    def __init__(self, findings: Findings, component: type[VectorLoss], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.component = component
        self.loss = component(**arguments)

    def run(self) -> None:
        for width in _WIDTHS:
            for sentences in (_SENTENCES, 1):
                if not self._values(width, sentences):
                    return
        for what, test in (
            ("The same vectors twice", self._determinism),
            ("A pass cut in two", self._sums),
            ("A backward pass", self._flows),
        ):
            before = len(self.findings.faults)
            with self.findings.trying(what):
                test()
            if len(self.findings.faults) > before:
                return  # what follows compares sums and gradients, and would only repeat this
        for what, test in (
            ("weight()", self._weight),
            ("Rows of weight 2 and 0", self._copies),
            ("A student that equals its teacher", self._minimum),
            ("Small steps of the student", self._gradients),
            ("A gradient into the teacher", self._teacher),
            ("Vectors of zeros, large and equal ones", self._extremes),
            ("Vectors in bfloat16", self._bfloat16),
            ("Saving and loading", self._saving),
        ):
            with self.findings.trying(what):
                test()

    def _vectors(
        self, width: int = _WIDTHS[0], sentences: int = _SENTENCES
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Student, teacher, weights of 1, and English numbers, each its own."""
        vectors = torch.randn(sentences, width), torch.randn(sentences, width)
        return *vectors, torch.ones(sentences), torch.arange(sentences)

    def _values(self, width: int, sentences: int) -> bool:
        vectors = self._vectors(width, sentences)
        kept = [tensor.clone() for tensor in vectors]
        what = f"{counted(sentences, 'sentence')} of width {width}"
        with self.findings.trying(f"A forward of {what}"):
            return is_sum_and_weight(self.findings, what, self.loss(*vectors)) and self.findings.expect(
                all(torch.equal(one, other) for one, other in zip(vectors, kept, strict=True)),
                "forward() changed the vectors that it was given. Write no in-place operation (name_) on them.",
            )
        return False

    def _determinism(self) -> None:
        vectors = self._vectors()
        one, other = (self.loss(*vectors)[0] for _ in range(2))
        self.findings.expect(
            torch.equal(one, other),
            f"The same vectors gave {shown(one)}, then {shown(other)}; wanted the same number.",
        )

    def _sums(self) -> None:
        if not self.component.couples_rows:
            added_up(self.findings, self.loss, self._vectors(), "sentences")

    def _weight(self) -> None:
        student_BD, teacher_BD, weight_B, english_B = self._vectors()
        _, weight = self.loss(student_BD, teacher_BD, weight_B, english_B)
        known = self.loss.weight(weight_B)
        self.findings.expect(
            isinstance(known, Tensor) and distance(known, weight) <= tolerance(weight, 1e-6),
            f"weight(weight_B) gave {shown(known)} and forward {shown(weight)}; wanted the same: a step "
            "knows its weight before the first forward. Override weight() along with forward().",
        )
        _, other = self.loss(student_BD * -0.5 + 1.0, teacher_BD, weight_B, english_B)
        self.findings.expect(
            distance(other, weight) == 0.0,
            f"Another student gave another weight ({shown(other)} after {shown(weight)}); it must follow "
            "from weight_B alone.",
        )

    def _copies(self) -> None:
        """A weight of 2 is two copies, and one of 0 is nobody."""
        student_BD, teacher_BD, weight_B, english_B = self._vectors()
        weight_B[0], weight_B[1] = 2.0, 0.0
        result = self.loss(student_BD, teacher_BD, weight_B, english_B)
        rows = torch.tensor([0, 0, *range(2, len(weight_B))])
        copied = self.loss(student_BD[rows], teacher_BD[rows], torch.ones(len(rows)), english_B[rows])
        for name, one, other in zip(("sum", "weight"), result, copied, strict=True):
            if not self.findings.expect(
                distance(one, other) <= tolerance(other),
                f"With one row of weight 2 and one of weight 0 the {name} is {shown(one)}; with two copies of the "
                f"first and without the second it is {shown(other)}. Wanted the same: multiply each row's loss by "
                "weight_B.",
            ):
                return

    def _minimum(self) -> None:
        if not self.component.follows_teacher:
            return
        for width in _WIDTHS:
            student_BD, teacher_BD, *rest = self._vectors(width)
            equal, apart = (
                number(self.loss(each, teacher_BD, *rest)[0]) for each in (teacher_BD, student_BD)
            )
            if not self.findings.expect(
                equal <= apart + 1e-4 * max(1.0, abs(apart)),
                f"At width {width} a student that equals its teacher has the loss {equal:.6g}, a random one "
                f"{apart:.6g}; wanted the equal one lower. Is a sign turned (1 - similarity, not similarity)?",
            ):
                return

    def _flows(self) -> None:
        student_BD, *rest = self._vectors()
        gradient_flows(self.findings, lambda x: self.loss(x, *rest)[0], student_BD, "student's vectors")

    def _gradients(self) -> None:
        student_BD, *rest = self._vectors()
        follows_differences(self.findings, lambda x: self.loss(x, *rest)[0], student_BD, "student's vectors")

    def _teacher(self) -> None:
        student_BD, teacher_BD, *rest = self._vectors()
        total, weight = self.loss(student_BD.requires_grad_(), teacher_BD.requires_grad_(), *rest)
        reached = weight.requires_grad
        if total.requires_grad:
            (gradient_BD,) = torch.autograd.grad(total, teacher_BD, allow_unused=True)
            reached = reached or (gradient_BD is not None and bool(gradient_BD.any()))
        self.findings.expect(
            not reached,
            "A gradient flows into the teacher, which must stay as it is: begin with teacher_BD = teacher_BD.detach().",
        )

    def _extremes(self) -> None:
        student_BD, teacher_BD, *rest = self._vectors()
        zeros_BD = torch.zeros_like(student_BD)
        for what, student, teacher in (
            ("a student's vector of zeros", zeros_BD, teacher_BD),
            ("a teacher's vector of zeros", student_BD, zeros_BD),
            ("vectors a thousand times as long", student_BD * 1e3, teacher_BD * 1e3),
            ("a student that equals its teacher", teacher_BD.clone(), teacher_BD),
        ):
            leaf_BD = student.clone().requires_grad_()
            total, _ = self.loss(leaf_BD, teacher, *rest)
            gradient_BD: Tensor | None = None
            if total.requires_grad:
                (gradient_BD,) = torch.autograd.grad(total, leaf_BD, allow_unused=True)
            if not self.findings.expect(
                finite(total, gradient_BD),
                f"With {what} the loss is {shown(total)} or its gradient is not finite. Divide by norms with "
                "F.normalize(x, eps=1e-6) or .clamp(min=…), and take no square root of 0.",
            ):
                return

    def _bfloat16(self) -> None:
        student_BD, teacher_BD, *rest = self._vectors()
        expected, _ = self.loss(student_BD, teacher_BD, *rest)
        with torch.autocast("cpu", torch.bfloat16):
            result = self.loss(student_BD.to(torch.bfloat16), teacher_BD.to(torch.bfloat16), *rest)
        if is_sum_and_weight(self.findings, "bfloat16 vectors under autocast", result, _FIX_WIDE):
            self.findings.expect(
                distance(result[0], expected) <= 0.05 * max(1.0, abs(number(expected))),
                f"bfloat16 vectors gave the loss {shown(result[0])}, the same in float32 {shown(expected)}. "
                f"{_FIX_WIDE}",
            )

    def _saving(self) -> None:
        vectors = self._vectors()
        seed_everything(2)
        again = self.component(**json.loads(json.dumps(self.loss.arguments)))
        load_saved(again, self.loss)
        expected, other = self.loss(*vectors)[0], again(*vectors)[0]
        self.findings.expect(
            distance(other, expected) <= tolerance(expected, 1e-6),
            f"Built again and given the saved state, it gave the loss {shown(other)} where the first gives "
            f"{shown(expected)}. Keep what it holds in an nn.Parameter or register_buffer.",
        )
