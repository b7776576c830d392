"""Names from data that are markup, escape sequences or formulas are shown as text by every verb and in every file."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from tests.builders import messages, tiny_encoder
from tocsin.cli.main import main
from tocsin.escaping import terminal_text
from tocsin.plugins import ScoresTable

NAMES = [
    "[/urgent]",
    "[red]",
    ":fire:",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "a|b",
    "`code`",
    "=1+1",
    "+cmd",
    "@SUM",
    "-2+3",
    "cost $x$ or $y$",
]
# A label scheme refuses these; languages, ids and slice values may hold them.
CONTROLS = ["\x1b[31m", "\x1b]0;title\x07", "\u202ereversed", "two\nlines"]
# What no terminal may be sent beside line ends and tabs. Colours are off here, so that any ESC comes from data.
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
FILE = "[red] $x$ `a`.parquet"


def rows() -> list[dict[str, Any]]:
    """Messages of the labels, languages and events NAMES."""
    found = []
    for number, row in enumerate(messages(160)):
        kept = {key: row[key] for key in ("split", "text")}
        labels = {
            name: (row["water"] if i % 2 else row["food"]) if (number + i) % 7 else 1
            for i, name in enumerate(NAMES)
        }
        kept |= {
            "id": f"{[*NAMES, *CONTROLS][number % (len(NAMES) + len(CONTROLS))]} {number}",
            "lang": NAMES[number % 3],
            "event": CONTROLS[number % 4],
        }
        found.append({**kept, **labels})
    return found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_PLUGINS", "tocsin-calibration,tocsin-ensemble,tocsin-classical")
    monkeypatch.setenv("COLUMNS", "240")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "data" / FILE)
    tiny_encoder(tmp_path / "encoder", layers=1)
    config = {
        "labels": {"class_path": "Columns", "init_args": {"names": NAMES}},
        "data": {
            "class_path": "LabelledMessages",
            "init_args": {
                "train": FILE,
                "lang": "lang",
                "slices": ["event"],
                "splitter": "GivenSplit",
                "max_length": 16,
                "batch_size": 48,
            },
        },
        "model": {
            "class_path": "MultilabelClassifier",
            "init_args": {
                "encoder": {"class_path": "TransformerEncoder", "init_args": {"name": "encoder"}},
                "pooling": "MeanPooling",
                "head": "LinearHead",
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "precision": "32-true"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return tmp_path


class Shown:
    """Runs a verb and looks at all that it sends to the terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        capsys.readouterr()

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        assert main(list(map(str, arguments))) == code
        sent = self.capsys.readouterr()
        text = sent.out + sent.err
        raw = RAW.search(text.replace("\r", ""))
        assert raw is None, (arguments, text[max(0, raw.start() - 80) : raw.end() + 20])
        return text


def shows_all(text: str, names: list[str] = NAMES) -> None:
    flat = re.sub(r"\s+", " ", text)
    assert [name for name in names if terminal_text(name) not in flat] == []


def check_markdown(path: Path, names: list[str] = NAMES) -> None:
    """A page of ours renders without HTML, links or emphasis, and shows all the names."""
    text = path.read_text(encoding="utf-8").partition("\n---\n")[2] or path.read_text(encoding="utf-8")
    kinds, shown = set(), []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        kinds |= {token.type, *(child.type for child in token.children or [])}
        shown += [child.content for child in token.children or []]
    assert not kinds & {"html_block", "html_inline", "link_open", "em_open", "strong_open", "s_open"}
    assert not RAW.search(text)
    shows_all("\n".join(shown), names)


