"""`tocsin match` and `tocsin sts`: their figures are those of plain numpy on the same vectors; bad input is named."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file
from scipy import stats

import tocsin
from tests.builders import WORDS, tiny_classifier, tiny_encoder
from tocsin.bundles.save import save_bundle
from tocsin.cli.main import main
from tocsin.text.cleaners import TweetCleaner


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, a sentence-transformers folder, an encoder's folder and two tables of pairs."""
    folder = tmp_path_factory.mktemp("vectors")
    model = tiny_classifier(folder / "start")
    model.build()
    save_bundle(
        folder / "bundle",
        model,
        cleaner=TweetCleaner(),
        max_length=16,
        card="x",
        version="0",
    )
    shutil.copytree(
        folder / "bundle", folder / "sentences", ignore=shutil.ignore_patterns("tocsin.json", "head.*")
    )
    tiny_encoder(folder / "encoder", seed=5)
    generator = random.Random(0)
    pairs, scored = [], []
    for lang, count in (("fra", 40), ("spa", 25), ("hat", 120)):
        for number in range(count):
            words = [generator.choice(WORDS) for _ in range(5)]
            pairs.append(
                {
                    "lang": lang,
                    "english": " ".join(words),
                    "text": " ".join([*words[1:], generator.choice(WORDS)]),
                    "half": number % 2,
                }
            )
    for lang in ("eng", "fra"):
        generator = random.Random(1)
        for number in range(30):
            words = [generator.choice(WORDS) for _ in range(5)]
            kept = number % 6
            scored.append(
                {
                    "lang": lang,
                    "split": "test" if number < 20 else "train",
                    "sentence1": " ".join(words),
                    "sentence2": " ".join(words[:kept] + [generator.choice(WORDS) for _ in range(5 - kept)]),
                    "score": float(kept),
                }
            )
    pq.write_table(pa.Table.from_pylist(pairs), folder / "pairs.parquet")
    pq.write_table(pa.Table.from_pylist(scored), folder / "scored.parquet")
    return folder


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def by_language(place: Path, name: str, *columns: str) -> dict[str, list[list[Any]]]:
    """The columns of each language's rows."""
    found: dict[str, list[list[Any]]] = {}
    for row in pq.read_table(place / name).to_pylist():
        for values, column in zip(found.setdefault(row["lang"], [[] for _ in columns]), columns, strict=True):
            values.append(row[column])
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_match_is_the_whole_matrix_s_arg_max(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "match", "--bundle", place / "bundle", "--pairs", place / "pairs.parquet")
    bundle = tocsin.load(place / "bundle")
    (model,) = found["models"]
    assert list(model["languages"]) == ["fra", "hat", "spa"]
    means = []
    for lang, (english, text) in by_language(place, "pairs.parquet", "english", "text").items():
        cosine_NN = unit(bundle.encode(english)) @ unit(bundle.encode(text)).T
        forward = float((cosine_NN.argmax(axis=1) == np.arange(len(text))).mean())
        backward = float((cosine_NN.argmax(axis=0) == np.arange(len(text))).mean())
        measured = model["languages"][lang]
        assert measured["pairs"] == len(text)
        assert measured["forward"]["point"] == pytest.approx(forward, abs=1e-9)
        assert measured["backward"]["point"] == pytest.approx(backward, abs=1e-9)
        assert measured["mean"]["point"] == pytest.approx((forward + backward) / 2)
        assert measured["mean"]["low"] <= measured["mean"]["point"] <= measured["mean"]["high"]
        means.append((forward + backward) / 2)
    assert 0.05 < np.mean(means) < 1.0  # neither trivial
    assert model["macro"]["mean"]["point"] == pytest.approx(np.mean(means))
    assert sorted(model["few_pairs"]) == ["fra", "spa"]
    assert (found["parallel"], found["differences"]) == (False, [])


