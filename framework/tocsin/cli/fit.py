"""`tocsin fit`, `tocsin validate` and `tocsin test`: one YAML file, one run folder."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from tocsin.bundles.callback import BundleWriter
from tocsin.bundles.encoder_callback import EncoderBundleWriter
from tocsin.cli.chains import chain_beside
from tocsin.cli.execution import execute, session, short
from tocsin.cli.noise import without_noise
from tocsin.cli.parser import Config
from tocsin.cli.resuming import begin_again, continued_run, with_config
from tocsin.cli.verbs import CORE_VERBS
from tocsin.errors import ConfigError
from tocsin.escaping import print_lines, rich_text, terminal_lines, terminal_text
from tocsin.plugins.manager import load_plugins
from tocsin.plugins.parsing import instantiate_with_names as instantiate
from tocsin.plugins.registry import Registry
from tocsin.text.progress import table_console
from tocsin.training.checkpoints import BestCheckpoint
from tocsin.training.curves import TensorBoardCurves
from tocsin.training.disk import DiskCheck
from tocsin.training.figures import FiguresAfterTest
from tocsin.training.heat_map import MatchingHeatMap
from tocsin.training.loggers import RunCsvLogger, RunTensorBoardLogger
from tocsin.training.progress import FitProgressBar
from tocsin.training.recorder import RunRecorder
from tocsin.training.runs import Run, is_first_rank, open_run, start_run
from tocsin.training.trainer import Trainer

__all__ = ["fit", "test", "validate"]


def fit(argv: Sequence[str]) -> int:
    """Fine-tune as a YAML file says, write the run's folder, print its validation scores and what to do
    next.
    """
    return _run("fit", argv)


def validate(argv: Sequence[str]) -> int:
    """Score the validation split with a checkpoint, in a run folder of its own."""
    return _run("validate", argv)


def test(argv: Sequence[str]) -> int:
    """Score the test split with a checkpoint, in a run folder of its own."""
    return _run("test", argv)


def _run(verb: str, argv: Sequence[str], registry: Registry | None = None) -> int:
    registry = load_plugins() if registry is None else registry
    try:
        call = Config(verb, with_config(argv) if verb == "fit" else argv, registry)
    except ConfigError as refusal:
        missing = _missing_plugins(argv, registry)
        if not missing:
            raise
        raise ConfigError(f"{refusal}\n{missing}") from refusal
    config_file = _config_file(call)
    call.config.name = call.config.name or _name(config_file)
    if verb != "fit" or call.config.ckpt_path is not None:
        call.config.ckpt_path = _checkpoint(
            call.config.ckpt_path, config_file, call.config.runs, call.config.name
        )
    built = instantiate(call.parser, call.config, registry)
    # After that: label names that are found in the train files stand in the run's configuration.
    continued = continued_run(call.config, call.text()) if verb == "fit" else None
    if continued is not None and continued.completed:
        print_lines(_completed(continued.folder))
        return 0
    if verb == "test":
        built.model.chain = chain_beside(Path(str(call.config.ckpt_path)), registry)
    run = (
        start_run(call.config.name, verb, call.config.runs)
        if continued is None
        else open_run(continued.folder)
    )
    if continued is not None and continued.checkpoint is None:
        begin_again(run.path)
    bundle = _bundle_folder(run)
    with session(run, verb, argv, registry), without_noise():
        text = call.text(keep_checkpoint=verb != "fit")
        trainer = _trainer(verb, run, built.trainer, text, bundle, registry)
        execute(trainer, verb, built.model, built.data, call.config.ckpt_path)
        bundle = _written(trainer, bundle)
    if is_first_rank():
        _report(verb, run, built.model, built.data, bundle, registry)
    return 0


def _written(trainer: Trainer, bundle: Path) -> Path:
    """Return where the fit's bundle lies: a full disk may have sent it elsewhere."""
    callbacks: list[Callback] = getattr(trainer, "callbacks", [])
    writers = [each for each in callbacks if isinstance(each, BundleWriter | EncoderBundleWriter)]
    return next((writer.folder for writer in writers if writer.folder.is_dir()), bundle)


def _missing_plugins(argv: Sequence[str], registry: Registry) -> str:
    """Say which plugins of the run that a given config.yaml belongs to are not installed here; "" for none."""
    known = {plugin.origin.distribution for plugin in registry.on}
    known |= {plugin.origin.distribution for plugin in registry.off}
    words = [word.removeprefix("--config=") for word in argv]
    for path in (Path(word).parent / "provenance.json" for word in words if word.endswith(".yaml")):
        try:
            used = json.loads(path.read_text(encoding="utf-8"))["plugins"]
            missing = [f"{name} {version}" for name, version in used.items() if name not in known]
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # no run's folder, or one of before plugins were noted
        if missing:
            return f"That run used plugins that are not installed here: {', '.join(missing)}."
    return ""


