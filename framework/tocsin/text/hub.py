"""Data sets of the Hugging Face hub, named as hf://owner/name@revision, fetched once into a Parquet file.

Nothing is fetched unless a config names such a data set. Its tables alone are read: the library datasets (5 and
later) runs no scripts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.parquet as pq

from tocsin.cache_entries import cached_file, is_sound_file
from tocsin.errors import ConfigError, TocsinError, did_you_mean
from tocsin.files import cache_folder
from tocsin.parquet_files import DIGEST
from tocsin.text.reading import BATCH_ROWS, one_line

__all__ = ["HUB", "HubSource", "hub_file"]

HUB = "hf://"
_FORM = "hf://owner/name@revision, or hf://owner/name@revision?subset=NAME&split=NAME"
_NAME = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?:\?(?P<options>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_SPLIT = "split"


@dataclass(frozen=True)
class HubSource:
    """A data set of the hub, as a config names it.

    Attributes:
        repository: Owner and name.
        revision: A commit, tag or branch.
        subset: Its configuration, or None for the only one.
        split: The split that is read, or None for all, told apart by a column `split`.
    """

    repository: str
    revision: str
    subset: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubSource:
        """Return what a name says.

        Raises:
            ConfigError: The name has another form, or no revision.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError(f"{name!r} names no data set of the hub; wanted was {_FORM}")
        if match["revision"] is None:
            raise ConfigError(
                f"{name!r} has no revision; add one ({name.split('?')[0]}@COMMIT), so that tomorrow's run reads the "
                "same messages"
            )
        options = dict(parse_qsl(match["options"] or "", keep_blank_values=True))
        for option, value in options.items():
            if option not in ("subset", "split"):
                hint = did_you_mean(option, ["subset", "split"])
                raise ConfigError(f"{name!r}: there is no option {option!r}.{hint} Wanted was {_FORM}")
            if not re.fullmatch(r"[\w.-]+", value):
                raise ConfigError(f"{name!r}: {option} is {value!r}; wanted was a name")
        return cls(match["repository"], match["revision"], options.get("subset"), options.get("split"))

    def file(self, commit: str) -> Path:
        """Return where the cache keeps this data set as of a commit."""
        parts = [self.repository.replace("/", "--"), commit, self.subset or "default", self.split or "all"]
        return cache_folder("hub", "@".join(parts) + ".parquet")


def hub_file(name: str) -> Path:
    """Return a Parquet file that holds a data set of the hub, fetched now unless the cache has it.

    All splits stand in it one after the other, with a column `split` (unless the set has one of that name). A
    revision that is no commit is looked up each time, since a branch moves; the cache is kept by commit.

    Args:
        name: hf://owner/name@revision, with ?subset=NAME&split=NAME where wanted.

    Raises:
        ConfigError: The name is wrong; this machine is told to stay offline and the cache does not have the set;
            the library datasets is not installed; or the hub cannot be reached or refuses.
    """
    source = HubSource.parse(name)
    if _COMMIT.fullmatch(source.revision) and is_sound_file(source.file(source.revision)):
        return source.file(source.revision)
    _check_online(name, source)
    try:
        import datasets
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ConfigError(
            f"{name}: fetching it needs the library datasets: pip install 'tocsin[hub]'"
        ) from error
    # Everything is caught: what fails between here and the hub raises errors of four libraries, OSError among them.
    try:
        commit = source.revision
        if not _COMMIT.fullmatch(commit):
            commit = str(HfApi().dataset_info(source.repository, revision=source.revision).sha)
        target = source.file(commit)

        def fetch(part: Path) -> None:
            found = datasets.load_dataset(
                source.repository, source.subset, split=source.split, revision=commit
            )
            _write({source.split: found} if source.split else dict(found), part, several=source.split is None)

        cached_file(target, fetch)
    except TocsinError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{name} could not be fetched ({type(error).__name__}: {one_line(error)}). Look at owner, name, revision, "
            "subset and split, and whether this machine reaches the hub"
        ) from error
    return target


def _check_online(name: str, source: HubSource) -> None:
    for variable in _OFFLINE:
        if os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on"):
            hint = (
                ""
                if _COMMIT.fullmatch(source.revision)
                else f" The cache is kept by commit: {source.revision!r} cannot be looked up offline; name the commit."
            )
            raise ConfigError(
                f"{name} is not in the cache, and {variable}={os.environ[variable]} forbids fetching it. Unset "
                f"{variable}, or run this once on a machine that is online, with the same $TOCSIN_CACHE.{hint}"
            )


def _write(splits: dict[Any, Any], path: Path, *, several: bool) -> None:
    """Write splits one after the other; their columns must agree."""
    writer: pq.ParquetWriter | None = None
    try:
        for split, found in splits.items():
            for table in found.with_format("arrow").iter(batch_size=BATCH_ROWS):
                if several and _SPLIT not in table.column_names:
                    table = table.append_column(_SPLIT, pa.array([str(split)] * table.num_rows, pa.string()))
                table = table.replace_schema_metadata({DIGEST: b"0" * 64})
                if writer is None:
                    writer = pq.ParquetWriter(
                        path, table.schema, compression="zstd", write_page_checksum=True
                    )
                elif table.schema.names != writer.schema.names:
                    raise ConfigError(
                        f"its split {split!r} has the columns {table.schema.names}, the first one "
                        f"{writer.schema.names}; name one split: ?split=NAME"
                    )
                writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise ConfigError("it holds no rows")
