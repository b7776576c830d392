"""A bundle gives the same numbers by every door, and refuses what is incomplete, altered or foreign."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tests.builders import LABELS, note_checksums, quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tocsin.arguments import Origin
from tocsin.bundles.load import load_bundle
from tocsin.bundles.save import save_bundle
from tocsin.errors import BundleError, ConfigError
from tocsin.models.heads import LinearHead, MlpHead
from tocsin.models.native_head import NativeHead
from tocsin.models.pooling import AttentionPooling, ClsPooling, MaxPooling, MeanPooling, Pooling
from tocsin.scores.table import sigmoid
from tocsin.text.cleaners import NoCleaner, TweetCleaner

TEXTS = ["water near the bridge", "agua", "RT @who fire &amp; rain http://x.y now", "food " * 60, ""]


class _LastToken(Pooling):
    """The state of the last real token, which sentence-transformers knows and we do not have."""

    def forward(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        return hidden_BTD[torch.arange(len(hidden_BTD)), mask_BT.sum(1) - 1]

    @property
    def sentence_transformers_mode(self) -> str | None:
        return "lasttoken"


class Registry:
    """Finds what these tests use, as the plugin manager would."""

    known: ClassVar[dict[str, type[Any]]] = {
        c.__name__: c
        for c in (
            AttentionPooling,
            ClsPooling,
            LinearHead,
            MaxPooling,
            MeanPooling,
            MlpHead,
            NativeHead,
            NoCleaner,
            TweetCleaner,
            _LastToken,
        )
    }

    def find(self, role: str, name: str) -> type[Any]:
        if name not in self.known:
            raise ConfigError(f"no {role} is called {name!r}")
        return self.known[name]

    def origin(self, component: type[Any]) -> Origin:
        return Origin("tocsin", "0")


NATIVE = [
    "bert",
    "bert-pooler",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "deberta-v2",
    "modernbert",
    "modernbert-mean",
]


@pytest.fixture(params=NATIVE)
def trained_native(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    kind, pooler, _ = request.param.partition("-pooler")
    tiny_encoder(tmp_path / "encoder", kind, pooler=bool(pooler))
    return _trained(tmp_path, "native")


def _trained(folder: Path, head: Any, **options: Any) -> Any:
    model = tiny_classifier(folder / "encoder", head, **options)
    data = tiny_data(folder / "m.parquet", cleaner=TweetCleaner())
    quiet_trainer(folder, max_epochs=1).fit(model, datamodule=data)
    return model


def _save(model: Any, folder: Path, cleaner: Any = None) -> Path:
    return save_bundle(
        folder, model, cleaner=cleaner or TweetCleaner(), max_length=32, card="# card", version="0"
    )


def _logits(model: Any, texts: list[str]) -> np.ndarray:
    rows = []
    model.eval()
    for text in texts:
        ids = model.tokenizer(
            model.prompt + TweetCleaner().clean(text), truncation=True, max_length=32, return_tensors="pt"
        )
        with torch.no_grad():
            rows.append(model(ids["input_ids"], ids["attention_mask"])[0].numpy())
    return np.array(rows)


def test_native_bundle_agrees_with_model_and_with_transformers_pipeline(
    trained_native: Any, tmp_path: Path
) -> None:
    folder = _save(trained_native, tmp_path / "bundle")
    bundle = load_bundle(folder, Registry())
    wanted = sigmoid(_logits(trained_native, TEXTS))
    np.testing.assert_allclose(bundle.predict(TEXTS, empty="score").raw_probabilities, wanted, atol=1e-5)

    from transformers import pipeline

    pipe = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    logits = _logits(trained_native, TEXTS)
    pipe.model.eval()
    for text, row, logits_L in zip(TEXTS, wanted, logits, strict=True):
        ids = pipe.tokenizer(bundle.clean(text), truncation=True, return_tensors="pt")
        with torch.no_grad():
            theirs = pipe.model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).logits[0]
        np.testing.assert_allclose(theirs.numpy(), logits_L, atol=1e-5)
        given = {one["label"]: one["score"] for one in pipe([bundle.clean(text)], truncation=True)[0]}
        np.testing.assert_allclose([given[name] for name in LABELS], row, atol=1e-5)


@pytest.mark.parametrize("prompt", ["", "help: "])
def test_linear_bundle_agrees_with_model_and_hides_its_encoder(tmp_path: Path, prompt: str) -> None:
    model = _trained(tmp_path, "linear", encoder={"prompt": prompt})
    folder = _save(model, tmp_path / "bundle")
    bundle = load_bundle(folder, Registry())
    np.testing.assert_allclose(bundle.predict(TEXTS, empty="score").logits, _logits(model, TEXTS), atol=1e-5)
    # At its root nothing stands that transformers would load as a classifier with random weights.
    assert not (folder / "config.json").exists()
    assert (folder / "encoder" / "model.safetensors").is_file()


def test_sentence_transformers_gives_the_same_vectors(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="the extra `bench` brings sentence-transformers"
    )
    prompt = {"prompt": "help: "}
    cases: dict[str, tuple[str, dict[str, Any], str]] = {
        "mean": ("linear", {"encoder": prompt}, "bert"),
        "max": ("linear", {"encoder": prompt, "pooling": MaxPooling()}, "bert"),
        "cls": ("linear", {"pooling": ClsPooling()}, "bert"),
        "last": ("linear", {"pooling": _LastToken()}, "bert"),
        "native": ("native", {}, "bert"),
        "native-mean": ("native", {}, "modernbert-mean"),
    }
    for name, (head, options, kind) in cases.items():
        tiny_encoder(tmp_path / name / "encoder", kind)
        model = tiny_classifier(tmp_path / name / "encoder", head, **options)
        model.build()
        folder = _save(model, tmp_path / name / "bundle", NoCleaner())
        peer = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        np.testing.assert_allclose(
            load_bundle(folder, Registry()).encode(TEXTS[:4]), peer.encode(TEXTS[:4]), atol=1e-5, err_msg=name
        )


def test_a_pooling_that_learns_travels_in_the_bundle(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = _trained(tmp_path, MlpHead(8), pooling=AttentionPooling())
    assert model.pooling.query_D.abs().max() > 0
    folder = _save(model, tmp_path / "bundle")
    bundle = load_bundle(folder, Registry())
    np.testing.assert_allclose(bundle.predict(TEXTS, empty="score").logits, _logits(model, TEXTS), atol=1e-5)
    weights = load_file(folder / "pooling.safetensors")
    assert torch.equal(weights["query_D"], model.pooling.query_D)
    # sentence-transformers knows no such pooling: it must find none here rather than another one.
    assert not (folder / "modules.json").exists()
    assert not (folder / "1_Pooling").exists()
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="the extra `bench` brings sentence-transformers"
    )
    with pytest.raises((OSError, ValueError)):
        sentence_transformers.SentenceTransformer(str(folder), device="cpu")

    save_file({"query_D": weights["query_D"] + 50.0}, folder / "pooling.safetensors")
    note_checksums(folder)
    with pytest.raises(BundleError, match="canary texts are off"):
        load_bundle(folder, Registry())
    save_file({"query_D": torch.zeros(3)}, folder / "pooling.safetensors")
    note_checksums(folder)
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder, Registry())
    (folder / "pooling.safetensors").unlink()
    with pytest.raises(BundleError, match=r"pooling\.safetensors"):
        load_bundle(folder, Registry())


def test_weights_of_a_pooling_that_has_none_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = _save(_trained(tmp_path, "linear"), tmp_path / "bundle")
    assert not (folder / "pooling.safetensors").exists()
    save_file({"query_D": torch.zeros(16)}, folder / "pooling.safetensors")
    note_checksums(folder)
    with pytest.raises(BundleError, match="do not fit"):
        load_bundle(folder, Registry())


def test_predictions_do_not_depend_on_order_or_passes(tmp_path: Path) -> None:
    bundle = load_bundle(_save(_trained(tmp_path, "linear"), tmp_path / "bundle"), Registry())
    whole = bundle.predict(TEXTS, empty="score").logits
    bundle.predictor.tokens_per_pass = 1
    np.testing.assert_allclose(bundle.predict(TEXTS[::-1], empty="score").logits[::-1], whole, atol=1e-5)


def test_rows_in_use_are_written_back_and_others_are_bit_equal(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = _trained(tmp_path, "linear")
    before = load_file(tmp_path / "encoder" / "model.safetensors")["embeddings.word_embeddings.weight"]
    after = load_file(_save(model, tmp_path / "bundle") / "encoder" / "model.safetensors")[
        "embeddings.word_embeddings.weight"
    ]
    used = model.encoder.model.get_input_embeddings().piece_ids
    unused = torch.ones(len(before), dtype=torch.bool)
    unused[used] = False
    assert unused.any()
    assert torch.equal(before[unused], after[unused])
    assert not torch.equal(before[used], after[used])


def test_an_encoder_of_a_bundle_can_be_trained_again(tmp_path: Path) -> None:
    for head in ("linear", "native"):
        folder = _save(_trained(tmp_path / head, head), tmp_path / head / "bundle")
        again = tiny_classifier(folder / "encoder" if head == "linear" else folder, "linear")
        again.build()


class TestRefusals:
    """Each names the folder and what is wrong, also where whoever changed it wrote the checksums anew."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return _save(_trained(tmp_path, "linear"), tmp_path / "bundle")

    @staticmethod
    def _edit(folder: Path, **changes: Any) -> None:
        note_checksums(folder, lambda plain: plain | changes)

    def test_no_manifest(self, folder: Path) -> None:
        (folder / "tocsin.json").unlink()
        with pytest.raises(BundleError, match=r"no tocsin\.json"):
            load_bundle(folder, Registry())

    def test_other_format(self, folder: Path) -> None:
        self._edit(folder, format=99)
        with pytest.raises(BundleError, match="format 99"):
            load_bundle(folder, Registry())

    def test_missing_weights(self, folder: Path) -> None:
        (folder / "encoder" / "model.safetensors").unlink()
        with pytest.raises(BundleError, match=r"model\.safetensors is missing\. The bundle .* whole"):
            load_bundle(folder, Registry())
        note_checksums(folder)
        with pytest.raises(BundleError, match="incomplete"):
            load_bundle(folder, Registry())

    def test_labels_in_another_order(self, folder: Path) -> None:
        self._edit(folder, labels=list(LABELS[::-1]))
        with pytest.raises(BundleError, match="order"):
            load_bundle(folder, Registry())

    def test_head_that_nobody_offers(self, folder: Path) -> None:
        self._edit(folder, head={"name": "FancyHead", "arguments": {}})
        with pytest.raises(BundleError, match="FancyHead"):
            load_bundle(folder, Registry())

    def test_dotted_path_is_no_component(self, folder: Path) -> None:
        self._edit(folder, head={"name": "os.system", "arguments": {}})
        with pytest.raises(BundleError, match="short name"):
            load_bundle(folder, Registry())

    def test_foreign_code(self, folder: Path) -> None:
        path = folder / "encoder" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}))
        note_checksums(folder)
        with pytest.raises(BundleError, match="auto_map"):
            load_bundle(folder, Registry())

    def test_changed_weights_are_caught_by_the_canaries(self, folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "head.safetensors")
        state["linear.weight"] += 0.5
        save_file(state, folder / "head.safetensors")
        with pytest.raises(BundleError, match=r"head\.safetensors (was changed|has .* bytes)"):
            load_bundle(folder, Registry())
        note_checksums(folder)
        with pytest.raises(BundleError, match="canary texts are off"):
            load_bundle(folder, Registry())

    def test_changed_tokenizer_is_caught_by_the_canaries(self, folder: Path) -> None:
        path = folder / "encoder" / "tokenizer.json"
        specification = json.loads(path.read_text())
        specification["normalizer"] = {"type": "Lowercase"}
        path.write_text(json.dumps(specification))
        note_checksums(folder)
        with pytest.raises(BundleError, match="a tokenizer file was changed"):
            load_bundle(folder, Registry())

    def test_a_cleaner_that_cleans_otherwise_is_named(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TweetCleaner, "clean", lambda self, text: text[::-1])
        with pytest.raises(BundleError, match="Or the cleaner TweetCleaner cleans otherwise"):
            load_bundle(folder, Registry())

    def test_folder_in_the_way(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="not empty"):
            _save(tiny_classifier(tmp_path / "encoder"), folder)


def test_native_head_refuses_a_prompt(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adds no prompt"):
        tiny_classifier(tmp_path / "encoder", "native", encoder={"prompt": "query: "})
