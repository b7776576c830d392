"""The table of verbs. Metadata only: nothing here imports a verb."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.plugins.discovery import COMMANDS, Declared
from tocsin.plugins.functions import functions

__all__ = ["CORE_VERBS", "Verb", "plugin_verbs"]


@dataclass(frozen=True)
class Verb:
    """A verb: where its function `(argv) -> exit code` stands, and its line in `tocsin --help`."""

    function: str
    help: str


CORE_VERBS: dict[str, Verb] = {
    "audit": Verb(
        "tocsin.cli.audit:main", "count what a YAML file's messages hold, and what crosses their splits"
    ),
    "fit": Verb("tocsin.cli.fit:fit", "fine-tune a classifier as a YAML file says, and write its bundle"),
    "validate": Verb("tocsin.cli.fit:validate", "score the validation split with a run's checkpoint"),
    "test": Verb("tocsin.cli.fit:test", "score the test split with a run's checkpoint"),
    "predict": Verb("tocsin.cli.predict:main", "label a table of messages with a bundle"),
    "evaluate": Verb(
        "tocsin.cli.evaluate:main", "report a scores table: metrics, intervals, trivial baselines"
    ),
    "calibrate": Verb(
        "tocsin.cli.calibrate:main", "fit calibration and decision rule on validation scores, into a bundle"
    ),
    "ensemble": Verb(
        "tocsin.cli.ensemble:main",
        "combine several models' scores, show what each adds, write a bundle of bundles",
    ),
    "compare": Verb("tocsin.cli.compare:main", "compare two scores tables, row by row"),
    "match": Verb(
        "tocsin.cli.match:main", "find translations by vectors: accuracy per language, both directions"
    ),
    "sts": Verb(
        "tocsin.cli.sts:main", "rank pairs by similarity: correlation with people's scores per language"
    ),
    "runs": Verb("tocsin.cli.runs:main", "list runs: status, duration, scores, seed, commit"),
    "doctor": Verb("tocsin.cli.doctor:main", "check the installation, a run or a bundle; say what to do"),
    "components": Verb(
        "tocsin.cli.components:main", "list what a YAML file may name; show a component's options"
    ),
    "fetch": Verb("tocsin.cli.fetch:main", "fetch a data set that a plugin offers"),
    "export": Verb("tocsin.cli.export:main", "write a bundle in another program's format"),
    "plugins": Verb("tocsin.cli.plugins:main", "list installed plugins; --check loads each"),
    "new-plugin": Verb(
        "tocsin.cli.new_plugin:main", "write a plugin: installable, tested, ready to be changed"
    ),
}


def plugin_verbs() -> dict[str, Declared]:
    """Return the verbs that plugins add, name -> entry point; our own verbs cannot be taken over."""
    return {name: entry for name, entry in functions(COMMANDS).items() if name not in CORE_VERBS}
