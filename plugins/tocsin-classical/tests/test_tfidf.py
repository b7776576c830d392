from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline, make_union

from tocsin.plugins import DataError
from tocsin_classical.tfidf import fit_tfidf, macro_average_precision

WATER = [
    "the river is rising",
    "water stands in the street",
    "the flood took the bridge",
    "we need clean water now",
]
FIRE = ["the forest is burning", "smoke over the hills", "fire took the barn", "flames near the school now"]
CALM = ["the market is open", "a quiet day in the village", "school starts on monday", "we planted the trees"]
TEXTS = [
    f"{text} {extra}"
    for text in WATER + FIRE + CALM
    for extra in ("", "please tell everyone", "says my aunt")
]
TARGETS_NL = np.array([[i < 12, 12 <= i < 24] for i in range(36)], dtype=np.float32)


def reference(texts: list[str], targets_N: np.ndarray, strength: float):
    """Build the same recipe from scikit-learn alone, with its most exact solver."""
    options = {"min_df": 2, "sublinear_tf": True, "strip_accents": "unicode"}
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), **options),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options),
    )
    exact = LogisticRegression(C=strength, solver="liblinear", tol=1e-10, max_iter=10_000)
    return make_pipeline(union, exact).fit(texts, targets_N)


@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_agrees_with_a_scikit_learn_pipeline(strength):
    model = fit_tfidf(TEXTS, TARGETS_NL, strengths=[strength])
    given = model.probabilities(WATER + FIRE + CALM)
    assert model.strength == strength
    assert given.shape == (12, 2)
    for label in range(2):
        wanted = reference(TEXTS, TARGETS_NL[:, label], strength).predict_proba(WATER + FIRE + CALM)[:, 1]
        np.testing.assert_allclose(given[:, label], wanted, atol=0.01)
        # what is ranked is what counts: the solver's tolerance must not change it
        assert roc_auc_score(TARGETS_NL[::3, label], given[:, label]) == 1.0


def test_two_fits_are_identical():
    first, second = (fit_tfidf(TEXTS, TARGETS_NL, strengths=[1.0]).probabilities(TEXTS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_unknown_targets_take_no_part():
    rows = np.arange(0, 36, 3)
    masked_NL = np.full_like(TARGETS_NL, np.nan)
    masked_NL[rows, 0] = TARGETS_NL[rows, 0]
    masked_NL[:, 1] = TARGETS_NL[:, 1]
    flipped_NL = masked_NL.copy()
    flipped_NL[:, 1] = 1 - flipped_NL[:, 1]
    full = fit_tfidf(TEXTS, TARGETS_NL, strengths=[1.0])
    masked = fit_tfidf(TEXTS, masked_NL, strengths=[1.0])
    np.testing.assert_array_equal(masked.weights_LF[1], full.weights_LF[1])
    assert not np.array_equal(masked.weights_LF[0], full.weights_LF[0])
    # the other label's targets do not matter to the masked one
    other = fit_tfidf(TEXTS, flipped_NL, strengths=[1.0])
    np.testing.assert_array_equal(masked.weights_LF[0], other.weights_LF[0])


@pytest.mark.parametrize(
    ("value", "prior"), [(0.0, 1e-7), (1.0, 1 - 1e-7), (np.nan, 0.5)], ids=["never", "always", "unknown"]
)
def test_a_label_without_two_classes_predicts_its_prior(value, prior):
    targets_NL = np.column_stack([TARGETS_NL[:, 0], np.full(36, value, np.float32)])
    given = fit_tfidf(TEXTS, targets_NL, strengths=[1.0]).probabilities(CALM)
    np.testing.assert_allclose(given[:, 1], prior, rtol=1e-6)
    assert len(np.unique(given[:, 0])) == 4


def test_validation_chooses_one_strength_for_all_labels():
    rng = np.random.default_rng(3)
    noisy_NL = np.where(rng.random(TARGETS_NL.shape) < 0.15, 1 - TARGETS_NL, TARGETS_NL)
    held_out = (WATER + FIRE + CALM, TARGETS_NL[::3])
    strengths = [0.001, 1.0, 10.0]
    model = fit_tfidf(TEXTS, noisy_NL, validation=held_out, strengths=strengths)
    assert list(model.validation_average_precision) == strengths
    for strength in strengths:
        alone = fit_tfidf(TEXTS, noisy_NL, strengths=[strength])
        figure = macro_average_precision(held_out[1], alone.probabilities(held_out[0]))
        assert model.validation_average_precision[strength] == pytest.approx(figure)
        if strength == model.strength:
            np.testing.assert_array_equal(model.weights_LF, alone.weights_LF)
    assert model.validation_average_precision[model.strength] == max(
        model.validation_average_precision.values()
    )


def test_without_validation_the_strength_is_one():
    assert fit_tfidf(TEXTS, TARGETS_NL).strength == 1.0
    assert fit_tfidf(TEXTS, TARGETS_NL, validation=([], np.empty((0, 2)))).strength == 1.0


def test_validation_without_positives_takes_the_strongest_penalty():
    model = fit_tfidf(TEXTS, TARGETS_NL, validation=(CALM, np.zeros((4, 2))), strengths=[0.5, 2.0])
    assert model.strength == 0.5
    assert np.isnan(model.validation_average_precision[2.0])


def test_macro_average_precision_leaves_out_undefined_labels_and_unknown_rows():
    targets_NL = np.array([[1, 0, np.nan], [0, 0, 1], [1, 0, 0], [np.nan, 0, 1]])
    scores_NL = np.array([[0.2, 0.1, 0.9], [0.4, 0.3, 0.5], [0.8, 0.2, 0.6], [0.9, 0.4, 0.1]])
    wanted = np.mean(
        [
            average_precision_score([1, 0, 1], [0.2, 0.4, 0.8]),
            average_precision_score([1, 0, 1], [0.5, 0.6, 0.1]),
        ]
    )
    assert macro_average_precision(targets_NL, scores_NL) == pytest.approx(wanted)


def test_reports_each_label():
    seen: list[int] = []
    fit_tfidf(TEXTS, TARGETS_NL, strengths=[1.0], on_label=seen.append)
    assert seen == [0, 1]


def test_spelling_is_forgiven_by_pieces_of_words():
    model = fit_tfidf(TEXTS, TARGETS_NL, strengths=[1.0])
    misspelt, unrelated = model.probabilities(["floooding waterr", "xyz"])
    assert misspelt[0] > unrelated[0]


def test_scripts_without_spaces_have_pieces_of_words():
    texts = ["洪水が橋を流した", "昨夜の洪水が橋を壊した", "市場は今日開いている", "村の市場は今日静かだ"]
    targets_NL = np.array([[1.0], [1.0], [0.0], [0.0]])
    given = fit_tfidf(texts, targets_NL, strengths=[1.0]).probabilities(
        ["大きな洪水が橋を", "この市場は今日"]
    )
    assert given[0, 0] > given[1, 0]


def test_no_training_message():
    with pytest.raises(DataError, match="train split has no message"):
        fit_tfidf([], np.empty((0, 2)))


def test_no_word_occurs_twice():
    with pytest.raises(DataError, match="occurs in 2 of the 2 training messages"):
        fit_tfidf(["abc", "xyz"], np.array([[0.0], [1.0]]))


def test_texts_and_targets_differ_in_number():
    with pytest.raises(DataError, match="36 texts and 2 rows"):
        fit_tfidf(TEXTS, TARGETS_NL[:2])
