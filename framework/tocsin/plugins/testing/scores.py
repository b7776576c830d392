"""The checks of calibrators, ensemblers and decision rules."""

from __future__ import annotations

from typing import Any

from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.surroundings import check_arguments_remembered, undisturbed
from tocsin.plugins.testing.trial import Trial
from tocsin.scores.roles import Calibrator, DecisionRule, Ensembler

__all__ = ["check_calibrator", "check_decision_rule", "check_ensembler"]


@undisturbed()
def check_calibrator(component: type[Calibrator], /, **arguments: Any) -> None:
    """Check a calibrator: the same table with other scores, learned from known targets.

    What a message gets when applied must follow from its own scores, language and slices: not from its place, from the
    other messages of the table, or from targets.

    Args:
        component: The class.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "calibrator", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        Trial(findings, component, arguments, tables=None).run()
    findings.conclude()


@undisturbed()
def check_ensembler(component: type[Ensembler], /, **arguments: Any) -> None:
    """Check an ensembler: one table out of one, two or three of the same messages.

    What a message gets when applied must follow from its own scores, language and slices: not from its place, from the
    other messages of the table, or from targets.

    Args:
        component: The class.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "ensembler", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        Trial(findings, component, arguments, tables=2).run()
    findings.conclude()


@undisturbed()
def check_decision_rule(component: type[DecisionRule], /, **arguments: Any) -> None:
    """Check a decision rule: decisions (N, L) filled in, scores left alone.

    What a message gets when applied must follow from its own scores, language and slices: not from its place, from the
    other messages of the table, or from targets.

    Args:
        component: The class.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "decision_rule", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        Trial(findings, component, arguments, tables=None, decides=True).run()
    findings.conclude()
