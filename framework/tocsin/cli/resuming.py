"""`tocsin fit --resume RUN|auto`: which run goes on, from which checkpoint, and what its configuration says now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.errors import CheckpointError, ConfigError
from tocsin.escaping import print_lines
from tocsin.plugins.given import config_files
from tocsin.plugins.strict_yaml import read_yaml, strict_load
from tocsin.training.checkpoint_files import verify_checkpoint
from tocsin.training.resume import checkpoint_step, newest_checkpoint
from tocsin.training.runs import DATED, is_first_rank, is_held

__all__ = ["Continued", "begin_again", "continued_run", "with_config"]

_AUTO = "auto"
_TOLD = "TOCSIN_RUN_FOLDER"  # how the first process tells its run to the ranks that it starts

# What a resumed run may change: nothing here decides which messages come, or what a saved number means.
_FREE = (
    "trainer",
    "name",
    "runs",
    "data.init_args.cache",
    "data.init_args.tokens_per_pass",
    "data.init_args.on_rare",
    "data.init_args.min_positives",
    "model.init_args.gradient_clip",
    "model.init_args.non_finite",
    "model.init_args.max_skipped",
    "model.init_args.schedule",
    "model.init_args.validate_first",
)
# Set once, at the beginning of a fit, or kept by the optimiser: a change would do nothing.
_WITHOUT_EFFECT = (
    "seed_everything",
    "data.init_args.seed",
    "model.init_args.optimizer",
    "model.init_args.layer_decay",
    "model.init_args.start_from_probe",
    "model.init_args.probe_l2",
    "model.init_args.probe_sentences",
)


@dataclass(frozen=True)
class Continued:
    """A run that goes on.

    Args:
        folder: The run's.
        checkpoint: Where it goes on; None where it has none and begins again in its folder.
        completed: Whether there is nothing to go on with.
    """

    folder: Path
    checkpoint: Path | None
    completed: bool = False


def with_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the run's own configuration where --resume names a run and no --config is given."""
    words = list(argv)
    given = _option(words, "--resume")
    if given in (None, _AUTO) or config_files(words):
        return words
    return ["--config", str(_newest_config(_run_folder(str(given)))), *words]


def continued_run(config: Any, text: str) -> Continued | None:
    """What --resume or --ckpt_path of a fit means; None for a new run. Sets `config.ckpt_path`.

    Args:
        config: The parsed configuration, with `resume`, `ckpt_path`, `name` and `runs`.
        text: The complete configuration, as YAML.

    Raises:
        ConfigError: There is no such run, or its configuration was another.
        CheckpointError: None of its checkpoints can be read.
    """
    if config.resume is None:
        if config.ckpt_path is None:
            return None
        folder = _run_of_checkpoint(config.ckpt_path)
        if folder is None:
            return None
        found = Continued(folder, _whole_or_newest(Path(config.ckpt_path)))
    else:
        if config.ckpt_path is not None:
            raise ConfigError("--resume finds the checkpoint by itself: give it or --ckpt_path, not both.")
        resumed = _resumed_run(config.resume, config.name, config.runs)
        if resumed is None:
            if is_first_rank():
                print_lines(
                    f"--resume auto: no unfinished run of {config.name} in {config.runs}; a new one begins."
                )
            return None
        found = resumed
    if not found.completed:
        _announce(found, _compare_configs(found.folder, text, strict=config.resume is not None))
        config.ckpt_path = None if found.checkpoint is None else str(found.checkpoint)
    return found


def _resumed_run(given: str, name: str, runs: str) -> Continued | None:
    """Find the run that --resume means; None where `auto` finds none that is unfinished.

    Args:
        given: A run's folder, a checkpoint in it, or "auto": the newest run of that name that did not complete.
        name: Of the runs.
        runs: The folder that holds all runs.

    Raises:
        ConfigError: There is no such run.
        CheckpointError: It has checkpoints, and none of them can be read.
    """
    if given == _AUTO:
        folder = _newest_unfinished(Path(runs, name))
        if folder is None:
            return None
    else:
        folder = _run_folder(given)
        if _status(folder) == "completed":
            return Continued(folder, None, completed=True)
    if Path(given).is_file():
        return Continued(folder, _whole_or_newest(Path(given)))
    return Continued(folder, newest_checkpoint(folder / "checkpoints"))


def _whole_or_newest(checkpoint: Path) -> Path:
    """That checkpoint of a run; where it is damaged, the newest that is whole, with a warning."""
    try:
        verify_checkpoint(checkpoint)
    except CheckpointError:
        return newest_checkpoint(checkpoint.parent) or checkpoint
    return checkpoint


def _run_of_checkpoint(checkpoint: str) -> Path | None:
    """The run's folder that a checkpoint lies in; None for one that lies elsewhere."""
    folder = Path(checkpoint).absolute().parent
    if folder.name == "checkpoints" and (folder.parent / "provenance.json").is_file():
        return folder.parent
    return None


