"""CSV and TSV as people have them: stray quotes, other encodings and signs, carriage returns, no header, gzip."""

from __future__ import annotations

import bz2
import gzip
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.text import streams
from tocsin.text.csv_files import CsvReader
from tocsin.text.readers import Reader, reader_for
from tocsin.text.reading import DataWarning

COUNT = 60
ACCENTS = "près de l’école – señor"


def rows(count: int = COUNT) -> list[list[str]]:
    return [
        [str(1294030472427835393 + 977 * n), f"water is over the bridge #{n}", "en", str(n % 2), "0"]
        for n in range(count)
    ]


def table(sign: str = "\t", lines: Sequence[Sequence[str]] | None = None, end: str = "\n") -> str:
    header = ["id", "text", "lang", "flood", "fire"]
    return "".join(sign.join(row) + end for row in [header, *(rows() if lines is None else lines)])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, reader: Reader | None = None, column: str = "text") -> list[str]:
    batches = (reader or reader_for(path)).batches(path, [column])
    return [row[column] for batch in batches for row in batch.to_pylist()]


class TestSwallowedRows:
    """A quote that one row opens and a later one closes makes one row of many."""

    @pytest.mark.parametrize(("first", "last"), [(3, 40), (3, 4), (0, 59), (20, 22)])
    @pytest.mark.parametrize("sign", ["\t", ",", ";"])
    def test_in_the_text(self, tmp_path: Path, sign: str, first: int, last: int) -> None:
        lines = rows()
        lines[first][1] = f'"{lines[first][1]}'
        lines[last][1] += '"'
        path = write(tmp_path / "m.csv", table(sign, lines))
        with pytest.raises(
            DataError, match=rf"opens in line {first + 2} is closed in line {last + 2}.*quotes: false"
        ) as caught:
            texts(path, CsvReader(delimiter=sign))
        assert caught.value.row == first + 1
        whole = texts(path, CsvReader(delimiter=sign, quotes=False))
        assert len(whole) == COUNT
        assert whole[first] == lines[first][1]
        assert len(texts(path, CsvReader(delimiter=sign, quotes=True))) == COUNT - (last - first)

    @pytest.mark.parametrize("column", [0, 2, 4])
    def test_in_another_column(self, tmp_path: Path, column: int) -> None:
        lines = rows()
        lines[10][column] = f'"{lines[10][column]}'
        lines[30][column] += '"'
        path = write(tmp_path / "m.tsv", table("\t", lines))
        with pytest.raises(DataError, match="opens in line 12 is closed in line 32"):
            texts(path)

    def test_windows_lines_and_blank_ones_are_counted(self, tmp_path: Path) -> None:
        lines = rows()
        lines[10][1] = f'"{lines[10][1]}'
        lines[30][1] += '"'
        path = write(tmp_path / "m.tsv", "\r\n" + table("\t", lines, "\r\n"))
        with pytest.raises(DataError, match="opens in line 13 is closed in line 33"):
            texts(path)

    def test_rows_that_hold_quotes_themselves(self, tmp_path: Path) -> None:
        lines = [f"{n},food {n},0\n" for n in range(2, 499)]
        path = write(
            tmp_path / "m.csv",
            'id,text,a\n1,"help water,0\n' + "".join(lines) + '500,he said "no",0\n501,"fire",0\n',
        )
        with pytest.raises(DataError, match="opens in line 2 "):
            texts(path)
        path = write(tmp_path / "m.csv", 'id,text,a\n1,"help,0\n2,"ab",0\n3,c,1\n4,d,1\n')
        with pytest.raises(DataError, match="opens in line 2 is closed in line 3"):
            texts(path)

    def test_files_of_two_columns_and_of_one(self, tmp_path: Path) -> None:
        lines = [f"{1294030472427835393 + n}\tsmoke over the camp #{n}\n" for n in range(COUNT)]
        lines[5] = lines[5].replace("\t", '\t"')
        lines[45] = lines[45].replace("\n", '"\n')
        with pytest.raises(DataError, match="opens in line 7 is closed in line 47"):
            texts(write(tmp_path / "two.tsv", "id\ttext\n" + "".join(lines)))
        alone = [line.split("\t")[1] for line in lines]
        path = write(tmp_path / "one.tsv", "text\n" + "".join(alone))
        with pytest.raises(DataError, match=r"opens in line 7 is closed in line 47.*quotes: true"):
            texts(path)
        assert len(texts(path, CsvReader(quotes=False))) == COUNT

    def test_a_row_with_an_odd_cell_is_found(self, tmp_path: Path) -> None:
        lines = rows()
        lines[10][1] = f'"{lines[10][1]}'
        lines[11] = [lines[11][0], lines[11][1] + '"', "", "1", "0"]
        with pytest.raises(DataError, match="opens in line 12 is closed in line 13"):
            texts(write(tmp_path / "m.tsv", table("\t", lines)))

    def test_texts_without_any_pattern(self, tmp_path: Path) -> None:
        lines = ["fire,here a b", "no 1,x-y", 'open,"z', "q r,s", 'u v,w w"', "one_2,end"]
        with pytest.raises(DataError, match="opens in line 4 is closed in line 6"):
            texts(write(tmp_path / "m.csv", "label,text\n" + "\n".join(lines)), column="text")

    @pytest.mark.parametrize(
        "rest", [['500,he said "no",0', '501,"fire",0', "502,rain,0"], ['500,closed",0']]
    )
    def test_nearly_all_of_a_file_in_one_value(self, tmp_path: Path, rest: list[str]) -> None:
        lines = ["id,text,a", '1,"help water,0', *(f"{n},food {n},0" for n in range(2, 500)), *rest]
        with pytest.raises(DataError, match="opens in line 2 is closed in line 501"):
            texts(write(tmp_path / "m.csv", "\n".join(lines) + "\n"))

    def test_a_long_text_in_a_small_file_is_read(self, tmp_path: Path) -> None:
        text = "roses, violets, red\n1 cup, sugar\nmint, 2 spoons, oil\nbread, salt, 3 eggs\nend"
        path = write(tmp_path / "m.csv", f'id,text,a\n1,"{text}",0\n2,b,1\n')
        assert texts(path) == [text, "b"]

    def test_skipping_bad_rows_skips_none_of_these(self, tmp_path: Path) -> None:
        lines = rows()
        lines[10][1] = f'"{lines[10][1]}'
        lines[30][1] += '"'
        path = write(tmp_path / "m.tsv", table("\t", lines))
        with pytest.raises(DataError, match=r"41|21 lines would be one row"):
            list(CsvReader().batches(path, ["text"], lambda _: None))

    @pytest.mark.parametrize(
        "text",
        [
            "Flood in the valley\nSend boats, please",
            "needs:\nfood, water, tents\nthanks",
            "one\r\n\r\ntwo",
            "a,b,c,d,e\nf,g,h,i,j",
            'she said "help"\nand left',
            "\n\n\n",
            "17\n18, 19\n20",
        ],
    )
    @pytest.mark.parametrize("layout", ["id,text", "id,text,lang,flood,fire", "text,flood"])
    def test_texts_of_several_lines_are_read(self, tmp_path: Path, text: str, layout: str) -> None:
        names = layout.split(",")
        cells = {
            "id": "t-1",
            "text": '"' + text.replace('"', '""') + '"',
            "lang": "en",
            "flood": "1",
            "fire": "0",
        }
        others = [
            {"id": f"t-{n}", "text": "plain words here", "lang": "es", "flood": "0", "fire": "1"}
            for n in range(9)
        ]
        lines = [",".join(row[name] for name in names) for row in [*others, cells, *others]]
        path = write(tmp_path / "m.csv", layout + "\n" + "\n".join(lines) + "\n")
        assert texts(path)[9] == text

    def test_one_column_that_quotes_its_commas(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", 'text\n"fire, smoke"\n"two\nlines"\nplain\n')
        assert texts(path) == ["fire, smoke", "two\nlines", "plain"]

    def test_quotes_that_are_dropped_are_said(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.tsv", 'id\ttext\n1\t"Help" she said\n2\tthe "big" one\n3\tc\n')
        with pytest.warns(DataWarning, match=r"1 lines or more .*quotes: false"):
            assert texts(path) == ["Help she said", 'the "big" one', "c"]
        assert texts(path, CsvReader(quotes=False))[0] == '"Help" she said'

    def test_an_empty_quoted_value_that_goes_on_is_said(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", 'id,text\n1,""Help she said\n2,b\n')
        with pytest.warns(DataWarning, match=r"1 lines or more .*quotes: false"):
            assert texts(path) == ["Help she said", "b"]

    def test_doubled_quotes_in_a_text_of_several_lines_are_not(self, tmp_path: Path) -> None:
        text = 'Hello,\n"no"," he said,"yes"\n"no" and'
        doubled = text.replace('"', '""')
        assert texts(write(tmp_path / "m.csv", f'id,text\n1,"{doubled}"\n2,"""b"""\n')) == [text, '"b"']


class TestEncodings:
    """What is not UTF-8 names the option that reads it."""

    @pytest.mark.parametrize(
        ("encoding", "bom", "hint"),
        [
            ("cp1252", b"", "encoding: cp1252"),
            ("latin-1", b"", "encoding"),
            ("utf-16-le", b"\xff\xfe", "encoding: utf-16"),
            ("utf-16-be", b"\xfe\xff", "encoding: utf-16"),
            ("utf-16-le", b"", "encoding: utf-16-le"),
            ("utf-16-be", b"", "encoding: utf-16-be"),
            ("utf-32", b"", "encoding: utf-32"),
        ],
    )
    def test_hinted_and_read(self, tmp_path: Path, encoding: str, bom: bytes, hint: str) -> None:
        text = ACCENTS if encoding != "latin-1" else "près señor"
        content = "id,text\r\n" + "".join(f"{n},{text} #{n}\r\n" for n in range(9))
        path = write(tmp_path / "m.csv", bom + content.encode(encoding))
        with pytest.raises(DataError, match=hint):
            texts(path)
        read = texts(path, CsvReader(encoding="utf-16" if bom else encoding))
        assert read[8] == f"{text} #8"

    def test_header_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", "id,text,événement\n1,a,b\n".encode("cp1252"))
        with pytest.raises(DataError, match=r"header is not UTF-8.*encoding: cp1252"):
            texts(path)
        assert texts(path, CsvReader(encoding="cp1252"), "événement") == ["b"]

    def test_byte_that_the_encoding_does_not_have(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", b"id,text\n1,a\n2,b\x81\n")
        with pytest.raises(DataError, match="not cp1252 text") as caught:
            texts(path, CsvReader(encoding="cp1252"))
        assert caught.value.row == 2

    @pytest.mark.parametrize("name", ["utf8", "UTF-8", "utf-8-sig"])
    def test_utf8_by_its_names(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / "m.csv", f"\ufeffid,text\n1,{ACCENTS}\n")
        assert texts(path, CsvReader(encoding=name)) == [ACCENTS]

    @pytest.mark.parametrize("name", ["no-such", "hex", "zip", "rot13", ""])
    def test_names_of_no_text_encoding(self, name: str) -> None:
        with pytest.raises(ConfigError, match="encoding is"):
            CsvReader(encoding=name)

    def test_rows_that_cannot_be_read_alone(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", "id,text\n1,é\n2,é\n".encode("cp1252"))
        with pytest.raises(DataError, match=r"none of its rows can be read \(2 were left out\).*encoding"):
            list(CsvReader().batches(path, ["text"], lambda _: None))

    def test_wrong_count_in_a_row_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", b"id,text,a\n1,one,x\n2,tw\xefo,x,extra\n3,three,x\n")
        with pytest.raises(DataError, match="4 fields, the header has 3") as caught:
            texts(path)
        assert caught.value.row == 2
        faults: list[DataError] = []
        batches = list(CsvReader().batches(path, ["id"], faults.append))
        assert [row["id"] for batch in batches for row in batch.to_pylist()] == ["1", None, "3"]
        assert [fault.row for fault in faults] == [2]

    def test_what_marks_bytes_inside_stays_a_text(self, tmp_path: Path) -> None:
        odd = "\ufffe \ufffeR \ufffeZ \ufffeE \ufffe\u0181 é"
        path = write(tmp_path / "m.csv", f"id,text\n1,{odd}\n2,x\ry\n")
        assert texts(path) == [odd, "x\ry"]


class TestDelimiters:
    """The sign between fields, by option and by ending."""

    @pytest.mark.parametrize(
        ("given", "sign"),
        [(";", ";"), ("\t", "\t"), ("\\t", "\t"), ("tab", "\t"), ("|", "|"), ("semicolon", ";")],
    )
    def test_by_option(self, tmp_path: Path, given: str, sign: str) -> None:
        path = write(tmp_path / "m.csv", table(sign))
        with pytest.raises(DataError, match="option `delimiter`"):
            texts(path)
        assert len(texts(path, CsvReader(delimiter=given))) == COUNT

    @pytest.mark.parametrize("sign", [",", "\t", ";", "|"])
    def test_txt_by_its_header(self, tmp_path: Path, sign: str) -> None:
        assert len(texts(write(tmp_path / "m.txt", table(sign)))) == COUNT

    @pytest.mark.parametrize("given", ["", ";;", "\n", '"', "é"])
    def test_what_is_none(self, given: str) -> None:
        with pytest.raises(ConfigError, match="delimiter is"):
            CsvReader(delimiter=given)


class TestHeaders:
    """White space of names is not data; a file may have no header."""

    @pytest.mark.parametrize(
        "header", ["id, text, lang", "id ,text , lang", "\tid,\ttext\t,lang", "\ufeff id,\u00a0text,lang"]
    )
    def test_white_space_is_dropped_and_said_once(self, tmp_path: Path, header: str) -> None:
        path = write(tmp_path / "m.csv", header + "\n1, fire ,en\n")
        with pytest.warns(DataWarning, match="white space around") as caught:
            assert texts(path) == [" fire "]
        assert len(caught) == 1
        assert reader_for(path).columns(path) == ["id", "text", "lang"]

    def test_twice_after_stripping(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", "text, text,id\na,b,1\n")
        with pytest.raises(DataError, match="more than one column called 'text'"):
            texts(path)

    def test_without_a_header(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", table(",").split("\n", 1)[1])
        with pytest.raises(DataError, match="column_names"):
            texts(path)
        reader = CsvReader(column_names=["id", "text", "lang", "flood", "fire"])
        assert texts(path, reader) == [row[1] for row in rows()]
        with pytest.raises(DataError, match="5 fields, column_names has 2") as caught:
            texts(path, CsvReader(column_names=["id", "text"]))
        assert caught.value.row == 1

    @pytest.mark.parametrize("names", [[], ["a", "a"]])
    def test_column_names_that_are_none(self, names: list[str]) -> None:
        with pytest.raises(ConfigError, match="column_names"):
            CsvReader(column_names=names)


class TestEscapes:
    r"""Quotes inside values that are written \"."""

    @pytest.mark.parametrize(
        "text", ['he said "help, now" and left', 'he said "help" and left', '"help" he said', 'say "now"']
    )
    def test_hinted_and_read(self, tmp_path: Path, text: str) -> None:
        written = text.replace('"', '\\"')
        path = write(tmp_path / "m.csv", f'id,text,a\n1,"{written}",0\n2,plain,1\n')
        with pytest.raises(DataError, match=r"`escape: '\\\\'`"):
            texts(path)
        assert texts(path, CsvReader(escape="\\")) == [text, "plain"]

    def test_other_backslashes_stay(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", 'id,text\n1,"¯\\_(ツ)_/¯ \\"x\\" C:\\\\dir"\n2,a\\,b\n')
        assert texts(path, CsvReader(escape="\\")) == ['¯\\_(ツ)_/¯ "x" C:\\dir', "a,b"]

    def test_a_backslash_before_a_doubled_quote_needs_no_option(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", 'id,text\n1,"C:\\"" x"\n2,\\o/\n')
        assert texts(path) == ['C:\\" x', "\\o/"]


class TestCarriageReturns:
    """A carriage return alone ends lines where the header ends in one; elsewhere it belongs to its value."""

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
    @pytest.mark.parametrize("last", [True, False])
    def test_ends_of_lines(self, tmp_path: Path, end: str, last: bool) -> None:
        content = table(",", end=end)
        path = write(tmp_path / "m.csv", content if last else content.removesuffix(end))
        assert texts(path) == [row[1] for row in rows()]
        assert texts(path, column="fire") == ["0"] * COUNT

    @pytest.mark.parametrize("text", ["a\rb", '"a\rb"', "\rb", "a\r", '"a\r\rb, c"'])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_inside_a_value(self, tmp_path: Path, text: str, end: str) -> None:
        path = write(tmp_path / "m.csv", f"id,text,fire{end}1,{text},0{end}2,c,1{end}")
        assert texts(path) == [text.strip('"'), "c"]

    def test_two_kinds_of_ends(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv", "id,text,fire\n1,a,0\r2,b,1\n3,c,1\n")
        with pytest.raises(DataError, match="carriage return") as caught:
            texts(path)
        assert caught.value.row == 1


class TestPacked:
    """Files packed by gzip, bzip2 and zstd, whole and torn."""

    @staticmethod
    def _pack(ending: str, content: bytes) -> bytes:
        if ending == ".zst":
            return pa.Codec("zstd").compress(content).to_pybytes()  # type: ignore[no-any-return]
        return gzip.compress(content) if ending == ".gz" else bz2.compress(content)

    @pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst", ".GZ"])
    def test_read_and_torn(self, tmp_path: Path, ending: str) -> None:
        content = "id,text\n" + "".join(f"{n},fire {n * 7919}\n" for n in range(20_000))
        packed = self._pack(ending.lower(), content.encode())
        path = write(tmp_path / f"m.csv{ending}", packed)
        assert len(texts(path)) == 20_000
        for torn in (packed[: len(packed) // 2], packed[:-3], b"id,text\n1,a\n"):
            with pytest.raises(DataError, match=r"torn or damaged after .* unpacked bytes") as caught:
                texts(write(path, torn))
            assert caught.value.file == str(path)

    def test_two_members_of_gzip(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.csv.gz", gzip.compress(b"id,text\n1,a\n") + gzip.compress(b"2,b\n"))
        assert texts(path) == ["a", "b"]

    def test_what_unpacks_to_far_more_than_a_table(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "_MOST_UNPACKED", 4 << 20)
        path = write(tmp_path / "m.csv.gz", gzip.compress(b"id,text\n" + b"1,aaaaaaaaaaaaa\n" * 1_000_000))
        with pytest.raises(DataError, match="damaged or hostile"):
            texts(path)


@pytest.mark.parametrize("size", [17 << 20, 40 << 20])
def test_a_cell_beyond_the_limit_is_refused_at_once(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "m.csv", b'id,text\n0,a\n1,"' + b"x " * (size // 2) + b'"\n2,b\n')
    begin = time.process_time()
    with pytest.raises(DataError, match="longer than 16 MB"):
        texts(path)
    assert time.process_time() - begin < 5


def test_a_quote_that_nothing_closes_names_its_line(tmp_path: Path) -> None:
    lines = rows()
    lines[7][1] = f'"{lines[7][1]}'
    for column, content in (("text", table("\t", lines)), ("text", 'id\ttext\n1\ta\n2\t"open\n')):
        path = write(tmp_path / "m.tsv", content)
        with pytest.raises(
            DataError, match=r"ends inside a quoted value, of a row that begins in line (9|3)"
        ):
            texts(path, column=column)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\x1f\x8b\x08\0", "packed by gzip; let its name end in .gz"),
        (b"PK\x03\x04\0", "a zip archive or an Excel file"),
        (b"PAR1\0", "a Parquet file"),
    ],
)
def test_files_that_are_no_text_say_what_they_are(tmp_path: Path, head: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        texts(write(tmp_path / "m.csv", head + b"id,text\n1,a\n"))
    path = write(tmp_path / "plain.csv", "PAR1,text\n1,a\n")
    assert texts(path) == ["a"]
