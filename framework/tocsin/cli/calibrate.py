"""`tocsin calibrate`: fit calibrator and decision rule on validation scores, and put them into a bundle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.cli.evaluate import check_groups, json_text, write_text
from tocsin.cli.judging import add_judging, refuse_leftovers
from tocsin.errors import ConfigError, DataError, PluginError
from tocsin.escaping import print_lines
from tocsin.labels.schemes import check_same_labels
from tocsin.plugins import Calibrator, DecisionRule
from tocsin.plugins.diagnosis import Diagnosis
from tocsin.plugins.given import read_arguments
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, instantiate, prepare
from tocsin.plugins.registry import PluginWarning, Registry
from tocsin.plugins.signatures import parameters_of
from tocsin.text.progress import table_console

if TYPE_CHECKING:
    from tocsin.scores.calibrating import ChainReport
    from tocsin.scores.table import ScoresTable

__all__ = ["main"]

_ROLES = {"calibrator": "calibrator", "rule": "decision_rule"}
_DEFAULTS = {"calibrator": "Platt", "rule": "BestF1"}
_PLUGIN = "tocsin-calibration"


def main(argv: Sequence[str]) -> int:
    """Run the verb with its own arguments (without "calibrate"); return the exit code.

    Raises:
        TocsinError: For scores, components or a bundle that do not fit.
    """
    registry = load_plugins(roles=tuple(_ROLES.values()))
    prepare(registry)
    given, _, _ = read_arguments(list(argv), _ROLES)
    parser = _parser(registry, {key for key in _ROLES if _names_a_class(given.get(key))})
    named = {key: role for key, role in _ROLES.items() if given.get(key) is not None}
    parser.diagnosis = Diagnosis(argv, registry, named)
    options = parser.parse_args(list(argv))
    _check(options, given, registry)
    built = instantiate(parser, options, registry)
    steps = {
        role: _by(getattr(built, key), options.by)
        for key, role in _ROLES.items()
        if getattr(built, key) is not None
    }

    from tocsin.scores.calibrating import assess_chain
    from tocsin.scores.calibration_report import report_sections
    from tocsin.scores.chain import Chain, facts_of, fit_chain
    from tocsin.scores.sections import render_sections
    from tocsin.scores.statistics import affordable_draws
    from tocsin.scores.table import ScoresTable

    table = ScoresTable.read(options.scores)
    check_groups(options.groups, [options.scores], [table])
    if options.bundle is not None:
        from tocsin.bundles.chain import check_room

        planned = Chain(labels=table.labels, facts=facts_of(table), **steps)
        check_room(Path(options.bundle), planned, force=options.force)
    others = [ScoresTable.read(path) for path in options.apply]
    for path, other in zip(options.apply, others, strict=True):
        check_same_labels(
            other.labels,
            table.labels,
            where=f"--scores {options.scores}",
            what=f"the labels of --apply {path}",
        )
    chain = fit_chain(table, **steps)
    applied = [chain.apply(other) for other in others]
    report = assess_chain(
        chain,
        table,
        folds=options.folds,
        groups=options.groups,
        draws=affordable_draws(table, options.draws),
        seed=options.seed,
    )
    name = table.metadata.get("run") or Path(options.scores).stem
    table_console().print(render_sections(report_sections(report, name=name)))
    for path, other in zip(options.apply, others, strict=True):
        _warn_of_the_same(path, table, other)
    if options.output is not None:
        _write(Path(options.output), name, report, registry, options.apply, applied)
    if options.bundle is not None:
        _save(Path(options.bundle), name, report, registry, options.force)
    return 0


def _names_a_class(given: Any) -> bool:
    """Whether a class is given, and not arguments for the default alone."""
    return isinstance(given, str) or (isinstance(given, dict) and "class_path" in given)


def _parser(registry: Registry, named: Collection[str] = ()) -> PlainSpeaking:
    """Return the verb's parser.

    Args:
        registry: Whose components can be named.
        named: The keys whose class is given: a default would hand its own arguments on to it.
    """
    parser = PlainSpeaking(
        prog="tocsin calibrate",
        description="Fit a calibrator and a decision rule on validation scores, say what they are worth on messages "
        "they have not seen (cross-fitted), and put them into a bundle. `tocsin components calibrator` and `tocsin "
        "components decision_rule` list what there is, `tocsin components NAME` the options of one; each is given as "
        "--calibrator.OPTION VALUE or --rule.OPTION VALUE.",
        parser_mode=PARSER_MODE,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options.")
    parser.add_argument(
        "--scores",
        type=str,
        required=True,
        help="Validation scores with targets: Parquet or CSV, see docs/scores.md.",
    )
    parser.add_argument(
        "--bundle", type=str | None, default=None, help="The bundle that the chain goes into."
    )
    for key, base in (("calibrator", Calibrator), ("rule", DecisionRule)):
        name = _DEFAULTS[key]
        known = name in registry.components(_ROLES[key])
        parser.add_argument(
            f"--{key}",
            type=base | None,
            default={"class_path": name} if known and key not in named else None,
            help=f"The {_ROLES[key].replace('_', ' ')}; null for none. Default: {name}.",
        )
    parser.add_argument(
        "--by",
        type=str | None,
        default=None,
        help="Fits of their own for each value of a column, drawn towards the one for all: lang or a slice column, "
        "such as genre. A chain that goes into a bundle takes lang alone.",
    )
    add_judging(parser)
    parser.add_argument(
        "--apply",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        help="Other scores files to calibrate; they go to --output.",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Folder for calibration.json, report.md, reliability.png, chain.json and the files of --apply.",
    )
    parser.add_argument("--force", action="store_true", help="Replace a chain that the bundle has already.")
    return parser


def _check(options: Any, given: dict[str, Any], registry: Registry) -> None:
    """Refuse what cannot be done before anything is read."""
    for key, role in _ROLES.items():
        if key not in given and _DEFAULTS[key] not in registry.components(role):
            raise PluginError(
                f"--{key} was not given, and its default {_DEFAULTS[key]} comes with the plugin {_PLUGIN}, which is "
                f"not in use here: pip install {_PLUGIN}, or give --{key} another, or null for none."
                f"{registry.told_off()}"
            )
    if options.calibrator is None and options.rule is None:
        raise ConfigError("Neither a calibrator nor a rule is left: there is nothing to fit.")
    if options.apply and options.output is None:
        raise ConfigError("--apply wants --output DIR, the folder that the calibrated files go to.")
    absent = next((path for path in options.apply if not Path(path).exists()), None)
    if absent is not None:
        raise DataError("There is no such scores file to --apply the chain to.", file=absent)
    targets = [_target(path) for path in options.apply]
    if options.output is not None:
        folder = Path(options.output)
        refuse_leftovers(folder, "calibration.json", [folder / name for name in targets], ["*.parquet"])
    twice = next((name for name in targets if targets.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--apply: two files would be written to {twice}. Apply them one after another.")
    if options.output is not None:
        for path, name in zip(options.apply, targets, strict=True):
            written = Path(options.output, name)
            if written.exists() and written.samefile(path):
                raise ConfigError(
                    f"--apply {path}: --output {options.output} would replace it. Choose another folder."
                )


def _target(path: str) -> str:
    return f"{Path(path).stem}.parquet"


def _by(component: Any, by: str | None) -> Any:
    """Return a component with fits of their own for each value of a column."""
    if by is None:
        return component
    kind = type(component)
    if "by" not in parameters_of(kind):
        raise ConfigError(f"--by {by}: {kind.__name__} has no option `by`; it treats all messages alike.")
    return kind(**{**component.arguments, "by": by})


def _warn_of_the_same(path: str, fitted: ScoresTable, other: ScoresTable) -> None:
    from tocsin.scores.chain import shared_messages

    if shared := shared_messages(fitted, other):
        warnings.warn(
            f"{shared:,} of the {len(other):,} messages of {path} are among those that the chain was fitted on: "
            "figures of them lean to the bright side. Those above are honest.",
            PluginWarning,
            stacklevel=2,
        )


def _write(
    folder: Path,
    name: str,
    report: ChainReport,
    registry: Registry,
    paths: Sequence[str],
    applied: Sequence[ScoresTable],
) -> None:
    from tocsin.bundles.chain import saved_chain
    from tocsin.scores.calibration_report import report_sections, report_to_dict
    from tocsin.scores.reliability_figure import draw_reliability
    from tocsin.scores.sections import sections_to_markdown

    write_text(folder / "calibration.json", json_text(report_to_dict(report)))
    plain = json.loads(json.dumps(asdict(saved_chain(report.chain, registry.origin)), allow_nan=False))
    write_text(folder / "chain.json", json_text(plain))
    title = f"{name}, {report.chain.name}: all labels pooled, cross-fitted in {report.folds} folds"
    pictures = {"reliability": "reliability.png"}
    try:
        draw_reliability(report.table, report.held_out, folder / "reliability.png", title)
    except ConfigError as error:
        warnings.warn(str(error), PluginWarning, stacklevel=2)
        pictures = {}
    text = sections_to_markdown(
        report_sections(report, name=name), title=f"Calibration of {name}", pictures=pictures
    )
    write_text(folder / "report.md", text)
    for path, table in zip(paths, applied, strict=True):
        table.write(folder / _target(path))
    print_lines(f"Written: {folder}")


def _save(bundle: Path, name: str, report: ChainReport, registry: Registry, force: bool) -> None:
    from tocsin.bundles.chain import save_chain
    from tocsin.scores.calibration_report import report_sections
    from tocsin.scores.sections import sections_to_markdown

    summary = sections_to_markdown(report_sections(report, name=name))
    save_chain(bundle, report.chain, registry, summary=summary, force=force)
    print_lines(
        f"{bundle}: predictions are now those of {report.chain.name}; raw probabilities stay available."
    )
