"""The content key of filtered pairs: what they depend on, so that another corpus never passes for them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin.arguments import is_plain
from tocsin.batches.cache import content_key, file_digest
from tocsin.batches.pair_building import PairRules
from tocsin.text.pairs import PairReader

__all__ = ["pairs_key"]

_PROBED = 1000


def pairs_key(sources: Mapping[str, PairReader], files: Mapping[str, Sequence[str]], rules: PairRules) -> str:
    """Return the key of what the sources give under the rules.

    Args:
        sources: Readers by name.
        files: For each of them the SHA-256 of its files, sorted.
        rules: What becomes of the pairs.
    """
    filters = rules.filters
    return content_key(
        kind="pairs",
        sources=[
            [name, _named(reader), list(files[name]), _probe(reader, rules)]
            for name, reader in sources.items()
        ],
        languages=sorted(filters.languages) if filters.languages is not None else None,
        languages_as=dict(filters.languages_as),
        cleaner=_named(filters.cleaner),
        on_bad_pair="skip" if rules.skip_bad else "raise",
        max_characters=filters.max_characters,
        max_length_ratio=filters.max_length_ratio,
        drop_identical=filters.drop_identical,
        cap=rules.cap,
        held_out=[rules.held_out, rules.held_out_share],
        seed=rules.seed,
    )


def _probe(reader: PairReader, rules: PairRules) -> str:
    """A digest of a source's first pairs once cleaned; of all its pairs if it names no file.

    A reader or cleaner, or a library of theirs, that changed gives other texts under the same name.
    """
    digest = hashlib.sha256()
    named = bool(reader.files())
    for batch in reader.batches((lambda error: None) if rules.skip_bad else None):
        sifted = rules.filters.sift(batch.slice(0, _PROBED) if named else batch)
        digest.update("\0".join([*sifted.english, *sifted.text, *sifted.lang]).encode())
        digest.update(sifted.pair_keys.tobytes())
        if named:
            break
    return digest.hexdigest()


def _named(component: Any) -> list[Any]:
    """A component as plain data: its class, the bytes of the file that defines it, its arguments."""
    kind = type(component)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    code = file_digest(Path(file)) if file and Path(file).is_file() else ""
    given = component.arguments if hasattr(component, "arguments") else vars(component)
    arguments = {name: value if is_plain(value) else _named(value) for name, value in sorted(given.items())}
    return [kind.__module__, kind.__qualname__, code, arguments]
