"""The plugins that `tocsin new-plugin` writes: a working component of each role, and what belongs around one.

`head.py` here becomes `tocsin_NAME/head.py` there, the plugin's name in the place of "Template" and "template";
`test_head.py` becomes its test, and the texts (`*.txt`) the files around them. None of the components is imported from
here: the parser would offer them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from tocsin import __version__
from tocsin.errors import ConfigError
from tocsin.plugins.discovery import GROUP
from tocsin.plugins.roles import ROLES
from tocsin.plugins.templates.uses import USES

__all__ = ["NewPlugin", "new_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_HEAVY = ("numpy", "pyarrow", "torch")


@dataclass(frozen=True)
class NewPlugin:
    """A plugin to be written.

    Attributes:
        name: Lower-case words with hyphens between, such as "early-alarm".
        role: A key of `ROLES`.
    """

    name: str
    role: str

    @property
    def distribution(self) -> str:
        """What pip installs, such as "tocsin-early-alarm"; also the plugin's folder."""
        return f"tocsin-{self.name}"

    @property
    def module(self) -> str:
        """What Python imports, such as "tocsin_early_alarm"."""
        return self.distribution.replace("-", "_")

    @property
    def component(self) -> str:
        """The class, such as "EarlyAlarmHead"; a name that ends with the role does not say it twice."""
        words = self.name.removesuffix("-" + self.role.replace("_", "-")).split("-")
        return "".join(word[0].upper() + word[1:] for word in words) + ROLES[self.role].base

    def files(self) -> dict[str, str]:
        """Return the plugin's files: path inside its folder -> content."""
        code = self._renamed(_read(f"{self.role}.py"))
        fields = {
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "component": self.component,
            "role": self.role,
            "words": self.role.replace("_", " "),
            "A": "An" if self.role[0] in "aeiou" else "A",
            "base": ROLES[self.role].base,
            "hook": ROLES[self.role].hook,
            "group": GROUP,
            "version": __version__,
            "requirements": "\n    ".join([f"tocsin>={__version__}", *_heavy_imports(code)]),
            "summary": _summary(code, self.component),
            "use": Template(USES[self.role]).substitute(
                component=self.component, module=self.module, role=self.role
            ),
        }
        texts = {
            name: Template(_read(f"{name}.txt")).substitute(fields)
            for name in ("README.md", "pyproject.toml", "setup.cfg", "hook.py")
        }
        return {
            "README.md": texts["README.md"],
            "pyproject.toml": texts["pyproject.toml"],
            "setup.cfg": texts["setup.cfg"],
            f"{self.module}/__init__.py": texts["hook.py"],
            f"{self.module}/{self.role}.py": code,
            f"{self.module}/py.typed": "",
            f"tests/test_{self.role}.py": self._renamed(_read(f"test_{self.role}.py")),
        }

    def _renamed(self, text: str) -> str:
        text = text.replace(f"Template{ROLES[self.role].base}", self.component)
        return text.replace("tocsin_template", self.module).replace("template", self.name)


def new_plugin(name: str, role: str) -> NewPlugin:
    """Return the plugin of a name and a role, as a user writes them.

    Args:
        name: With or without "tocsin-" before it; underscores count as hyphens.
        role: A key of `ROLES` or the name of its base class, in any case, with hyphens or underscores.

    Raises:
        ConfigError: No plugin can have that name, or there is no such role.
    """
    short = name.replace("_", "-").removeprefix("tocsin-")
    if not _NAME.fullmatch(short):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "-", name.removeprefix("tocsin-"))
        better = words.strip("-").lower()
        hint = f" Did you mean {better!r}?" if better != short and _NAME.fullmatch(better) else ""
        raise ConfigError(
            f"{name!r} cannot be a plugin's name.{hint} Lower-case words of a to z and 0 to 9 are wanted, hyphens "
            "between them and a letter first, such as early-alarm: it names a distribution, a module and a class."
        )
    return NewPlugin(short, _role(role))


def _role(given: str) -> str:
    key = re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", given).lower()
    if key not in ROLES:
        from difflib import get_close_matches

        close = get_close_matches(key, list(ROLES), n=1)
        hint = f" Did you mean {ROLES[close[0]].base}?" if close else ""
        known = ", ".join(role.base for role in ROLES.values())
        raise ConfigError(f"--role: there is no role {given!r}.{hint} Roles: {known}.")
    return key


def _read(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


def _heavy_imports(code: str) -> list[str]:
    """The libraries a component imports beside Tocsin, which its distribution has to ask for."""
    return [library for library in _HEAVY if re.search(rf"^(import|from) {library}\b", code, re.MULTILINE)]


def _summary(code: str, component: str) -> str:
    """The first sentence of the component's docstring."""
    found = re.search(rf'^class {component}\b.*?"""(.+?\.)(\s|""")', code, re.MULTILINE | re.DOTALL)
    return "" if found is None else " ".join(found[1].split())