def test_match_sets_models_side_by_side(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--encoder", place / "encoder", "--bundle", place / "bundle", "--name", "teacher", "student"]
    arguments = ["match", *models, "--pairs", place / "pairs.parquet", "--draws", "50"]
    found = run(capsys, *arguments, "--teacher", "teacher", "--output", tmp_path / "out")
    teacher, student = found["models"]
    assert (teacher["name"], teacher["encoder"]) == (
        "teacher",
        "encoder",
    )  # no folder outside of the working one
    assert (student["name"], student["bundle"]) == ("student", "bundle")
    (difference,) = found["differences"]
    assert (difference["first"], difference["second"]) == ("teacher", "student")
    for lang in ("fra", "hat", "spa"):
        assert difference["first_minus_second"][lang]["point"] == pytest.approx(
            teacher["languages"][lang]["mean"]["point"] - student["languages"][lang]["mean"]["point"]
        )
    assert "squared_errors" not in teacher
    english, text = by_language(place, "pairs.parquet", "english", "text")["fra"]
    from tocsin.bundles.sentences import open_encoder
    from tocsin.plugins.manager import load_plugins

    wanted_ND = open_encoder(str(place / "encoder"), load_plugins(roles=("encoder",))).encode(english)
    bundle = tocsin.load(place / "bundle")
    for side, texts in (("english", english), ("text", text)):
        apart_ND = bundle.encode(texts) - wanted_ND
        error = student["squared_errors"]["fra"][side]
        assert error["summed"]["point"] == pytest.approx((apart_ND**2).sum(axis=1).mean(), rel=1e-4)
        assert error["averaged"]["point"] == pytest.approx((apart_ND**2).mean(), rel=1e-4)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["accuracy.png", "metrics.json", "report.md"]
    assert (tmp_path / "out" / "accuracy.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    report = (tmp_path / "out" / "report.md").read_text()
    for heading in (
        "accuracy of teacher",
        "accuracy of student",
        "side by side",
        "Mean squared error of student",
    ):
        assert heading in report
    assert "| fra | 40\\* |" in report
    assert report.startswith("# Matching of teacher, student\n")
    assert report.endswith("![by language](accuracy.png)\n")
    assert re.search(r"\| \[0\.\d{3}, \d\.\d{3}\] \|", report)
    assert re.search(r"[+-]0\.\d{3}( !)? \| \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", report)
    assert main([*map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    assert "macro mean of 3 languages" in shown
    assert "*: under 100 pairs, mostly chance: fra, spa" in shown
    assert max(map(len, shown.splitlines())) <= 140


def test_a_sentence_transformers_folder_says_how_it_pools(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The bundle's own folder, without what makes it one; no tweet needs cleaning here.
    arguments = ["--pairs", place / "pairs.parquet", "--draws", "1"]
    found = run(capsys, "match", "--bundle", place / "bundle", "--encoder", place / "sentences", *arguments)
    bundle, sentences = found["models"]
    assert bundle["languages"] == sentences["languages"]


def test_rows_can_be_chosen_and_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["match", "--encoder", place / "encoder", "--pairs", place / "pairs.parquet", "--draws", "1"]
    chosen = run(capsys, *arguments, "--where", "half=1", "lang=fra", "lang=hat")["models"][0]["languages"]
    assert {lang: one["pairs"] for lang, one in chosen.items()} == {"fra": 20, "hat": 60}
    drawn = [
        run(capsys, *arguments, "--max-pairs", "30", *more)["models"][0]["languages"]
        for more in ((), ("--where", "lang=hat"), ("--seed", "7"))
    ]
    assert {lang: one["pairs"] for lang, one in drawn[0].items()} == {"fra": 30, "hat": 30, "spa": 25}
    assert drawn[1] == {"hat": drawn[0]["hat"]}  # the other languages do not move it
    assert drawn[2] != drawn[0]


def test_equal_texts_can_count(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("water", "agua"), ("water", "eau"), ("fire", "fuego"), ("fire", "fuego")]
    table = {"english": [a for a, _ in rows], "text": [b for _, b in rows], "lang": ["x"] * 4}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    arguments = ["match", "--encoder", place / "encoder", "--pairs", tmp_path / "p.parquet", "--draws", "1"]
    plain, counted = (
        run(capsys, *arguments, *more)["models"][0]["languages"]["x"] for more in ((), ("--hit", "pair"))
    )
    # The second of equal vectors is never found.
    assert plain["forward"]["point"] <= 0.5
    assert counted["forward"]["point"] >= plain["forward"]["point"] + 0.25


def test_sts_is_scipy_s_correlation(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--bundle", place / "bundle", "--encoder", place / "encoder", "--name", "a", "b"]
    arguments = ["sts", *models, "--pairs", place / "scored.parquet", "--where", "split=test"]
    found = run(capsys, *arguments, "--output", tmp_path / "out", "--draws", "200")
    bundle = tocsin.load(place / "bundle")
    model = found["models"][0]
    for lang, columns in by_language(
        place, "scored.parquet", "sentence1", "sentence2", "score", "split"
    ).items():
        first, second, scores = (
            [value for value, split in zip(column, columns[3], strict=True) if split == "test"]
            for column in columns[:3]
        )
        cosine_N = (unit(bundle.encode(first)) * unit(bundle.encode(second))).sum(axis=1)
        wanted = stats.spearmanr(cosine_N, scores).statistic
        measured = model["languages"][lang]
        assert measured["pairs"] == 20
        assert measured["spearman"]["point"] == pytest.approx(
            wanted, abs=5e-3
        )  # near-ties differ by rounding
        assert wanted > 0.3
    assert found["parallel"]  # the same scores in both languages
    apart = found["differences"][0]["first_minus_second"]["macro"]["point"]
    macros = [one["macro"]["spearman"]["point"] for one in found["models"]]
    assert apart == pytest.approx(macros[0] - macros[1])
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["correlation.png", "metrics.json", "report.md"]
    assert main([*map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    assert "every draw takes the same pairs" in shown
    assert "Rank correlation, side by side" in shown


def test_without_matplotlib_the_chart_alone_is_missing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["sts", "--encoder", place / "encoder", "--pairs", place / "scored.parquet", "--draws", "1"]
    assert main([*map(str, arguments), "--output", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "report.md"]
    assert "tocsin[figures]" in capsys.readouterr().err


def spoilt(path: Path, column: str, row: int, value: Any) -> Path:
    """Write good pairs as CSV or Parquet with one other value."""
    rows: list[dict[str, Any]] = [
        {"english": f"water {i}", "text": f"agua {i}", "lang": "spa", "score": i} for i in range(4)
    ]
    rows[row - 1][column] = value
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("verb", ["match", "sts"])
def test_a_table_is_read_as_the_command_line_says(
    place: Path, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(place / ("pairs.parquet" if verb == "match" else "scored.parquet"))
    columns = ["lang", "english", "text"] if verb == "match" else ["lang", "sentence1", "sentence2", "score"]
    path = tmp_path / "pairs.data"
    lines = [columns, *(map(str, row.values()) for row in table.select(columns).to_pylist())]
    path.write_text("".join(";".join(line) + "\n" for line in lines))
    arguments = [verb, "--bundle", str(place / "bundle"), "--draws", "10", "--json", "--pairs"]
    assert main([*arguments, str(path)]) == 2
    assert "'.data'" in capsys.readouterr().err
    found = run(capsys, *arguments[:-2], "--pairs", path, "--reader", "csv:delimiter=;")
    wanted = run(
        capsys, *arguments[:-2], "--pairs", place / f"{'pairs' if verb == 'match' else 'scored'}.parquet"
    )
    assert found["models"][0]["macro"] == wanted["models"][0]["macro"]


@pytest.mark.parametrize(
    ("verb", "name", "column", "row", "value", "message"),
    [
        ("match", "p.csv", "text", 2, "  ", "row 2: column 'text' is empty"),
        ("match", "p.parquet", "english", 3, None, "row 3: column 'english' is null"),
        ("match", "p.parquet", "lang", 4, None, "row 4: column 'lang' is null"),
        ("match", "p.csv", "lang", 3, "fra", "row 3: language 'fra' has this pair alone"),
        ("sts", "p.csv", "text", 2, "", "row 2: column 'text' is empty"),
        ("sts", "p.csv", "text", 2, "\u200b", "row 2: column 'text' is empty"),
        ("sts", "p.csv", "score", 1, "high", "row 1: column 'score' is 'high'"),
        ("sts", "p.csv", "score", 1, "inf", "row 1: column 'score' is 'inf'"),
        ("sts", "p.parquet", "score", 2, None, "row 2: column 'score' is null"),
        ("sts", "p.parquet", "score", 2, float("nan"), "row 2: column 'score' is null"),
        ("sts", "p.csv", "lang", 3, "fra", "row 3: language 'fra' has this pair alone"),
    ],
)
def test_a_bad_row_is_named(
    verb: str,
    name: str,
    column: str,
    row: int,
    value: Any,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = spoilt(tmp_path / name, column, row, value)
    columns = ["--sentence1", "english", "--sentence2", "text"] if verb == "sts" else []
    assert main([verb, "--encoder", "not opened", "--pairs", str(path), *columns]) == 2
    error = capsys.readouterr().err
    assert f"{path}, {message}" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("match", ["--pairs", "{pairs}"], "No model is given"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--text", "tekst"], "has no column 'tekst'"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--where", "half=2"], "Values in the file: half"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--where", "half"], "COLUMN=VALUE is wanted"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--max-pairs", "1"], "--max-pairs is 1"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--limit", "95"], "--limit is 95"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--draws", "0"], "draws is 0"),
        ("match", ["--encoder", "{encoder}", "{encoder}", "--pairs", "{pairs}"], "a name of its own"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--teacher", "x"], "--teacher 'x'"),
        ("match", ["--encoder", "E5Smal", "--pairs", "{pairs}"], "No encoder is called 'E5Smal'"),
        ("match", ["--encoder", "TransformerEncoder", "--pairs", "{pairs}"], "wants arguments"),
        ("match", ["--encoder", "{bundle}", "--pairs", "{pairs}"], "give it with --bundle"),
        ("match", ["--bundle", "{encoder}", "--pairs", "{pairs}"], "tocsin.json"),
        ("match", ["--encoder", "{encoder}", "--bundle", "nowhere", "--pairs", "{pairs}"], "no folder 'nowhere'"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--output", "{pairs}"], "cannot be made"),
        ("match", ["--encoder", "{encoder}", "--pairs", "{pairs}", "--max-length", "9999"], "max_length is 9999"),
        ("sts", ["--encoder", "{encoder}", "--pairs", "{scored}", "--draws", "-1"], "draws is -1"),
        ("sts", ["--encoder", "{encoder}", "--pairs", "{scored}", "--score", "points"], "has no column 'points'"),
        ("sts", ["--encoder", "{encoder}", "--pairs", "nowhere.parquet"], "no data file"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_meant(
    verb: str, arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "pairs": place / "pairs.parquet",
        "scored": place / "scored.parquet",
        "encoder": place / "encoder",
        "bundle": place / "bundle",
    }
    assert main([verb, *(argument.format(**places) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_equal_scores_are_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table(
        {"sentence1": ["water", "fire"], "sentence2": ["a", "b"], "score": [1, 1], "lang": ["eng"] * 2}
    )
    pq.write_table(table, tmp_path / "s.parquet")
    assert main(["sts", "--encoder", str(place / "encoder"), "--pairs", str(tmp_path / "s.parquet")]) == 2
    assert "s.parquet: eng: All 2 scores are equal" in capsys.readouterr().err


def test_a_text_whose_vector_is_nan_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(place / "encoder", broken)
    weights = load_file(broken / "model.safetensors")
    table = next(name for name in weights if name.endswith("word_embeddings.weight"))
    from transformers import AutoTokenizer

    (piece,) = AutoTokenizer.from_pretrained(broken)("fuego", add_special_tokens=False)["input_ids"]
    weights[table] = weights[table].copy()
    weights[table][piece] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    pairs = {"english": ["water", "fire", "rain"], "text": ["agua", "fuego", "lluvia"], "lang": ["spa"] * 3}
    pq.write_table(pa.table(pairs), tmp_path / "p.parquet")
    assert main(["match", "--encoder", str(broken), "--pairs", str(tmp_path / "p.parquet")]) == 2
    assert "p.parquet, row 2: the model" in capsys.readouterr().err


def test_one_english_side_for_all_languages_is_drawn_together(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    english = ["water", "fire", "rain", "school"] * 2
    table = {"english": english, "text": [*WORDS[:8]], "lang": ["a"] * 4 + ["b"] * 4}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    arguments = ["match", "--encoder", place / "encoder", "--pairs", tmp_path / "p.parquet"]
    assert run(capsys, *arguments)["parallel"]
    assert main([*map(str, arguments)]) == 0
    assert "they share their English sentences" in " ".join(capsys.readouterr().out.split())
