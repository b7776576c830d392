"""The roles that components fill: each with its hook, its base class at the door, and its key in the registry."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OBSERVERS", "ROLES", "TASKS", "Role", "in_words"]


@dataclass(frozen=True)
class Role:
    """How a role is offered: its hook, and its base class's name at the door."""

    hook: str
    base: str


ROLES: dict[str, Role] = {
    "reader": Role("tocsin_readers", "Reader"),
    "pair_reader": Role("tocsin_pair_readers", "PairReader"),
    "cleaner": Role("tocsin_cleaners", "Cleaner"),
    "splitter": Role("tocsin_splitters", "Splitter"),
    "label_scheme": Role("tocsin_label_schemes", "LabelScheme"),
    "encoder": Role("tocsin_encoders", "Encoder"),
    "pooling": Role("tocsin_poolings", "Pooling"),
    "head": Role("tocsin_heads", "Head"),
    "loss": Role("tocsin_losses", "Loss"),
    "vector_loss": Role("tocsin_vector_losses", "VectorLoss"),
    "optimizer": Role("tocsin_optimizers", "Optimizer"),
    "schedule": Role("tocsin_schedules", "Schedule"),
    "calibrator": Role("tocsin_calibrators", "Calibrator"),
    "ensembler": Role("tocsin_ensemblers", "Ensembler"),
    "decision_rule": Role("tocsin_decision_rules", "DecisionRule"),
    "exporter": Role("tocsin_exporters", "Exporter"),
}

TASKS = {"model": "models", "data": "data_modules"}
"""Roles without a hook, because only the core fills them, and the core's function that lists them."""

OBSERVERS = ("tocsin_report_sections", "tocsin_run_started", "tocsin_run_ended")
"""The hooks that watch a moment."""


def in_words(role: str, *, article: bool = False, plural: bool = False) -> str:
    """Return a role as a sentence names it: "label scheme", "an encoder", "losses"."""
    words = "data module" if role == "data" else role.replace("_", " ")
    if plural:
        words += "es" if words.endswith("s") else "s"
    if article:
        words = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    return words