def _config_file(call: Config) -> Path | None:
    """Return the first configuration file of the command line, the base of the others."""
    given = [path for path in call.config.config or [] if path is not None]
    return Path(str(given[0])).absolute() if given else None


def _name(config_file: Path | None) -> str:
    """Name a run after the folder that holds its configuration."""
    if config_file is None:
        return "unnamed"
    # A folder's name may hold what a run's name may not, such as spaces.
    return re.sub(r"[^\w.+-]+", "-", config_file.parent.name).strip("-.+") or "unnamed"


def _checkpoint(given: str | None, config_file: Path | None, runs: str, name: str) -> str:
    """Return the checkpoint to score: the given one, else the best of the run whose folder holds the
    configuration.
    """
    if given is not None:
        if not Path(given).is_file():
            raise ConfigError(f"--ckpt_path: there is no file {given!r}.")
        return given
    # Resolved: latest-fit will be another folder tomorrow, and the path is kept in the run's config.
    beside = None if config_file is None else config_file.resolve().parent / "checkpoints" / "best.ckpt"
    if beside is not None and beside.is_file():
        return short(beside)
    latest = Path(runs, name, "latest-fit", "config.yaml")
    hint = f" For the latest fit: --config {latest}" if latest.is_file() else ""
    raise ConfigError(
        "No checkpoint to score: give --ckpt_path FILE, or as --config the config.yaml of a fit's run, "
        f"whose checkpoints/best.ckpt is taken.{hint}"
    )


def _completed(folder: Path) -> str:
    last = short(folder / "checkpoints" / "last.ckpt")
    return (
        f"The run {short(folder)} is complete: there is nothing to resume. To train it further, raise "
        f"trainer.max_epochs and give --ckpt_path {last}; a fit without --resume begins a new run."
    )


def _trainer(
    verb: str, run: Run, options: Any, config_text: str, bundle: Path, registry: Registry
) -> Trainer:
    """Build the Trainer with the run's loggers and callbacks beside the user's own."""
    settings = dict(options)
    given = settings.get("callbacks") or []
    callbacks: list[Callback] = list(given) if isinstance(given, list) else [given]
    added = _callbacks(verb, run, settings, callbacks, config_text, bundle, registry)
    settings["callbacks"] = [*callbacks, *added]
    settings["logger"] = _loggers(verb, run, settings.get("logger"))
    settings["default_root_dir"] = settings.get("default_root_dir") or str(run.path)
    try:
        return Trainer(**settings)
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {error}") from error


def _callbacks(
    verb: str,
    run: Run,
    settings: dict[str, Any],
    given: list[Callback],
    config_text: str,
    bundle: Path,
    registry: Registry,
) -> list[Callback]:
    plugins = {plugin.origin.distribution: plugin.origin.version for plugin in registry.on}
    added: list[Callback] = [RunRecorder(run, config_text, plugins=plugins)]
    if settings.get("enable_progress_bar") is not False and not _has(given, FitProgressBar):
        added.append(FitProgressBar())
    # Without loggers or checkpoints (fast_dev_run) there is nothing to draw into or to make a bundle of.
    if verb == "test":
        added.append(FiguresAfterTest())
    if verb != "fit" or settings.get("fast_dev_run"):
        return added
    if not _has(given, TensorBoardCurves):
        added.append(TensorBoardCurves())
    if not _has(given, MatchingHeatMap):
        added.append(MatchingHeatMap())
    if settings.get("enable_checkpointing") is not False:
        if not _has(given, BestCheckpoint):
            added.append(BestCheckpoint(dirpath=str(run.checkpoints)))
        added.append(DiskCheck(str(bundle)))
        scores = str(run.scores / "validation.parquet")
        # Each knows its own kind of model.
        added.append(BundleWriter(str(bundle), name=run.name, scores=scores, origin=registry.origin))
        added.append(EncoderBundleWriter(str(bundle), name=run.name, origin=registry.origin))
    return added


