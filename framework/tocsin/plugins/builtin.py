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
    from tocsin.models.losses import Loss, VectorLoss
    from tocsin.models.optimizers import Optimizer
    from tocsin.models.pooling import Pooling
    from tocsin.models.schedules import Schedule
    from tocsin.text.cleaners import Cleaner
    from tocsin.text.pairs import PairReader
    from tocsin.text.readers import Reader
    from tocsin.text.splitters import Splitter


@hookimpl
def tocsin_readers() -> list[type[Reader]]:
    """Parquet, CSV/TSV, JSON lines and Arrow."""
    from tocsin.text.readers import ArrowReader, CsvReader, JsonLinesReader, ParquetReader

    return [ParquetReader, CsvReader, JsonLinesReader, ArrowReader]


@hookimpl
def tocsin_pair_readers() -> list[type[PairReader]]:
    """Tables with a pair a row."""
    from tocsin.text.pair_table import PairTable

    return [PairTable]


@hookimpl
def tocsin_cleaners() -> list[type[Cleaner]]:
    """None, and the six steps for tweets."""
    from tocsin.text.cleaners import NoCleaner, TweetCleaner

    return [NoCleaner, TweetCleaner]


@hookimpl
def tocsin_splitters() -> list[type[Splitter]]:
    """By groups (the default), as a column says, by time, by groups with labels in proportion, or by row."""
    from tocsin.text.splitters import GivenSplit, GroupedSplit, RandomSplit
    from tocsin.text.stratified import StratifiedGroupedSplit
    from tocsin.text.temporal import TemporalSplit

    return [GroupedSplit, GivenSplit, TemporalSplit, StratifiedGroupedSplit, RandomSplit]


@hookimpl
def tocsin_label_schemes() -> list[type[LabelScheme]]:
    """One column a label, categorical columns, lists, probabilities (of columns or a teacher), and several of these."""
    from tocsin.labels.categories import Categories
    from tocsin.labels.lists import Lists
    from tocsin.labels.schemes import Columns
    from tocsin.labels.soft import Soft
    from tocsin.labels.union import Union

    return [Columns, Categories, Lists, Soft, Union]


@hookimpl
def tocsin_encoders() -> list[type[Encoder]]:
    """Any encoder that transformers loads, and any folder of sentence-transformers."""
    from tocsin.models.encoders import TransformerEncoder
    from tocsin.models.sentence_encoder import SentenceEncoder

    return [TransformerEncoder, SentenceEncoder]


@hookimpl
def tocsin_poolings() -> list[type[Pooling]]:
    """Masked mean, first token, maximum, attention with a learned query."""
    from tocsin.models.pooling import AttentionPooling, ClsPooling, MaxPooling, MeanPooling

    return [MeanPooling, ClsPooling, MaxPooling, AttentionPooling]


@hookimpl
def tocsin_heads() -> list[type[Head]]:
    """One linear layer, two with an activation between, or the architecture's own head."""
    from tocsin.models.heads import LinearHead, MlpHead
    from tocsin.models.native_head import NativeHead

    return [LinearHead, MlpHead, NativeHead]


@hookimpl
def tocsin_losses() -> list[type[Loss]]:
    """Binary cross-entropy, and three for rare or long-tailed labels."""
    from tocsin.models.losses import (
        AsymmetricLoss,
        BinaryCrossEntropy,
        DistributionBalancedLoss,
        FocalLoss,
    )

    return [BinaryCrossEntropy, FocalLoss, AsymmetricLoss, DistributionBalancedLoss]


@hookimpl
def tocsin_vector_losses() -> list[type[VectorLoss]]:
    """Squared and cosine distance to the teacher, a contrast between its vectors, and spread."""
    from tocsin.models.losses import Contrastive, CosineDistance, MeanSquaredError, SpreadOut

    return [MeanSquaredError, CosineDistance, Contrastive, SpreadOut]


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
    from tocsin.models.distiller import Distiller

    return [MultilabelClassifier, Distiller]


def data_modules() -> list[type[LightningDataModule]]:
    """Return the LightningDataModules that a config's ``data`` may name."""
    from tocsin.batches.messages import LabelledMessages
    from tocsin.batches.parallel import ParallelSentences

    return [LabelledMessages, ParallelSentences]
