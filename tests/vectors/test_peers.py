"""Accuracy and correlation are those of sentence-transformers' evaluators, on texts that repeat as well."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tests.builders import WORDS, tiny_encoder
from tocsin.bundles.sentences import open_encoder
from tocsin.plugins.registry import Registry
from tocsin.vectors import cosines, match, spearman

pytest.importorskip("sentence_transformers", reason="the extra `bench` brings sentence-transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tiny_encoder(tmp_path_factory.mktemp("peer") / "encoder")
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (place / "modules.json").write_text(json.dumps(modules))
    (place / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (place / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (place / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
    return place


def changed(texts: list[str], generator: random.Random) -> list[str]:
    """The same sentences with one other word, or shortened."""
    result = []
    for text in texts:
        words = text.split()
        words[generator.randrange(len(words))] = generator.choice(WORDS)
        result.append(" ".join(words[: generator.randint(3, 6)]))
    return result


def test_matching_is_the_translation_evaluator_s(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import TranslationEvaluator

    generator = random.Random(0)
    english = [" ".join(generator.choice(WORDS) for _ in range(6)) for _ in range(200)]
    text = changed(english, generator)
    for _ in range(15):
        one, other = generator.sample(range(200), 2)
        english[one] = english[other]
        one, other = generator.sample(range(200), 2)
        text[one] = text[other]
    peer = SentenceTransformer(str(folder), device="cpu")
    wanted = TranslationEvaluator(english, text)(peer)
    ours = open_encoder(str(folder), Registry())
    found = match(
        ours.encode(english), ours.encode(text), hit="text", source_texts=english, target_texts=text
    )
    assert found.forward == pytest.approx(wanted["src2trg_accuracy"], abs=1e-6)
    assert found.backward == pytest.approx(wanted["trg2src_accuracy"], abs=1e-6)
    assert found.mean == pytest.approx(wanted["mean_accuracy"], abs=1e-6)
    assert 0.1 < found.mean < 0.95
    # The same vectors by the stricter rule lose the repeated texts.
    assert match(ours.encode(english), ours.encode(text)).mean < found.mean


def test_correlation_is_the_similarity_evaluator_s(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    generator = random.Random(1)
    first = [" ".join(generator.choice(WORDS) for _ in range(6)) for _ in range(150)]
    second = changed(changed(first, generator), generator)
    scores = [len(set(one.split()) & set(other.split())) for one, other in zip(first, second, strict=True)]
    peer = SentenceTransformer(str(folder), device="cpu")
    wanted = EmbeddingSimilarityEvaluator(first, second, scores)(peer)
    # The evaluator's own vectors: ours differ from them by 1e-7, which may turn two neighbours round.
    vectors = peer.encode(first), peer.encode(second)
    found = spearman(cosines(*vectors), np.array(scores, np.float64))
    assert found == pytest.approx(wanted["spearman_cosine"], abs=1e-6)
    ours = open_encoder(str(folder), Registry())
    own = spearman(cosines(ours.encode(first), ours.encode(second)), np.array(scores, np.float64))
    assert own == pytest.approx(found, abs=1e-4)
    assert found > 0.2
