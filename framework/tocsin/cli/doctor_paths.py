"""What `tocsin doctor PATH` looks at: a run, a folder of runs, a bundle, a checkpoint, scores or a configuration."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.cli.doctor_installation import check_disk
from tocsin.cli.findings import NOTE, OK, PROBLEM, Finding, guarded, shortened
from tocsin.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from tocsin.training.listing import RunSummary

__all__ = ["check_path"]

_GOES_ON = ("interrupted", "killed", "failed")


def check_path(path: Path) -> Iterator[Finding]:
    """Yield what is found of a file or folder.

    Raises:
        ConfigError: There is nothing of that name, or nothing that Tocsin writes.
    """
    if not path.exists() and not path.is_symlink():
        raise ConfigError(
            f"there is no file or folder {str(path)!r}; wanted a run, a bundle or a folder of runs"
        )
    kinds = {".ckpt": _checkpoint, ".parquet": _scores, ".csv": _scores, ".yaml": _config, ".yml": _config}
    if not path.is_dir():
        check = kinds.get(path.suffix)
        if check is None:
            raise ConfigError(
                f"{path} is nothing that Tocsin writes; wanted a run, a bundle or a folder of runs"
            )
        yield from guarded(str(path), check, path)
        return
    if (path / "tocsin.json").is_file():
        yield from guarded(str(path), _bundle, path)
        return
    from tocsin.training.listing import run_folders

    runs = list(run_folders(path))
    if not runs:
        raise ConfigError(
            f"{path} holds no run and no bundle. A run has a provenance.json, a bundle a tocsin.json; a bundle whose "
            "tocsin.json is gone cannot be used: take it afresh."
        )
    for run in runs:
        yield from guarded(str(run), _run, run)


def _run(path: Path) -> Iterator[Finding]:
    from tocsin.training.listing import read_run
    from tocsin.training.runs import is_held

    summary = read_run(path)
    for problem in summary.problems:
        if not problem.startswith("scores/"):  # looked at below, with advice
            yield Finding(PROBLEM, f"{path}: {problem}", "The run still loads; what it was made of is lost.")
    if is_held(path):
        yield Finding(NOTE, f"{path}: a process works in this folder; what it writes may differ in a moment")
    config = path / "config.yaml"
    if config.exists():
        yield from guarded(
            str(config), _config, config, advice="Write it again: the fit's own YAML file has it all."
        )
    whole = 0
    checkpoints = sorted((path / "checkpoints").glob("*.ckpt"))
    for each in checkpoints:
        found = list(guarded(str(each), _checkpoint, each))
        whole += all(finding.state != PROBLEM for finding in found)
        yield from found
    if checkpoints and len(checkpoints) > whole:
        yield _way_on(path, whole)
    yield _status(path, summary, whole)
    for each in sorted((path / "scores").glob("*.parquet")):
        yield from guarded(str(each), _scores, each, advice=f"Write it again: {_again(path, each.stem)}")
    for each in sorted(path.glob("bundle*/")):
        if each.is_dir():
            yield from guarded(str(each), _bundle, each)
    yield from guarded(str(path / "provenance.json"), _plugins_of, path)
    yield from check_disk(path, "the run", "copy the run to another disk")


def _status(path: Path, summary: RunSummary, whole: int) -> Finding:
    text = f"{path}: {summary.verb or 'run'}, {summary.status}"
    if summary.status in ("completed", "running"):
        return Finding(OK, text)
    if summary.status in _GOES_ON and summary.verb == "fit" and whole:
        return Finding(NOTE, text, f"Go on with it: {summary.go_on or f'tocsin fit --resume {path}'}")
    return Finding(NOTE, text)


def _way_on(path: Path, whole: int) -> Finding:
    from tocsin.training.resume import newest_checkpoint

    if not whole:
        return Finding(
            PROBLEM, f"{path}: no checkpoint is whole", "Fit again; a bundle that is sound can be used."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newest = newest_checkpoint(path / "checkpoints")
    name = "" if newest is None else newest.name
    return Finding(
        NOTE, f"{path}: the newest whole checkpoint is {name}", "tocsin fit --resume goes on from there."
    )


def _again(path: Path, stage: str) -> str:
    verb = "test" if stage == "test" else "validate"
    return f"tocsin {verb} --config {path / 'config.yaml'}"


def _config(path: Path) -> Iterator[Finding]:
    from tocsin.plugins.strict_yaml import read_yaml

    content = read_yaml(path)
    if not isinstance(content, dict):
        yield Finding(PROBLEM, f"{path} holds no mapping, so it is no configuration")
    else:
        yield Finding(OK, f"{path} can be read")


def _checkpoint(path: Path) -> Iterator[Finding]:
    from tocsin.training.checkpoint_files import CheckpointWarning, verify_checkpoint
    from tocsin.training.resume import checkpoint_step

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", CheckpointWarning)
        try:
            has_digest = verify_checkpoint(path)
        except CheckpointError as error:
            yield Finding(
                PROBLEM, shortened(str(error)), "Do not use it; delete it once another one is whole."
            )
            return
    if said or not has_digest:
        yield Finding(
            NOTE, f"{path} has no digest of its own: another program wrote it, or an earlier version"
        )
        return
    step = checkpoint_step(path)
    yield Finding(OK, f"{path} is whole" + ("" if step is None else f", of step {step:,}"))


def _scores(path: Path) -> Iterator[Finding]:
    from tocsin.scores.table import ScoresTable

    table = ScoresTable.read(path)
    yield Finding(OK, f"{path}: {len(table):,} messages, {len(table.labels):,} labels")
    noted = table.metadata.get("checkpoint")
    best = path.parent.parent / "checkpoints" / "best.ckpt"
    if path.stem == "validation" and noted and best.is_file():
        from tocsin.files import file_sha256

        if file_sha256(best) != noted and all(one.state != PROBLEM for one in _checkpoint(best)):
            yield Finding(
                PROBLEM,
                f"{path} holds the scores of another checkpoint than {best.name}",
                f"Write it again: {_again(path.parent.parent, path.stem)}",
            )


def _bundle(path: Path) -> Iterator[Finding]:
    from tocsin.bundle_files import verify_bundle

    fresh = "Take the folder afresh, whole, from where it came from or from its run."
    problems = verify_bundle(path)
    yield from (_of_problem(problem, fresh) for problem in problems)
    if not any(problem.fatal for problem in problems):  # what was changed is not loaded
        yield from guarded(str(path), _loaded, path, advice=fresh)


def _of_problem(problem: Any, fresh: str) -> Finding:
    if problem.fatal:
        return Finding(PROBLEM, str(problem), fresh)
    return Finding(NOTE, str(problem), "It changes no prediction.")


def _loaded(path: Path) -> Iterator[Finding]:
    from tocsin import load
    from tocsin.bundle_files import BundleWarning

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", BundleWarning)
        load(path)
    own = [one for one in said if issubclass(one.category, BundleWarning)]
    for warning in own:
        yield Finding(NOTE, shortened(str(warning.message)))
    yield Finding(OK, f"{path} is whole; its canary texts give what they gave when it was written")


def _plugins_of(path: Path) -> Iterator[Finding]:
    """Compare the plugins that a run used with those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    record = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
    used = record.get("plugins") if isinstance(record, dict) else None
    for name, wanted in (used if isinstance(used, dict) else {}).items():
        try:
            found = version(str(name))
        except (PackageNotFoundError, ValueError):
            yield Finding(
                PROBLEM,
                f"{path} used the plugin {name} {wanted}, which is not installed",
                f"pip install {name}",
            )
            continue
        if found != wanted:
            yield Finding(NOTE, f"{path} used the plugin {name} {wanted}; {found} is installed")
