"""An environment of its own for a document's commands: a new venv that sees our libraries, and no network."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.builders import tiny_encoder
from tocsin.checksums import write_checksums

# What pip would have put into bin/ along with the libraries that the venv only borrows.
_SCRIPTS = {
    "tocsin": "from tocsin.cli.main import main",
    "pytest": "from pytest import main",
    "pip": "from pip._internal.cli.main import main",
}


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables under which a document's commands run."""
    from tocsin_wheels.wheels import MINILM

    folder = tmp_path_factory.mktemp("environment")
    bin_folder = _venv(folder / "venv")
    cache = folder / "cache"
    # A tiny encoder in the place of the one that MiniLmEnglish would fetch.
    write_checksums(tiny_encoder(cache / "encoders" / f"all-MiniLM-L6-v2-{MINILM.member_sha256[:12]}"))
    nowhere = "http://127.0.0.1:9"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTEST_"))}
    for name in ("TOCSIN_DATA", "TOCSIN_PLUGINS", "PYTHONPATH", "VIRTUAL_ENV", "FORCE_COLOR"):
        kept.pop(name, None)
    return (
        kept
        | {
            "PATH": os.pathsep.join([str(bin_folder), os.environ.get("PATH", "")]),
            "TOCSIN_CACHE": str(cache),
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the setting's value: no isolation, so nothing to fetch
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONUNBUFFERED": "1",  # errors stand where they were printed
            "http_proxy": nowhere,
            "https_proxy": nowhere,
            "COLUMNS": "110",
            "NO_COLOR": "1",
        }
    )


def _venv(folder: Path) -> Path:
    """Make a venv that sees what this interpreter sees, and return its folder of scripts."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    ours = {sysconfig.get_paths()[name] for name in ("purelib", "platlib")}
    lines = [f"import site; site.addsitedir({path!r})\n" for path in sorted(ours)]
    Path(paths["purelib"], "borrowed.pth").write_text("".join(lines), encoding="utf-8")
    scripts = Path(paths["scripts"])
    python = scripts / Path(sys.executable).name
    for name, importing in _SCRIPTS.items():
        script = scripts / name
        script.write_text(f"#!{python}\nimport sys\n\n{importing}\n\nsys.exit(main())\n", encoding="utf-8")
        script.chmod(0o755)
    return scripts
