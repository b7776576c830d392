"""The model card of a distilled encoder: teacher, data, recipe, matching by language before and after, how to load."""

from typing import Any

from tocsin.bundles.card_parts import described, file_lines
from tocsin.escaping import markdown_code, markdown_text
from tocsin.models.distiller import Distiller
from tocsin.models.matching import Figures
from tocsin.models.vocabulary import RowsInUse

__all__ = ["encoder_card", "matching_table"]

_LOW = 0.95  # the published systems count languages above it


def encoder_card(
    name: str, model: Distiller, facts: dict[str, Any], *, max_length: int, step: int | None = None
) -> str:
    """Markdown of the card.

    Args:
        name: Heading.
        model: Built; gives recipe and history.
        facts: `provenance()` of the DataModule, where it has one.
        max_length: Tokens a text keeps at most.
        step: Optimiser steps of the weights that ship; None: those of the last validation.
    """
    parts = [
        "---\npipeline_tag: sentence-similarity\ntags:\n- sentence-transformers\n- feature-extraction\n- tocsin\n---",
        f"# {markdown_text(name)}",
        "Multilingual sentence encoder, distilled by Tocsin: its vectors of a sentence and of its translations are "
        "to be those that the teacher has of the English sentence.",
        "## Data",
        _data(facts, max_length),
        "## Recipe",
        _recipe(model),
        "## Figures",
        _figures(model.history, step),
        "## Limits",
        "- Languages that the pairs do not hold are understood as far as the student did before.\n"
        "- Matching looks for a sentence among the held-out ones of its language: it gets harder with their number, so "
        "compare a language with itself.",
        "## How to load",
        _loading(model),
    ]
    return "\n\n".join(parts) + "\n"


def _data(facts: dict[str, Any], max_length: int) -> str:
    lines = file_lines(facts.get("files", {}))
    counts = facts.get("pairs", {})
    if isinstance(counts, dict) and counts and all(isinstance(n, int) for n in counts.values()):
        lines.append("- Pairs: " + ", ".join(f"{split} {n:,}" for split, n in counts.items()))
    lines.append(f"- Sentences are cut at {max_length} tokens")
    return "\n".join(lines)


def _recipe(model: Distiller) -> str:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows = any(isinstance(module, RowsInUse) for module in model.encoder.modules())
    losses = [
        f"{weight:g} × {described(loss)}"
        for loss, weight in zip(model.losses, model.loss_weights, strict=True)
    ]
    projection = model.projection
    lines = {
        "Student": described(model.encoder),
        "Pooling": described(model.pooling),
        "Projection": "none"
        if projection is None
        else f"a trained linear layer, {projection.in_features} to {projection.out_features}; part of the vectors",
        "Teacher": f"{described(model.teacher.encoder)}, at most {model.teacher.max_length} tokens",
        "Losses": "; ".join(losses),
        "Optimiser": described(model.optimizer),
        "Schedule": described(model.schedule),
        "Gradient clip": "none" if model.gradient_clip is None else f"{model.gradient_clip:g}",
        "Trained weights": f"{trained:,}" + (" (embedding rows in use only)" if rows else ""),
    }
    return "\n".join(f"- {key}: {value}" for key, value in lines.items())


def _figures(history: list[Figures], step: int | None) -> str:
    if not history:
        return "Nothing was evaluated: the data had no held-out pairs."
    after = next((found for found in history if found.step == step), history[-1])
    before = history[0] if history[0].step == 0 and history[0] is not after else None
    low = [f"{lang} {value:.3f}" for lang, value in sorted(after.matching.items()) if value < _LOW]
    text = (
        "On held-out pairs, which also chose the checkpoint, so these lean to the bright side. Matching: the share of "
        "sentences whose nearest vector (cosine) among those of the other side is their own partner's, the mean of "
        "both directions. MSE: mean over pairs of the squared distance of the translation's vector to the teacher's, "
        "summed over the width.\n\n" + matching_table(before, after)
    )
    return text + (
        f"\n\nLanguages under {_LOW}: {markdown_text(', '.join(low))}."
        if low
        else f"\n\nNo language is under {_LOW}."
    )


def matching_table(before: Figures | None, after: Figures) -> str:
    """Markdown table of each language's matching accuracy and squared error, before (where known) and after the fit."""
    head = ["language", "sentences"] + ["matching before"] * bool(before) + ["matching", "MSE"]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for lang in sorted(after.matching):
        earlier = [f"{before.matching[lang]:.3f}" if lang in before.matching else ""] if before else []
        rows.append(
            [
                markdown_text(lang),
                f"{after.sentences[lang]:,}",
                *earlier,
                f"{after.matching[lang]:.3f}",
                f"{after.mse[lang]:.4g}",
            ]
        )
    mean = after.scalars()
    earlier = [f"{before.scalars()['validation/matching']:.3f}"] if before else []
    rows.append(["mean", "", *earlier, f"{mean['validation/matching']:.3f}", f"{mean['validation/mse']:.4g}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _loading(model: Distiller) -> str:
    prompt = model.encoder.prompt
    lines = [
        "```python",
        "import tocsin",
        f'tocsin.load("bundle").encode(["a sentence"])  # (1, {model.teacher.width})',
        "",
        "from sentence_transformers import SentenceTransformer",
        'SentenceTransformer("bundle").encode(["a sentence"])  # the same',
        "```",
        "",
        "To classify with it: `encoder: {class_path: SentenceEncoder, init_args: {name: bundle}}` in a "
        "classifier's config.",
    ]
    if prompt:
        lines += [
            "",
            f"Texts take the prompt {markdown_code(prompt)}; all of these add it. With transformers alone, add it "
            "yourself.",
        ]
    return "\n".join(lines)
