"""The encoder of a config before any training: cut, prompted, pooled and as short as the config says."""

from __future__ import annotations

import shutil
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pytest

from tests.builders import tiny_encoder
from tests.models.test_sentence_encoder import sentence_folder
from tocsin.cli.config_encoder import encoder_of_config, is_config
from tocsin.cli.main import main
from tocsin.errors import ConfigError
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.pooling import ClsPooling, MeanPooling
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.models.teacher import Teacher

TEXTS = ["help flood water", "casa", "the road is closed " * 9]

DISTILLER = """\
seed_everything: 7
data: {class_path: ParallelSentences, init_args: {sources: {}, max_length: 12}}
model:
  class_path: Distiller
  init_args:
    encoder: {class_path: TransformerEncoder, init_args: {name: $student, prompt: "query: ", keep_layers: [1]}}
    pooling: $pooling
    teacher: {class_path: SentenceEncoder, init_args: {name: $teacher}}
    losses: [MeanSquaredError]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    tiny_encoder(folder / "student")
    sentence_folder(folder / "teacher", after=("Dense", "Normalize"))
    write(folder, "distil.yaml")
    return folder


def write(folder: Path, name: str, text: str = DISTILLER, pooling: str = "null", **other: Any) -> str:
    places: dict[str, Any] = {"student": folder / "student", "teacher": folder / "teacher", **other}
    (folder / name).write_text(Template(text).substitute(pooling=pooling, **places))
    return str(folder / name)


def plain(encoder: Any, pooling: Any, length: int) -> np.ndarray:
    found: np.ndarray = Teacher(encoder, pooling, length).load().vectors(TEXTS, 1000)
    return found


def test_a_student_is_as_the_config_cuts_it(place: Path) -> None:
    found = encoder_of_config(str(place / "distil.yaml"))
    student = TransformerEncoder(str(place / "student"), prompt="query: ", keep_layers=[1])
    np.testing.assert_allclose(found.open("cpu").encode(TEXTS), plain(student, MeanPooling(), 12), atol=1e-6)
    # Another length on the command line wins; the whole encoder gives something else.
    np.testing.assert_allclose(
        found.open("cpu", 5).encode(TEXTS), plain(student, MeanPooling(), 5), atol=1e-6
    )
    whole = plain(TransformerEncoder(str(place / "student"), prompt="query: "), MeanPooling(), 12)
    assert np.abs(found.open("cpu").encode(TEXTS) - whole).max() > 0.01
    first = encoder_of_config(write(place, "first.yml", pooling="ClsPooling")).open("cpu").encode(TEXTS)
    np.testing.assert_allclose(first, plain(student, ClsPooling(), 12), atol=1e-6)


def test_a_teacher_gives_what_its_student_learns(place: Path) -> None:
    found = encoder_of_config(f"{place / 'distil.yaml'}:teacher")
    wanted = Teacher(SentenceEncoder(str(place / "teacher")))
    np.testing.assert_allclose(found.open("cpu").encode(TEXTS), wanted.load().vectors(TEXTS, 1000), atol=1e-6)
    assert found.max_length == 9  # as its folder says


def test_a_student_from_a_folder_leaves_out_what_follows_the_pooling(place: Path) -> None:
    text = DISTILLER.replace("TransformerEncoder", "SentenceEncoder").replace(
        ', prompt: "query: ", keep_layers: [1]', ""
    )
    file = write(place, "folder.yaml", text, student=place / "teacher")
    found = encoder_of_config(file).open("cpu").encode(TEXTS)
    assert found.shape == (3, 16)
    np.testing.assert_allclose(
        found, plain(SentenceEncoder(str(place / "teacher")), MeanPooling(), 12), atol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no configuration file"),
        ("[]", "a mapping with data and model is wanted"),
        ("model: {model: 1", "a.yaml: line 1: expected"),
        ("model: {class_path: Distiller}", r"model\.init_args\.encoder is missing"),
        (DISTILLER.replace("TransformerEncoder", "TransformerEncodr"), "Did you mean 'TransformerEncoder'"),
        (DISTILLER.replace("keep_layers", "keep_layrs"), "keep_layrs"),
        (DISTILLER.replace("[1]", "[0, x]"), "keep_layers"),
        (DISTILLER.replace("$pooling", "AttentionPooling"), "AttentionPooling has weights of its own"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(place: Path, tmp_path: Path, text: str | None, message: str) -> None:
    places = {"student": place / "student", "teacher": place / "teacher"}
    file = str(tmp_path / "a.yaml") if text is None else write(tmp_path, "a.yaml", text, **places)
    with pytest.raises(ConfigError, match=message):
        encoder_of_config(file).open("cpu")


def test_only_a_distiller_has_a_teacher(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(place, "classify.yaml", "model: {class_path: MultilabelClassifier, init_args: {encoder: x}}")
    shutil.copy(file, tmp_path / "a.yaml")
    (tmp_path / "p.csv").write_text("english,text,lang\na,b,spa\nc,d,spa\n")
    arguments = ["match", "--encoder", f"{tmp_path / 'a.yaml'}:teacher", "--pairs", str(tmp_path / "p.csv")]
    assert main(arguments) == 2
    assert "only a Distiller has a teacher" in capsys.readouterr().err


def test_what_is_taken_for_a_config() -> None:
    assert all(map(is_config, ("a.yaml", "b/a.yml:teacher")))
    assert not any(map(is_config, ("a", "E5SmallMultilingual", "a.yaml:student")))
