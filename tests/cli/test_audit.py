"""`tocsin audit`: what a config's messages hold and what crosses, shown and saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, write_config
from tocsin.cli.main import main

TEXTS = [
    "Bridge down near the market, send boats",
    "bridge down near the markets, send boats",
    "we need water",
    "fire",
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Six messages, two of them nearly the same in train and test, one of them empty."""
    (tmp_path / "data").mkdir()
    rows = [
        ("a", "train", TEXTS[0], "en", "flood", 1),
        ("b", "test", TEXTS[1], "en", "flood", 0),
        ("c", "train", TEXTS[2], "ht", "flood", 1),
        ("d", "validation", TEXTS[2].upper(), "ht", "quake", 1),
        ("e", "test", TEXTS[3], "en", "quake", 0),
        ("f", "train", "@user", "en", "quake", 0),
    ]
    lines = [
        f'{id},{split},"{text}",{lang},{event},{water},0,' for id, split, text, lang, event, water in rows
    ]
    text = "\n".join(["id,split,text,lang,event,water,food,fire", *lines, ""])
    (tmp_path / "data" / "messages.csv").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return str(write_config(tmp_path, CONFIG.replace("messages.parquet", "messages.csv")))


def audited(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["audit", *arguments]) == 0
    return capsys.readouterr().out


def test_shown_without_any_text(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = audited(capsys, "--config", config)
    for part in (
        "1 dropped as empty after cleaning",
        "Languages: messages",
        "equal texts",
        "test seen in train",
        "! 1 text stands in more than one split",
        "no positive in train",
        "null",
    ):
        assert part in shown
    assert "near-duplicates" not in shown
    assert not any(text.lower() in shown.lower() for text in TEXTS[:3])
    assert max(map(len, shown.splitlines())) <= 140


def test_json_and_files_say_the_same(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("datasketch")
    out = audited(
        capsys,
        "--config",
        config,
        "--json",
        "--near-duplicates",
        "--by",
        "event",
        "--output",
        str(tmp_path / "out"),
    )
    found = json.loads(out)
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == found
    assert {name: one["messages"] for name, one in found["splits"].items()} == {
        "train": 2, "validation": 1, "test": 2,
    }  # fmt: skip
    assert found["by_language"] == {"en": {"train": 1, "test": 2}, "ht": {"train": 1, "validation": 1}}
    assert found["labels"]["fire"]["train"]["nulls"] == 2
    assert found["read"]["dropped_empty"] == 1
    assert found["groups"] == {
        "equal texts": {"groups": 4, "crossing": 1, "seen": {"validation": 1, "test": 0}},
        "near-duplicates (Jaccard 0.7)": {"groups": 3, "crossing": 2, "seen": {"validation": 1, "test": 1}},
        "event": {"groups": 2, "crossing": 2, "seen": {"validation": 0, "test": 1}},
    }
    tables = (tmp_path / "out" / "audit.txt").read_text()
    assert "near-duplicates (Jaccard 0.7)" in tables
    assert "\x1b" not in tables
    assert not any(text.lower() in (out + tables).lower() for text in TEXTS[:3])


def test_options_override_the_file(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    splitter = ["--data.init_args.splitter", "RandomSplit", "--data.init_args.splitter.init_args.seed", "3"]
    found = json.loads(audited(capsys, "--config", config, "--json", *splitter))
    assert any("RandomSplit divides by row" in sentence for sentence in found["crossing"])
    assert found["overrides"] == splitter


def test_slices_of_the_file_are_kept_beside_by(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(config)
    path.write_text(path.read_text().replace("    lang: lang\n", "    lang: lang\n    slices: [lang]\n"))
    found = json.loads(audited(capsys, "--config", config, "--json", "--by", "event"))
    assert list(found["groups"]) == ["equal texts", "lang", "event"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--near-duplicates", "0.2"], "from 0.4 to 1"),
        (["--by", "evnt"], "Did you mean 'event'"),
        (["--data.init_args.splitter", "RandomSplt"], "RandomSplit"),
        (["--output", "data/messages.csv"], "cannot be written"),
    ],
)
def test_mistakes_are_sentences(
    config: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--config", config, *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_config_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 2
    assert "--config" in capsys.readouterr().err
