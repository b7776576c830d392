"""A bundle as one file."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.plugins import BundleError, Exporter

if TYPE_CHECKING:
    from tocsin.plugins import Bundle

__all__ = ["TemplateExporter"]

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


class TemplateExporter(Exporter):
    """Writes the bundle as one archive, bundle.zip, and its labels as labels.json.

    Unpacked and loaded again it gives the same probabilities: nothing is converted.
    """

    def export(self, bundle: "Bundle", folder: Path) -> None:
        """Write bundle.zip and labels.json; equal bundles give equal archives."""
        files = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
        if not files:
            raise BundleError(f"{bundle.folder} holds no file; was it moved meanwhile?")
        with zipfile.ZipFile(folder / "bundle.zip", "w") as archive:
            for path in files:
                name = path.relative_to(bundle.folder).as_posix()
                # The date of the file would make two archives of one bundle differ.
                info = zipfile.ZipInfo(name, _FIRST_DAY)
                with (
                    path.open("rb") as source,
                    archive.open(info, "w", force_zip64=True) as member,
                ):
                    shutil.copyfileobj(source, member)
        labels = json.dumps(list(bundle.labels), ensure_ascii=False, indent=2)
        (folder / "labels.json").write_text(labels + "\n", encoding="utf-8")
