"""What a folder that transformers reads may say: nothing that names code or a hub, and no size that its weights lack.

transformers imports classes, asks a hub for kernels and follows paths that a configuration names, and builds a network
of any size before it looks at the weights. So the files are looked at here first, as plain data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tocsin.checksums import bounded_json, open_regular
from tocsin.errors import ConfigError

__all__ = ["ATTENTION", "check_attention", "check_model_files", "check_tensors"]

ATTENTION = (None, "eager", "sdpa", "flex_attention")
"""Implementations of attention that come with torch; any other is code that transformers fetches from a hub."""

_CODE = {
    "auto_map",
    "backbone",
    "custom_pipelines",
    "distributed_config",
    "quantization_config",
    "compression_config",
}
"""Keys by which transformers imports, downloads or replaces parts of a network."""
_ATTENTION_KEYS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_EXPERTS = (None, "eager", "batched_mm", "grouped_mm")
_FREE = {"id2label", "label2id", "_name_or_path", "task_specific_params"}
"""Keys whose texts may hold anything: transformers shows them at most."""
_FILES = re.compile(r".+_files?")
_UNREAD = {"special_tokens_map_file", "tokenizer_config_file", "chat_template_file", "added_tokens_file"}
"""Paths of the folder that a tokenizer was once read from: noted by older versions, and never read."""
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "num_hidden_groups")
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
_SIZES = {
    *_WIDTHS,
    "vocab_size",
    "type_vocab_size",
    "embedding_size",
    "intermediate_size",
    "hidden_dim",
    "d_ff",
}
_SIZES |= {"max_position_embeddings", "n_positions"}
_SMALL_NETWORK = 1 << 26  # bytes
_MOST = 1 << 24  # of any number in a configuration: rows, widths, positions, ids
_CONFIG_BYTES, _CONFIG_NODES = 1 << 22, 100_000
_HEADER_BYTES = 1 << 24  # safetensors itself reads 100 MB, and takes 10 s for them
_TOKENIZER_BYTES = 1 << 28


def check_model_files(folder: Path) -> None:
    """Refuse a folder whose files name code, a hub or a path outside, or promise what its weights do not hold.

    Args:
        folder: With config.json; other files are looked at where they are there.

    Raises:
        ConfigError: As said, or a file is damaged; names it.
    """
    try:
        config = _mapping(folder / "config.json", _CONFIG_BYTES)
        for key, value in _values(folder / "config.json", config):
            _check_value(folder / "config.json", key, value)
        if (folder / "adapter_config.json").exists():
            raise _fault(
                folder / "adapter_config.json",
                "names a model on a hub that these are the adapters of. Merge them into the model's own weights, and "
                "give the folder of that",
            )
        _check_tokenizer(folder)
        weights = folder / "model.safetensors"
        index = folder / "model.safetensors.index.json"
        if weights.exists():
            _check_sizes(folder / "config.json", config, weights)
        elif index.exists():
            _check_index(index)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be read: {error.strerror or error}.") from error


def check_attention(config: Any, name: str) -> None:
    """Refuse a configuration, as transformers read it, by which attention would come from a hub."""
    found = getattr(config, "_attn_implementation", None)
    if found not in ATTENTION:
        raise ConfigError(
            f"The configuration of {name!r} asks for the attention {found!r}, which transformers may fetch from a hub "
            f"as code; it is not run. Supported are {', '.join(map(str, ATTENTION[1:]))}."
        )


def _fault(path: Path, text: str) -> ConfigError:
    return ConfigError(f"{path} {text}.")


def _mapping(path: Path, most: int) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
        found = bounded_json(content, most)
    except ValueError as error:
        raise _fault(path, f"cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise _fault(path, f"is damaged: it holds {type(found).__name__}, and a mapping is wanted")
    return found


def _values(path: Path, plain: Any) -> Iterator[tuple[str, Any]]:
    """Yield key and value of all that is nested, an element of a list under the list's key.

    Raises:
        ConfigError: There are more than any configuration has, but for names of labels: what hides behind is unseen.
    """
    left, seen = [("", plain)], 0
    while left:
        key, value = left.pop()
        seen += 1
        if seen > _CONFIG_NODES:
            raise _fault(path, f"holds more than {_CONFIG_NODES:,} values, and no configuration has so many")
        yield key, value
        if isinstance(value, dict) and key not in _FREE:
            left += [(str(name), each) for name, each in value.items()]
        elif isinstance(value, list) and key not in _FREE:
            left += [(key, each) for each in value]


def _check_value(path: Path, key: str, value: Any) -> None:
    if key in _CODE and value not in (None, {}, []):
        raise _fault(
            path,
            f"names code of its own ({key}), or weights that only such code reads; it is not run. Give a model that "
            "transformers has a class of, in ordinary weights",
        )
    if _ATTENTION_KEYS.fullmatch(key) and not isinstance(value, dict):
        known = _EXPERTS if "experts" in key else ATTENTION
        if value not in known:
            raise _fault(
                path,
                f"asks for {key} {str(value)[:80]!r}, which transformers may fetch from a hub as code; it is not run. "
                f"Leave the key out, or give one of {', '.join(map(str, known[1:]))}",
            )
    if isinstance(value, str) and key not in _FREE and ("/" in value or "\\" in value):
        raise _fault(
            path,
            f"holds {key} {value[:80]!r}, which may be a path or a name on a hub; it is not followed. Leave the key "
            "out",
        )
    if isinstance(value, int | float) and abs(value) > _MOST:
        raise _fault(path, f"holds {key} {str(value)[:40]}; no size of a network is above {_MOST:,}")


def _check_tokenizer(folder: Path) -> None:
    tokenizer = folder / "tokenizer.json"
    if tokenizer.exists():
        with _regular(tokenizer) as file:
            size = file.seek(0, 2)
        if size > _TOKENIZER_BYTES:
            raise _fault(tokenizer, f"has {size:,} bytes; at most {_TOKENIZER_BYTES:,} are read")
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return
    for key, value in _mapping(path, _HEADER_BYTES).items():
        if key in _CODE and value:
            raise _fault(path, f"names code of its own ({key}); it is not run")
        if key in ("tokenizer_class", "processor_class") and not (
            value is None or (isinstance(value, str) and value.isidentifier())
        ):
            raise _fault(
                path, f"holds {key} {str(value)[:80]!r}; the name of a class of transformers is wanted"
            )
        if _FILES.fullmatch(key) and key not in _UNREAD and not _plain_names(value):
            raise _fault(
                path, f"holds {key} {str(value)[:80]!r}, a path; it is not followed. Leave the key out"
            )


def _plain_names(value: Any) -> bool:
    """Whether a value names files of the folder itself, or none."""
    names = value if isinstance(value, list) else [value]
    return all(name is None or (isinstance(name, str) and not set(name) & set("/\\:")) for name in names)


def _regular(path: Path) -> Any:
    try:
        return open_regular(path)
    except ValueError as error:
        raise _fault(path, str(error)) from error


def check_tensors(path: Path) -> dict[str, list[int]]:
    """Shapes by name, from the header of a safetensors file.

    Raises:
        ConfigError: It is none, torn, or its header is too large to be read in a second.
    """
    with _regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_BYTES):
            raise _fault(
                path, f"is no safetensors file: of its {size:,} bytes {length:,} are said to be its header"
            )
        header = file.read(length)
    try:
        plain = bounded_json(header)
        tensors = {name: entry for name, entry in plain.items() if name != "__metadata__"}
        shapes = {name: [int(each) for each in entry["shape"]] for name, entry in tensors.items()}
        ends = [int(entry["data_offsets"][1]) for entry in tensors.values()]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise _fault(path, f"is damaged: its header cannot be read ({error})") from error
    if max(ends, default=0) != size - 8 - length:
        raise _fault(path, f"is torn: it has {size:,} bytes, and its header speaks of another number")
    return shapes


def _check_sizes(path: Path, config: dict[str, Any], weights: Path) -> None:
    """Refuse a network far larger than its weights: it would be built before they are looked at."""
    shapes = check_tensors(weights)
    width = max((int(config[key]) for key in _WIDTHS if isinstance(config.get(key), int)), default=1)
    room = max(_SMALL_NETWORK, 4 * weights.stat().st_size)
    for key, value in _values(path, config):
        if not isinstance(value, int | float):
            continue
        if key in _LAYERS and value > len(shapes):
            raise _fault(
                path, f"promises {key} {value:,}, and the weights beside it are {len(shapes):,} tensors"
            )
        if key in _SIZES and 4 * value * width > room:
            raise _fault(
                path, f"promises {key} {value:,} at a width of {width:,}: far more than its weights hold"
            )


def _check_index(path: Path) -> None:
    for file in (_mapping(path, _HEADER_BYTES).get("weight_map") or {}).values():
        if not isinstance(file, str) or not _plain_names(file) or file in (".", ".."):
            raise _fault(path, f"names the file {json.dumps(file)[:80]}, which lies outside of the folder")
