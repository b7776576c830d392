"""Scores files of other programs: CSV or Parquet, wide or long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from tocsin.errors import DataError
from tocsin.scores.table import ScoresTable

WIDE = """id,lang,prob.fire,prob.flood,target.fire,target.flood,source
007,en,0.9,0.1,1,0,news
8,no,0.25,0.75,,1,news
x,,0.5,0.5,0,0,sms
"""
LONG = """id,label,probability,target,lang
007,fire,0.9,1,en
007,flood,0.1,0,en
8,flood,0.75,1,no
8,fire,0.25,,no
x,fire,0.5,0,
x,flood,0.5,0,
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"), [("wide.csv", WIDE), ("long.csv", LONG), ("wide.TSV", WIDE.replace(",", "\t"))]
)
def test_wide_and_long_tables_are_read_alike(tmp_path: Path, name: str, text: str) -> None:
    table = ScoresTable.read(written(tmp_path / name, text))
    assert list(table.ids) == ["007", "8", "x"]
    assert table.labels == ("fire", "flood")
    assert list(table.langs) == ["en", "no", None]
    np.testing.assert_allclose(table.probabilities, [[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(table.targets_NL, [[1, 0], [np.nan, 1], [0, 0]])


def test_parquet_and_csv_and_our_own_file_agree(tmp_path: Path) -> None:
    table = ScoresTable.read(written(tmp_path / "wide.csv", "\ufeff" + WIDE))
    table.write(tmp_path / "ours.parquet")
    long = csv.read_csv(
        written(tmp_path / "long.csv", LONG),
        convert_options=csv.ConvertOptions(column_types={"id": pa.string()}),
    )
    pq.write_table(long, tmp_path / "long.parquet")
    for name in ("ours.parquet", "long.parquet"):
        other = ScoresTable.read(tmp_path / name)
        assert list(other.ids) == list(table.ids)
        np.testing.assert_array_equal(other.probabilities, table.probabilities)
        np.testing.assert_array_equal(other.targets_NL, table.targets_NL)
    assert list(table.slices["source"]) == ["news", "news", "sms"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WIDE.replace("0.9", "1.2"), r"row 1: .*1\.2, of message '007' for label 'fire'"),
        (WIDE.replace("target.flood", "truth"), r"Columns are missing: target\.flood"),
        (
            WIDE.replace("0.9", "1.2"),
            r"from 0\.1 to 1\.2; 0 to 1 is wanted\. Are they logits\? Percentages\? Divide by 100\.",
        ),
        (WIDE.replace("0.9", "90"), r"Percentages\? Divide by 100\."),
        (WIDE.replace("0.9", "-2"), r"Are they logits\? The first"),
        (WIDE.replace("0.9", "200"), r"Are they logits\? The first"),
        (
            WIDE.replace("0.25", ""),
            r"row 2: The score of message '8' for label 'fire' is missing: the cell is empty \(1 such cells",
        ),
        (LONG.replace("0.25", ""), r"message '8' for label 'fire' is missing: the cell is empty"),
        (WIDE.partition("\n")[0] + "\n", "The file has no messages"),
        (LONG.partition("\n")[0] + "\n", "The file has no messages"),
        (
            WIDE.replace(",1,0,news", ",1,yes,news"),
            r"row 1: Column 'target\.flood' holds 'yes'; .* A target is 0, 1",
        ),
        (
            WIDE.replace("0.25,0.75", '0.25,"0,75"'),
            r"row 2: Column 'prob\.flood' holds '0,75'; .* with a point",
        ),
        (WIDE.replace(",", ";"), "fields are separated by ';'; a comma is wanted"),
        (WIDE.replace(",", ";").replace("0.", "0,"), "fields are separated by ';'; a comma is wanted"),
        (WIDE.replace(",", "\t"), "fields are separated by a tab; a comma is wanted"),
        (
            WIDE.replace("\n8,no,0.25,0.75,,1", "\n8,no,0.25,0.75,,2"),
            "0, 1, a probability in between, or null",
        ),
        (WIDE.replace("id,", "key,"), "'id'"),
        (WIDE.replace("0.9", "high"), "numbers are wanted"),
        (
            LONG.replace("8,fire,0.25,,no\n", ""),
            "1 of 6 cells are missing, the first of them message '8' and label 'fire'",
        ),
        (LONG + "x,fire,0.5,0,\n", "stand twice, the first of them message 'x' and label 'fire'"),
        (LONG.replace("0.75,1,no", "0.75,1,en"), "'lang' says different things of message '8'"),
        (WIDE.replace("prob.flood", "prob.fire"), "1 columns stand twice, the first of them 'prob.fire'"),
        (WIDE.replace("\n8,", "\n007,"), r"The id '007' stands in rows 1, 2; one row a message"),
        (WIDE + WIDE.partition("\n")[2], r"The id '007' stands in rows 1, 4, and 2 more ids"),
        ("", "CSV"),
        ("id,prob.a\n1,0.5,7\n", "CSV"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ScoresTable.read(written(tmp_path / "scores.csv", text))


def test_a_label_without_any_known_target_is_unknown_in_all(tmp_path: Path) -> None:
    wide = WIDE.replace(",1,0,", ",1,,").replace(",0,0,sms", ",0,,sms").replace(",,1,news", ",,,news")
    long = LONG.replace("flood,0.1,0,", "flood,0.1,,").replace("flood,0.75,1,", "flood,0.75,,")
    for text in (wide, long.replace("flood,0.5,0,", "flood,0.5,,")):
        table = ScoresTable.read(written(tmp_path / "scores.csv", text))
        assert table.targets_NL is not None
        assert np.isnan(table.targets_NL[:, table.labels.index("flood")]).all()
        assert table.targets_NL[0, table.labels.index("fire")] == 1


def test_a_decision_is_yes_or_no(tmp_path: Path) -> None:
    """An empty cell is no decision; read as a number that is none it would be a yes."""
    columns = {"id": ["a", "b"], "prob.x": [0.2, 0.3], "target.x": [0, 1], "decision.x": [True, None]}
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(DataError, match=r"row 2: .*'decision\.x' has no decision in 1 rows"):
        ScoresTable.read(tmp_path / "scores.parquet")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("text", [WIDE.replace("news", "é"), WIDE.replace("fire", "é")])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "scores.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="UTF-8 is wanted"):
        ScoresTable.read(tmp_path / "scores.csv")


def test_a_parquet_file_is_read_whatever_its_ending(tmp_path: Path) -> None:
    table = ScoresTable.read(written(tmp_path / "wide.csv", WIDE))
    for name in ("scores", "scores.dat", "scores.PQ"):
        table.write(tmp_path / name)
        assert list(ScoresTable.read(tmp_path / name).ids) == list(table.ids)


@pytest.mark.parametrize(
    ("name", "said"), [("s.xlsx", r"The ending '\.xlsx' is not known"), ("s", "The file has no ending")]
)
def test_a_file_of_another_kind_is_told_what_is_wanted(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(
        DataError, match=rf"{said}, and this is no Parquet file; wanted \.parquet, \.csv or \.tsv"
    ):
        ScoresTable.read(written(tmp_path / name, "PK"))


def test_of_a_folder_its_scores_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"This is a folder; .* None lies in it"):
        ScoresTable.read(tmp_path)
    (tmp_path / "scores").mkdir()
    written(tmp_path / "scores" / "notes.md", "")
    for number in range(7):
        written(tmp_path / "scores" / f"{number}.parquet", "")
    with pytest.raises(DataError, match=r"In it lie: .*scores/0\.parquet, .*scores/4\.parquet and 2 more\.$"):
        ScoresTable.read(tmp_path)


def test_a_tsv_with_commas_is_told_to_have_tabs(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"fields are separated by ','; a tab is wanted in a file that ends in \.tsv"
    ):
        ScoresTable.read(written(tmp_path / "scores.tsv", WIDE))


def test_a_missing_file_and_a_torn_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such scores file"):
        ScoresTable.read(tmp_path / "none.csv")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="read as Parquet"):
        ScoresTable.read(tmp_path / "torn.parquet")


def test_apostrophes_against_formulas_are_taken_away_again(tmp_path: Path) -> None:
    wide = "id,prob.fire,'=event\n'=1+1,.5,'@here\n-7,.25,''tis\n''=x,.5,plain\n"
    table = ScoresTable.read(written(tmp_path / "wide.csv", wide))
    assert list(table.ids) == ["=1+1", "-7", "'=x"]
    assert {name: list(values) for name, values in table.slices.items()} == {
        "=event": ["@here", "''tis", "plain"]
    }
    long = "id,label,prob\n'+a,'-b c,.5\n'+a,d,.25\n"
    table = ScoresTable.read(written(tmp_path / "long.csv", long))
    assert (list(table.ids), table.labels) == (["+a"], ("-b c", "d"))


def test_what_predict_writes_as_text_is_read_as_it_was(tmp_path: Path) -> None:
    from tocsin.cli.predict import _as_text

    given = pa.table(
        {
            "id": ["=1+1", "-2.5", "@a", "'=b", None],
            "prob.fire": [0.5, 0.25, 1.0, 0.0, 0.5],
            "+n": pa.array([-1, 2, -3, 4, 5]),
            "=kept": pa.array(["\ttab", "x", "-y", "+1e3", "z"]).dictionary_encode(),
        }
    ).slice(0, 4)
    safe = _as_text(given)
    assert safe.column_names == ["id", "prob.fire", "'+n", "'=kept"]
    assert safe["id"].to_pylist() == ["'=1+1", "-2.5", "'@a", "''=b"]
    assert safe["'=kept"].to_pylist() == ["'\ttab", "x", "'-y", "+1e3"]
    assert safe["'+n"].equals(given["+n"])
    csv.write_csv(safe, tmp_path / "safe.csv")
    table = ScoresTable.read(tmp_path / "safe.csv")
    assert list(table.ids) == given["id"].to_pylist()
    assert list(table.slices["=kept"]) == given["=kept"].to_pylist()
    assert list(table.slices["+n"]) == [-1, 2, -3, 4]


@pytest.mark.parametrize(
    "text", ["id,text,prob.a\n1,secret,.5\n2,secret,secret,.5\n", 'id,text,prob.a\n1,x,.5\n2,"secret,.5\n']
)
def test_an_error_quotes_no_row(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="Expected 3 columns") as refused:
        ScoresTable.read(written(tmp_path / "scores.csv", text))
    assert "secret" not in str(refused.value)


def test_a_torn_quote_in_the_header_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    path.write_text('"id\tprob.water\ttarget.water\tlang\nm1\t.5\t1\teng"\t\tfra\n')
    with pytest.raises(DataError):
        ScoresTable.read(path)


@pytest.mark.parametrize("name", ["id", "lang"])
def test_lists_are_no_texts(tmp_path: Path, name: str) -> None:
    columns = {"id": ["a", "b"], "prob.water": [0.1, 0.2], name: [["x"], None]}
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(DataError, match=f"column '{name}' holds list<.*>; text is wanted"):
        ScoresTable.read(tmp_path / "scores.parquet")
