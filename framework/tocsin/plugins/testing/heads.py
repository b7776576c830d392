"""The conformance check of heads. Axes: B messages, T tokens, D width, F features, L labels."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from tocsin.errors import TocsinError
from tocsin.models.heads import FeatureHead, Head
from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.feature_heads import check_features
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.head_gradients import COUPLED, check_gradients, coupled_in_training
from tocsin.plugins.testing.tensors import (
    LENGTHS,
    changed,
    clones,
    counted,
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

__all__ = ["check_head"]

_WIDTH = 16
_LABELS = (3, 1, 500)
_KINDS = ("bert", "roberta", "xlm-roberta", "distilbert")


def check_head(component: type[Head], /, **arguments: Any) -> None:
    """Check that a head keeps its contract.

    It is built for a tiny encoder with 1, 3 and 500 labels and must return logits `(B, L)` in float32 and bfloat16,
    some below 0 and some above; it must leave its inputs as they are; padding and other messages must not matter;
    gradients must reach every weight; its weights must survive a save; one message, one token and a message without
    tokens must work. A `FeatureHead` must also be what its parts say.

    Args:
        component: The class.
        **arguments: Of its constructor, by name.

    Raises:
        NonConforming: Names every fault.
    """
    with own_random():
        findings, usable = begin(component, "head", arguments)
        if usable:
            _HeadCheck(findings, component, arguments).run()
        findings.conclude()


class _HeadCheck:
    def __init__(self, findings: Findings, component: type[Head], arguments: dict[str, Any]) -> None:
        self.findings = findings
        self.component = component
        self.arguments = arguments
        self.needs = getattr(component, "needs", None)
        self.config: Any = None

    def run(self) -> None:
        if not self.findings.expect(
            self.needs in ("vector", "tokens"),
            f'The class attribute needs is {self.needs!r}; wanted needs = "vector" (the model\'s pooling gives '
            'vector_BD) or needs = "tokens" (the head reads hidden_BTD and mask_BT, with pooling: null).',
        ):
            return
        early = [name for name, _ in self.component(**self.arguments).named_parameters()]
        self.findings.expect(
            not early,
            f"The constructor makes weights ({', '.join(early[:3])}) before width and labels are known, on every "
            "of the parser's builds. Make them in build().",
        )
        self.config = self._choose_config()
        if self.config is None or not self._shapes():
            return
        for what, test in (
            ("Evaluation mode", self._determinism),
            ("Another precision", self._precision),
        ):
            before = len(self.findings.faults)
            with self.findings.trying(what):
                test()
            if len(self.findings.faults) > before:
                return  # what follows compares logits, and would only repeat this
        for what, test in (
            ("A backward pass", self._gradients),
            ("A forward with other padding", self._padding),
            ("A forward of one message or one token", self._rows),
            ("A forward with a message without real tokens", self._empty),
            ("Saving and loading the weights", self._saving),
            ("build() with the encoder's own pooler", self._pooler),
        ):
            with self.findings.trying(what):
                test()
        if issubclass(self.component, FeatureHead):
            head = self._make(3)
            check_features(self.findings, head, self._inputs(), 3)  # type: ignore[arg-type]

    # What the checks work on ------------------------------------------------------------------------------------------

    def _make(self, labels: int, *, stirred: bool = True, pooler: dict[str, Tensor] | None = None) -> Head:
        head = self.component(**self.arguments)
        head.build(self.config, labels, pooler)
        if stirred:
            stir(head)
        return head.eval()

    def _inputs(
        self, lengths: tuple[int, ...] = LENGTHS, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As a model gives them: token states and mask always, the pooled vector where the head needs it."""
        hidden_BTD, mask_BT = token_states(_WIDTH, lengths, dtype)
        vector_BD = torch.randn(len(lengths), _WIDTH, dtype=dtype) if self.needs == "vector" else None
        return hidden_BTD, mask_BT, vector_BD

    def _choose_config(self) -> Any:
        """The first configuration for which the head builds: some heads are for named architectures alone."""
        first: TocsinError | None = None
        for kind in _KINDS:
            self.config = _tiny_config(kind)
            before = self.config.to_dict()
            try:
                self._make(3, stirred=False)
            except TocsinError as error:
                first = first or error
                continue
            except Exception as error:
                self.findings.add_error(
                    f"build() for a {kind} encoder of width {_WIDTH} and 3 labels",
                    error,
                    "It is given encoder_config, labels and pooler (None here), and makes the weights.",
                )
                return None
            changed = [name for name, value in self.config.to_dict().items() if value != before.get(name)]
            self.findings.expect(
                not changed,
                f"build() changed {', '.join(changed)} in encoder_config, which the encoder and the bundle share. "
                "Leave it as it is.",
            )
            return _tiny_config(kind)
        self.findings.add(f"build() refuses tiny encoders of every kind tried ({', '.join(_KINDS)}): {first}")
        return None

    # What the contract says -------------------------------------------------------------------------------------------

    def _shapes(self) -> bool:
        for labels in _LABELS:
            inputs = self._inputs()
            for mode in ("evaluation", "training"):
                given = clones(inputs)
                logits_BL = self.findings.attempt(
                    f"A forward with {counted(labels, 'label')} in {mode} mode, after build()",
                    lambda: self._make(labels).train(mode == "training")(*given),  # noqa: B023
                )
                if logits_BL is None:
                    return False
                other = changed(("hidden_BTD", "mask_BT", "vector_BD"), inputs, given)
                if not self.findings.expect(
                    not other,
                    f"In {mode} mode forward() changed {' and '.join(other)}, which it was given. Write no in-place "
                    "operation (name_, +=, inplace=True) on it.",
                ) or not self._fits(logits_BL, len(LENGTHS), labels):
                    return False
        with self.findings.trying("A forward with large weights"):
            return self._signs()
        return False

    def _signs(self) -> bool:
        """Expect logits of both signs: of the weights as stirred, else of some that are thrown far apart.

        A head whose bias begins at a rare label's log odds has no logit above 0 at first, and yet may have some.
        """
        below = above = False
        for strength in (0.3, *(3.0,) * 20):
            head = self._make(_LABELS[-1], stirred=False)
            stir(head, strength)
            logits_BL = head(*self._inputs())
            below, above = below or bool((logits_BL < 0).any()), above or bool((logits_BL > 0).any())
            if below and above:
                return True
        return self.findings.expect(
            below,
            f"None of {logits_BL.numel():,} logits is below 0: are they probabilities, or after a ReLU? Return "
            "the output layer's numbers as they are; the sigmoid is taken once, by whoever reads logits.",
        ) and self.findings.expect(
            above,
            f"None of {logits_BL.numel():,} logits is above 0, whatever the weights: are they log-probabilities "
            "(F.logsigmoid, F.log_softmax) or negative distances? No label's probability could pass 0.5. Return "
            "logits, the log odds: the output layer's numbers as they are.",
        )

    def _fits(self, logits_BL: Any, messages: int, labels: int) -> bool:
        shape = tuple(logits_BL.shape) if isinstance(logits_BL, Tensor) else None
        return self.findings.expect(
            isinstance(logits_BL, Tensor) and shape == (messages, labels) and logits_BL.is_floating_point(),
            f"{counted(messages, 'message')} and {counted(labels, 'label')} gave {shape_of(logits_BL)}; wanted "
            f"logits of shape ({messages}, {labels}), one real number a message and label.",
        ) and self.findings.expect(
            finite(logits_BL),
            f"Logits of {counted(messages, 'ordinary message')} are infinite or NaN; wanted finite numbers, "
            "before any sigmoid.",
        )

    def _determinism(self) -> None:
        head, inputs = self._make(3), self._inputs()
        moved = distance(head(*inputs), head(*inputs))
        self.findings.expect(
            moved == 0.0,
            f"In evaluation mode the same input gave logits that differ by {moved:.2g}; wanted the same. Use "
            "nn.Dropout, or F.dropout(…, training=self.training).",
        )
        states = []
        for _ in range(2):
            seed_everything(1)
            states.append(self._make(3, stirred=False).state_dict())
        differing = [name for name, value in states[0].items() if distance(value, states[1][name]) > 0.0]
        self.findings.expect(
            not differing,
            f"Built twice under one seed, it began with other weights ({', '.join(differing[:3])}): a run could not be "
            "repeated. Draw them with torch.nn.init, which follows seed_everything.",
        )

    def _precision(self) -> None:
        for what, weights, autocast in (
            ("weights and states in bfloat16", torch.bfloat16, False),
            ("autocast to bfloat16", torch.float32, True),
        ):
            head = self._make(3).to(weights)
            inputs = self._inputs(dtype=torch.bfloat16)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits_BL = self.findings.attempt(
                    f"A forward with {what}",
                    lambda: head(*inputs),  # noqa: B023
                    "Mixed precision is the Trainer's default where the processor is fast at it: make new "
                    "tensors with the dtype of those given, such as mask_BT.to(hidden_BTD.dtype).",
                )
            if logits_BL is None:
                return
            if not self.findings.expect(
                logits_BL.is_floating_point() and finite(logits_BL),
                f"With {what} the logits, {shape_of(logits_BL)}, are infinite or NaN in places. Compute sums and "
                "softmax of many tokens in float32, and fill masked scores with torch.finfo(x.dtype).min, not "
                "with a fixed number.",
            ):
                return

    def _gradients(self) -> None:
        check_gradients(self.findings, lambda: self._make(3), self._inputs)

    def _padding(self) -> None:
        head, (hidden_BTD, mask_BT, vector_BD) = self._make(3), self._inputs()
        expected_BL = head(hidden_BTD, mask_BT, vector_BD)
        others = under_padding(hidden_BTD, mask_BT), mask_BT
        for what, (states_BTD, longer_BT) in (
            ("other states under the padding", others),
            ("2 more padding tokens", longer(hidden_BTD, mask_BT, 2)),
        ):
            logits_BL = head(states_BTD, longer_BT, vector_BD)
            moved = distance(logits_BL, expected_BL)
            if not self.findings.expect(
                moved <= tolerance(expected_BL),
                f"With {what} the logits moved by up to {moved:.2g}; padding must not count. Mask the states "
                "(mask_BT is 1 for real tokens) before you sum or attend, and divide by mask_BT.sum(1), not by T.",
            ):
                return

    def _rows(self) -> None:
        head, (hidden_BTD, mask_BT, vector_BD) = self._make(3), self._inputs()
        together_BL = head(hidden_BTD, mask_BT, vector_BD)
        for row in range(len(mask_BT)):
            part = slice(row, row + 1)
            alone_BL = head(hidden_BTD[part], mask_BT[part], None if vector_BD is None else vector_BD[part])
            if not self._fits(alone_BL, 1, 3):
                return
            moved = distance(alone_BL, together_BL[part])
            if not self.findings.expect(
                moved <= tolerance(together_BL),
                f"A message alone and the same message beside others gave logits that differ by {moved:.2g}; "
                f"{COUPLED}",
            ):
                return
        if not self._fits(head(*self._inputs((1, 1))), 2, 3) or coupled_in_training(
            self.findings, self._make(3), self._inputs()
        ):
            return
        with self.findings.trying(
            "One message of one token in training mode", "The last pass of a step may hold a single message."
        ):
            self._fits(head.train()(*self._inputs((1,))), 1, 3)

    def _empty(self) -> None:
        head, (hidden_BTD, mask_BT, vector_BD) = self._make(3), self._inputs()
        mask_BT[1] = 0
        others = [row for row in range(len(mask_BT)) if row != 1]
        logits_BL = head(hidden_BTD, mask_BT, vector_BD)[others]
        weights = [weight for weight in head.parameters() if weight.requires_grad]
        gradients: tuple[Tensor | None, ...] = ()
        if logits_BL.requires_grad and weights:
            gradients = torch.autograd.grad(logits_BL.sum(), weights, allow_unused=True)
        self.findings.expect(
            finite(logits_BL, *gradients),
            "A message whose mask is all 0 (an empty text, or a row that fills a pass up) made the other "
            "messages' logits or the weights' gradients infinite or NaN. Divide by mask_BT.sum(1).clamp(min=1), "
            "and fill masked scores with torch.finfo(x.dtype).min, not -inf.",
        )

    def _saving(self) -> None:
        from safetensors.torch import load, save

        head, inputs = self._make(3), self._inputs()
        expected_BL = head(*inputs)
        state = load(save({name: value.detach().clone() for name, value in head.state_dict().items()}))
        # As a bundle does: built again from its arguments as JSON, with other random numbers.
        seed_everything(2)
        again = self.component(**json.loads(json.dumps(head.arguments)))
        again.build(self.config, 3)
        again.load_state_dict(state)
        moved = distance(again.eval()(*inputs), expected_BL)
        self.findings.expect(
            moved <= tolerance(expected_BL, 1e-6),
            f"A head built anew that took the saved weights gave logits that differ by {moved:.2g}: state_dict() "
            "does not hold all of it. Make each weight an nn.Parameter, a buffer (register_buffer) or a module, "
            "and keep several in nn.ModuleList or nn.ParameterList, not in a list.",
        )

    def _pooler(self) -> None:
        pooler = nn.Linear(_WIDTH, _WIDTH)
        given = {f"dense.{name}": value.detach() for name, value in pooler.named_parameters()}
        kept = {name: value.clone() for name, value in given.items()}
        head = self._make(3, pooler=given)
        self._fits(head(*self._inputs()), len(LENGTHS), 3)
        self.findings.expect(
            all(torch.equal(value, kept[name]) for name, value in given.items()),
            "Training the head changed the tensors of pooler, which belong to the encoder. Copy them (copy_, or "
            "clone()).",
        )


def _tiny_config(kind: str) -> Any:
    from transformers import AutoConfig

    sizes: dict[str, Any] = {"hidden_size": _WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "distilbert":
        sizes = {"dim": _WIDTH, "n_layers": 2, "n_heads": 2}
    return AutoConfig.for_model(kind, vocab_size=100, max_position_embeddings=64, **sizes)
