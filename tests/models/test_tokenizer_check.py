"""An encoder's folder whose tokenizer is not its own: transformers makes an empty one where the files are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import tiny_encoder, tiny_tokenizer
from tocsin.bundles.sentences import SentenceModel
from tocsin.cli.main import main
from tocsin.errors import ConfigError
from tocsin.models.encoders import TransformerEncoder

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def without(folder: Path, *names: str) -> str:
    tiny_encoder(folder)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return str(folder)


def test_a_folder_without_tokenizer_files_is_refused(tmp_path: Path) -> None:
    encoder = TransformerEncoder(without(tmp_path / "encoder", *TOKENIZER))
    with pytest.raises(
        ConfigError, match=r"has \d+ tokens, and the encoder's embedding table \d+ rows"
    ) as caught:
        _ = encoder.tokenizer
    assert "the folder holds none" in str(caught.value)
    assert "tokenizer.json" in str(caught.value)
    with pytest.raises(ConfigError, match="embedding table"):
        SentenceModel(encoder).encode("fire")
    with pytest.raises(ConfigError, match="embedding table"):
        _ = TransformerEncoder(encoder.name, keep_pieces=20).config


def test_a_folder_with_the_settings_alone_is_refused(tmp_path: Path) -> None:
    encoder = TransformerEncoder(without(tmp_path / "encoder", "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"embedding table|nothing could be read"):
        _ = encoder.tokenizer


def test_its_own_tokenizer_is_taken_cut_or_whole(tmp_path: Path) -> None:
    folder = str(tiny_encoder(tmp_path / "encoder"))
    assert len(TransformerEncoder(folder).tokenizer) == len(tiny_tokenizer(tmp_path / "other"))
    assert len(TransformerEncoder(folder, keep_pieces=20).tokenizer) < 30


def test_a_verb_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = without(tmp_path / "encoder", *TOKENIZER)
    pairs = tmp_path / "p.csv"
    pairs.write_text("english,text,lang\nwater,agua,spa\nfire,fuego,spa\n")
    assert main(["match", "--encoder", folder, "--pairs", str(pairs)]) == 2
    assert "Copy the encoder's own tokenizer files" in capsys.readouterr().err
