"""The parser of fit, validate and test: what a YAML file may name, and errors in one sentence."""

from collections.abc import Sequence

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from tocsin.errors import ConfigError
from tocsin.plugins import LabelScheme
from tocsin.plugins.corpus import DEFAULT_SEED
from tocsin.plugins.diagnosis import Diagnosis, forbidden
from tocsin.plugins.parsing import PARSER_MODE, PlainSpeaking, prepare
from tocsin.plugins.registry import Registry
from tocsin.training.trainer import Trainer

__all__ = ["Config", "Parser"]


class Parser(PlainSpeaking, LightningArgumentParser):
    """Lightning's parser; a mistake raises ConfigError instead of printing usage."""


class Config(LightningCLI):
    """The parsed configuration of one verb, not yet built.

    Args:
        verb: "fit", "validate" or "test".
        arguments: What follows the verb on the command line.
        registry: The components on offer.

    Attributes:
        config: The parsed configuration.

    Raises:
        ConfigError: The arguments or a configuration file cannot be honoured.
    """

    def __init__(self, verb: str, arguments: Sequence[str], registry: Registry) -> None:
        self.verb = verb
        self.registry = registry
        prepare(registry)
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            trainer_class=Trainer,
            seed_everything_default=DEFAULT_SEED,
            parser_class=Parser,
            parser_kwargs={
                "prog": f"tocsin {verb}",
                "description": _DESCRIPTIONS[verb] + _COMPONENTS,
                "parser_mode": PARSER_MODE,
                "dump_header": [],
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `labels`, linked into the model and the data when the arguments are parsed, and the run's
        options.
        """
        # A distillation has none; the diagnosis says where they are missing though the model or the data take them.
        parser.add_subclass_arguments(LabelScheme, "labels", help="The label scheme.", required=False)
        parser.link_arguments("labels", "model.init_args.labels")
        parser.link_arguments("labels", "data.init_args.labels")
        parser.add_argument(
            "--name",
            type=str | None,
            default=None,
            help="The run's name. Default: the name of the folder that holds the configuration file.",
        )
        parser.add_argument("--runs", type=str, default="runs", help="The folder that holds all runs.")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=_CHECKPOINT_HELP[self.verb])
        if self.verb == "fit":
            parser.add_argument(
                "--resume", type=str | None, default=None, metavar="RUN|auto", help=_RESUME_HELP
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: object) -> None:
        """Parse the arguments into `self.config`."""
        assert isinstance(parser, Parser)
        assert isinstance(args, list)
        parser.diagnosis = Diagnosis(args, self.registry, trainer=Trainer)
        self.config = parser.parse_args(args)
        faults = forbidden(self.config.trainer)
        seed = self.config.seed_everything
        if not 0 <= seed <= _LARGEST_SEED:
            faults.append(f"seed_everything is {seed}; wanted: a whole number from 0 to {_LARGEST_SEED}.")
        if faults:
            raise ConfigError("\n".join(faults))

    def instantiate_classes(self) -> None:
        """Build nothing yet: the run's folder comes first."""

    def text(self, *, keep_checkpoint: bool = False) -> str:
        """Return the complete configuration as YAML, fit to be parsed again.

        The path of the configuration itself is left out, and so is the checkpoint unless `keep_checkpoint`:
        what a fit resumed from is not what `tocsin test` should score.
        """
        plain = self.config.clone()
        plain.pop("config", None)
        plain.pop("resume", None)
        if not keep_checkpoint:
            plain.pop("ckpt_path", None)
        text: str = self.parser.dump(plain, skip_unset=False)
        return text


_LARGEST_SEED = 2**32 - 1
"""What numpy takes."""

_DESCRIPTIONS = {
    "fit": "Fine-tune a classifier as a YAML file says; write a run folder with checkpoints and a bundle.",
    "validate": "Score the validation split with a run's best checkpoint.",
    "test": "Score the test split with a run's best checkpoint.",
}
_COMPONENTS = (
    " `tocsin components` lists what `labels`, `model` and `data` may name, `tocsin components NAME` the"
    " options of one; each is overridden by its path, for instance --model.head.dropout 0.2."
)
_RESUME_HELP = (
    "Go on with a run that was stopped, in its folder, as if it never had been: RUN is its folder or a checkpoint in"
    " it, auto the newest run of that name that did not complete. Without --config its own configuration is taken."
)
_CHECKPOINT_HELP = {
    "fit": "A checkpoint to resume from. One that lies in a run's folder continues that run there.",
    "validate": "The checkpoint to score. Default: checkpoints/best.ckpt beside the configuration file.",
    "test": "The checkpoint to score. Default: checkpoints/best.ckpt beside the configuration file.",
}
