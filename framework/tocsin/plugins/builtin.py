"""Our own components, offered through the same hooks as everybody's.

Imports stand inside the hooks: a verb that asks for cleaners does not pay for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tocsin.plugins import hookimpl

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

    from tocsin.labels.schemes import LabelScheme
    from tocsin.models.encoders import Encoder
    from tocsin.models.heads import Head
    from tocsin.models.losses import Loss
    from tocsin.models.optimizers import Optimizer
    from tocsin.models.pooling import Pooling
    from tocsin.models.schedules import Schedule
    from tocsin.text.cleaners import Cleaner
    from tocsin.text.readers import Reader
    from tocsin.text.splitters import Splitter


@hookimpl
def tocsin_readers() -> list[type[Reader]]:
    """Parquet, CSV/TSV and JSON lines."""
    from tocsin.text.readers import CsvReader, JsonLinesReader, ParquetReader

    return [ParquetReader, CsvReader, JsonLinesReader]


@hookimpl
def tocsin_cleaners() -> list[type[Cleaner]]:
    """None, and the six steps for tweets."""
    from tocsin.text.cleaners import NoCleaner, TweetCleaner

    return [NoCleaner, TweetCleaner]


@hookimpl
def tocsin_splitters() -> list[type[Splitter]]:
    """By groups (the default), or as a column says."""
    from tocsin.text.splitters import GivenSplit, GroupedSplit

    return [GroupedSplit, GivenSplit]


@hookimpl
def tocsin_label_schemes() -> list[type[LabelScheme]]:
    """One column a label."""
    from tocsin.labels.schemes import Columns

    return [Columns]


@hookimpl
def tocsin_encoders() -> list[type[Encoder]]:
    """Any encoder that transformers loads."""
    from tocsin.models.encoders import TransformerEncoder

    return [TransformerEncoder]


@hookimpl
def tocsin_poolings() -> list[type[Pooling]]:
    """Masked mean, first token."""
    from tocsin.models.pooling import ClsPooling, MeanPooling

    return [MeanPooling, ClsPooling]


@hookimpl
def tocsin_heads() -> list[type[Head]]:
    """One linear layer, or the architecture's own head."""
    from tocsin.models.heads import LinearHead
    from tocsin.models.native_head import NativeHead

    return [LinearHead, NativeHead]


@hookimpl
def tocsin_losses() -> list[type[Loss]]:
    """Binary cross-entropy."""
    from tocsin.models.losses import BinaryCrossEntropy

    return [BinaryCrossEntropy]


@hookimpl
def tocsin_optimizers() -> list[type[Optimizer]]:
    """AdamW."""
    from tocsin.models.optimizers import AdamW

    return [AdamW]


@hookimpl
def tocsin_schedules() -> list[type[Schedule]]:
    """Cosine and linear decay after a warm-up, or constant."""
    from tocsin.models.schedules import Constant, CosineWithWarmup, LinearWithWarmup

    return [CosineWithWarmup, LinearWithWarmup, Constant]


def models() -> list[type[LightningModule]]:
    """Return the LightningModules that a config's ``model`` may name. Tasks are ours: no hook offers one."""
    from tocsin.models.classifier import MultilabelClassifier

    return [MultilabelClassifier]


def data_modules() -> list[type[LightningDataModule]]:
    """Return the LightningDataModules that a config's ``data`` may name."""
    from tocsin.batches.messages import LabelledMessages

    return [LabelledMessages]
