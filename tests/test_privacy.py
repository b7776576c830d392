"""Paths as records name them: from the working folder, $TOCSIN_DATA or the home folder, else the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.privacy import shown_argument, shown_data, shown_path, with_shown_paths, without_paths


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("home/alice/work space", "data", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home/alice"))
    monkeypatch.setenv("TOCSIN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "home/alice/work space")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("home/alice/work space/runs/a.csv", "runs/a.csv"),
        ("home/alice/work space", "."),
        ("home/alice/b.csv", "~/b.csv"),
        ("data/sub/c.csv", "$TOCSIN_DATA/sub/c.csv"),
        ("other/d.csv", "d.csv"),
        ("home/alicent/e.csv", "e.csv"),
    ],
)
def test_a_path_is_named_from_where_it_lies(places: Path, given: str, shown: str) -> None:
    assert shown_path(places / given) == shown
    assert without_paths(f"{places / given}: row 3") == f"{shown}: row 3"
    assert shown_argument(str(places / given)) == shown
    assert shown_argument(f"--config={places / given}") == f"--config={shown}"


def test_relative_paths_and_links(places: Path) -> None:
    assert shown_path("data/a.csv") == "data/a.csv"
    assert shown_path("../../../other/a.csv") == "a.csv"
    (places / "link").symlink_to(places / "data")
    assert shown_path(places / "link/a.csv") == "$TOCSIN_DATA/a.csv"


def test_a_working_folder_above_the_home_does_not_name_who_is_at_home(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places / "home")
    assert shown_path(places / "home/alice/a.csv") == "~/a.csv"
    monkeypatch.chdir("/")
    assert shown_path(places / "other/a.csv") == "a.csv"


def test_messages_lose_their_folders_alone(places: Path) -> None:
    assert without_paths("[Errno 13] Permission denied: '/srv/my files/a b.csv'") == (
        "[Errno 13] Permission denied: 'a b.csv'"
    )
    assert without_paths("no /mnt/x/y.csv, nor (/mnt/z/w.csv)") == "no y.csv, nor (w.csv)"
    for kept in (
        "3 messages/s and/or 1/2",
        "see https://example.org/a/b",
        "data/a.csv",
        "a // b",
        "$TOCSIN_DATA/a/b",
    ):
        assert without_paths(kept) == kept
    assert shown_argument('["/srv/a/b.csv", "c.csv"]') == '["b.csv", "c.csv"]'
    assert shown_argument("--data.files=[/srv/a/b.csv]") == "--data.files=[b.csv]"


def test_files_of_one_name_are_told_apart(places: Path) -> None:
    facts = {"/srv/1/a.csv": "x", "/srv/2/a.csv": "y", "/srv/3/a.csv": "z"}
    assert with_shown_paths(facts) == {"a.csv": "x", "a.csv (2)": "y", "a.csv (3)": "z"}
    assert shown_data({"name": "/srv/1/encoder", "list": ["/srv/b", 1, "x"]}) == {
        "name": "encoder",
        "list": ["b", 1, "x"],
    }