@pytest.mark.slow
def test_every_verb_shows_hostile_names_as_text(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tocsin_calibration")
    pytest.importorskip("tocsin_ensemble")
    run = Shown(capsys)
    shows_all(run("audit", "--config", "config.yaml", "--by", "event", "--output", "audited"))
    assert not RAW.search((work / "audited/audit.txt").read_text())
    run("fit", "--config", "config.yaml", "--name", "a")
    run("fit", "--config", "config.yaml", "--name", "b", "--seed_everything", "3")
    fits = [(work / f"runs/{name}/latest-fit").resolve() for name in "ab"]
    check_markdown(fits[0] / "bundle" / "README.md")
    check_tensorboard(fits[0])
    run("test", "--config", fits[0] / "config.yaml")
    assert "a " in run("runs")
    scores = [fit / "scores/validation.parquet" for fit in fits]
    named = ["--name", "[/red]=x", "<b>$y$</b>", "--draws", "20"]
    by = ["--by", "lang", "event"]
    shows_all(
        run("evaluate", "--scores", *scores, *named, *by, "--labels", "--output", "evaluated"),
        [*NAMES[:7], *CONTROLS],
    )
    check_markdown(work / "evaluated/report.md", [*NAMES, "[/red]=x"])
    shows_all(run("compare", "--scores", *scores, *named, *by, "--labels", "--output", "compared"))
    check_markdown(work / "compared/comparison.md")
    bundle, other = (fit / "bundle" for fit in fits)
    run("ensemble", "--scores", *scores, "--bundle", bundle, other, *named, "--output", "joint")
    check_markdown(work / "joint/report.md", ["[/red]=x"])
    check_markdown(work / "joint/bundle/README.md", ["[/red]=x"])
    fitting = ["--scores", scores[0], "--bundle", bundle, "--draws", "20", "--output", "calibrated"]
    shows_all(run("calibrate", *fitting))
    check_markdown(work / "calibrated/report.md")
    check_markdown(bundle / "README.md")
    plain = json.loads(run("evaluate", "--scores", scores[0], "--json", "--draws", "2"))
    assert json.dumps(NAMES[3]) in json.dumps(plain)  # a value is as it was
    texts = [name for name in NAMES if not name.startswith("-")]
    shows_all(run("predict", "--bundle", bundle, "--text", *texts, "--top", str(len(NAMES)), "--raw"))
    check_predictions(run, work, bundle)


def check_tensorboard(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"images": 1, "tensors": 1})
    events.Reload()
    tags = events.Tags()
    shows_all("\n".join(tags["scalars"]))
    assert not any(RAW.search(tag) for tag in [*tags["scalars"], *tags["tensors"], *tags["images"]])
    (metadata,) = run.rglob("metadata.tsv")
    cells = [cell for line in metadata.read_text().splitlines() for cell in line.split("\t")]
    assert len(cells) == 33 * 3
    assert not any(RAW.search(cell) or re.match("[=+@-]", cell) for cell in cells)


def check_predictions(run: Shown, work: Path, bundle: Path) -> None:
    source = ["--input", f"data/{FILE}", "--keep", "event", "lang", "--raw"]
    run("predict", "--bundle", bundle, *source, "--output", "labels.csv")
    run("predict", "--bundle", bundle, *source, "--output", "labels.parquet")
    with open("labels.csv", encoding="utf-8", newline="") as file:
        header, *cells = csv.reader(file)
    dangerous = [cell for row in [header, *cells] for cell in row if re.match(r"\s*[=+@\t\r-]", cell)]
    assert dangerous == []
    assert {"'=1+1 7", "'+cmd 8", "'@SUM 9", "'-2+3 10"} <= {row[0] for row in cells}
    back, wanted = ScoresTable.read("labels.csv"), ScoresTable.read("labels.parquet")
    assert list(back.ids) == list(wanted.ids)
    assert back.labels == wanted.labels == tuple(NAMES)
    assert list(back.slices["event"]) == list(wanted.slices["event"])


def test_errors_show_hostile_names_as_text(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Shown(capsys)
    table = pa.Table.from_pylist(rows())
    pq.write_table(table.drop_columns([NAMES[3]]), work / "data" / FILE)
    assert terminal_text(NAMES[3]) in run("audit", "--config", "config.yaml", code=2)
    assert "\\x1b]0;x\\x07" in run("evaluate", "--scores", "\x1b]0;x\x07.parquet", code=2)
    assert "\\x1b[2J" in run("\x1b[2J", code=2)
    assert "\\x1b[2J" in run("runs", "--sort", "\x1b[2J", code=2)
