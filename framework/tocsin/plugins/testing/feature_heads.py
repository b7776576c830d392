"""What a head that reads one vector a message must hold besides. Axes: B messages, F features, L labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tocsin.models.heads import FeatureHead
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.tensors import distance, finite, shape_of, tolerance

__all__ = ["check_features"]


def check_features(
    findings: Findings, head: FeatureHead, inputs: tuple[Tensor, Tensor, Tensor | None], labels: int
) -> None:
    """Check that forward is classify(features), and that the output layer takes a probe's weights.

    Args:
        findings: Takes the faults.
        head: Built for `labels` labels, its weights away from zero.
        inputs: Token states, mask and pooled vector that the head reads.
        labels: L.
    """
    for what, test in (("classify(features(…))", _parts), ("Starting from a probe", _probe)):
        before = len(findings.faults)
        with findings.trying(what):
            test(findings, head.eval(), inputs, labels)
        if len(findings.faults) > before:
            return  # the second test takes the parts at their word


def _parts(
    findings: Findings, head: FeatureHead, inputs: tuple[Tensor, Tensor, Tensor | None], labels: int
) -> None:
    hidden_BTD, mask_BT, vector_BD = inputs
    features_BF = head.features(hidden_BTD, mask_BT, vector_BD)
    if not findings.expect(
        isinstance(features_BF, Tensor) and features_BF.dim() == 2 and len(features_BF) == len(mask_BT),
        f"features() gave {shape_of(features_BF)}; wanted one vector a message, ({len(mask_BT)}, F).",
    ):
        return
    findings.expect(
        not features_BF.requires_grad,
        "features() uses weights of the head: a frozen encoder's features are computed once for the whole fit, "
        "so those weights would never be trained. Use them in classify() instead.",
    )
    expected_BL = head(*inputs)
    kept_BF = features_BF.clone()
    for name, part in (("classify", head.classify), ("penultimate", head.penultimate)):
        for training in (False, True):
            head.train(training)
            part(given_BF := kept_BF.clone())
            if not findings.expect(
                torch.equal(given_BF, kept_BF),
                f"{name}() changed features_BF, which it was given: a frozen encoder's features are cached, and read "
                "again in every epoch. Write no in-place operation (name_, +=, inplace=True) on them.",
            ):
                return
    head.eval()
    moved = distance(head.classify(features_BF), expected_BL)
    findings.expect(
        moved <= tolerance(expected_BL),
        f"forward() and classify(features(…)) gave logits that differ by {moved:.2g}; they must be the same, for "
        "a frozen encoder's features are cached and only classified. Leave forward() to FeatureHead.",
    )
    output = head.output()
    if not findings.expect(
        isinstance(output, nn.Linear) and output.out_features == labels and output.bias is not None,
        f"output() gave {output!r:.80}; wanted the last layer, an nn.Linear with a bias that gives {labels} labels.",
    ):
        return
    penultimate_BF = head.penultimate(features_BF)
    if not findings.expect(
        tuple(penultimate_BF.shape) == (len(mask_BT), output.in_features),
        f"penultimate() gave {shape_of(penultimate_BF)}; wanted what output() reads, ({len(mask_BT)}, "
        f"{output.in_features}).",
    ):
        return
    moved = distance(output(penultimate_BF), expected_BL)
    findings.expect(
        moved <= tolerance(expected_BL),
        f"output()(penultimate(features)) and the logits differ by {moved:.2g}: something stands between the "
        "output layer and the logits, or penultimate() is not what it reads. A probe fitted there would not be "
        "the head's start.",
    )
    head.train()
    moved = distance(head.penultimate(features_BF), penultimate_BF)
    head.eval()
    findings.expect(
        moved <= tolerance(penultimate_BF),
        f"In training mode penultimate() gave other numbers (by {moved:.2g}) than in evaluation mode; wanted them "
        "before dropout: the probe is fitted on them once. Put dropout into classify().",
    )


def _probe(
    findings: Findings, head: FeatureHead, inputs: tuple[Tensor, Tensor, Tensor | None], labels: int
) -> None:
    head.open_for_probe()
    features_BF = head.features(*inputs)
    penultimate_BF = head.penultimate(features_BF).detach()
    if not findings.expect(
        finite(penultimate_BF) and bool((penultimate_BF.std(0) > 0).any()),
        "After open_for_probe(), penultimate() is the same for all messages or not finite: a probe has nothing "
        "to learn from. Let the layers before the output pass the features on, such as a multiple of the "
        "identity.",
    ):
        return
    weight_LF, bias_L = torch.randn(labels, penultimate_BF.shape[1]), torch.randn(labels)
    head.set_output(weight_LF, bias_L)
    expected_BL = penultimate_BF @ weight_LF.T + bias_L
    moved = distance(head.classify(features_BF), expected_BL)
    findings.expect(
        moved <= tolerance(expected_BL),
        f"After set_output(weight_LF, bias_L) the logits differ by {moved:.2g} from penultimate @ weight_LF.T + "
        "bias_L: the probe would not be where training starts. set_output() copies into output(), which "
        "classify() must use.",
    )
