"""The callback that keeps a run's folder true: config, provenance, data audit and scores tables."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pyarrow as pa
import pyarrow.parquet as pq
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from tocsin.batches.protocols import ServesPairs
from tocsin.bundles.callback import BundleWriter
from tocsin.errors import TocsinError
from tocsin.escaping import json_escaped
from tocsin.files import FullDiskWarning, fallback_folder, file_sha256, whole_file, write_text
from tocsin.scores.table import ScoresTable
from tocsin.training import provenance
from tocsin.training.checkpoint_files import manifest_path
from tocsin.training.checkpoint_format import read_footer
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.runs import Run

__all__ = ["RunRecorder"]


class RunRecorder(Callback):
    """Writes into the run's folder, on the first rank only.

    - `config.yaml`: once; a resumed run with another config adds `config-2.yaml` and so on.
    - `provenance.json`: at the start and, with status and duration, at the end or after an error. A killed
      run keeps the status "running". A resumed run keeps the earlier records under "earlier".
    - `pairs/validation.parquet`: the held-out pairs of a fit whose data serves pairs: `english`, `text`, `lang`,
      `source`.
    - `audit.json`: the data audit, when the data module has one.
    - `scores/STAGE.parquet`: the module's scores table. In a fit the validation scores are those of the best
      epoch, by the checkpoint's metric: the rows that belong to `best.ckpt`, whose SHA-256 and optimiser steps stand
      in the table's metadata (`checkpoint`, `step`). They are kept aside until that file is there; a resumed fit
      completes what a kill left between the two, and drops scores of a checkpoint that is gone.

    A folder that has become read-only costs a warning and never the fit.

    Args:
        run: The run's folder.
        config: The complete configuration as YAML; None when there is none (a fit from Python).
        monitor: Logged metric that decides which validation scores are kept when no checkpoint callback
            decides.
        mode: "max" or "min", for `monitor`.
        plugins: The plugins in use, distribution -> version, for `provenance.json`.
    """

    def __init__(
        self,
        run: Run,
        config: str | None = None,
        monitor: str = "validation/macro_roc_auc",
        mode: str = "max",
        plugins: Mapping[str, str] | None = None,
    ) -> None:
        self.run = run
        self.config = config
        self.monitor = monitor
        self.mode = mode
        self.plugins = dict(plugins or {})
        self._record: dict[str, Any] | None = None
        self._best: float | None = None
        self._audited = False
        self._failing: set[str] = set()
        self._resumed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the configuration and open the record."""
        if not trainer.is_global_zero:
            return
        if self.config is not None and not (self.run.path / "config.yaml").exists():
            self._guarded("config.yaml", self._write_config)
        self.run.begin()
        self._record = self.run.record
        self._record["plugins"] = self.plugins
        self._record["trainer"] = {
            "precision": str(trainer.precision),
            "accelerator": type(trainer.accelerator).__name__,
            "strategy": type(trainer.strategy).__name__,
            "world_size": trainer.world_size,
        }
        self._describe_data(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record what the data module can tell by now, and the pairs that are held out."""
        self._describe_data(trainer)
        # Of a resumed run only now: a configuration that was refused is not the run's.
        if trainer.is_global_zero and self.config is not None:
            self._guarded("config.yaml", self._write_config)
        data = getattr(trainer, "datamodule", None)
        if trainer.is_global_zero and isinstance(data, ServesPairs):
            self._guarded("pairs/validation.parquet", lambda: self._write_pairs(data))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record what the data module can tell by now."""
        self._describe_data(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record what the data module can tell by now."""
        self._describe_data(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the validation scores; in a fit only when the best epoch changed."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if trainer.state.fn != "fit":
            self._write_scores(trainer, "validation")
        elif self._improved(trainer):
            waits = isinstance(trainer.checkpoint_callback, BestCheckpoint)
            self._write_scores(trainer, "validation", waits=waits)

    def on_best_saved(self, trainer: pl.Trainer, path: Path) -> None:
        """Write the scores of the best checkpoint, now that it is there; it calls this on every rank."""
        if trainer.is_global_zero:
            tables = getattr(trainer.lightning_module, "scores", None)
            table = tables.get("validation") if isinstance(tables, Mapping) else None
            self._guard_scores(trainer, "scores/validation.parquet", lambda: self._bind(table, path))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note that this fit goes on in its folder."""
        self._resumed = trainer.state.fn == "fit"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After a kill, let the scores be those of the best checkpoint."""
        if self._resumed and trainer.is_global_zero:
            self._guarded("scores/validation.parquet", self._settle_scores)

    def state_dict(self) -> dict[str, Any]:
        """The best value, for a fit whose checkpoint callback keeps none."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value."""
        self._best = state_dict.get("best")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the test scores."""
        if trainer.is_global_zero:
            self._write_scores(trainer, "test")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the record as completed."""
        self._close(trainer, None)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the record as failed or interrupted."""
        self._close(trainer, exception)

    def _close(self, trainer: pl.Trainer, error: BaseException | None) -> None:
        if self._record is not None and trainer.is_global_zero:
            events = getattr(trainer.lightning_module, "events", [])
            if events:
                self._record["events"] = list(events)
            self.run.end(error)
            self._record = None

    def _describe_data(self, trainer: pl.Trainer) -> None:
        """Record the data facts as soon as the data module can tell them; its setup may come late."""
        if self._record is None:
            return
        data = getattr(trainer, "datamodule", None)
        facts = getattr(data, "provenance", None)
        if callable(facts) and self._record["data"] is None:
            told = facts()
            self._record["data"] = None if told is None else _with_digests(told)
        self._guarded("provenance.json", self.run.write_record)
        audit = None if self._audited else getattr(data, "audit", None)
        if audit is not None:
            self._guarded("audit.json", lambda: _write_json(self.run.path / "audit.json", audit.to_dict()))
            self._audited = True

    def _improved(self, trainer: pl.Trainer) -> bool:
        """Decide as the checkpoint callback will in a moment (it runs after all others)."""
        monitor, mode, best = self.monitor, self.mode, self._best
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor is not None:
            monitor, mode = checkpoint.monitor, checkpoint.mode
            score = checkpoint.best_model_score
            best = None if score is None else float(score)
        current = trainer.callback_metrics.get(monitor)
        if current is None:
            return True  # nothing to compare: the newest scores stand
        value = float(current)
        if math.isnan(value):
            value = -math.inf if mode == "max" else math.inf
        better = best is None or (value > best if mode == "max" else value < best)
        if better:
            self._best = value
        return better

    @property
    def _next_scores(self) -> Path:
        return self.run.scores / ".validation.next.parquet"

    def _bind(self, table: ScoresTable | None, best: Path) -> None:
        """Write the table as the validation scores of that checkpoint."""
        if table is not None:
            self.run.scores.mkdir(exist_ok=True, parents=True)
            _of_checkpoint(self._titled(table), best).write(self.run.scores / "validation.parquet")
        self._next_scores.unlink(missing_ok=True)

    def _settle_scores(self) -> None:
        path, best = self.run.scores / "validation.parquet", self.run.checkpoints / "best.ckpt"
        footer = read_footer(best) if best.is_file() else None
        if footer is not None:
            table = _read(path)
            if table is not None and table.metadata.get("checkpoint") == _digest(best):
                self._next_scores.unlink(missing_ok=True)
                return
            waiting = _read(self._next_scores)
            if waiting is not None and waiting.metadata.get("optimizer_steps") == str(footer.step):
                self._bind(waiting, best)
                return
        elif best.is_file():
            return  # of an earlier version: nothing tells which scores are its own
        self._next_scores.unlink(missing_ok=True)
        if path.is_file():
            path.unlink()
            warnings.warn(
                f"{path} was removed: its scores are not those of {best.name}. The next validation writes them again.",
                stacklevel=2,
            )

    def _titled(self, table: ScoresTable) -> ScoresTable:
        if "run" in table.metadata:
            return table
        return replace(table, metadata={**table.metadata, "run": self.run.title})

    def _write_scores(self, trainer: pl.Trainer, stage: str, *, waits: bool = False) -> None:
        """Write a stage's table; one that waits becomes the validation scores once its checkpoint is saved."""
        tables = getattr(trainer.lightning_module, "scores", None)
        table = tables.get(stage) if isinstance(tables, Mapping) else None
        if table is None:
            return
        table = self._titled(table)
        if trainer.state.fn != "fit" and trainer.ckpt_path:
            table = _of_checkpoint(table, Path(trainer.ckpt_path))

        def write() -> None:
            path = self.run.scores / (".validation.next.parquet" if waits else f"{stage}.parquet")
            path.parent.mkdir(exist_ok=True, parents=True)
            table.write(path)

        self._guard_scores(trainer, f"scores/{stage}.parquet", write)

    def _write_pairs(self, data: ServesPairs) -> None:
        pairs = data.validation_pairs()
        if not len(pairs):
            return
        english = data.english().take(pairs["english"])
        with whole_file(self.run.pairs / "validation.parquet") as part:
            pq.write_table(
                pa.table({"english": english} | {name: pairs[name] for name in ("text", "lang", "source")}),
                part,
            )

    def _write_config(self) -> None:
        text = self.config or ""
        path, number, newest = self.run.path / "config.yaml", 1, None
        while path.exists():
            newest, number = path, number + 1
            path = self.run.path / f"config-{number}.yaml"
        # The highest number is the last session's, also where a session went back to earlier settings.
        if newest is None or newest.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def _guarded(self, what: str, write: Any) -> bool:
        """Write; a failure is said once, until it works again. Whether it did."""
        try:
            write()
        except OSError as error:
            if what not in self._failing:
                self._failing.add(what)
                warnings.warn(
                    f"{what} of the run {self.run.path} could not be written: {error.strerror or error}",
                    FullDiskWarning,
                    stacklevel=2,
                )
            return False
        self._failing.discard(what)
        return True

    def _guard_scores(self, trainer: pl.Trainer, what: str, write: Any) -> None:
        """Write scores; where their folder has no room, below $TMPDIR: scores of before would stand for them."""
        if self._guarded(what, write):
            return
        if self.run.elsewhere is None:
            self.run.elsewhere = fallback_folder(self.run.path)
            warnings.warn(f"The scores go to {self.run.scores}.", FullDiskWarning, stacklevel=2)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, BundleWriter):
                    callback.scores = str(self.run.scores / "validation.parquet")
        self._guarded(what, write)


def _of_checkpoint(table: ScoresTable, checkpoint: Path) -> ScoresTable:
    """The table with what it says of the checkpoint that gave its scores: the file's SHA-256 and optimiser steps."""
    footer = read_footer(checkpoint)
    facts = {"checkpoint": _digest(checkpoint), **({"step": str(footer.step)} if footer else {})}
    return replace(table, metadata={**table.metadata, **facts})


def _digest(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's file, as its manifest has it; read anew where a kill left two in the manifest."""
    try:
        noted = json.loads(manifest_path(checkpoint).read_text(encoding="utf-8"))
        return file_sha256(checkpoint) if noted.get("previous") else str(noted["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return file_sha256(checkpoint)


def _read(path: Path) -> ScoresTable | None:
    """A scores table; None where there is none that can be read."""
    try:
        return ScoresTable.read(path) if path.is_file() else None
    except (TocsinError, OSError, ValueError):
        return None


def _with_digests(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Replace bare paths under "files" by path, size and SHA-256; everything else stays as told."""
    files = facts.get("files")
    if isinstance(files, list) and all(isinstance(file, str | Path) for file in files):
        return {**facts, "files": provenance.describe_files(files)}
    return dict(facts)


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json_escaped(json.dumps(content, indent=2, ensure_ascii=False, default=str)) + "\n")
