"""`tocsin ensemble`: combine several models' scores, say what each adds, and write a bundle of their bundles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.cli.evaluate import check_groups, json_text, model_names, write_text
from tocsin.cli.judging import add_judging, refuse_leftovers
from tocsin.errors import ConfigError, PluginError
from tocsin.escaping import print_lines
from tocsin.plugins import Ensembler
from tocsin.plugins.diagnosis import Diagnosis
from tocsin.plugins.given import read_arguments
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, instantiate, prepare
from tocsin.plugins.registry import PluginWarning, Registry
from tocsin.text.progress import table_console

if TYPE_CHECKING:
    from tocsin.scores.ensembling import EnsembleReport
    from tocsin.scores.table import ScoresTable

__all__ = ["main"]

_ROLES = {"ensembler": "ensembler"}
_DEFAULT = "WeightedEnsemble"
_PLUGIN = "tocsin-ensemble"
_FLAG = "--json"


@dataclass(frozen=True)
class _Members:
    """What the command line says of the members, in one order."""

    names: list[str]
    tables: list[ScoresTable]
    tests: list[ScoresTable] | None
    bundles: list[Path]


def main(argv: Sequence[str]) -> int:
    """Run the verb with its own arguments (without "ensemble"); return the exit code.

    Raises:
        TocsinError: For scores, components or bundles that do not fit.
    """
    registry = load_plugins(roles=tuple(_ROLES.values()))
    prepare(registry)
    parser = _parser(registry)
    # what reads the arguments for a diagnosis takes every option for one with a value, and knows no default
    default = ["--ensembler", _DEFAULT] if _DEFAULT in registry.components("ensembler") else []
    valued = [*default, *(word for word in argv if word != _FLAG)]
    given, _, _ = read_arguments(valued, _ROLES)
    named = {key: role for key, role in _ROLES.items() if given.get(key) is not None}
    parser.diagnosis = Diagnosis(valued, registry, named)
    options = parser.parse_args(list(argv))
    _check(options, registry)
    ensembler: Ensembler = instantiate(parser, options, registry).ensembler

    from tocsin.scores.ensemble_report import ensemble_sections, ensemble_to_dict
    from tocsin.scores.ensembling import assess_ensemble, fit_ensemble, steps_of
    from tocsin.scores.sections import render_sections
    from tocsin.scores.statistics import affordable_draws
    from tocsin.text.progress import progress_bar

    members = _read(options)
    check_groups(options.groups, options.scores[:1], members.tables[:1])  # each has the columns of all
    if members.tests is not None:
        check_groups(options.groups, options.test[:1], members.tests[:1])
    title = "ensemble" if options.output is None else Path(options.output).name or "ensemble"
    chain = fit_ensemble(ensembler, members.tables, members.names, title)
    if members.bundles:
        from tocsin.bundles.load import check_columns

        check_columns(chain)
    largest = max([members.tables[0], *(members.tests or [])[:1]], key=len)
    steps = steps_of(len(members.names), options.folds, tested=members.tests is not None)
    with progress_bar("judging", steps, unit="steps") as advance:
        report = assess_ensemble(
            chain,
            members.tables,
            members.names,
            title,
            test=members.tests,
            folds=options.folds,
            groups=options.groups,
            draws=affordable_draws(largest, options.draws),
            seed=options.seed,
            advance=advance,
        )
    if options.json:
        print(json_text(ensemble_to_dict(report)), end="")
    else:
        table_console().print(render_sections(ensemble_sections(report)))
    if options.output is not None:
        written = _write(Path(options.output), report, registry)
        if members.bundles:
            written.append(_save(Path(options.output), report, members))
        if not options.json:
            print_lines("Written:\n" + "\n".join(f"  {path}" for path in written))
    return 0


def _parser(registry: Registry) -> PlainSpeaking:
    parser = PlainSpeaking(
        prog="tocsin ensemble",
        description="Fit an ensembler on several models' validation scores of the same messages; show members and "
        "ensemble, the gain over the best member, and what each member adds; write the joint scores, and a bundle of "
        "the members' bundles. `tocsin components ensembler` lists what there is, `tocsin components NAME` the options "
        "of one; each is given as --ensembler.OPTION VALUE.",
        parser_mode=PARSER_MODE,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--scores",
        type=str,
        nargs="+",
        action="extend",
        required=True,
        help="Validation scores with targets, a file a member: Parquet or CSV, see docs/scores.md. Of messages that no "
        "member was trained on. Rows are matched by id, labels by name.",
    )
    parser.add_argument(
        "--name",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        help="The members' names. Default: their runs, or file names.",
    )
    known = _DEFAULT in registry.components("ensembler")
    parser.add_argument(
        "--ensembler",
        type=Ensembler | None,
        default={"class_path": _DEFAULT} if known else None,
        help=f"How scores are combined. Default: {_DEFAULT}.",
    )
    parser.add_argument(
        "--test",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        help="Scores of other messages, a file a member in the order of --scores: judged, never learned from.",
    )
    parser.add_argument(
        "--bundle",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        help="The members' bundles in the order of --scores: copied into the bundle that --output gets.",
    )
    add_judging(parser)
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Folder for ensemble.json, report.md, scores/validation.parquet (joint scores, cross-fitted), "
        "scores/test.parquet, and bundle/.",
    )
    parser.add_argument(_FLAG, action="store_true", help="Print JSON instead of tables.")
    return parser


def _check(options: Any, registry: Registry) -> None:
    """Refuse what cannot be done before anything is read."""
    if options.ensembler is None:
        raise PluginError(
            f"There is no ensembler: the default {_DEFAULT} comes with the plugin {_PLUGIN}. Where that is not in use: "
            f"pip install {_PLUGIN}, or give --ensembler another.{registry.told_off()}"
        )
    count = len(options.scores)
    for key in ("test", "bundle", "name"):
        found = getattr(options, key)
        if found and len(found) != count:
            raise ConfigError(
                f"--{key} has {len(found)} values and --scores {count} files; one a member, in the same order, is "
                "wanted."
            )
    if options.bundle and options.output is None:
        raise ConfigError("--bundle wants --output DIR: the ensemble's bundle becomes DIR/bundle.")
    if options.output is not None:
        target = Path(options.output)
        bundle = target / "bundle"
        if options.bundle and bundle.exists() and (not bundle.is_dir() or any(bundle.iterdir())):
            raise ConfigError(f"--output: {bundle} exists and is not empty; choose another folder.")
        test = [target / "scores" / "test.parquet"] if options.test else []
        refuse_leftovers(
            target,
            "ensemble.json",
            [*test, *([bundle] if options.bundle else [])],
            ["scores/test.parquet", "bundle"],
        )
        for path in (*options.scores, *options.test):
            for split in ("validation", "test"):
                written = target / "scores" / f"{split}.parquet"
                if written.exists() and Path(path).exists() and written.samefile(path):
                    raise ConfigError(f"{path}: --output {target} would replace it. Choose another folder.")
    _check_runs(options.scores, options.bundle)


def _check_runs(scores: Sequence[str], bundles: Sequence[str]) -> None:
    """Refuse bundles in another order than their scores, where run folders tell."""
    of_scores = [Path(path).resolve().parent.parent for path in scores]
    of_bundles = [Path(path).resolve().parent for path in bundles]
    for number, run in enumerate(of_bundles):
        told = (run / "provenance.json").is_file()
        if told and run != of_scores[number] and run in of_scores:
            raise ConfigError(
                f"--bundle: {bundles[number]} stands at place {number + 1} and is of the run whose scores stand at "
                f"place {of_scores.index(run) + 1}. Give bundles in the order of --scores."
            )


def _read(options: Any) -> _Members:
    from tocsin.scores.members import aligned_members
    from tocsin.scores.table import ScoresTable

    read = [ScoresTable.read(path) for path in options.scores]
    names = model_names([Path(path) for path in options.scores], read, options.name)
    bundles = [Path(path) for path in options.bundle]
    if bundles:
        from tocsin.bundles.chain import check_same_network
        from tocsin.bundles.load import ROLES
        from tocsin.bundles.save_ensemble import check_members

        manifests = check_members(bundles, names, read[0].labels, load_plugins(roles=ROLES))
        for manifest, folder, table in zip(manifests, bundles, read, strict=True):
            check_same_network(table.metadata, manifest.facts, str(folder))
    tables = aligned_members(read, options.scores)
    tests = None
    if options.test:
        from tocsin.scores.chain import shared_messages
        from tocsin.scores.members import with_labels_in_order

        first, *others = (ScoresTable.read(path) for path in options.test)
        ordered = with_labels_in_order(
            first, tables[0].labels, f"{options.test[0]}, beside {options.scores[0]},"
        )
        tests = aligned_members([ordered, *others], options.test)
        if shared := shared_messages(tables[0], tests[0]):
            warnings.warn(
                f"{shared:,} of the {len(tests[0]):,} messages of --test are among those that the ensembler is fitted "
                "on: its figures there lean to the bright side. The cross-fitted ones are honest.",
                PluginWarning,
                stacklevel=2,
            )
    return _Members(names, tables, tests, bundles)


def _write(folder: Path, report: EnsembleReport, registry: Registry) -> list[Path]:
    from tocsin.bundles.chain import saved_chain
    from tocsin.scores.ensemble_report import ensemble_sections, ensemble_to_dict
    from tocsin.scores.sections import sections_to_markdown

    write_text(folder / "ensemble.json", json_text(ensemble_to_dict(report)))
    title = f"Ensemble {report.name} of {', '.join(report.names)}"
    write_text(folder / "report.md", sections_to_markdown(ensemble_sections(report), title=title))
    written = [folder / "ensemble.json", folder / "report.md"]
    for split, judgement in (("validation", report.fitted), ("test", report.tested)):
        if judgement is not None:
            path = folder / "scores" / f"{split}.parquet"
            # What the bundle of this ensemble says, too: a chain is fitted on the scores of one and no other.
            told = {"checkpoint": saved_chain(report.chain, registry.origin).digest or ""}
            replace(judgement.joint, metadata={**judgement.joint.metadata, **told}).write(path)
            written.append(path)
    return written


def _save(folder: Path, report: EnsembleReport, members: _Members) -> Path:
    from importlib.metadata import version

    from tocsin.arguments import CORE
    from tocsin.bundles.ensemble_card import ensemble_card
    from tocsin.bundles.load import ROLES
    from tocsin.bundles.manifest import read_manifest
    from tocsin.bundles.save_ensemble import folder_names, save_ensemble
    from tocsin.scores.ensemble_report import ensemble_sections
    from tocsin.scores.sections import sections_to_markdown

    registry = load_plugins(roles=ROLES)
    ensembler = report.ensembler
    manifests = [read_manifest(path) for path in members.bundles]
    chained = [manifest.chain is not None for manifest in manifests]
    aside = [name for name, has in zip(members.names, chained, strict=True) if has]
    if aside:
        warnings.warn(
            f"{', '.join(aside)}: the bundle has a chain of its own, which is put aside: raw scores are combined. Fit "
            "one for the ensemble by tocsin calibrate.",
            PluginWarning,
            stacklevel=2,
        )
    origins = [registry.origin(type(ensembler))]
    for manifest in manifests:
        parts = (manifest.cleaner, manifest.pooling, manifest.head)
        origins += [part.origin for part in parts if part is not None and part.origin is not None]
    plugins = [origin for origin in dict.fromkeys(origins) if origin.distribution != CORE]
    settings = ", ".join(f"{key} {value}" for key, value in ensembler.arguments.items() if value is not None)
    card = ensemble_card(
        report.name,
        f"{type(ensembler).__name__}{f' ({settings})' if settings else ''}",
        list(zip(members.names, folder_names(members.names), chained, strict=True)),
        sections_to_markdown(ensemble_sections(report)),
        plugins,
    )
    return save_ensemble(
        folder / "bundle",
        list(zip(members.names, members.bundles, strict=True)),
        report.chain,
        registry,
        card=card,
        version=version("tocsin"),
    )
