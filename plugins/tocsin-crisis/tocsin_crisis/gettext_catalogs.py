"""The translation catalogs of installed packages: user-interface strings in up to a hundred languages."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tocsin.plugins import ConfigError, DataError, OnBadRow, PairReader, check_file, did_you_mean
from tocsin_crisis.languages import iso639_3

__all__ = ["GettextCatalogs"]

_STRINGS = 10_000
# %(name)s, %s, %d, %%, {name}, {}, {0:d}, and the shortcuts of menus (&File).
_PLACEHOLDER = re.compile(
    r"%\(\w+\)[#0\- +]?[\d.]*[a-zA-Z]|%[#0\- +]?[\d.]*[diouxXeEfFgGcrsa]\b|\{[\w.!:\[\]]*\}"
)

Pair = tuple[str, str, str, str]


class GettextCatalogs(PairReader):
    """Reads the catalogs (.po, else .mo) of installed packages, which are found but not imported.

    A catalog lies in PACKAGE/…/LANGUAGE/LC_MESSAGES/DOMAIN.po. Strings without a translation, fuzzy or obsolete ones
    and the header are passed over. English is the message id. A pair's row in an error is the line of a .po file, or
    the number of a message of a .mo file.

    Args:
        packages: Import names of installed packages, such as [django].
        languages: Languages as the catalogs' folders call them, such as [fr, pt_BR]; null for all.
        plurals: Of messages with plural forms, the singular alone, or the last plural form too (beside the plural id).
        keep_placeholders: Whether strings with placeholders such as %(name)s or {name} are kept as they are; else they
            are passed over.
        codes: Languages as ISO 639-3 (see `tocsin_crisis.languages`), or as the folders call them.
        variants: With iso639-3, whether pt_BR becomes por (merge) or por_br (keep).
    """

    def __init__(
        self,
        packages: list[str],
        languages: list[str] | None = None,
        plurals: Literal["singular", "both"] = "singular",
        keep_placeholders: bool = True,
        codes: Literal["iso639-3", "as-is"] = "iso639-3",
        variants: Literal["merge", "keep"] = "merge",
    ) -> None:
        if not packages:
            raise ConfigError("GettextCatalogs: packages is empty; name at least one, such as django.")
        self.packages = list(packages)
        self.languages = None if languages is None else list(languages)
        self.plurals, self.keep_placeholders = plurals, keep_placeholders
        self.codes, self.variants = codes, variants

    def files(self) -> list[Path]:
        """Return the catalogs, package by package, sorted."""
        return [path for _, path in self._catalogs()]

    def batches(self, on_bad_row: OnBadRow | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 10,000 strings; see `PairReader.batches`. `source` is the package's name.

        With `on_bad_row` a .po file with a fault in some line is left out as a whole.
        """
        strings: list[Pair] = []
        for package, path in self._catalogs():
            try:
                strings += self._strings(path, package)
            except DataError as error:
                if on_bad_row is None or error.row is None:
                    raise
                on_bad_row(error)
            while len(strings) >= _STRINGS:
                yield _batch(strings[:_STRINGS])
                strings = strings[_STRINGS:]
        if strings:
            yield _batch(strings)

    def _catalogs(self) -> list[tuple[str, Path]]:
        """Return packages with their catalogs of the languages wanted."""
        found = [(package, path) for package in self.packages for path in _catalogs_of(package)]
        present = sorted({_language(path) for _, path in found})
        for language in self.languages or ():
            if language not in present:
                raise DataError(
                    f"no catalog of the language {language!r} in {', '.join(self.packages)}."
                    f"{did_you_mean(language, present)} Their languages: {', '.join(present)}"
                )
        return [one for one in found if self.languages is None or _language(one[1]) in self.languages]

    def _strings(self, path: Path, package: str) -> Iterator[Pair]:
        lang = _language(path)
        if self.codes == "iso639-3":
            lang = iso639_3(lang, variants=self.variants == "keep")
        for message in _read(path):
            # What is compiled was neither fuzzy nor obsolete.
            if not message.msgid or getattr(message, "fuzzy", False) or message.obsolete:
                continue
            # By number: a catalog may translate more plural forms than its header promises (Django's es_AR does).
            forms = [message.msgstr_plural[number] for number in sorted(message.msgstr_plural)]
            pairs = [(message.msgid, forms[0] if forms else message.msgstr)]
            if self.plurals == "both" and message.msgid_plural and forms:
                pairs.append((message.msgid_plural, forms[-1]))
            for english, text in pairs:
                if not english.strip() or not (text or "").strip():
                    continue
                if not self.keep_placeholders and (_PLACEHOLDER.search(english) or _PLACEHOLDER.search(text)):
                    continue
                yield english, text, lang, package


def _folders(package: str) -> list[Path]:
    """Return where a package lies, without importing it."""
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise DataError(
            f"no package {package!r} is installed here, or it is a single module. Its name is that of `import`, not of "
            "`pip install`; for Django and others: pip install tocsin-crisis[catalogs]"
        )
    return [Path(place) for place in places]


def _catalogs_of(package: str) -> list[Path]:
    """Return a package's catalogs, sorted."""
    found: dict[tuple[Path, str], Path] = {}
    # .mo first: a .po of the same name, which knows more, takes its place.
    for ending in ("mo", "po"):
        for folder in _folders(package):
            for path in folder.rglob(f"*/LC_MESSAGES/*.{ending}"):
                found[path.parent, path.stem] = path
    if not found:
        raise DataError(
            f"the package {package!r} holds no catalog (…/LANGUAGE/LC_MESSAGES/DOMAIN.po or .mo). Take it off "
            "`packages`"
        )
    return sorted(found.values())


def _language(path: Path) -> str:
    return path.parent.parent.name


def _read(path: Path) -> Any:
    """Return the messages of a catalog."""
    import polib

    check_file(path)
    try:
        if path.suffix == ".mo":
            return list(polib.mofile(str(path), encoding="utf-8"))
        # polib guesses an encoding from the header; almost all catalogs are UTF-8.
        content = path.read_bytes()
        text = content.decode("utf-8")
        return list(polib.pofile(text + "\n", encoding="utf-8"))
    except UnicodeDecodeError as error:
        if path.suffix == ".mo":
            raise DataError("torn, or not UTF-8; install the package again", file=path) from None
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"not UTF-8 text (byte {content[error.start]:#04x}); convert the catalog (msgconv -t utf-8)",
            file=path,
            row=row,
        ) from None
    except Exception as error:  # a .mo file that is torn fails in as many ways as it has fields
        line = re.search(r"\(line (\d+)\)", str(error))
        if line is not None and path.suffix == ".po":
            raise DataError("cannot be read as a catalog", file=path, row=int(line[1])) from None
        said = f"{type(error).__name__}: {error}"
        raise DataError(
            f"torn, or not a catalog ({said:.150}); install the package again", file=path
        ) from None


def _batch(strings: list[Pair]) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*strings, strict=True)]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=["english", "text", "lang", "source"])