def _has(callbacks: list[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _loggers(verb: str, run: Run, given: Any) -> Any:
    """Return the run's loggers and the user's; `logger: false` means none at all."""
    if given is False:
        return False
    users = [] if given is None or given is True else list(given) if isinstance(given, list) else [given]
    own = [RunCsvLogger(str(run.path))]
    # a validation draws nothing
    events = [] if verb == "validate" else [RunTensorBoardLogger(str(run.path))]
    return [*events, *own, *users]


def _report(verb: str, run: Run, model: Any, data: Any, bundle: Path, registry: Registry) -> None:
    """Print the run's scores with trivial baselines beside, where it lies, and the next commands."""
    console = table_console()
    console.print()
    stage = "test" if verb == "test" else "validation"
    path = run.scores / f"{stage}.parquet"
    history = getattr(model, "history", None)
    if history is not None:
        _report_matching(verb, history, console)
    elif path.is_file():
        from tocsin.scores.report import assess, sections
        from tocsin.scores.sections import render_sections
        from tocsin.scores.statistics import affordable_draws
        from tocsin.scores.table import ScoresTable

        table = ScoresTable.read(path)
        corpus = getattr(data, "corpus", None)
        prior = corpus().prior() if callable(corpus) else None
        by = ["lang"] if table.langs is not None and len({*table.langs.tolist()}) > 1 else []
        draws = affordable_draws(table, 500)
        result = assess(table, f"{run.name}, {stage}", prior=prior, by=by, draws=draws)
        console.print(render_sections([*sections(result), *registry.report_sections(table)]))
    else:
        console.print(f"No scores: this run had no {stage} messages.")
    folder = short(run.path)
    console.print(terminal_lines(f"\nRun: {folder}"), highlight=False, soft_wrap=True)
    if verb == "fit":
        console.print("Next:")
        best = (run.checkpoints / "best.ckpt").is_file()
        made = short(bundle) if bundle.is_dir() else None
        commands = _next_commands if history is None else _next_after_distilling
        for line in commands(folder, made, best):
            console.print(f"  {terminal_text(line)}", soft_wrap=True, highlight=False)


def _next_commands(folder: str, bundle: str | None, best: bool) -> list[str]:
    commands = [["tensorboard", "--logdir", folder]]
    if best:
        commands.append(["tocsin", "test", "--config", f"{folder}/config.yaml"])
    if bundle is not None:
        files = ["--input", "MESSAGES.csv", "--output", "LABELS.parquet"]
        commands.append(["tocsin", "predict", "--bundle", bundle, *files])
    return [shlex.join(command) for command in commands]


_COMPARED = ("before", "teacher", "after")


def _next_after_distilling(folder: str, bundle: str | None, best: bool) -> list[str]:
    commands = [["tensorboard", "--logdir", folder]]
    if bundle is not None and "match" in CORE_VERBS:
        # The student before, the teacher and the student after, on the pairs that the fit held out.
        config, pairs = f"{folder}/config.yaml", f"{folder}/pairs/validation.parquet"
        models = ["--encoder", config, f"{config}:teacher", "--bundle", bundle, "--name", *_COMPARED]
        table = pairs if Path(pairs).is_file() else "PAIRS.parquet"
        commands.append(["tocsin", "match", *models, "--pairs", table])
    lines = [shlex.join(command) for command in commands]
    if bundle is not None:
        lines.append(
            f"encoder: {{class_path: SentenceEncoder, init_args: {{name: {bundle}}}}}  # in a classifier's YAML"
        )
    return lines


def _report_matching(verb: str, history: list[Any], console: Any) -> None:
    """Print matching accuracy and squared error of each language, of a fit's best step with the start beside it."""
    from rich.table import Table

    if not history:
        console.print("No figures: this run had no held-out pairs.")
        return
    best, before = history[-1], None
    if verb == "fit":
        trained = [found for found in history if found.step > 0] or history
        best = max(trained, key=lambda found: (found.scalars()["validation/matching"], -found.step))
        before = history[0] if history[0].step == 0 and history[0] is not best else None
    which = f" at step {best.step:,}" + (", the best" if verb == "fit" else "")
    table = Table(title=f"held-out pairs{which}", title_justify="left")
    table.add_column("language")
    for name in ("sentences", *(["matching before"] if before else []), "matching", "MSE"):
        table.add_column(name, justify="right")
    for lang in sorted(best.matching):
        earlier = [f"{before.matching[lang]:.3f}" if lang in before.matching else ""] if before else []
        table.add_row(
            rich_text(lang),
            f"{best.sentences[lang]:,}",
            *earlier,
            f"{best.matching[lang]:.3f}",
            f"{best.mse[lang]:.4g}",
        )
    means = best.scalars()
    earlier = [f"{before.scalars()['validation/matching']:.3f}"] if before else []
    table.add_row(
        "mean", "", *earlier, f"{means['validation/matching']:.3f}", f"{means['validation/mse']:.4g}"
    )
    console.print(table)


def _bundle_folder(run: Run) -> Path:
    """Return where this fit's bundle goes: a run that was continued keeps its earlier bundles."""
    names = ("bundle", *(f"bundle-{number}" for number in range(2, 1000)))
    return next(path for path in (run.path / name for name in names) if not path.exists())
