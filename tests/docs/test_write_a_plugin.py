"""docs/write-a-plugin.md, walked through: a plugin written, installed by pip, chosen, trained, shipped, and missed."""

from __future__ import annotations

from pathlib import Path

from tests.docs.environment import environ  # noqa: F401 (a fixture)
from tests.docs.walkthrough import walk

PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"


def test_the_page_does_what_it_says(environ: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    seen = [step.subject for step, _ in walk(PAGE.read_text(encoding="utf-8"), tmp_path, environ)]
    # The walk itself compares; these are the steps without which it would show too little.
    verbs = ("new-plugin", "components", "plugins --check", "fit", "predict")
    for command in (*(f"tocsin {verb}" for verb in verbs), "pip install", "pytest", "pip uninstall"):
        assert any(subject.startswith(command) for subject in seen), f"the page does not show {command}"
    bundle = (tmp_path / "runs" / "stranger" / "latest-fit").resolve() / "bundle"
    assert (bundle / "head.safetensors").is_file()
    assert not list(bundle.rglob("*.py"))
