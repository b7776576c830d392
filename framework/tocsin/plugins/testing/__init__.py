"""Conformance checks: one line of pytest a component.

    from tocsin.plugins.testing import check_head

    def test_it_conforms():
        check_head(StrangerHead)            # or check_head(StrangerHead, dropout=0.2)

A check builds the component with the keyword arguments given, tries what its role's contract says, and raises
`NonConforming` with every fault it found: what was done, what came out, what is wanted. `tiny_encoder_folder` and
`tiny_bundle` make small inputs for tests of one's own. Each name is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tocsin.plugins.testing.cleaners import check_cleaner as check_cleaner
    from tocsin.plugins.testing.encoders import check_encoder as check_encoder
    from tocsin.plugins.testing.exporters import check_exporter as check_exporter
    from tocsin.plugins.testing.findings import NonConforming as NonConforming
    from tocsin.plugins.testing.heads import check_head as check_head
    from tocsin.plugins.testing.label_schemes import check_label_scheme as check_label_scheme
    from tocsin.plugins.testing.losses import check_loss as check_loss
    from tocsin.plugins.testing.optimizers import check_optimizer as check_optimizer
    from tocsin.plugins.testing.optimizers import check_schedule as check_schedule
    from tocsin.plugins.testing.pair_readers import check_pair_reader as check_pair_reader
    from tocsin.plugins.testing.poolings import check_pooling as check_pooling
    from tocsin.plugins.testing.readers import check_reader as check_reader
    from tocsin.plugins.testing.scores import check_calibrator as check_calibrator
    from tocsin.plugins.testing.scores import check_decision_rule as check_decision_rule
    from tocsin.plugins.testing.scores import check_ensembler as check_ensembler
    from tocsin.plugins.testing.splitters import check_splitter as check_splitter
    from tocsin.plugins.testing.tiny import tiny_bundle as tiny_bundle
    from tocsin.plugins.testing.tiny import tiny_encoder_folder as tiny_encoder_folder
    from tocsin.plugins.testing.vector_losses import check_vector_loss as check_vector_loss

_HOMES = {
    "cleaners": ["check_cleaner"],
    "encoders": ["check_encoder"],
    "exporters": ["check_exporter"],
    "findings": ["NonConforming"],
    "heads": ["check_head"],
    "label_schemes": ["check_label_scheme"],
    "losses": ["check_loss"],
    "optimizers": ["check_optimizer", "check_schedule"],
    "pair_readers": ["check_pair_reader"],
    "poolings": ["check_pooling"],
    "readers": ["check_reader"],
    "scores": ["check_calibrator", "check_decision_rule", "check_ensembler"],
    "splitters": ["check_splitter"],
    "tiny": ["tiny_bundle", "tiny_encoder_folder"],
    "vector_losses": ["check_vector_loss"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
