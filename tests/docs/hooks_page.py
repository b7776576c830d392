"""Reads docs/hooks.md, and says where it is not the page of the hooks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
MOST_LINES = 24
"""Of an example, blank lines not counted."""


@dataclass(frozen=True)
class Section:
    """What stands below one heading, up to the next heading of its level."""

    heading: str
    body: str

    @property
    def hook(self) -> str:
        """The name that the heading begins with."""
        return self.heading.partition("(")[0]

    def fences(self, language: str) -> list[str]:
        """The fenced blocks of a language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.body, flags=re.DOTALL | re.MULTILINE)


def sections(page: str) -> list[Section]:
    """The sections of a page, those of its second level; what looks like a heading inside a fence is none."""
    found: list[Section] = []
    heading, lines, fenced = "", [], False
    for line in [*page.splitlines(), "## "]:
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            found.append(Section(heading, "\n".join(lines) + "\n"))
            heading, lines = line.removeprefix("## ").strip(), []
        else:
            lines.append(line)
    return found[1:]


def hook_sections(page: str) -> list[Section]:
    """The sections whose heading begins as a hook's name does."""
    return [section for section in sections(page) if section.hook.startswith("tocsin_")]


def hooks_of(module: ModuleType) -> dict[str, Callable[..., object]]:
    """The hooks that a module specifies, in its order."""
    return {name: value for name, value in vars(module).items() if name.startswith("tocsin_")}


def written_signature(hook: Callable[..., object]) -> str:
    """A hook's signature as its source writes it; annotations are text under `from __future__ import annotations`."""
    signature = inspect.signature(hook)
    parameters = ", ".join(f"{name}: {value.annotation}" for name, value in signature.parameters.items())
    return f"{hook.__name__}({parameters}) -> {signature.return_annotation}"


def faults(page: str, module: ModuleType) -> list[str]:
    """What keeps a page from being that of a module's hooks: a section each, in their order, with one short plugin."""
    hooks = hooks_of(module)
    found = hook_sections(page)
    names = [section.hook for section in found]
    problems = [f"{name} has no section" for name in hooks if name not in names]
    problems += [f"{name} has {names.count(name)} sections" for name in hooks if names.count(name) > 1]
    problems += [
        f"{section.heading} is a section of no hook" for section in found if section.hook not in hooks
    ]
    if not problems and names != list(hooks):
        problems.append(f"the sections stand in the order {', '.join(names)}")
    for section in found:
        if section.hook not in hooks:
            continue
        wanted = written_signature(hooks[section.hook])
        if section.heading != wanted:
            problems.append(f"{section.heading} is headed otherwise than its hook: {wanted}")
        problems += [f"{section.hook}: {problem}" for problem in _faults_of_example(section)]
    return problems


def _faults_of_example(section: Section) -> list[str]:
    examples = section.fences("python")
    if len(examples) != 1:
        return [f"{len(examples)} plugins stand in the section, one is wanted"]
    lines = [line for line in examples[0].splitlines() if line.strip()]
    problems = []
    if len(lines) > MOST_LINES:
        problems.append(f"the plugin has {len(lines)} lines, at most {MOST_LINES} are wanted")
    if f"@hookimpl\ndef {section.hook}(" not in examples[0]:
        problems.append("the plugin does not implement the hook")
    return problems
