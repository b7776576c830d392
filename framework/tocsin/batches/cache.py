"""Token ids of a corpus, computed once and memory-mapped.

The cache is an Arrow IPC file whose name is a hash of everything that its content depends on: the bytes of the source
files, the columns, the cleaner, the tokenizer, the prompt and the length. Another key never hits, and nothing is ever
updated in place. It ends with its SHA-256, which a process checks when it opens the file first (.6 s a GB); a damaged
file is written anew. It holds what the tokenizer made of each message, not the message.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tocsin.cache_entries import cached_file, check_cache_room
from tocsin.checksums import CHECKSUM_BYTES
from tocsin.errors import ConfigError
from tocsin.text.messages import iterate_strings

__all__ = ["TokenStore", "content_key", "file_digest", "texts_digest", "tokenizer_digest"]

_FORMAT = 1
_CHUNK = 8192  # messages a record batch: large enough for the tokenizer's threads, small enough for the progress bar


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal; of a folder: of its files' names and digests."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()} {file_digest(file)}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(**parts: Any) -> str:
    """A 32-digit hexadecimal key of named plain data; any difference in any part gives another key."""
    text = json.dumps({"format": _FORMAT, **parts}, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of a fast tokenizer's rules and vocabulary, without its transient truncation and padding."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["truncation"] = rules["padding"] = None
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


class TokenStore:
    """Token ids of N messages, read from a memory-mapped Arrow file.

    Args:
        path: A file that `TokenStore.build` wrote, checked.
    """

    _SCHEMA = pa.schema(
        [("tokens", pa.list_(pa.int32())), ("truncated", pa.bool_()), ("unknown", pa.int32())]
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        content = pa.memory_map(str(path)).read_buffer()
        self._table = pa.ipc.open_file(content[: len(content) - CHECKSUM_BYTES]).read_all()
        self._chunks: list[tuple[np.ndarray, np.ndarray]] = []
        starts = [0]
        for chunk in self._table["tokens"].chunks:
            self._chunks.append((chunk.offsets.to_numpy(), chunk.values.to_numpy()))
            starts.append(starts[-1] + len(chunk))
        self._starts = np.array(starts)

    # Read when asked for: of a hundred million sentences they would fill the memory that the mapped file spares.

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each message, `(N,)`, in memory."""
        lengths = [np.diff(offsets) for offsets, _ in self._chunks]
        return np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int32)

    @cached_property
    def truncated(self) -> np.ndarray:
        """Whether each message was cut at `max_length`, `(N,)`, in memory."""
        return self._table["truncated"].to_numpy()

    @cached_property
    def unknown(self) -> np.ndarray:
        """Unknown tokens of each message, `(N,)`, in memory."""
        return self._table["unknown"].to_numpy()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of some messages, int64; only their offsets are read."""
        lengths = np.zeros(len(rows), dtype=np.int64)
        chunks = np.searchsorted(self._starts, rows, side="right") - 1
        for chunk in np.unique(chunks):
            mine = np.flatnonzero(chunks == chunk)
            inside = rows[mine] - self._starts[chunk]
            offsets = self._chunks[chunk][0]
            lengths[mine] = offsets[inside + 1] - offsets[inside]
        return lengths

    def chunk_lengths(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the tokens of each message of one record batch after another, from row to row."""
        stop = len(self) if stop is None else stop
        for first, (offsets, _) in zip(self._starts, self._chunks, strict=False):
            low, high = max(start - int(first), 0), min(stop - int(first), len(offsets) - 1)
            if low < high:
                yield int(first) + low, np.diff(offsets[low : high + 1])

    def truncated_messages(self) -> int:
        """How many messages were cut at `max_length`."""
        return sum(int(chunk.true_count) for chunk in self._table["truncated"].chunks)

    def chunk_ids(self) -> Iterator[np.ndarray]:
        """Yield the token ids of one record batch of messages after another, in a row, int32."""
        for offsets, values in self._chunks:
            yield values[offsets[0] : offsets[-1]]

    def __getitem__(self, row: int) -> np.ndarray:
        """Token ids of one message, int32, special tokens included."""
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        offsets, values = self._chunks[chunk]
        inside = row - int(self._starts[chunk])
        return values[offsets[inside] : offsets[inside + 1]]

    def pieces_in(self, rows: np.ndarray | range) -> np.ndarray:
        """Ids that occur in these messages, each once, sorted, int64; a range is not written out."""
        wanted = np.zeros(0 if isinstance(rows, range) else len(self), dtype=bool)
        if not isinstance(rows, range):
            wanted[rows] = True
        seen = np.zeros(0, dtype=bool)
        for start, (offsets, values) in zip(self._starts, self._chunks, strict=False):
            if isinstance(rows, range):
                numbers = np.arange(start, start + len(offsets) - 1)
                mine = (numbers >= rows.start) & (numbers < rows.stop)
            else:
                mine = wanted[start : start + len(offsets) - 1]
            if not mine.any():
                continue
            used = values[offsets[0] : offsets[-1]][np.repeat(mine, np.diff(offsets))]
            if len(used) and int(used.max()) >= len(seen):
                seen = np.concatenate([seen, np.zeros(int(used.max()) + 1 - len(seen), dtype=bool)])
            seen[used] = True
        return np.flatnonzero(seen)

    @classmethod
    def build(
        cls,
        path: Path,
        texts: Sequence[str] | pa.ChunkedArray,
        tokenizer: Any,
        max_length: int,
        prompt: str = "",
        advance: Callable[[int], None] = lambda done: None,
    ) -> "TokenStore":
        """Tokenise and write, unless the file is there already and sound.

        Args:
            path: Where to; its name must be the content key.
            texts: Cleaned messages.
            tokenizer: A fast transformers tokenizer.
            max_length: Tokens a message keeps at most, special tokens included.
            prompt: Put before every message.
            advance: Called with the number of messages done since the last call.
        """
        if not path.exists():
            # A token takes four bytes, and some four of text; a message has two numbers more.
            characters = texts.nbytes if isinstance(texts, pa.ChunkedArray) else sum(map(len, texts))
            check_cache_room(path, min(characters, 4 * max_length * len(texts)) + 13 * len(texts))
        return cls.stream(path, _blocks(texts), tokenizer, max_length, prompt, advance)

    @classmethod
    def stream(
        cls,
        path: Path,
        blocks: Iterable[list[str]],
        tokenizer: Any,
        max_length: int,
        prompt: str = "",
        advance: Callable[[int], None] = lambda done: None,
    ) -> "TokenStore":
        """As `build`, of texts that come some thousands at a time and are not held."""

        def write(part: Path) -> None:
            with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, cls._SCHEMA) as writer:
                for batch in _tokenise(blocks, tokenizer, max_length, prompt, advance):
                    writer.write_batch(batch)

        return cls(cached_file(path, write))


