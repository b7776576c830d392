"""Fits that are killed and resumed, and what must then be equal to a fit that never was."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tests.builders import WORDS, message_file, tiny_encoder

CLASSIFY = """\
seed_everything: 7
labels: {class_path: Columns, init_args: {names: [water, food, fire]}}
data:
  class_path: LabelledMessages
  init_args:
    train: messages.parquet
    lang: lang
    splitter: GivenSplit
    max_length: 16
    batch_size: 12
    tokens_per_pass: 64
    pool_steps: 2
    balanced: 0.3
    cache: cache
model:
  class_path: MultilabelClassifier
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: encoder ENCODER}}
    pooling: MeanPooling
    head: {class_path: LinearHead, init_args: {dropout: 0.2}}
    optimizer: {class_path: AdamW, init_args: {lr: 5.0e-3, weight_decay: 0.1}}
    schedule: {class_path: CosineWithWarmup, init_args: {warmup: 0.1}}
    ema_decay: 0.9
"""
DISTIL = """\
seed_everything: 7
data:
  class_path: ParallelSentences
  init_args:
    sources:
      toy: {class_path: PairTable, init_args: {files: pairs.parquet}}
    held_out: 10
    max_length: 16
    batch_size: 16
    tokens_per_pass: 100
    pool_steps: 2
    cache: cache
model:
  class_path: Distiller
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: encoder ENCODER}}
    teacher: {class_path: TransformerEncoder, init_args: {name: teacher}}
    losses:
      - MeanSquaredError
      - {class_path: Contrastive, init_args: {temperature: 0.1}}
    loss_weights: [1.0, 0.5]
    ema_decay: 0.9
    optimizer: {class_path: AdamW, init_args: {lr: 5.0e-3, weight_decay: 0.1}}
    schedule: {class_path: CosineWithWarmup, init_args: {warmup: 0.1}}
"""
TRAINER = """\
trainer:
  max_epochs: 3
  precision: 32-true
  accelerator: cpu
  devices: 1
  log_every_n_steps: 2
  enable_progress_bar: false
  callbacks:
    - {class_path: BestCheckpoint, init_args: {every_minutes: MINUTES}}
    - {class_path: EarlyStopping, init_args: {monitor: MONITOR, mode: max, patience: 2}}
"""
KINDS: dict[str, tuple[str, str, str]] = {
    "classify": (CLASSIFY, "", ""),
    "lora": (CLASSIFY, ", lora: {rank: 2, dropout: 0.2}", ""),
    "frozen": (CLASSIFY, ", freeze: all", ""),
    "within": (CLASSIFY, "", "  val_check_interval: 3\n"),
    "steps": (CLASSIFY, "", "  max_steps: 14\n"),
    "distil": (DISTIL, "", ""),
    "distil-lora": (DISTIL, ", lora: {rank: 2, dropout: 0.2}", "  val_check_interval: 2\n"),
}
_SPEED = ("seconds", "messages_per_second", "tokens_per_second", "pairs_per_second")


class Server:
    """The process that forks a child for each fit; see `kill_server.py`."""

    def __init__(self, top: Path) -> None:
        environment = {**os.environ, "TOCSIN_PLUGINS": "off"}
        self.log = top / "server.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("kill_server.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, folder: Path, *argv: str, **kill: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        request = {"argv": argv, "cwd": str(folder), "log": str(folder / "log"), **kill}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def make_files(top: Path) -> None:
    """What all fits read."""
    message_file(top / "data" / "messages.parquet")
    tiny_encoder(top / "encoder", layers=1)
    tiny_encoder(top / "teacher", layers=1, seed=9)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(100):
        words = [*generator.choice(WORDS, 4).tolist(), str(number)]
        lang = ("spa", "hat")[number % 2]
        rows.append({"lang": lang, "english": " ".join(words), "text": " ".join(words[::-1])})
    pq.write_table(pa.Table.from_pylist(rows), top / "data" / "pairs.parquet")


def work_folder(top: Path, name: str, kind: str, minutes: float = 1e-6, more: str = "") -> Path:
    """A working folder with the configuration of a kind; the files are links."""
    folder = top / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "experiments" / "tiny").mkdir(parents=True)
    for link in ("data", "encoder", "teacher", "cache"):
        (top / "cache").mkdir(exist_ok=True)
        (folder / link).symlink_to(top / link)
    config, encoder, trainer = KINDS[kind]
    monitor = "validation/matching" if config is DISTIL else "validation/macro_roc_auc"
    text = config.replace(" ENCODER", encoder) + TRAINER + trainer + more
    text = text.replace("MINUTES", repr(minutes)).replace("MONITOR", monitor)
    (folder / "experiments" / "tiny" / "config.yaml").write_text(text)
    return folder


FIT = ("fit", "--config", "experiments/tiny/config.yaml")


def run_of(folder: Path) -> Path:
    """The one run of a working folder."""
    (run,) = (path for path in (folder / "runs" / "tiny").glob("*-fit") if not path.is_symlink())
    return run


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two completed runs, apart from times."""
    found = []
    for name in ("best.ckpt", "last.ckpt"):
        a, b = (
            torch.load(run / "checkpoints" / name, weights_only=True, map_location="cpu")
            for run in (one, other)
        )
        found += [f"{name}: {path}" for path in _unequal(_timeless(a), _timeless(b))]
    a, b = ((run / "metrics.csv").read_text() for run in (one, other))
    if a != b:
        found.append(f"metrics.csv: {len(a.splitlines())} and {len(b.splitlines())} lines")
    scores = [run / "scores" / "validation.parquet" for run in (one, other)]
    if [path.exists() for path in scores] not in ([True, True], [False, False]):
        found.append("scores: one is missing")
    elif scores[0].exists():
        tables = [pq.read_table(path).replace_schema_metadata(None) for path in scores]
        if not tables[0].equals(tables[1]):
            found.append("scores")
    events = [_events(run) for run in (one, other)]
    if events[0] != events[1]:
        tags = {tag for tag in events[0] | events[1] if events[0].get(tag) != events[1].get(tag)}
        found.append(f"TensorBoard: {sorted(tags)[:5]}")
    statuses = [json.loads((run / "provenance.json").read_text())["status"] for run in (one, other)]
    if statuses != ["completed", "completed"]:
        found.append(f"status {statuses}")
    return found


def _timeless(checkpoint: dict[str, Any]) -> dict[str, Any]:
    run = checkpoint["tocsin_run"]
    run.pop("save")
    run.pop("loggers")
    for state in checkpoint["callbacks"].values():
        if isinstance(state, dict):
            state.pop("save", None)
            state.pop("seconds", None)
    return checkpoint


def _unequal(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b}, key=str)
        return [p for key in keys for p in _unequal(a.get(key), b.get(key), f"{path}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [p for i, (x, y) in enumerate(zip(a, b, strict=True)) for p in _unequal(x, y, f"{path}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return (
            [] if same or (a.is_floating_point() and torch.equal(a.nan_to_num(), b.nan_to_num())) else [path]
        )
    return (
        []
        if type(a) is type(b) and (a == b or (a != a and b != b))
        else [f"{path} ({a!r:.60} and {b!r:.60})"]
    )


def _events(run: Path) -> dict[str, list[Any]]:
    """Steps and values of each scalar, in the order of the files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[Any]] = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if not value.tag.endswith(_SPEED) and value.tag != "_hparams_/session_end_info":
                    found.setdefault(value.tag, []).append((event.step, value.tensor.SerializeToString()))
    return found


def rows_of(run: Path) -> list[dict[str, str]]:
    if not (run / "metrics.csv").exists():
        return []
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))
