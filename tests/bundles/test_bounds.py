"""A crafted bundle, whose checksums were written anew, is refused promptly, in little memory, and names no code."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tocsin
from tests.builders import note_checksums, tiny_classifier, tiny_encoder
from tocsin.bundles.save import save_bundle
from tocsin.errors import BundleError, ConfigError, TocsinError
from tocsin.models.encoders import TransformerEncoder
from tocsin.text.cleaners import NoCleaner

SECONDS, MEGABYTES = 5.0, 500


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bounds")
    model = tiny_classifier(folder / "encoder", dropout=0.0)
    model.configure_model()
    bundle = save_bundle(
        folder / "bundle", model, cleaner=NoCleaner(), max_length=16, card="# card", version="0"
    )
    tocsin.load(bundle)  # imports what a load needs
    return bundle


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "bundle")


def refused(folder: Path, wanted: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(BundleError, match=wanted):
        tocsin.load(folder)
    assert time.process_time() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda folder: note_checksums(folder, lambda plain: change(plain) and None)


def setting(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "encoder" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        note_checksums(folder)

    return change


def _header(folder: Path) -> None:
    path = folder / "encoder" / "model.safetensors"
    size = 90_000_000
    path.write_bytes(size.to_bytes(8, "little") + b"{" + b" " * (size - 2) + b"}")
    note_checksums(folder)


def _many_tensors(folder: Path) -> None:
    header = b'{"a": [' + b"[]," * 1_000_000 + b"[]]}"
    (folder / "head.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    note_checksums(folder)


def _canary(plain: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plain["canaries"][0]
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (manifest(lambda plain: plain.update(canaries=plain["canaries"] * 2_000)), "more than 100"),
        (manifest(lambda plain: plain.update(canaries=plain["canaries"] * 20)), "more than 100"),
        (manifest(lambda plain: plain.update(canaries=[])), "no canaries"),
        (manifest(lambda plain: _canary(plain)["probabilities"].pop()), "has not 3 probabilities"),
        (manifest(lambda plain: _canary(plain).update(probabilities=[[0.5]] * 3)), "is damaged: TypeError"),
        (manifest(lambda plain: _canary(plain).update(text="x" * 1_000_000)), "at most 10,000 characters"),
        (manifest(lambda plain: plain.update(prompt="x" * 50_000_000)), "16,777,216 bytes are read"),
        (manifest(lambda plain: plain.update(prompt="x" * 1_000_000)), "at most 10,000 characters"),
        (manifest(lambda plain: plain.update(labels=["a"] * 200_000)), "more than 100,000"),
        (setting("config.json", num_hidden_layers=10**6), "num_hidden_layers 1,000,000, and the weights"),
        (setting("config.json", vocab_size=10**7), "far more than its weights hold"),
        (setting("config.json", vocab_size=10**12), "no size of a network"),
        (setting("config.json", hidden_size=160_000), "far more than its weights hold"),
        (setting("config.json", max_position_embeddings=10**7), "far more than its weights hold"),
        (setting("config.json", num_hidden_layers=10**400), "cannot be read|no size"),
        (setting("config.json", attn_implementation="owner/kernel"), "as code; it is not run"),
        (setting("config.json", _attn_implementation="owner/kernel"), "as code; it is not run"),
        (setting("config.json", attn_implementation="flash_attention_2"), "as code; it is not run"),
        (setting("config.json", attn_implementation={"": "owner/kernel"}), "may be a path or a name on a hub"),
        (setting("config.json", text_config={"auto_map": {"AutoModel": "x.Y"}}), "names code of its own"),
        (setting("config.json", custom_pipelines={"p": {"impl": "x.Y"}}), "names code of its own"),
        (setting("config.json", quantization_config={"quant_method": "x"}), "names code of its own"),
        (setting("config.json", anything="owner/model"), "may be a path or a name on a hub"),
        (setting("config.json", attn_implementation="owner/kernel", z=[0] * 100_001), "so many|as code"),
        (setting("tokenizer_config.json", tokenizer_file="/etc/passwd"), "a path; it is not followed"),
        (setting("tokenizer_config.json", vocab_file="../../x"), "a path; it is not followed"),
        (setting("tokenizer_config.json", tokenizer_class="os.system"), "the name of a class of transformers"),
        (setting("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}), "names code of its own"),
        (_header, "90,000,000 are said to be its header"),
        (_many_tensors, "cannot be read"),
    ],
)  # fmt: skip
def test_absurd_sizes_and_names_of_code_are_refused(
    bundle: Path, change: Callable[[Path], None], said: str
) -> None:
    change(bundle)
    refused(bundle, said)


def test_no_pipe_device_or_endless_file_is_read(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "tocsin.json"
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    refused(bundle, "is no ordinary file")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(bundle, "is a link")
    path.unlink()
    path.mkdir()
    refused(bundle, "is no ordinary file")
    path.rmdir()
    path.touch()
    os.truncate(path, 1 << 30)
    refused(bundle, "16,777,216 bytes are read")
    path.unlink()
    path.write_bytes(content)
    for name in ("encoder/config.json", "encoder/model.safetensors", "head.safetensors"):
        file = bundle / name
        kept = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        refused(bundle, f"{name} is no ordinary file")
        file.unlink()
        file.write_bytes(kept)
    tocsin.load(bundle)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "encoder/../../x", "a\\b", "C:x", "", "a//b", "./a"])
def test_no_path_leads_out_of_the_folder(bundle: Path, path: str) -> None:
    from tocsin.checksums import checksummed_json

    plain = json.loads((bundle / "tocsin.json").read_text())
    plain["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    plain.pop("digest")
    (bundle / "tocsin.json").write_bytes(checksummed_json(plain))
    refused(bundle, "is no file of the folder")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("encoder/tokenizer.json", b"{}"),
        ("encoder/tokenizer.json", b'{"model": {"type": "Strange"}}'),
        ("encoder/tokenizer.json", b"\xff\xfe"),
        ("encoder/tokenizer_config.json", b"[]"),
        ("encoder/config.json", b'{"model_type": "nothing"}'),
        ("encoder/config.json", b'{"model_type": ["bert"]}'),
        ("encoder/model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("encoder/model.safetensors", b""),
        ("head.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
    ],
)
def test_what_the_libraries_raise_is_a_bundle_error(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    note_checksums(bundle)
    refused(bundle, str(bundle))


def test_a_bundle_of_before_says_what_to_do(bundle: Path) -> None:
    plain = json.loads((bundle / "tocsin.json").read_text())
    del plain["files"], plain["digest"]
    (bundle / "tocsin.json").write_text(json.dumps(plain | {"format": 1, "written_by": "0.1.0"}))
    refused(bundle, r"of format 1, which notes no checksums.*fit again \(tocsin fit\).*0\.1\.0")


def test_one_digit_of_the_manifest_is_found(bundle: Path) -> None:
    path = bundle / "tocsin.json"
    text = path.read_text()
    assert '"threshold": 0.5' in text
    path.write_text(text.replace('"threshold": 0.5', '"threshold": 0.4'))
    refused(bundle, "was changed after it was written")


def test_an_edited_card_is_said(bundle: Path) -> None:
    (bundle / "README.md").write_text("# mine")
    with pytest.warns(tocsin_warning(), match=r"README\.md .*the model card was edited"):
        tocsin.load(bundle)


def tocsin_warning() -> type[Warning]:
    from tocsin.bundle_files import BundleWarning

    return BundleWarning


# Encoders that a configuration names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"attn_implementation": "owner/kernel"}, "it is not run"),
        ("config.json", {"auto_map": {"AutoModel": "x.Y"}}, "it is not run"),
        ("config.json", {"num_hidden_layers": 10**6}, "the weights beside it are"),
        ("tokenizer_config.json", {"tokenizer_file": "../tokenizer.json"}, "it is not followed"),
    ],
)
def test_an_encoders_folder_is_looked_at_first(tmp_path: Path, file: str, change: Any, said: str) -> None:
    folder = tiny_encoder(tmp_path / "encoder")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=said):
        TransformerEncoder(str(folder)).load()


def test_a_damaged_bundle_is_no_encoder(bundle: Path) -> None:
    weights = bundle / "encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TocsinError, match="was changed"):
        TransformerEncoder(str(bundle)).load()
