"""Texts in Python, as people give them: `predict` and `encode` answer rightly or say what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import tocsin
from tests.builders import LABELS, tiny_classifier, tiny_encoder, tiny_tokenizer
from tocsin.bundles.load import Bundle
from tocsin.bundles.predictor import Predictor
from tocsin.bundles.save import save_bundle
from tocsin.bundles.sentences import SentenceModel
from tocsin.errors import ConfigError, DataError
from tocsin.models.encoders import TransformerEncoder
from tocsin.text.cleaners import TweetCleaner
from tocsin.text.inputs import TextWarning

TEXTS = ["water in the school", "fire", "food and rain near the market"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("api")
    model = tiny_classifier(folder / "encoder")
    model.build()
    save_bundle(folder / "bundle", model, cleaner=TweetCleaner(), max_length=16, card="# card", version="0")
    loaded = tocsin.load(folder / "bundle")
    assert isinstance(loaded, Bundle)
    return loaded


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceModel:
    return SentenceModel(TransformerEncoder(str(tiny_encoder(tmp_path_factory.mktemp("api") / "encoder"))))


def test_one_text_is_one_row(bundle: Bundle, encoder: SentenceModel) -> None:
    found = bundle.predict("water in the school")
    assert found.probabilities.shape == found.decisions.shape == (1, len(LABELS))
    np.testing.assert_array_equal(found.probabilities, bundle.predict(TEXTS[:1]).probabilities)
    for model in (bundle, encoder):
        np.testing.assert_array_equal(model.encode("fire"), model.encode(["fire"]))
        assert model.encode("fire").shape == (1, 16)


@pytest.mark.parametrize(
    "given",
    [np.array(TEXTS), pa.array(TEXTS), pa.chunked_array([TEXTS[:1], TEXTS[1:]]), tuple(TEXTS)],
    ids=lambda given: type(given).__name__,
)
def test_containers_of_texts(bundle: Bundle, encoder: SentenceModel, given: Any) -> None:
    np.testing.assert_array_equal(bundle.predict(given).logits, bundle.predict(TEXTS).logits)
    np.testing.assert_array_equal(bundle.encode(given), bundle.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(given), encoder.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(text for text in given), encoder.encode(TEXTS))


def test_columns_of_pandas(bundle: Bundle) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS}, index=[9, 9, 4])
    for given in (frame["text"], frame["text"].astype("string"), frame["text"].astype("category")):
        np.testing.assert_array_equal(bundle.predict(given).logits, bundle.predict(TEXTS).logits)
    with pytest.raises(DataError, match="is a table"):
        bundle.predict(frame)
    holed = pandas.Series(["fire", pandas.NA, None], dtype="string")
    assert bundle.predict(holed).undecided.tolist() == [False, True, True]


@pytest.mark.parametrize(
    "given", [None, 3, float("nan"), b"water", {"text": "water"}, {"water"}, ["a", 7], [b"a"]]
)
def test_what_is_no_text_is_refused_in_our_own_words(
    bundle: Bundle, encoder: SentenceModel, given: Any
) -> None:
    for method in (bundle.predict, bundle.encode, bundle.raw_scores, encoder.encode):
        with pytest.raises(DataError, match="text"):
            method(given)
    with pytest.raises(DataError, match="text"):
        bundle.clean(given)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_vectors_want_every_text(bundle: Bundle, encoder: SentenceModel, missing: Any) -> None:
    for model in (bundle, encoder):
        with pytest.raises(DataError, match=r"texts\[1\]"):
            model.encode(["fire", missing])


def test_half_an_emoji_is_replaced_and_said(bundle: Bundle, encoder: SentenceModel) -> None:
    torn = "water \ud83d rain"
    with pytest.warns(TextWarning, match=r"texts\[1\]"):
        found = bundle.predict(["fire", torn])
    np.testing.assert_array_equal(found.logits, bundle.predict(["fire", "water \ufffd rain"]).logits)
    with pytest.warns(TextWarning):
        np.testing.assert_array_equal(encoder.encode(torn), encoder.encode("water \ufffd rain"))


NOTHING = [None, float("nan"), "", " \n\t", "\u200b", "@somebody http://example.org/1", "水 火"]


@pytest.mark.parametrize("nothing", NOTHING, ids=repr)
def test_a_text_without_content_is_undecided(bundle: Bundle, nothing: Any) -> None:
    found = bundle.predict(["fire", nothing, "rain"])
    assert found.undecided.tolist() == [False, True, False]
    for scores in (found.logits, found.probabilities, found.raw_probabilities):
        assert np.isnan(scores[1]).all()
        assert np.isfinite(scores[[0, 2]]).all()
    assert found.decided is not None
    assert found.decided[1].tolist() == [None] * len(LABELS)
    assert found.decided[0].tolist() == bundle.predict("fire").decisions[0].tolist()
    # Never a "no", even for whoever loses the mask.
    assert np.asarray(found.decided)[1].all()
    assert pa.array(found.decided[1]).to_pylist() == [None] * len(LABELS)
    with pytest.raises(DataError, match=r"1 of 3 texts.*texts\[1\]"):
        _ = found.decisions


def test_texts_without_content_are_scored_on_demand(bundle: Bundle) -> None:
    found = bundle.predict(["fire", "", "水 火", None], empty="score")
    assert found.undecided.tolist() == [False, False, False, True]
    assert np.isfinite(found.probabilities[:3]).all()
    assert found.tokens.tolist() == [1, 0, found.tokens[2], 0]
    assert found.unknown.tolist()[0] == 0 < found.unknown.tolist()[2]
    with pytest.raises(ConfigError, match="empty is 'drop'"):
        bundle.predict("fire", empty="drop")  # type: ignore[arg-type]


def test_others_are_scored_as_before(bundle: Bundle) -> None:
    """To the last bit, whatever stands among them."""
    wanted = bundle.predictor.logits([bundle.clean(text) for text in TEXTS])
    np.testing.assert_array_equal(bundle.predict(TEXTS).logits, wanted)
    np.testing.assert_array_equal(bundle.predict([*TEXTS, None]).logits[:3], wanted)
    np.testing.assert_array_equal(
        bundle.predict(["", *TEXTS]).logits[1:], bundle.predict(["", *TEXTS], empty="score").logits[1:]
    )


def test_no_texts_at_all(bundle: Bundle) -> None:
    found = bundle.predict([])
    assert found.probabilities.shape == found.decisions.shape == (0, len(LABELS))
    only_missing = bundle.predict([None])
    assert np.isnan(only_missing.probabilities).all()
    assert only_missing.undecided.tolist() == [True]


def test_languages_are_checked(bundle: Bundle) -> None:
    assert bundle.predict(["fire", "rain"], "en").undecided.sum() == 0
    with pytest.raises(ConfigError, match="1 languages were given for 2 texts"):
        bundle.predict(["fire", "rain"], ["en"])


@pytest.mark.parametrize("prompt", ["", "query: ", "food "])
def test_what_the_prompt_holds_is_not_the_texts(tmp_path: Path, prompt: str) -> None:
    encoder = TransformerEncoder(str(tiny_encoder(tmp_path)), prompt=prompt)
    encoder.load()
    runner = Predictor(encoder, _Nothing(), None, 0, 16)
    encodings = runner._encodings(["fire", "水", "", "水 fire", "q"])
    counts = runner._counts(encodings, [np.array(each.ids, np.int32) for each in encodings])
    assert counts.readable.tolist() == [True, False, False, True, True]
    assert (counts.unknown > 0).tolist() == [False, True, False, True, False]


class _Nothing(torch.nn.Module):
    """A head that is never asked."""


def test_a_tokenizer_that_knows_everything_has_no_unknown_tokens(tmp_path: Path) -> None:
    encoder = TransformerEncoder(str(tiny_encoder(tmp_path)))
    encoder.load()
    tokenizer = tiny_tokenizer(tmp_path / "other")
    tokenizer.unk_token = None
    encoder._tokenizer = tokenizer
    runner = Predictor(encoder, _Nothing(), None, 0, 16)
    encodings = runner._encodings(["fire", "水", ""])
    counts = runner._counts(encodings, [np.array(each.ids, np.int32) for each in encodings])
    assert counts.unknown.tolist() == [0, 0, 0]
    assert counts.readable.tolist() == [True, True, False]
