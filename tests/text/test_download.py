from __future__ import annotations

import contextlib
import hashlib
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tocsin.errors import ConfigError, DataError
from tocsin.text import download
from tocsin.text.download import IndexSettings, download_from_index, pip_settings

FILENAME = "messages_of_ours-1.0.tar.gz"
CONTENT = b"not really an archive: nobody opens it"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def without_pip_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those a test makes."""
    monkeypatch.setattr(download, "_pip_config", lambda variables: {})
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_pip_files: None) -> Path:
    """A folder of files that stands in for the index, and an empty cache."""
    pytest.importorskip("unearth", reason="downloading needs the extra fetch")
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / FILENAME).write_bytes(CONTENT)
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch(sha256: str = SHA256, filename: str = FILENAME) -> Path:
    return download_from_index("messages-of-ours", "1.0", filename, sha256)


def test_a_file_is_fetched_once(shelf: Path, tmp_path: Path) -> None:
    found = fetch()
    assert found == tmp_path / "cache" / "downloads" / FILENAME
    assert found.read_bytes() == CONTENT
    (shelf / FILENAME).unlink()
    assert fetch() == found


def test_an_altered_file_in_the_cache_is_fetched_again(shelf: Path) -> None:
    found = fetch()
    found.write_bytes(b"flipped")
    assert fetch().read_bytes() == CONTENT


def test_an_index_in_a_folder_is_read(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "simple" / "messages-of-ours"
    page.mkdir(parents=True)
    link = (shelf / FILENAME).as_uri()
    (page / "index.html").write_text(f'<html><body><a href="{link}">{FILENAME}</a></body></html>')
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", page.parent.as_uri())
    assert fetch().read_bytes() == CONTENT


def test_another_file_of_that_name_is_refused(shelf: Path, tmp_path: Path) -> None:
    wanted = "0" * 64
    with pytest.raises(DataError, match=f"is another file: its SHA-256 is {SHA256}.*{wanted}"):
        fetch(wanted)
    assert not list((tmp_path / "cache" / "downloads").iterdir())


def test_a_file_that_nobody_has_is_named_with_a_way_out(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"other-2\.zip \(messages-of-ours 1\.0\).*shelf does not list it"
    ) as caught:
        fetch(filename="other-2.zip")
    assert f"copy the file (SHA-256 {SHA256}) to {tmp_path / 'cache' / 'downloads' / 'other-2.zip'}" in str(
        caught.value
    )


def test_a_dead_index_does_not_hide_the_next(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    look = download._find

    def find(session: object, place: str, *rest: object) -> object:
        if place.startswith("https:"):
            raise httpx2.ConnectError("no route")
        return look(session, place, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(download, "_find", find)
    monkeypatch.setenv("PIP_FIND_LINKS", f"https://me:secret@mirror.example/files {shelf}")
    assert fetch().read_bytes() == CONTENT
    monkeypatch.setenv("PIP_FIND_LINKS", "https://me:secret@mirror.example/files")
    fetch().unlink()
    with pytest.raises(DataError, match=r"https://mirror\.example/files: ConnectError: no route") as caught:
        fetch()
    assert "secret" not in str(caught.value)


def test_a_broken_connection_is_tried_again(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = download._fetch_once
    pauses: list[float] = []

    def flaky(*arguments: object) -> None:
        if len(pauses) < 2:
            raise ConnectionResetError("peer")
        once(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(download, "_fetch_once", flaky)
    monkeypatch.setattr("time.sleep", pauses.append)
    assert fetch().read_bytes() == CONTENT
    assert pauses == [1, 3]


def test_without_the_extra_the_error_names_it(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unearth.auth", None)
    with pytest.raises(ConfigError, match=r"pip install 'tocsin\[fetch\]'"):
        fetch()


def test_settings_come_from_the_environment(without_pip_files: None) -> None:
    from pip._internal.models.index import PyPI

    assert pip_settings({}) == IndexSettings((PyPI.simple_url,))
    given = pip_settings(
        {
            "PIP_INDEX_URL": "https://a.example/simple",
            "PIP_EXTRA_INDEX_URL": "https://b.example/simple https://c.example/simple",
            "PIP_FIND_LINKS": "/wheels",
            "PIP_TRUSTED_HOST": "a.example",
            "PIP_CERT": "/ca.pem",
            "PIP_PROXY": "http://proxy.example:3128",
            "PIP_DEFAULT_TIMEOUT": "180",
        }
    )
    assert given == IndexSettings(
        index_urls=("https://a.example/simple", "https://b.example/simple", "https://c.example/simple"),
        find_links=("/wheels",),
        trusted_hosts=("a.example",),
        certificates="/ca.pem",
        proxy="http://proxy.example:3128",
        timeout=180.0,
    )
    assert pip_settings({"PIP_NO_INDEX": "true"}).index_urls == ()


def test_settings_come_from_pips_files_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pip", reason="pip's files are read through pip")
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example/simple\nfind-links =\n    /one\n    /two\n"
        "[download]\nindex-url = https://d.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    given = pip_settings()
    assert given.index_urls[0] == "https://d.example/simple"
    assert given.find_links == ("/one", "/two")
    monkeypatch.setenv("PIP_INDEX_URL", "https://e.example/simple")
    assert pip_settings().index_urls[0] == "https://e.example/simple"


class Answers:
    """A server that answers with what a test gives, piece by piece, and announces no length."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], length: int | None = None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                if self.path.endswith("/"):
                    body = f'<a href="/files/{FILENAME}">{FILENAME}</a>'.encode()
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(body)
                    return
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                with contextlib.suppress(OSError):
                    for piece in pieces():
                        self.wfile.write(piece)
                        self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    def __enter__(self) -> Answers:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def by_network(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    return monkeypatch


def test_a_file_of_unknown_length_is_stopped_at_the_limit(
    by_network: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1)
            yield b"x" * 65_536

    with Answers(endless) as server:
        by_network.setenv("PIP_INDEX_URL", server.url)
        with pytest.raises(DataError, match="is another file: it is larger than 1,000,000 bytes"):
            download_from_index("messages-of-ours", "1.0", FILENAME, SHA256, most_bytes=1_000_000)
    assert len(sent) < 2_000
    assert not list((tmp_path / "cache" / "downloads").iterdir())


def test_an_announced_length_beyond_the_limit_is_enough(by_network: pytest.MonkeyPatch) -> None:
    with Answers(lambda: iter([b"x" * 10]), length=10**12) as server:
        by_network.setenv("PIP_INDEX_URL", server.url)
        with pytest.raises(DataError, match="is larger than 1,073,741,824 bytes"):
            fetch()


@pytest.mark.parametrize("drip", [True, False])
def test_a_stalled_download_ends(by_network: pytest.MonkeyPatch, drip: bool) -> None:
    over = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"x"
        while not over.wait(0.05 if drip else 20):
            yield b"x"

    by_network.setattr(download, "_WITHIN", 0.3)
    by_network.setenv("PIP_TIMEOUT", "5" if drip else "0.3")
    with Answers(slow) as server:
        by_network.setenv("PIP_INDEX_URL", server.url)
        try:
            with pytest.raises(DataError, match="stalled: .* bytes in" if drip else "Timeout"):
                fetch()
        finally:
            over.set()


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "1e9"])
def test_to_wait_for_ever_is_no_setting(without_pip_files: None, given: str) -> None:
    assert pip_settings({"PIP_TIMEOUT": given}).timeout == IndexSettings.timeout
