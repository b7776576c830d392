"""What the cards of all kinds of bundles share; what comes from data or a config is shown as text."""

from collections.abc import Iterable, Mapping
from typing import Any

from tocsin.arguments import Origin
from tocsin.escaping import markdown_code, markdown_text
from tocsin.privacy import shown_data

__all__ = ["described", "file_lines", "requirements"]


def described(component: Any) -> str:
    """Return a component's class and arguments, without folders of the machine that it was fitted on."""
    arguments = shown_data(getattr(component, "arguments", {}))
    shown = ", ".join(f"{key} {value}" for key, value in arguments.items() if value not in (None, ""))
    return markdown_text(type(component).__name__ + (f" ({shown})" if shown else ""))


def file_lines(digests: Mapping[str, str], what: str = "File") -> list[str]:
    """Return a list item a file: its name and its SHA-256."""
    return [
        f"- {what} {markdown_code(path.rsplit('/', 1)[-1])}, SHA-256 {markdown_code(digest)}"
        for path, digest in digests.items()
    ]


def requirements(plugins: Iterable[Origin]) -> str:
    """Return the sentence that says what must be installed, with versions where an index could have them."""
    needed = ", ".join(
        markdown_code(
            f"{plugin.distribution}=={plugin.version}" if plugin.installable else plugin.distribution
        )
        for plugin in plugins
    )
    return f"Its components come from {needed}: install that beside Tocsin first."
