"""`tocsin tfidf`: fit the TF-IDF baseline on the messages that a fit's YAML names, and write its scores tables."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tocsin.plugins import Corpus, Run, ScoresTable
    from tocsin_classical.tfidf import TfidfClassifier

__all__ = ["main"]

_OVERRIDES = ("--data", "--labels")
_FIGURES = (
    "macro_roc_auc",
    "macro_average_precision",
    "macro_f1",
    "micro_roc_auc",
    "micro_average_precision",
    "micro_f1",
)


def main(argv: Sequence[str]) -> int:
    """Fit TF-IDF with logistic regression on the train split and score validation and test. Returns the exit code.

    Raises:
        TocsinError: The YAML, the messages or the run folder cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="tocsin tfidf",
        description="Fit TF-IDF with logistic regression on the messages of a fit's YAML: the baseline to beat.",
        epilog="Other sections of the YAML are ignored. Its labels and data can be overridden as in `tocsin test`, "
        "for instance --data.init_args.seed 7.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="CONFIG.yaml", help="a fit's YAML file")
    parser.add_argument(
        "--name", help="the run's name (default: the folder that holds the YAML, or its fit's name)"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)"
    )
    parser.add_argument(
        "--also-test",
        metavar="COLUMN",
        help="score the test split once more on the texts of another column (the messages as they were sent, say)",
    )
    options, overrides = parser.parse_known_args(list(argv))
    _check_overrides(parser, overrides)
    name = options.name or _run_name(options.config)
    _run(options.config, overrides, name, options.runs, options.also_test)
    return 0


def _check_overrides(parser: argparse.ArgumentParser, overrides: list[str]) -> None:
    """Refuse what is neither ours nor an override of the sections that we read, with or without `=`."""
    unknown = [given for given in overrides if given.startswith("--") and not _is_override(given)]
    if unknown or (overrides and not overrides[0].startswith("--")):
        wanted = "--config, --name, --runs, --also-test, --data.… and --labels.… are known"
        parser.error(f"unknown arguments: {' '.join(unknown or overrides[:1])}; {wanted}")


def _is_override(given: str) -> bool:
    name = given.partition("=")[0]
    return any(name == section or name.startswith(f"{section}.") for section in _OVERRIDES)


def _run_name(config: Path) -> str:
    """Name the run after the folder of the YAML; a config saved in runs/NAME/<time>-fit belongs to NAME."""
    folder = config.absolute().parent
    return folder.parent.name if folder.name.startswith("latest-") or _is_run(folder) else folder.name


def _is_run(folder: Path) -> bool:
    return (folder / "provenance.json").exists()


def _run(config: Path, overrides: list[str], name: str, root: Path, also_test: str | None) -> None:
    from tocsin.plugins import (
        describe_files,
        ended,
        json_escaped,
        print_lines,
        read_corpus,
        shown_argument,
        start_run,
        started,
    )
    from tocsin_classical.tfidf import fit_tfidf

    corpus = read_corpus(config, overrides)
    other = read_corpus(config, [*overrides, "--data.init_args.text", also_test]) if also_test else None
    with start_run(name, "tfidf", root) as run:
        record = started(name, "tfidf")
        error: BaseException | None = None
        try:
            record["config"] = {
                "files": describe_files([config]),
                "overrides": list(map(shown_argument, overrides)),
            }
            record["data"] = _data_facts(corpus)
            model = _fit(corpus, fit_tfidf)
            record["tfidf"] = {
                "features": model.weights_LF.shape[1],
                "strength": model.strength,
                "validation_macro_average_precision": model.validation_average_precision,
            }
            tables = {
                split: _score(corpus, split, model, run)
                for split in ("validation", "test")
                if len(corpus.rows(split))
            }
            if other is not None:
                tables[f"test-{also_test}"] = _score(other, "test", model, run)
            for split, table in tables.items():
                table.write(run.scores / f"{split}.parquet")
        except BaseException as stop:
            error = stop
            raise
        finally:
            content = json.dumps(ended(record, error), indent=2, ensure_ascii=False, default=str)
            (run.path / "provenance.json").write_text(json_escaped(content) + "\n", encoding="utf-8")
        for split, table in tables.items():
            _report(split, table)
        print_lines(f"Penalty chosen on validation: C = {model.strength:g}. Scores tables: {run.scores}")


def _fit(corpus: Corpus, fit_tfidf: Any) -> TfidfClassifier:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("labels"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("TF-IDF", total=len(corpus.label_names))
        return fit_tfidf(
            *_messages(corpus, "train"),
            validation=_messages(corpus, "validation"),
            on_label=lambda label: bar.update(task, completed=label + 1),
        )


def _messages(corpus: Corpus, split: str) -> tuple[list[str], np.ndarray]:
    rows = corpus.rows(split)
    # A linear classifier learns from 0 and 1: soft labels count as 1 from 0.5 up.
    return corpus.table.column("text").take(rows).to_pylist(), corpus.hard_targets_NL[rows]


def _score(corpus: Corpus, split: str, model: TfidfClassifier, run: Run) -> ScoresTable:
    from tocsin.plugins import ScoresTable

    texts, _ = _messages(corpus, split)
    part = corpus.table.take(corpus.rows(split))
    prior = [None if math.isnan(share) else float(share) for share in corpus.prior()]  # JSON has no NaN
    return ScoresTable(
        ids=_values(part, "id"),
        langs=None if part["lang"].null_count == len(part) else _values(part, "lang"),
        labels=tuple(corpus.label_names),
        probabilities_NL=model.probabilities(texts),
        targets_NL=corpus.targets_NL[corpus.rows(split)],
        slices={name: _values(part, name) for name in corpus.slices},
        metadata={"run": run.title, "split": split, "train_prevalence": json.dumps(prior)},
    )


def _values(table: Any, column: str) -> np.ndarray:
    import numpy as np

    return np.array(table[column].to_pylist(), dtype=object)


def _data_facts(corpus: Corpus) -> dict[str, Any]:
    from tocsin.plugins import describe_files

    return {
        "files": describe_files(corpus.table["file"].unique().to_pylist()),
        "messages": corpus.counts(),
        "read": corpus.facts,
        "limits": corpus.limits,
        "crossing": corpus.crossing,
    }


def _report(split: str, table: ScoresTable) -> None:
    """Print the headline figures beside the trivial baselines."""
    from rich.console import Console
    from rich.table import Table

    from tocsin.plugins import baselines, evaluate, rich_text

    rows = {"TF-IDF": evaluate(table), **baselines(table)}
    first = rows["TF-IDF"]
    over = f"macro over {first.defined['roc_auc']} of {len(table.labels)} labels"
    # the split's name may hold that of a column
    shown = Table(title=rich_text(f"{split}: {len(table):,} messages, {over}"))
    shown.add_column("")
    for figure in _FIGURES:
        shown.add_column(
            figure.replace("_", " ").replace("roc auc", "ROC-AUC").replace("f1", "F1"), justify="right"
        )
    for name, metrics in rows.items():
        figures = metrics.flat()
        shown.add_row(name, *(f"{figures[figure]:.3f}" for figure in _FIGURES))
    Console().print(shown)
