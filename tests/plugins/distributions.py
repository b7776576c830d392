"""Installs pretended distributions: a metadata folder and modules on `sys.path`, no pip."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Install = Callable[..., None]


def write_distribution(
    folder: Path,
    name: str,
    *,
    version: str = "1.0",
    summary: str = "A pretended plugin",
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
) -> None:
    """Write what pip would have written for a distribution: metadata, entry points and modules."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n", encoding="utf-8"
    )
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")


def installer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a distribution into `folder`, which stands on `sys.path` until the test ends."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.syspath_prepend(str(folder))

    def install(name: str, *, modules: Mapping[str, str] | None = None, **options: object) -> None:
        for module in modules or {}:
            earlier = sys.modules.pop(module, None)  # an earlier test's
            assert earlier is None or "site" in Path(str(earlier.__file__)).parts, (
                f"{module} hides a real module"
            )
        write_distribution(folder, name, modules=modules, **options)  # type: ignore[arg-type]
        importlib.invalidate_caches()

    return install
