"""TemplateEncoder: the contract of encoders, and what it trains."""

from pathlib import Path

import pytest

from tocsin.plugins.testing import check_encoder, tiny_encoder_folder
from tocsin_template.encoder import TemplateEncoder


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny_encoder_folder(tmp_path / "encoder"))


def test_it_conforms(folder: str) -> None:
    check_encoder(TemplateEncoder, name=folder, freeze="none")
    check_encoder(TemplateEncoder, name=folder, prompt="", freeze="all")


def test_it_has_a_prompt_and_frozen_layers_of_its_own(folder: str) -> None:
    assert TemplateEncoder(folder).prompt == "query: "
    encoder = TemplateEncoder(folder, freeze=1)
    encoder.load()
    assert not any(weight.requires_grad for weight in encoder.parameters())
