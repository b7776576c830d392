"""A bundle that would not predict as the trained model does is refused before it is seen, and its cause is named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.builders import quiet_trainer, tiny_classifier, tiny_data
from tocsin.bundles.callback import BundleWriter
from tocsin.bundles.canaries import CANARY_TEXTS
from tocsin.bundles.load import load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.errors import BundleError, ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import LinearHead
from tocsin.models.pooling import MeanPooling
from tocsin.text.cleaners import Cleaner, NoCleaner


@dataclass
class WordCleaner(Cleaner):
    """Takes the cleaner's natural form, a dataclass."""

    word: str = ""

    def clean(self, text: str) -> str:
        return text.replace(self.word, "") if self.word else text


class MoodyCleaner(NoCleaner):
    """Depends on what no argument says."""

    mood = ""

    def clean(self, text: str) -> str:
        return self.mood + text


class ShiftedEncoder(TransformerEncoder):
    """Computes something else than transformers does."""

    def forward(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return super().forward(input_ids_BT, mask_BT) * 3.0 + 1.0


class ForgetfulPooling(MeanPooling):
    """Has a number that no argument says."""

    scale = 1.0

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return super().forward(hidden_BTD, mask_BT) * self.scale


class ForgetfulHead(LinearHead):
    """Has a number that is in no state_dict()."""

    scale = 1.0

    def classify(self, features_BF: Tensor) -> Tensor:
        return super().classify(features_BF) * self.scale


class FussyHead(LinearHead):
    """Cannot be built a second time."""

    built = 0

    def __init__(self) -> None:
        super().__init__()
        FussyHead.built += 1
        if FussyHead.built > 1:
            raise ValueError("once is enough")


class NestHead(LinearHead):
    """Takes what is no plain data."""

    def __init__(self, inner: Any) -> None:
        super().__init__()


class OddPooling(MeanPooling):
    """Takes a tuple, which comes back from JSON as a list."""

    def __init__(self, odd: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()


class OddCleaner(NoCleaner):
    """Takes a tuple."""

    def __init__(self, odd: tuple[int, ...] = (1, 2)) -> None:
        pass


class Registry:
    def find(self, role: str, name: str) -> type[Any]:
        return {one.__name__: one for one in (LinearHead, MeanPooling, WordCleaner)}[name]


def save(folder: Path, model: Any, cleaner: Cleaner) -> Path:
    torch.manual_seed(0)
    model.build()
    if isinstance(model.head, LinearHead):
        nn.init.normal_(model.head.output().weight)  # far from even odds, so that differences show
    return save_bundle(folder, model, cleaner=cleaner, max_length=32, card="# card", version="0")


def refused(tmp_path: Path, model: Any, cleaner: Cleaner | None = None) -> str:
    folder = tmp_path / "bundle"
    with pytest.raises(BundleError) as caught:
        save(folder, model, cleaner or NoCleaner())
    assert not any("bundle" in path.name for path in tmp_path.iterdir())
    assert ".part" not in str(caught.value)
    assert str(caught.value).startswith(f"{folder} was not written")
    return str(caught.value)


def test_a_dataclass_cleaner_cleans_in_the_bundle_as_in_training(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    folder = save(tmp_path / "bundle", model, WordCleaner(word="water"))
    assert json.loads((folder / "tocsin.json").read_text())["cleaner"]["arguments"] == {"word": "water"}
    assert load_bundle(folder, Registry()).clean("no water") == "no "


def test_an_encoder_with_a_forward_of_its_own(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    model.encoder = ShiftedEncoder(str(tmp_path / "encoder"))
    told = refused(tmp_path, model)
    assert "The encoder ShiftedEncoder computes something else than transformers does" in told


def test_a_pooling_that_keeps_something_back(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder", pooling=ForgetfulPooling())
    model.pooling.scale = 4.0
    assert "The pooling ForgetfulPooling, built again from its arguments" in refused(tmp_path, model)


def test_a_head_that_keeps_something_back(tmp_path: Path) -> None:
    head = ForgetfulHead()
    head.scale = 4.0
    model = tiny_classifier(tmp_path / "encoder")
    model.head = head
    assert "The head ForgetfulHead, built again from its arguments" in refused(tmp_path, model)


def test_several_at_once(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    model.encoder, model.head = ShiftedEncoder(str(tmp_path / "encoder")), ForgetfulHead()
    model.head.scale = 4.0
    told = refused(tmp_path, model)
    assert "More than one of encoder ShiftedEncoder, pooling MeanPooling and head ForgetfulHead" in told


def test_a_cleaner_that_keeps_something_back(tmp_path: Path) -> None:
    cleaner = MoodyCleaner()
    cleaner.mood = "food "
    told = refused(tmp_path, tiny_classifier(tmp_path / "encoder"), cleaner)
    assert "the cleaner MoodyCleaner, built again from its arguments, makes" in told
    assert repr(f"food {CANARY_TEXTS[0]}"[:40]) in told


def test_a_tokenizer_that_is_not_saved_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    kind = type(model.tokenizer)
    written = kind.save_pretrained

    def other(self: Any, folder: Path) -> None:
        written(self, folder)
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "Lowercase"}}))

    monkeypatch.setattr(kind, "save_pretrained", other)
    assert "the tokenizer of the encoder TransformerEncoder, saved and read again" in refused(tmp_path, model)


def test_a_component_that_cannot_be_built_again(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    FussyHead.built = 0
    model.head = FussyHead()
    told = refused(tmp_path, model)
    assert "could not be loaded again" in told
    assert "once is enough" in told


def test_a_network_that_gives_nan(tmp_path: Path) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    model.head = ForgetfulHead()
    model.head.scale = float("nan")
    assert "the trained network gives NaN" in refused(tmp_path, model)


@pytest.mark.parametrize("inner", [MeanPooling(), Path("x"), {1: 3.0}])
def test_arguments_that_no_bundle_can_hold_end_the_fit_before_it_begins(tmp_path: Path, inner: Any) -> None:
    model = tiny_classifier(tmp_path / "encoder")
    model.head = NestHead(inner)
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[BundleWriter(str(tmp_path / "bundle"))])
    with pytest.raises(
        ConfigError, match=r"NestHead was built with inner=.*which a bundle cannot hold.*Wanted numb"
    ):
        trainer.fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    assert trainer.global_step == 0
    with pytest.raises(BundleError, match="NestHead was built with inner="):
        save(tmp_path / "bundle", model, NoCleaner())


@pytest.mark.parametrize("part", ["pooling", "cleaner"])
def test_cleaner_and_pooling_are_looked_at_too(tmp_path: Path, part: str) -> None:
    model = tiny_classifier(
        tmp_path / "encoder", pooling=OddPooling() if part == "pooling" else MeanPooling()
    )
    data = tiny_data(tmp_path / "m.parquet", cleaner=OddCleaner() if part == "cleaner" else NoCleaner())
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[BundleWriter(str(tmp_path / "bundle"))])
    with pytest.raises(ConfigError, match=rf"Odd{part.title()} was built with odd=\(1, 2\)"):
        trainer.fit(model, datamodule=data)