def _newest_config(folder: Path) -> Path:
    """The configuration of a run's last session.

    Raises:
        ConfigError: The folder holds none.
    """
    numbered = [(folder / "config.yaml"), *(folder / f"config-{number}.yaml" for number in range(2, 1000))]
    found = [path for path in numbered if path.is_file()]
    if not found:
        raise ConfigError(
            f"--resume {folder}: the run has no config.yaml. Give its configuration with --config FILE."
        )
    return found[-1]


def _compare_configs(folder: Path, now: str, *, strict: bool) -> list[str]:
    """What differs between the configuration of a run's last session and that of this one, a line each.

    Args:
        folder: The run's.
        now: The complete configuration, as YAML.
        strict: Refuse what would make this another fit.

    Raises:
        ConfigError: Under `strict`, a setting differs that decides which messages come, in which order, or what the
            saved weights and states mean; or one that would have no effect.
    """
    try:
        path = _newest_config(folder)
    except ConfigError:
        return []
    try:
        then = read_yaml(path)
    except ConfigError as error:
        return [f"  not compared: {error}"]
    before, after = dict(_flat(then)), dict(_flat(strict_load(now)))
    changed = [
        key
        for key in sorted(before | after)
        if key not in ("ckpt_path", "resume") and before.get(key) != after.get(key)
    ]
    said: list[str] = []
    refused: list[str] = []
    for key in changed:
        line = f"  {key}: {_short(before.get(key))} then, {_short(after.get(key))} now"
        if key not in before or key not in after:
            # An option that one of the two versions of Tocsin does not have; another class is named by its path.
            said.append(
                f"  {key}: {_short(after[key])} now"
                if key in after
                else f"  {key}: {_short(before[key])} then"
            )
        elif _below(key, _WITHOUT_EFFECT):
            refused.append(f"{line} (without effect: what it set is part of the checkpoint)")
        else:
            (said if _below(key, _FREE) else refused).append(line)
    if strict and refused:
        raise ConfigError(
            "\n".join(
                [
                    f"--resume {folder.name}: the configuration is not that of the run, so that this would be another "
                    "fit:",
                    *refused,
                    "Set them as they were (without --config the run's own are taken), or start a new fit. To go on "
                    "from its weights on purpose, give --ckpt_path in place of --resume.",
                ]
            )
        )
    return [*said, *refused]


def _announce(found: Continued, changes: Sequence[str]) -> None:
    """Say which run goes on, where, and what was changed."""
    if not is_first_rank():
        return
    step = None if found.checkpoint is None else checkpoint_step(found.checkpoint)
    if found.checkpoint is None:
        where = "from its beginning: it has no checkpoint yet"
    else:
        where = f"from {found.checkpoint.name}" + ("" if step is None else f", step {step:,}")
    print_lines(f"Resuming {found.folder.parent.name}/{found.folder.name} {where}.")
    if changes:
        print_lines("\n".join(["Changed since its last session:", *changes]))


def begin_again(folder: Path) -> None:
    """Remove what a run without a checkpoint left of its curves and scores; call it with the run's lock held."""
    if not is_first_rank():
        return
    left = [
        folder / "metrics.csv",
        *folder.glob("events.out.tfevents.*"),
        *(folder / "scores").glob("*.parquet"),
    ]
    for path in [*left, folder / "scores" / ".validation.next.parquet"]:
        path.unlink(missing_ok=True)


def _option(words: list[str], name: str) -> str | None:
    found = None
    for place, word in enumerate(words):
        if word == name and place + 1 < len(words):
            found = words[place + 1]
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def _run_folder(given: str) -> Path:
    path = Path(given)
    if path.is_file():
        folder = (
            path.absolute().parent.parent if path.absolute().parent.name == "checkpoints" else path.parent
        )
    else:
        folder = path
    folder = folder.resolve() if folder.is_symlink() else folder.absolute()
    known = ("provenance.json", "config.yaml", "checkpoints")
    if folder.is_dir() and any((folder / name).exists() for name in known):
        return folder
    raise ConfigError(
        f"--resume {given!r} is no run's folder and no checkpoint in one; wanted one such as "
        "runs/NAME/2026-11-21T18-04-05-fit, or auto for the newest run of that name that did not complete. "
        "`tocsin runs` lists them."
    )


def _newest_unfinished(home: Path) -> Path | None:
    if not is_first_rank():
        told = os.environ.get(_TOLD)
        if told:
            return Path(told)
    runs = [path for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    dated = [(match["stamp"], _number(path), path) for path in runs if (match := DATED.fullmatch(path.name))]
    for *_, path in sorted(dated, reverse=True):
        match = DATED.fullmatch(path.name)
        if match is None or match["verb"] != "fit" or path.is_symlink():
            continue
        # Under torchrun the first rank may hold the very run that this one looks for.
        if _status(path) != "completed" and not (is_first_rank() and is_held(path)):
            return path.absolute()
    return None


def _number(path: Path) -> int:
    """The number of a run among those of one second."""
    last = path.name.rpartition("-")[2]
    return int(last) if last.isdigit() else 1


def _status(folder: Path) -> str | None:
    try:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        return str(record["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and leaves of a configuration; lists are leaves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _below(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
