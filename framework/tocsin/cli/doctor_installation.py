"""What `tocsin doctor` looks at without a path: packages, devices, disks, plugins and the cache."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from tocsin import __version__
from tocsin.cli.findings import NOTE, OK, PROBLEM, Finding, first_line, guarded, shortened

__all__ = ["check_disk", "check_installation"]

_FULL_GB, _LOW_GB = 1.0, 10.0
"""Free gigabytes below which a folder is called full, and low: a checkpoint of a base encoder has 1 to 3."""


def check_installation() -> Iterator[Finding]:
    """Yield what is found of this installation, the cheap things first."""
    yield Finding(OK, f"Tocsin {__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from guarded(
        "The list of packages", _packages, advice="Install Tocsin again: pip install --upgrade tocsin"
    )
    yield from guarded(
        "Torch", _devices, advice="Install torch again; see pytorch.org for the build for your driver."
    )
    from tocsin.files import cache_folder

    yield from check_disk(Path("runs"), "the folder of runs", "give --runs another folder")
    yield from check_disk(cache_folder(), "the cache", "set TOCSIN_CACHE to another folder")
    yield from _data()
    yield from guarded("The plugins", _plugins, advice="TOCSIN_PLUGINS=off works without them.")
    yield from guarded("The cache", _cache, advice="All that lies in the cache may be deleted.")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wanted = [Requirement(one) for one in requires("tocsin") or []]
    core = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    sound = []
    for one in core:
        install = f"pip install '{one.name}{one.specifier}'"
        try:
            found = version(one.name)
        except PackageNotFoundError:
            yield Finding(PROBLEM, f"the package {one.name} is not installed", install)
            continue
        if not one.specifier.contains(found, prereleases=True):
            yield Finding(
                PROBLEM, f"{one.name} {found} is installed; {one.name}{one.specifier} is wanted", install
            )
        else:
            sound.append(f"{one.name} {found}")
    if sound:
        yield Finding(OK, f"packages: {', '.join(sound)}")


def _devices() -> Iterator[Finding]:
    import torch

    from tocsin.training.precision import resolve_precision

    accelerators = []
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index} ({torch.cuda.get_device_name(index)})"
        free, total = torch.cuda.mem_get_info(index)
        torch.ones(2, device=f"cuda:{index}").sum().item()  # a driver that does not fit fails here
        accelerators.append(f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
    if torch.backends.mps.is_available():
        torch.ones(2, device="mps").sum().item()
        accelerators.append("mps")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(OK, f"devices: {'; '.join([*accelerators, f'cpu with {cores} cores'])}")
    if torch.version.cuda and not accelerators:
        yield Finding(
            NOTE,
            f"torch is built for CUDA {torch.version.cuda}, and finds no GPU",
            "If there is one, look at its driver (nvidia-smi); else everything runs on the CPU.",
        )
    yield Finding(OK, f"precision: auto means {resolve_precision()} here")


def check_disk(folder: Path, what: str, elsewhere: str) -> Iterator[Finding]:
    """Yield whether a folder, or the one that it will be made in, can be written and has room."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    shown = f"{what} ({folder})"
    try:
        if place.is_dir():
            with tempfile.TemporaryFile(dir=place) as file:  # os.access believes a read-only mount
                file.write(b"x")
        else:
            raise NotADirectoryError(20, "a file stands where a folder is wanted")
        free = shutil.disk_usage(place).free / 1e9
    except OSError as error:
        yield Finding(
            PROBLEM,
            f"{shown} cannot be written: {error.strerror or error}",
            f"Mend its permissions, or {elsewhere}.",
        )
        return
    state = PROBLEM if free < _FULL_GB else NOTE if free < _LOW_GB else OK
    advice = "" if state == OK else f"Make room, or {elsewhere}."
    yield Finding(state, f"{shown} can be written; {free:,.1f} GB are free", advice)


def _data() -> Iterator[Finding]:
    named = os.environ.get("TOCSIN_DATA")
    if named and not Path(named).expanduser().is_dir():
        yield Finding(PROBLEM, f"TOCSIN_DATA names no folder: {named}", "Correct it, or unset it.")


def _plugins() -> Iterator[Finding]:
    from tocsin.cli.plugins import checked_plugins

    listed = checked_plugins()
    sound = [one for one in listed if one.state not in ("broken", "off")]
    if sound or not listed:
        names = dict.fromkeys(f"{one.distribution} {one.version}" for one in sound)
        yield Finding(OK, f"plugins: {', '.join(names) or 'none'}")
    for one in listed:
        shown = f"the plugin {one.name} ({one.distribution} {one.version})"
        if one.state == "broken":
            yield Finding(
                PROBLEM,
                f"{shown} is broken: {shortened(str(one.cause))}",
                f"Install another version of it, or leave it: pip uninstall {one.distribution}",
            )
        elif one.state == "off":
            yield Finding(NOTE, f"{shown} is {one.cause}")
        elif one.state == "slow":
            yield Finding(NOTE, f"{shown} takes {one.import_seconds} s to import: every verb waits for it")


def _cache() -> Iterator[Finding]:
    from tocsin.cache_entries import verify_cache
    from tocsin.files import cache_folder
    from tocsin.models.vector_store import verify_store

    root = cache_folder()
    if not root.is_dir():
        yield Finding(OK, "the cache is empty")
        return
    files = sizes = leftovers = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                sizes += os.lstat(os.path.join(folder, name)).st_size
            except OSError as error:
                yield Finding(PROBLEM, f"{folder}/{name}: {first_line(error)}", "Delete it.")
                continue
            files += 1
            leftovers += name.endswith((".part", ".tmp"))
    teachers = (folder for folder in sorted(root.glob("teachers/*")) if folder.is_dir())
    problems = [*verify_cache(root), *(each for folder in teachers for each in verify_store(folder))]
    for problem in problems:
        advice = f"It is made anew when it is used next. Or: rm -r '{problem.file}'" if problem.fatal else ""
        yield Finding(PROBLEM if problem.fatal else NOTE, str(problem), advice)
    if not any(problem.fatal for problem in problems):
        yield Finding(
            OK, f"the cache holds {files:,} files, {sizes / 1e9:.1f} GB; all that have checksums are sound"
        )
    if leftovers:
        yield Finding(
            NOTE,
            f"{leftovers:,} files of the cache are being written now, or were left by a killed process",
            "They go when the same entry is written again; no process at work: delete them.",
        )
