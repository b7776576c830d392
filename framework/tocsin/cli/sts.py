"""`tocsin sts`: does the cosine of two sentences rank pairs as people do, language by language?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tocsin.cli.options import OptionParser
from tocsin.escaping import print_lines
from tocsin.privacy import shown_data

if TYPE_CHECKING:
    import numpy as np

    from tocsin.cli.vector_models import Model
    from tocsin.scores.sections import Section
    from tocsin.vectors import Difference, SimilarityReport

HELP = "rank pairs by similarity: correlation with people's scores per language"

__all__ = ["HELP", "main"]


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "sts"); return the exit code.

    Raises:
        TocsinError: For a model, file, column or row that does not fit; SystemExit(2) for a wrong command line.
    """
    options = _parser().parse_args(argv)

    import numpy as np

    from tocsin.cli.evaluate import json_text, write_text
    from tocsin.cli.vector_chart import write_chart
    from tocsin.cli.vector_models import check_early, models_of
    from tocsin.cli.vectors import Texts, by_language, read_pairs
    from tocsin.errors import DataError
    from tocsin.scores.sections import render_sections, sections_to_markdown
    from tocsin.text.progress import table_console
    from tocsin.vectors import cosines, similarity_differences, similarity_report
    from tocsin.vectors.intervals import check_draws

    models = models_of(options)
    check_draws(options.draws)
    columns = {
        "first": options.sentence1,
        "second": options.sentence2,
        "score": options.score,
        "lang": options.lang,
    }
    pairs = read_pairs(options.pairs, columns, options.where, numbers=("score",), reader=options.reader)
    places = by_language(pairs)
    all_scores_N = np.array(pairs.columns["score"], np.float64)
    scores = {lang: all_scores_N[rows] for lang, rows in places.items()}
    check_early(models, options.output)
    texts = Texts(pairs)
    first, second = (
        {lang: texts.numbers(column, rows) for lang, rows in places.items()} for column in ("first", "second")
    )
    found: dict[str, dict[str, np.ndarray]] = {}
    for model, vectors_ND in texts.encoded(models, options.device, options.max_length):
        found[model.name] = {
            lang: cosines(vectors_ND[first[lang]], vectors_ND[second[lang]]) for lang in places
        }
    # One set of pairs translated into many languages: equal scores in equal order.
    parallel = len(scores) > 1 and len({score_N.tobytes() for score_N in scores.values()}) == 1
    names = list(found)
    try:
        reports = {
            name: similarity_report(
                found[name], scores, draws=options.draws, seed=options.seed, parallel=parallel
            )
            for name in names
        }
        differences = {
            other: similarity_differences(
                found[names[0]],
                found[other],
                scores,
                draws=options.draws,
                seed=options.seed,
                parallel=parallel,
            )
            for other in names[1:]
        }
    except DataError as error:
        raise DataError(str(error), file=pairs.path) from error
    facts = _facts(options, models, reports, differences) | {"parallel": parallel}
    shown = _sections(options, reports, differences, parallel)
    if options.output is not None:
        write_text(options.output / "metrics.json", json_text(facts))
        drawn = write_chart(
            options.output / "correlation.png",
            {name: report.languages for name, report in reports.items()},
            "Spearman's correlation of cosine and score",
        )
        title = f"Rank correlation of {', '.join(reports)}"
        pictures = {"by language": "correlation.png"} if drawn else None
        write_text(options.output / "report.md", sections_to_markdown(shown, title=title, pictures=pictures))
    if options.json:
        print(json_text(facts), end="")
    else:
        table_console().print(render_sections(shown))
        if options.output is not None:
            print_lines(f"Written: {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    from tocsin.cli.vectors import add_arguments

    parser = OptionParser(
        prog="tocsin sts",
        description="Rank pairs of sentences by the cosine of their vectors and compare with people's scores: "
        "Spearman's rank correlation per language, with 95% intervals.",
    )
    add_arguments(parser)
    for column in ("sentence1", "sentence2", "score"):
        parser.add_argument(f"--{column}", default=column, metavar="COLUMN", help=f"its column ({column})")
    return parser


def _facts(
    options: argparse.Namespace,
    models: list[Model],
    reports: Mapping[str, SimilarityReport],
    differences: Mapping[str, Mapping[str, Difference]],
) -> dict[str, Any]:
    return {
        "pairs": shown_data(options.pairs),
        "where": options.where,
        "draws": options.draws,
        "seed": options.seed,
        "models": [
            {"name": model.name, model.kind: shown_data(model.place), **reports[model.name].to_dict()}
            for model in models
        ],
        "differences": [
            {
                "first": models[0].name,
                "second": other,
                "first_minus_second": {lang: found.to_dict() for lang, found in by_lang.items()},
            }
            for other, by_lang in differences.items()
        ],
    }


def _sections(
    options: argparse.Namespace,
    reports: Mapping[str, SimilarityReport],
    differences: Mapping[str, Mapping[str, Difference]],
    parallel: bool,
) -> list[Section]:
    from tocsin.cli.vectors import difference_section

    shown = [_report(name, report, options, parallel) for name, report in reports.items()]
    if differences:
        points = {
            name: {lang: found.point for lang, found in report.languages.items()}
            for name, report in reports.items()
        }
        macros = {name: report.macro.point for name, report in reports.items()}
        shown.append(difference_section("Rank correlation, side by side", points, macros, differences))
    return shown


def _report(name: str, report: SimilarityReport, options: argparse.Namespace, parallel: bool) -> Section:
    from tocsin.cli.vectors import interval_text, macro_name, pairs_text
    from tocsin.scores.sections import Section
    from tocsin.vectors import FEW_PAIRS

    rows = [
        (lang, pairs_text(report.pairs[lang]), f"{found.point:.3f}", interval_text(found))
        for lang, found in report.languages.items()
    ]
    rows.append(
        (
            macro_name(len(report.languages)),
            f"{sum(report.pairs.values()):,}",
            f"{report.macro.point:.3f}",
            interval_text(report.macro),
        )
    )
    return Section(
        f"Rank correlation of {name}",
        ("language", "pairs", "Spearman", "95% interval"),
        tuple(rows),
        (
            *([f"*: under {FEW_PAIRS} pairs, mostly chance: {', '.join(report.few)}."] if report.few else []),
            f"Intervals: {options.draws:,} bootstrap draws of pairs within each language, seed {options.seed}"
            + (
                "; the languages have the same scores, and every draw takes the same pairs in all of them."
                if parallel
                else "; for the macro mean the languages' pairs are drawn independently."
            ),
        ),
    )
