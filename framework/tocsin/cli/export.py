"""`tocsin export`: a bundle in another program's format, by an exporter that a plugin offers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.errors import BundleError, ConfigError, TocsinError
from tocsin.escaping import print_lines
from tocsin.plugins import Exporter
from tocsin.plugins.diagnosis import Diagnosis
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, instantiate, prepare
from tocsin.plugins.registry import described

if TYPE_CHECKING:
    from tocsin.bundles.load import Bundle

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Write a bundle into a new folder, in the exporter's format."""
    from tocsin.bundles.load import ROLES, load_bundle
    from tocsin.files import whole_folder

    registry = load_plugins(roles=(*ROLES, "exporter"))
    prepare(registry)
    parser = PlainSpeaking(
        prog="tocsin export",
        description="Write a bundle in another program's format. `tocsin components exporter` lists what plugins "
        "offer, `tocsin components NAME` the options of one; each is given as --exporter.OPTION VALUE.",
        parser_mode=PARSER_MODE,
    )
    parser.diagnosis = Diagnosis(argv, registry, {"exporter": "exporter"})
    parser.add_argument("--bundle", type=str, required=True, help="A folder that `tocsin fit` wrote.")
    parser.add_argument(
        "--output", type=str, required=True, help="The folder to write; must not exist, or be empty."
    )
    parser.add_subclass_arguments(Exporter, "exporter", required=True, help="The exporter.")
    parsed = parser.parse_args(list(argv))
    target = Path(parsed.output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"--output: {target} exists and is not empty; a new folder is wanted.")
    exporter: Exporter = instantiate(parser, parsed, registry).exporter
    bundle = load_bundle(parsed.bundle, registry)
    if target.exists():
        target.rmdir()
    with whole_folder(target) as part:
        _export(exporter, bundle, part, f"{type(exporter).__name__} ({registry.origin(type(exporter))})")
    print_lines(target)
    return 0


def _export(exporter: Exporter, bundle: Bundle, folder: Path, who: str) -> None:
    """Let an exporter, which may be a plugin's, write; `who` names it in messages."""
    try:
        exporter.export(bundle, folder)
    except TocsinError:
        raise
    except Exception as error:
        raise BundleError(
            f"The exporter {who} raised {described(error)}. Nothing was written. Where a bundle cannot be put into its "
            "format it should say so by a BundleError; ask its author."
        ) from error
    if not any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
        raise BundleError(
            f"The exporter {who} wrote nothing. Wanted at least one file with something in it, in the folder that "
            "export() is handed; ask its author."
        )
