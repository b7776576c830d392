"""`tocsin new-plugin`: writes a plugin that installs, passes its tests and waits to be changed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tocsin.cli.options import OptionParser
from tocsin.errors import ConfigError
from tocsin.escaping import print_lines
from tocsin.plugins.roles import ROLES
from tocsin.plugins.templates import NewPlugin, new_plugin

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Write a plugin into a new folder, and print what was written and what to do next."""
    parser = OptionParser(
        prog="tocsin new-plugin",
        description="Write a plugin that offers one component: a folder tocsin-NAME with code, a test and a README. "
        "It installs and passes its test as it is; then make it yours.",
    )
    parser.add_argument("name", metavar="NAME", help="its name, such as stranger or early-alarm")
    parser.add_argument(
        "--role",
        default="Head",
        help=f"what it offers (default: %(default)s), one of {', '.join(role.base for role in ROLES.values())}",
    )
    parser.add_argument(
        "--folder", metavar="DIR", default=".", help="where the plugin's own folder goes (default: here)"
    )
    options = parser.parse_args(list(argv))
    plugin = new_plugin(options.name, options.role)
    target = _target(options.folder, plugin)
    _refuse_taken_names(plugin)
    files = plugin.files()
    _write(target, files)
    print_lines("\n".join(_tree(target, plugin, list(files))))
    print_lines("\nNext:")
    print_lines(f"  pip install -e {shlex.quote(str(target))}")
    print_lines(f"  pytest {shlex.quote(str(target))}")
    print_lines(f"  tocsin components {plugin.component}")
    return 0


def _target(folder: str, plugin: NewPlugin) -> Path:
    if not folder:
        raise ConfigError("--folder is empty; a folder is wanted, such as . for this one.")
    parent = Path(os.path.expanduser(folder))
    if parent.exists() and not parent.is_dir():
        raise ConfigError(f"--folder: {parent} is a file; a folder is wanted.")
    target = parent / plugin.distribution
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(
            f"{target} exists and is not empty; nothing was written. Choose another name or --folder, or remove "
            "it first."
        )
    return target


def _refuse_taken_names(plugin: NewPlugin) -> None:
    try:
        installed = distribution(plugin.distribution)
    except PackageNotFoundError:
        pass
    else:
        raise ConfigError(
            f"{plugin.distribution} {installed.version} is installed already: pip would replace it by the new one. "
            f"Choose another name, or run `pip uninstall {plugin.distribution}` first."
        )
    # This imports the role's components (some seconds for those of torch): a plugin of a taken name would be refused.
    from tocsin.plugins.manager import load_plugins

    registry = load_plugins(roles=[plugin.role])
    taken = registry.components(plugin.role).get(plugin.component)
    if taken is not None:
        raise ConfigError(
            f"{plugin.component} is a {plugin.role.replace('_', ' ')} of {registry.source(taken)} already, and two of "
            "one name cannot be told apart in YAML. Choose another name."
        )


def _write(target: Path, files: dict[str, str]) -> None:
    from tocsin.files import whole_folder

    try:
        with whole_folder(target) as part:
            for name, content in files.items():
                path = part / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from error


def _tree(target: Path, plugin: NewPlugin, names: list[str]) -> list[str]:
    """The written files, folders last, with a word on those that matter first."""
    remarks = {
        f"{plugin.module}/__init__.py": f"the hook that offers {plugin.component}",
        f"{plugin.module}/{plugin.role}.py": f"{plugin.component} itself: change this",
        f"tests/test_{plugin.role}.py": "its conformance check, and a test of what it does",
    }
    rows = [("├── " + name, "") for name in names if "/" not in name]
    folders = sorted({name.partition("/")[0] for name in names if "/" in name})
    for folder in folders:
        last = folder == folders[-1]
        rows.append((("└── " if last else "├── ") + folder + "/", ""))
        inside = [name for name in names if name.startswith(f"{folder}/")]
        for name in inside:
            stem = ("    " if last else "│   ") + ("└── " if name == inside[-1] else "├── ")
            rows.append((stem + name.partition("/")[2], remarks.get(name, "")))
    width = max(len(row) for row, _ in rows)
    return [f"{target}/", *(f"{row:<{width}}  {remark}".rstrip() for row, remark in rows)]
