"""The model card: what the model was made from, what it scores, where it fails, how to load it."""

from collections.abc import Sequence
from typing import Any

from tocsin.arguments import Origin
from tocsin.bundles.card_parts import described, file_lines, requirements
from tocsin.escaping import markdown_code, markdown_text
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.vocabulary import RowsInUse
from tocsin.scores.report import assess, to_markdown
from tocsin.scores.statistics import affordable_draws
from tocsin.scores.table import ScoresTable

__all__ = ["UNCALIBRATED", "card_with_chain", "model_card"]

_FEW = 5000
UNCALIBRATED = "- Probabilities are not calibrated; a threshold of .5 is a convention, not a choice."
_CHAIN = "## Calibration and decisions"


def model_card(
    name: str,
    model: MultilabelClassifier,
    table: ScoresTable | None,
    facts: dict[str, Any],
    *,
    max_length: int,
    cleaner: str,
    plugins: Sequence[Origin] = (),
    draws: int = 1000,
) -> str:
    """Markdown of the card.

    Args:
        name: Heading.
        model: Gives recipe and labels.
        table: Scores of the validation split at the checkpoint that ships; None where nothing was evaluated.
        facts: `provenance()` of the DataModule: files, counts, what crosses.
        max_length: Tokens a text keeps at most.
        cleaner: Name of the cleaning profile.
        plugins: The distributions, beside Tocsin, without which the bundle does not load.
        draws: Bootstrap draws behind the intervals, at most.
    """
    parts = [
        _front_matter(model),
        f"# {markdown_text(name)}",
        "Multilabel text classifier, made by Tocsin. Give it batches of messages, not single ones: it is "
        "right about shares and "
        "trends before it is right about one message, and its output is no ground for action against a person.",
        "## Data",
        _data(facts, cleaner, max_length),
        "## Recipe",
        _recipe(model),
        "## Figures",
        _figures(table, draws),
        "## Limits",
        _limits(model, table, facts),
        "## How to load",
        _loading(model, plugins),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(model: MultilabelClassifier) -> str:
    tags = ["text-classification", "multilabel", "tocsin"]
    return "---\npipeline_tag: text-classification\ntags:\n" + "".join(f"- {tag}\n" for tag in tags) + "---"


def _data(facts: dict[str, Any], cleaner: str, max_length: int) -> str:
    files = facts.get("files", {})
    counts = facts.get("messages", {})
    lines = file_lines(files)
    lines += ["- Messages: " + ", ".join(f"{split} {n:,}" for split, n in counts.items())] if counts else []
    lines += [f"- {markdown_text(sentence)}" for sentence in facts.get("crossing", [])]
    dropped = facts.get("read", {}).get("dropped_empty", 0)
    lines += [f"- Dropped as empty: {dropped:,}"] if dropped else []
    lines.append(f"- Cleaning profile {markdown_code(cleaner)}; texts are cut at {max_length} tokens")
    if sampling := facts.get("sampling"):
        lines.append(
            f"- Training messages of rare labels were repeated: {sampling['method']}, threshold "
            f"{sampling['threshold']:g}; {sampling['messages_repeated']:,} messages came more than once an epoch, at "
            f"most {sampling['largest_factor']:.1f} times on average. Probabilities of such labels lean upwards"
        )
    if label_files := facts.get("label_files"):
        lines += file_lines(label_files, "Labels also from")
    return "\n".join(lines)


def _recipe(model: MultilabelClassifier) -> str:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    start = (
        f"head started from a linear probe (L2 {model.probe_l2:g})"
        if model.start_from_probe
        else "head started at random"
    )
    rows = {
        "Encoder": described(model.encoder),
        "Pooling": "first token" if model.pooling is None else described(model.pooling),
        "Head": described(model.head),
        "Loss": described(model.loss),
        "Optimiser": described(model.optimizer),
        "Schedule": described(model.schedule),
        "Start": start,
        "Trained weights": f"{trained:,}" + (" (embedding rows in use only)" if _trains_rows(model) else ""),
    }
    return "\n".join(f"- {key}: {value}" for key, value in rows.items())


def _trains_rows(model: MultilabelClassifier) -> bool:
    return any(isinstance(module, RowsInUse) for module in model.encoder.modules())


def _figures(table: ScoresTable | None, draws: int) -> str:
    if table is None or table.targets_NL is None:
        return "Nothing was evaluated: the data had no validation split."
    by = ["lang"] if any(lang is not None for lang in table.column("lang")) else []
    result = assess(table, "this model", by=by, draws=affordable_draws(table, draws))
    return (
        "On the validation split, which also chose the checkpoint, so these lean to the bright side.\n\n"
        + to_markdown(result, per_label=True)
    )


def _limits(model: MultilabelClassifier, table: ScoresTable | None, facts: dict[str, Any]) -> str:
    lines = [
        UNCALIBRATED,
        "- Words, places and events that the training data do not hold are judged by likeness alone.",
    ]
    rare = _rare_labels(model.label_names, facts)
    if rare:
        shown = markdown_text(", ".join(rare))
        lines.append(
            f"- Fewer than {_FEW:,} positive training messages: {shown}. Read their figures with care."
        )
    if table is not None:
        languages = sorted({str(lang) for lang in table.column("lang") if lang is not None})
        shown = ", ".join(languages[:30]) if languages else "not stated by the data"
        lines.append(f"- Evaluated languages: {markdown_text(shown)}. Nothing is known of others.")
    return "\n".join(lines)


def _rare_labels(names: Sequence[str], facts: dict[str, Any]) -> list[str]:
    prior, total = facts.get("prior"), facts.get("messages", {}).get("train", 0)
    if not prior:
        return []
    return [name for name, share in zip(names, prior, strict=True) if share is None or share * total < _FEW]


def _loading(model: MultilabelClassifier, plugins: Sequence[Origin]) -> str:
    prompt = model.encoder.prompt
    native = type(model.head).__name__ == "NativeHead"
    code = [
        "import tocsin",
        'bundle = tocsin.load("bundle")',
        'bundle.predict(["a message"]).probabilities  # (1, L)',
    ]
    lines = ["```python", *code, "```"]
    if plugins:
        lines = [requirements(plugins), "", *lines]
    if native:
        lines += [
            "",
            "Also without Tocsin; then clean the text first and ask for truncation:",
            "",
            "```python",
            "from transformers import pipeline",
            'pipeline("text-classification", model="bundle", top_k=None)("a message", truncation=True)',
            "```",
        ]
    lines += [
        "",
        'The vectors: `SentenceTransformer("bundle")`'
        + (f"; texts take the prompt {markdown_code(prompt)}, which it adds." if prompt else "."),
    ]
    return "\n".join(lines)


def card_with_chain(card: str, chain: str, summary: str) -> str:
    """Return a model card that says what the bundle's chain is, in place of what an earlier one was.

    Args:
        card: Markdown, ours or somebody's own.
        chain: Names of the steps.
        summary: Markdown: figures, what it was fitted on.
    """
    name = markdown_text(chain)
    kept = card.replace(
        UNCALIBRATED,
        f"- Probabilities and decisions are those of the chain {name}, see above.",
    )
    before, heading, rest = kept.partition(_CHAIN + "\n")
    if heading:
        _, next_heading, after = rest.partition("\n## ")
        kept = before + (next_heading[1:] + after if next_heading else "")
    text = (
        f"{_CHAIN}\n\n`tocsin.load(...).predict` and `tocsin predict` apply the chain {name} to the raw scores; other "
        f"programs that load this folder give the raw ones.\n\n{summary}".rstrip()
        + "\n"
    )
    # at the start of a line: a label may be called so
    marks = ("\n## Limits", "\n## How to load")
    place = next((at + 1 for mark in marks if (at := kept.find(mark)) >= 0), len(kept))
    return (
        kept[:place]
        + ("" if not kept[:place] or kept[:place].endswith("\n") else "\n")
        + text
        + ("\n" + kept[place:] if kept[place:] else "")
    )
