"""The bundle of a distilled encoder gives one vector in Tocsin, transformers and sentence-transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tocsin
from tests.builders import LABELS, note_checksums, quiet_trainer, tiny_data, tiny_tokenizer
from tests.pairs import MemoryPairs, tiny_distiller, tiny_teacher
from tocsin.bundles.encoder_callback import EncoderBundleWriter
from tocsin.bundles.load import ROLES, load_bundle
from tocsin.errors import BundleError
from tocsin.labels.schemes import Columns
from tocsin.models.classifier import MultilabelClassifier
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.heads import LinearHead
from tocsin.models.pooling import MeanPooling
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.plugins.manager import load_plugins

TEXTS = ["help flood water", "casa", "", "the road is closed " * 30, "lekol 12, manje!"]


def wide_teacher(folder: Path) -> Any:
    from transformers import BertConfig, BertModel

    folder.mkdir()
    config = BertConfig(
        vocab_size=len(tiny_tokenizer(folder)),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
        max_position_embeddings=72,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return tiny_teacher(folder)


@pytest.fixture(scope="module", params=["equal widths", "projected"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A bundle as a fit leaves it, and the student of its best checkpoint."""
    folder = tmp_path_factory.mktemp("bundle")
    options = {"teacher": wide_teacher(folder / "wide")} if request.param == "projected" else {}
    model = tiny_distiller(folder, encoder={"prompt": "query: ", "keep_layers": [1]}, **options)
    trainer = quiet_trainer(
        folder, max_epochs=2, callbacks=[EncoderBundleWriter(str(folder / "bundle"), name="tiny")]
    )
    trainer.fit(model, datamodule=MemoryPairs())
    return folder / "bundle", model.eval()


def vectors(model: Any) -> np.ndarray:
    found = []
    for text in TEXTS:
        ids = model.tokenizer(model.prompt + text, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            found.append(model(ids["input_ids"], ids["attention_mask"])[0].numpy())
    return np.array(found)


def test_tocsin_gives_the_students_vectors(made: tuple[Path, Any]) -> None:
    folder, model = made
    bundle = tocsin.load(folder)
    found = bundle.encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors(model), atol=1e-5)
    with pytest.raises(BundleError, match="bundle of an encoder"):
        bundle.predict(TEXTS)
    with pytest.raises(BundleError, match="has no labels to predict"):
        load_bundle(folder, load_plugins(roles=ROLES))


def test_its_own_files_are_looked_at_whatever_its_folder_is_called(
    made: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, _ = made
    (tmp_path / "other.safetensors").write_bytes(b"torn")
    copy = shutil.copytree(folder, tmp_path / "encoder")
    assert tocsin.load(copy).encode(TEXTS).shape[0] == len(TEXTS)
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    note_checksums(copy)
    with pytest.raises(BundleError, match=r"model\.safetensors is torn"):
        tocsin.load(copy)


def test_transformers_gives_them(made: tuple[Path, Any]) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder, model = made
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ids = tokenizer(["query: " + text for text in TEXTS], padding=True, truncation=True, return_tensors="pt")
    mask = ids["attention_mask"].unsqueeze(-1)
    with torch.no_grad():
        hidden = encoder(ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
        mean = (hidden * mask).sum(1) / mask.sum(1)
        if model.projection is not None:
            state = load_file(folder / "2_Dense" / "model.safetensors")
            mean = mean @ state["linear.weight"].T + state["linear.bias"]
    np.testing.assert_allclose(mean.numpy(), vectors(model), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_sentence_transformers_gives_them(made: tuple[Path, Any]) -> None:
    """With the prompt, the length, and the projection where there is one."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder, model = made
    loaded = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    assert loaded.default_prompt_name is not None
    assert loaded.prompts[loaded.default_prompt_name] == "query: "
    assert loaded.max_seq_length == 32
    found = loaded.encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(found, vectors(model), atol=1e-5)


def test_it_is_a_teacher_and_an_encoder_again(made: tuple[Path, Any], tmp_path: Path) -> None:
    """As a teacher with all that follows the pooling; under a head, by its transformer and prompt."""
    from tocsin.models.teacher import Teacher

    folder, model = made
    teacher = Teacher(SentenceEncoder(str(folder)))
    assert teacher.max_length == 32
    np.testing.assert_allclose(teacher.load().vectors(TEXTS, 64), vectors(model), atol=1e-5)
    assert teacher.width == vectors(model).shape[1]
    for encoder in (SentenceEncoder(str(folder)), TransformerEncoder(str(folder), prompt="query: ")):
        assert encoder.prompt == "query: "
        classifier = MultilabelClassifier(
            labels=Columns(list(LABELS)), encoder=encoder, head=LinearHead(), pooling=MeanPooling()
        )
        quiet_trainer(tmp_path, max_steps=2).fit(classifier, datamodule=tiny_data(tmp_path / "m.parquet"))


def test_the_folder_is_plain_and_says_what_it_is(made: tuple[Path, Any]) -> None:
    folder, model = made
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert ("2_Dense/model.safetensors" in names) == (model.projection is not None)
    plain = json.loads((folder / "tocsin.json").read_text())
    assert plain["kind"] == "encoder"
    card = (folder / "README.md").read_text()
    assert "| language | sentences | matching before | matching | MSE |" in card
    assert "| hat |" in card
    assert "`query: `" in card


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda f: _shift(f / "model.safetensors"), "canary texts are off by"),
        (lambda f: _edit(f / "config.json", auto_map={"AutoModel": "evil.Model"}), "names code of its own"),
        (lambda f: _edit(f / "tocsin.json", kind="poem"), "is damaged"),
        (lambda f: _edit(f / "tocsin.json", format=9), "is of format 9"),
        (lambda f: _edit(f / "tocsin.json", max_length=3), "tokens that it gave"),
        (lambda f: _edit(f / "tocsin.json", pooling={"name": "os.system", "arguments": {}}), "short name"),
        (lambda f: _edit(f / "tocsin.json", pooling={"name": "ClsPooling", "arguments": {}}), "off by"),
    ],
)  # fmt: skip
def test_a_bundle_that_was_changed_is_refused(
    made: tuple[Path, Any], tmp_path: Path, spoil: Any, message: str
) -> None:
    shutil.copytree(made[0], tmp_path / "bundle")
    spoil(tmp_path / "bundle")
    with pytest.raises(
        BundleError, match=r"is missing|was changed|has .* bytes, and was written with|is of format"
    ):
        tocsin.load(tmp_path / "bundle")
    note_checksums(tmp_path / "bundle")  # as whoever changes it on purpose can
    with pytest.raises(BundleError, match=message):
        tocsin.load(tmp_path / "bundle")


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _shift(path: Path) -> None:
    state = load_file(path)
    name = next(name for name in state if name.endswith("output.dense.weight"))
    state[name] = -state[name]  # a shift alike in all components would be taken out by the layer norm
    save_file(state, path)
