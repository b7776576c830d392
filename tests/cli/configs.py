"""A complete configuration over tiny files, as text to be spoilt by tests."""

from __future__ import annotations

from pathlib import Path

from tests.builders import message_file, tiny_encoder

CONFIG = """\
seed_everything: 7
labels: {class_path: Columns, init_args: {names: [water, food, fire]}}
data:
  class_path: LabelledMessages
  init_args:
    train: messages.parquet
    lang: lang
    cleaner: TweetCleaner
    splitter: GivenSplit
    max_length: 16
    batch_size: 24
    cache: cache
model:
  class_path: MultilabelClassifier
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: encoder}}
    pooling: MeanPooling
    head: LinearHead
    loss: BinaryCrossEntropy
    optimizer: {class_path: AdamW, init_args: {lr: 5.0e-3, weight_decay: 0.1}}
    schedule: {class_path: CosineWithWarmup, init_args: {warmup: 0.0}}
trainer:
  max_epochs: 1
  precision: 32-true
  accelerator: cpu
  devices: 1
  callbacks:
    - {class_path: EarlyStopping, init_args: {monitor: validation/loss}}
"""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    """Write the configuration as an experiment of `folder`; the path is relative to `folder`."""
    path = folder / "experiments" / "tiny" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_files(folder: Path) -> None:
    """Write what the configuration names: messages and a tiny encoder."""
    message_file(folder / "data" / "messages.parquet")
    tiny_encoder(folder / "encoder", layers=1)
