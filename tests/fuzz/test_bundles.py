"""Damaged bundles: bytes of any file, and files of odd content whose checksums were written anew."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.builders import tiny_classifier, tiny_encoder
from tests.fuzz.damage import changed, damaged
from tests.fuzz.harness import COUNTS, fuzz
from tocsin.bundle_files import MANIFEST, verify_bundle
from tocsin.bundles.load import load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.checksums import listing
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.registry import Registry
from tocsin.text.cleaners import TweetCleaner


@pytest.fixture(scope="module")
def core() -> Registry:
    return load_plugins({"TOCSIN_PLUGINS": "off"})


@pytest.fixture(scope="module")
def bundle(core: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a classifier's bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    tiny_encoder(folder / "encoder", layers=1)
    model = tiny_classifier(folder / "encoder", dropout=0.0)
    model.configure_model()
    save_bundle(
        folder / "bundle",
        model,
        cleaner=TweetCleaner(),
        max_length=16,
        card="# card",
        version="0",
        origin=core.origin,
    )
    load_bundle(folder / "bundle", core)
    return {
        path.relative_to(folder / "bundle").as_posix(): path.read_bytes()
        for path in sorted((folder / "bundle").rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def place(bundle: dict[str, bytes], tmp_path: Path) -> Iterator[Any]:
    """Write the bundle with other bytes in some of its files."""
    folder = tmp_path / "bundle"

    def write(change: dict[str, bytes]) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in (bundle | change).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write


@pytest.mark.parametrize("count", COUNTS)
def test_bytes_of_any_file(place, bundle: dict[str, bytes], core: Registry, count: int) -> None:
    def load(drawn: tuple[str, bytes]) -> None:
        name, content = drawn
        if content == bundle[name]:
            return
        folder = place({name: content})
        problems = verify_bundle(folder)
        assert problems, "a changed file was not found"
        if any(problem.fatal for problem in problems):
            load_bundle(folder, core)
            raise AssertionError("a changed file was accepted")

    names = st.sampled_from(sorted(bundle))
    fuzz(count, names.flatmap(lambda name: st.tuples(st.just(name), damaged([bundle[name]]))), load)


def _header(content: bytes) -> Any:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size])


def _with_header(content: bytes, header: Any) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    changed_header = json.dumps(header).encode()
    return struct.pack("<Q", len(changed_header)) + changed_header + content[8 + size :]


@st.composite
def changes(draw: st.DrawFn, bundle: dict[str, bytes]) -> dict[str, Any]:
    """Other content for one file: plain data for the JSON files, bytes for others."""
    read = [name for name in bundle if not name.endswith(".md")]
    name = draw(st.sampled_from([MANIFEST] * 6 + read))
    content = bundle[name]
    if name.endswith(".json"):
        return {name: draw(changed(json.loads(content)))}
    if name.endswith(".safetensors") and draw(st.booleans()):
        return {name: _with_header(content, draw(changed(_header(content))))}
    return {name: draw(damaged([content]))}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _checksummed(folder: Path, plain: dict[str, Any]) -> bytes:
    """`tocsin.json` as whoever changes it on purpose can write it, half a surrogate pair and all."""
    files = {name: vars(entry) for name, entry in listing(folder, MANIFEST).items()}
    kept = {key: value for key, value in plain.items() if key not in ("files", "digest")}
    body = json.dumps({**kept, "files": files}, indent=2).removesuffix("\n}").encode()
    return body + f',\n  "digest": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


# Each that is not refused at once loads a network.
@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.slow)])
def test_contents_that_someone_changed_on_purpose(
    place, bundle: dict[str, bytes], core: Registry, count: int
) -> None:
    def load(change: dict[str, Any]) -> None:
        name, content = next(iter(change.items()))
        folder = place({name: content if isinstance(content, bytes) else _json(content)})
        plain = content if name == MANIFEST else json.loads(bundle[MANIFEST])
        if isinstance(plain, dict):
            (folder / MANIFEST).write_bytes(_checksummed(folder, plain))
        load_bundle(folder, core)

    fuzz(count, changes(bundle), load)
