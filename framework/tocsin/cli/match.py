"""`tocsin match`: do sentences find their translations by their vectors, language by language?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tocsin.cli.options import OptionParser
from tocsin.escaping import print_lines
from tocsin.privacy import shown_data

if TYPE_CHECKING:
    import numpy as np

    from tocsin.cli.vector_models import Model
    from tocsin.scores.sections import Section
    from tocsin.vectors import Difference, Matching, MatchingReport, VectorError
    from tocsin.vectors.matching import Hit

HELP = "find translations by vectors: accuracy per language, both directions"

__all__ = ["HELP", "main"]

_HITS = {
    "row": "Only the right row counts as found, and of equal vectors the first is: a text that stands in a pool twice "
    "costs a hit (--hit text).",
    "text": "A row with the text of the right one counts as found, as in sentence-transformers.",
    "pair": "A pair that has an equal text on either side counts as found.",
}


def main(argv: list[str]) -> int:
    """Run the verb with its own arguments (without "match"); return the exit code.

    Raises:
        TocsinError: For a model, file, column or row that does not fit; SystemExit(2) for a wrong command line.
    """
    options = _parser().parse_args(argv)

    from tocsin.cli.evaluate import json_text, write_text
    from tocsin.cli.vector_chart import write_chart
    from tocsin.cli.vector_models import check_early, models_of
    from tocsin.cli.vectors import Texts, by_language, read_pairs
    from tocsin.scores.sections import render_sections, sections_to_markdown
    from tocsin.text.progress import table_console
    from tocsin.vectors import matching_differences, matching_report

    models = models_of(options)
    _check(options, models)
    names = {"english": options.english, "text": options.text, "lang": options.lang}
    pairs = read_pairs(options.pairs, names, options.where, reader=options.reader)
    places = by_language(pairs, options.max_pairs, options.seed)
    check_early(models, options.output)
    texts = Texts(pairs)
    english, text = (
        {lang: texts.numbers(column, rows) for lang, rows in places.items()} for column in ("english", "text")
    )
    teacher = None if options.teacher is None else [m for m in models if m.name == options.teacher]
    # The teacher first, for its vectors are what the others' are compared with.
    order = models if teacher is None else [*teacher, *(m for m in models if m not in teacher)]
    matchings: dict[str, dict[str, Matching]] = {}
    errors: dict[str, dict[str, dict[str, VectorError]]] = {}
    taught: np.ndarray | None = None
    for model, vectors_ND in texts.encoded(order, options.device, options.max_length):
        matchings[model.name] = _matchings(vectors_ND, english, text, options.hit)
        if model.name == options.teacher:
            taught = vectors_ND
        elif taught is not None:
            errors[model.name] = _errors(model, vectors_ND, taught, english, text, options)
    names_in_order = [model.name for model in models]
    # Of one set of English sentences in many languages a draw takes the same ones in all.
    parallel = len(english) > 1 and len({tuple(numbers) for numbers in english.values()}) == 1
    reports = {
        name: matching_report(
            matchings[name], limit=options.limit, draws=options.draws, seed=options.seed, parallel=parallel
        )
        for name in names_in_order
    }
    first = names_in_order[0]
    differences = {
        other: matching_differences(
            matchings[first], matchings[other], draws=options.draws, seed=options.seed, parallel=parallel
        )
        for other in names_in_order[1:]
    }
    facts = _facts(options, models, reports, differences, errors) | {"parallel": parallel}
    shown = _sections(options, reports, differences, errors, parallel)
    if options.output is not None:
        write_text(options.output / "metrics.json", json_text(facts))
        means = {
            name: {lang: found.mean for lang, found in report.languages.items()}
            for name, report in reports.items()
        }
        drawn = write_chart(
            options.output / "accuracy.png",
            means,
            "matching accuracy, mean of both directions",
            options.limit,
        )
        title = f"Matching of {', '.join(reports)}"
        pictures = {"by language": "accuracy.png"} if drawn else None
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
        prog="tocsin match",
        description="Match sentences with their translations by cosine, among all pairs of the same language: the "
        "share found from English to text, from text to English, and their mean, with 95% intervals. Pools differ "
        "between languages, so their scores do not compare with one another; models on one table do.",
    )
    add_arguments(parser)
    parser.add_argument(
        "--english", default="english", metavar="COLUMN", help="column of the source (english)"
    )
    parser.add_argument("--text", default="text", metavar="COLUMN", help="column of its translation (text)")
    parser.add_argument(
        "--max-pairs", type=int, metavar="N", help="draw this many pairs of each language that has more"
    )
    parser.add_argument(
        "--limit", type=float, default=0.95, help="list languages under this accuracy (default %(default)s)"
    )
    parser.add_argument(
        "--hit",
        choices=["row", "text", "pair"],
        default="row",
        help="what counts as found: the right row alone, as published for Tatoeba (row, the default); any row with the "
        "right one's text, as sentence-transformers counts (text); also a translation of an equal sentence (pair)",
    )
    parser.add_argument(
        "--teacher", metavar="NAME", help="the model, by its name, whose English vectors the others are to learn: "
        "mean squared errors are added"
    )  # fmt: skip
    return parser


def _check(options: argparse.Namespace, models: list[Model]) -> None:
    from tocsin.errors import ConfigError
    from tocsin.vectors.intervals import check_draws

    check_draws(options.draws)
    names = [model.name for model in models]
    if not 0 <= options.limit <= 1:
        raise ConfigError(f"--limit is {options.limit}; an accuracy between 0 and 1 is wanted, such as 0.95.")
    if options.teacher is not None and options.teacher not in names:
        options.teacher = shown_data(options.teacher)
    if options.teacher is not None and (options.teacher not in names or len(names) < 2):
        raise ConfigError(
            f"--teacher {options.teacher!r}: one of at least two models is wanted, by its name. "
            f"Models: {', '.join(names)}."
        )


def _matchings(
    vectors_ND: np.ndarray, english: Mapping[str, list[int]], text: Mapping[str, list[int]], hit: Hit
) -> dict[str, Matching]:
    from tocsin.text.progress import progress_bar
    from tocsin.vectors import match

    found = {}
    with progress_bar("matching", sum(map(len, text.values())), unit="pairs") as advance:
        for lang, numbers in english.items():
            found[lang] = match(
                vectors_ND[numbers],
                vectors_ND[text[lang]],
                hit=hit,
                # Equal numbers are equal texts.
                source_texts=[*map(str, numbers)],
                target_texts=[*map(str, text[lang])],
                advance=advance,
            )
    return found


def _errors(
    model: Model,
    vectors_ND: np.ndarray,
    taught_ND: np.ndarray,
    english: Mapping[str, list[int]],
    text: Mapping[str, list[int]],
    options: argparse.Namespace,
) -> dict[str, dict[str, VectorError]]:
    from tocsin.errors import ConfigError
    from tocsin.vectors import vector_error
    from tocsin.vectors.intervals import generator_for

    if vectors_ND.shape[1] != taught_ND.shape[1]:
        raise ConfigError(
            f"--teacher: {options.teacher} has vectors of width {taught_ND.shape[1]}, {model.name} of "
            f"{vectors_ND.shape[1]}; a squared error needs equal widths."
        )
    return {
        lang: {
            side: vector_error(
                vectors_ND[numbers[lang]],
                taught_ND[english[lang]],
                options.draws,
                generator_for(options.seed, lang),
            )
            for side, numbers in (("english", english), ("text", text))
        }
        for lang in english
    }


def _facts(
    options: argparse.Namespace,
    models: list[Model],
    reports: Mapping[str, MatchingReport],
    differences: Mapping[str, Mapping[str, Difference]],
    errors: Mapping[str, Mapping[str, Mapping[str, VectorError]]],
) -> dict[str, Any]:
    first = models[0].name
    return {
        "pairs": shown_data(options.pairs),
        "where": options.where,
        "max_pairs": options.max_pairs,
        "hit": options.hit,
        "draws": options.draws,
        "seed": options.seed,
        "models": [
            {
                "name": model.name,
                model.kind: shown_data(model.place),
                **reports[model.name].to_dict(),
                **(
                    {
                        "squared_errors": {
                            lang: {side: asdict(error) for side, error in sides.items()}
                            for lang, sides in errors[model.name].items()
                        }
                    }
                    if model.name in errors
                    else {}
                ),
            }
            for model in models
        ],
        "differences": [
            {
                "first": first,
                "second": other,
                "first_minus_second": {lang: found.to_dict() for lang, found in by_lang.items()},
            }
            for other, by_lang in differences.items()
        ],
    }


def _sections(
    options: argparse.Namespace,
    reports: Mapping[str, MatchingReport],
    differences: Mapping[str, Mapping[str, Difference]],
    errors: Mapping[str, Mapping[str, Mapping[str, VectorError]]],
    parallel: bool,
) -> list[Section]:
    from tocsin.cli.vectors import difference_section

    shown = [_report(name, report, options, parallel) for name, report in reports.items()]
    if differences:
        means = {
            name: {lang: found.mean.point for lang, found in report.languages.items()}
            for name, report in reports.items()
        }
        macros = {name: report.macro.point for name, report in reports.items()}
        shown.append(difference_section("Mean of both directions, side by side", means, macros, differences))
    return shown + [_error_section(name, by_lang, options.teacher) for name, by_lang in errors.items()]


def _shared(parallel: bool) -> str:
    return "; they share their English sentences, and every draw too" if parallel else ""


def _report(name: str, report: MatchingReport, options: argparse.Namespace, parallel: bool) -> Section:
    from tocsin.cli.vectors import interval_text, macro_name, pairs_text
    from tocsin.scores.sections import Section
    from tocsin.vectors import FEW_PAIRS

    rows = [
        (
            lang,
            pairs_text(found.pairs),
            f"{found.forward.point:.3f}",
            f"{found.backward.point:.3f}",
            f"{found.mean.point:.3f}",
            interval_text(found.mean),
        )
        for lang, found in report.languages.items()
    ]
    rows.append(
        (
            macro_name(len(report.languages)),
            f"{sum(found.pairs for found in report.languages.values()):,}",
            f"{report.macro_forward.point:.3f}",
            f"{report.macro_backward.point:.3f}",
            f"{report.macro.point:.3f}",
            interval_text(report.macro),
        )
    )
    below = [f"{lang} {report.languages[lang].mean.point:.3f}" for lang in report.below]
    surely = len(report.surely_below)
    return Section(
        f"Matching accuracy of {name}",
        ("language", "pairs", "english to text", "text to english", "mean", "95% interval of the mean"),
        tuple(rows),
        (
            f"Under {report.limit:g}: {len(below)} of {len(report.languages)} languages"
            + (f" (with their whole interval: {surely}): {', '.join(below)}." if below else "."),
            *([f"*: under {FEW_PAIRS} pairs, mostly chance: {', '.join(report.few)}."] if report.few else []),
            "Each language is its own pool: accuracy falls as the pool grows and as its sentences are more alike, so "
            "languages do not compare with one another.",
            f"Intervals: {options.draws:,} bootstrap draws of pairs within each language, seed {options.seed}; the "
            f"macro mean's says how it varies over other sentences of these languages{_shared(parallel)}.",
            _HITS[options.hit],
        ),
    )


def _error_section(name: str, by_lang: Mapping[str, Mapping[str, VectorError]], teacher: str) -> Section:
    from tocsin.cli.vectors import interval_text, macro_name, pairs_text
    from tocsin.scores.sections import Section

    rows = [
        (
            lang,
            pairs_text(sides["text"].pairs),
            *(
                cell
                for side in ("english", "text")
                for cell in (
                    f"{sides[side].summed.point:.3f}",
                    interval_text(sides[side].summed),
                    f"{sides[side].averaged.point:.3g}",
                )
            ),
        )
        for lang, sides in by_lang.items()
    ]
    means = [
        sum(getattr(sides[side], scale).point for sides in by_lang.values()) / len(by_lang)
        for side in ("english", "text")
        for scale in ("summed", "averaged")
    ]
    rows.append(
        (
            macro_name(len(by_lang)),
            f"{sum(sides['text'].pairs for sides in by_lang.values()):,}",
            f"{means[0]:.3f}", "", f"{means[1]:.3g}", f"{means[2]:.3f}", "", f"{means[3]:.3g}",
        )
    )  # fmt: skip
    return Section(
        f"Mean squared error of {name} against {teacher}'s vectors of the English sentences",
        (
            "language",
            "pairs",
            "english, summed",
            "95% interval",
            "averaged",
            "text, summed",
            "95% interval",
            "averaged",
        ),
        tuple(rows),
        (
            "Summed over the width, as Reimers and Gurevych (2020); averaged over it, as sentence-transformers. "
            "Vectors are taken as the models give them, at their own lengths.",
        ),
    )
