"""The model card of an ensemble: its members, how they are combined, what it scores, how to load it."""

from collections.abc import Sequence

from tocsin.arguments import Origin
from tocsin.bundles.card import UNCALIBRATED
from tocsin.bundles.card_parts import requirements
from tocsin.escaping import markdown_code, markdown_text

__all__ = ["ensemble_card"]


def ensemble_card(
    name: str,
    ensembler: str,
    members: Sequence[tuple[str, str, bool]],
    figures: str,
    plugins: Sequence[Origin] = (),
) -> str:
    """Markdown of the card.

    Args:
        name: Heading.
        ensembler: Its name and what was set.
        members: Name, folder in `members/`, and whether its bundle has a chain of its own, of each.
        figures: Markdown of the ensemble's report.
        plugins: The distributions, beside Tocsin, without which the bundle does not load.
    """
    rows = [
        f"- {markdown_code(f'members/{folder}')}: {markdown_text(member)}"
        + ("; its own calibration and decision rule are not used" if has_chain else "")
        for member, folder, has_chain in members
    ]
    loading = [
        "```python",
        "import tocsin",
        'bundle = tocsin.load("bundle")',
        'bundle.predict(["a message"]).probabilities  # (1, L)',
        "```",
    ]
    if plugins:
        loading = [requirements(plugins), "", *loading]
    parts = [
        "---\npipeline_tag: text-classification\ntags:\n- text-classification\n- multilabel\n- tocsin\n- ensemble\n---",
        f"# {markdown_text(name)}",
        "Ensemble of multilabel text classifiers, made by Tocsin. Give it batches of messages, not single ones: it is "
        "right about shares and trends before it is right about one message, and its output is no ground for action "
        "against a person.",
        "## Members",
        f"{len(members)} networks, whose raw scores are combined by {markdown_text(ensembler)}. Each has its own model "
        "card in its folder, with its data, recipe and limits.\n\n" + "\n".join(rows),
        "## Figures",
        figures.rstrip(),
        "## Limits",
        f"{UNCALIBRATED}\n- What the members have not seen in their training data, the ensemble has not seen either.\n"
        f"- It takes the time and memory of its {len(members)} members together.",
        "## How to load",
        "\n".join(loading),
    ]
    return "\n\n".join(parts) + "\n"