def _blocks(texts: Sequence[str] | pa.ChunkedArray) -> Iterator[list[str]]:
    for start in range(0, len(texts), _CHUNK):
        block = texts[start : start + _CHUNK]
        yield block.to_pylist() if isinstance(block, pa.ChunkedArray) else list(block)


def _tokenise(
    blocks: Iterable[list[str]],
    tokenizer: Any,
    max_length: int,
    prompt: str,
    advance: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    from tokenizers import Tokenizer

    # A copy: truncation set on the original would leak into whoever shares it.
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    special = backend.num_special_tokens_to_add(False)
    if max_length <= special:
        raise ConfigError(
            f"max_length is {max_length}, and the tokenizer adds {special} special tokens to each message; "
            "nothing of the "
            "message would be left. Give more."
        )
    backend.enable_truncation(max_length)
    unknown_id = tokenizer.unk_token_id
    for strings in blocks:
        encodings = backend.encode_batch([prompt + text for text in strings])
        ids = [encoding.ids for encoding in encodings]
        yield pa.record_batch(
            [
                pa.array(ids, type=pa.list_(pa.int32())),
                pa.array([bool(encoding.overflowing) for encoding in encodings]),
                pa.array([row.count(unknown_id) for row in ids], type=pa.int32()),
            ],
            schema=TokenStore._SCHEMA,
        )
        advance(len(strings))


def texts_digest(texts: pa.ChunkedArray) -> str:
    """Return the SHA-256, in hexadecimal, of texts in their order."""
    digest = hashlib.sha256()
    for text in iterate_strings(texts):
        encoded = text.encode()
        # Lengths go in too: two texts must not give the digest of their sum.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
