"""The door: everything a plugin may import from Tocsin, under one roof.

    from tocsin.plugins import Head, hookimpl

Each name is imported on first use, so importing this module costs nothing. A plugin is a module named by an
entry point of the group ``tocsin.v1``; it offers classes through the hooks of ``tocsin.plugins.hookspecs``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    from tocsin.batches.corpus import Corpus as Corpus
    from tocsin.bundles.exporters import Exporter as Exporter
    from tocsin.bundles.load import Bundle as Bundle
    from tocsin.cache_entries import cached_folder as cached_folder
    from tocsin.errors import BundleError as BundleError
    from tocsin.errors import CheckpointError as CheckpointError
    from tocsin.errors import ConfigError as ConfigError
    from tocsin.errors import DataError as DataError
    from tocsin.errors import LabelError as LabelError
    from tocsin.errors import PluginError as PluginError
    from tocsin.errors import TocsinError as TocsinError
    from tocsin.errors import TrainingError as TrainingError
    from tocsin.errors import did_you_mean as did_you_mean
    from tocsin.escaping import csv_cell as csv_cell
    from tocsin.escaping import figure_text as figure_text
    from tocsin.escaping import json_escaped as json_escaped
    from tocsin.escaping import markdown_text as markdown_text
    from tocsin.escaping import print_lines as print_lines
    from tocsin.escaping import rich_text as rich_text
    from tocsin.escaping import terminal_text as terminal_text
    from tocsin.files import cache_folder as cache_folder
    from tocsin.files import file_sha256 as file_sha256
    from tocsin.files import whole_file as whole_file
    from tocsin.files import whole_folder as whole_folder
    from tocsin.labels.schemes import LabelScheme as LabelScheme
    from tocsin.labels.schemes import check_same_labels as check_same_labels
    from tocsin.models.adapters import Lora as Lora
    from tocsin.models.encoders import Encoder as Encoder
    from tocsin.models.encoders import TransformerEncoder as TransformerEncoder
    from tocsin.models.heads import FeatureHead as FeatureHead
    from tocsin.models.heads import Head as Head
    from tocsin.models.losses import Loss as Loss
    from tocsin.models.losses import VectorLoss as VectorLoss
    from tocsin.models.optimizers import Optimizer as Optimizer
    from tocsin.models.pooling import Pooling as Pooling
    from tocsin.models.schedules import Schedule as Schedule
    from tocsin.plugins.corpus import read_corpus as read_corpus
    from tocsin.privacy import shown_argument as shown_argument
    from tocsin.privacy import shown_path as shown_path
    from tocsin.scores.baselines import baselines as baselines
    from tocsin.scores.metrics import Metrics as Metrics
    from tocsin.scores.metrics import evaluate as evaluate
    from tocsin.scores.roles import Calibrator as Calibrator
    from tocsin.scores.roles import DecisionRule as DecisionRule
    from tocsin.scores.roles import Ensembler as Ensembler
    from tocsin.scores.sections import Section as Section
    from tocsin.scores.table import ScoresTable as ScoresTable
    from tocsin.text.cleaners import Cleaner as Cleaner
    from tocsin.text.download import download_from_index as download_from_index
    from tocsin.text.messages import source_column as source_column
    from tocsin.text.pairs import PairReader as PairReader
    from tocsin.text.readers import Reader as Reader
    from tocsin.text.readers import resolve_data_path as resolve_data_path
    from tocsin.text.reading import OnBadRow as OnBadRow
    from tocsin.text.reading import check_columns as check_columns
    from tocsin.text.reading import check_file as check_file
    from tocsin.text.reading import valid_strings as valid_strings
    from tocsin.text.splitters import Split as Split
    from tocsin.text.splitters import Splitter as Splitter
    from tocsin.text.splitters import crossing_texts as crossing_texts
    from tocsin.training.provenance import describe_files as describe_files
    from tocsin.training.provenance import ended as ended
    from tocsin.training.provenance import started as started
    from tocsin.training.runs import Run as Run
    from tocsin.training.runs import start_run as start_run

hookimpl = HookimplMarker("tocsin")

_HOMES = {
    "tocsin.text.readers": ["Reader", "resolve_data_path"],
    "tocsin.text.reading": ["OnBadRow", "check_columns", "check_file", "valid_strings"],
    "tocsin.text.pairs": ["PairReader"],
    "tocsin.text.cleaners": ["Cleaner"],
    "tocsin.text.messages": ["source_column"],
    "tocsin.text.splitters": ["Split", "Splitter", "crossing_texts"],
    "tocsin.text.download": ["download_from_index"],
    "tocsin.cache_entries": ["cached_folder"],
    "tocsin.escaping": [
        "csv_cell",
        "figure_text",
        "json_escaped",
        "markdown_text",
        "print_lines",
        "rich_text",
        "terminal_text",
    ],
    "tocsin.privacy": ["shown_argument", "shown_path"],
    "tocsin.files": ["cache_folder", "file_sha256", "whole_file", "whole_folder"],
    "tocsin.labels.schemes": ["LabelScheme", "check_same_labels"],
    "tocsin.batches.corpus": ["Corpus"],
    "tocsin.bundles.exporters": ["Exporter"],
    "tocsin.bundles.load": ["Bundle"],
    "tocsin.models.adapters": ["Lora"],
    "tocsin.models.encoders": ["Encoder", "TransformerEncoder"],
    "tocsin.models.pooling": ["Pooling"],
    "tocsin.models.heads": ["FeatureHead", "Head"],
    "tocsin.models.losses": ["Loss", "VectorLoss"],
    "tocsin.models.optimizers": ["Optimizer"],
    "tocsin.models.schedules": ["Schedule"],
    "tocsin.scores.roles": ["Calibrator", "DecisionRule", "Ensembler"],
    "tocsin.scores.sections": ["Section"],
    "tocsin.scores.table": ["ScoresTable"],
    "tocsin.scores.metrics": ["Metrics", "evaluate"],
    "tocsin.scores.baselines": ["baselines"],
    "tocsin.training.runs": ["Run", "start_run"],
    "tocsin.training.provenance": ["describe_files", "ended", "started"],
    "tocsin.plugins.corpus": ["read_corpus"],
    "tocsin.errors": [
        "BundleError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "LabelError",
        "PluginError",
        "TocsinError",
        "TrainingError",
        "did_you_mean",
    ],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["hookimpl", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
