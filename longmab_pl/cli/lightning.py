"""`longmab fit` and `longmab validate` with LightningCLI, and parsing of the same config without a Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import environ
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.round_report import RoundReport
from longmab_pl.cli.config_errors import OneErrorParser
from longmab_pl.cli.config_files import config_files, resolve_configs
from longmab_pl.cli.quiet import quiet_lightning
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.errors import ConfigError
from longmab_pl.storage.locks import folder_lock
from longmab_pl.training.module import DPOModule

AddArguments = Callable[[LightningArgumentParser], None]


class ConfigParser(OneErrorParser, LightningArgumentParser):
    """LightningCLI's parser with short errors and without abbreviated options."""


class LongMabCLI(LightningCLI):
    """The LightningCLI for `DPOModule` and a data module of pairs."""

    def __init__(self, args: Sequence[str], **settings: Any) -> None:
        super().__init__(
            model_class=DPOModule,
            datamodule_class=LightningDataModule,
            subclass_mode_data=True,
            parser_class=ConfigParser.for_files(config_files(args)),
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"num_sanity_val_steps": 0, "log_every_n_steps": 1, "default_root_dir": "runs/longmab"},
            args=list(args),
            **settings,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RoundReport, "report")
        parser.add_lightning_class_args(AdapterExport, "export")  # its card reads the report

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
        }

    def _parse_ckpt_path(self) -> None:
        """Ignore a checkpoint's hyperparameters: Lightning would import the classes that they name."""

    def before_instantiate_classes(self) -> None:
        if self.subcommand is not None:
            config = self.config[self.subcommand]
            config.ckpt_path = checkpoint_to_resume(config.ckpt_path, run_folder(config), config.checkpoint.dirpath)

    def _run_subcommand(self, subcommand: str) -> None:
        """Lock the run folder during `fit`: two runs in one folder would overwrite each other's files."""
        held: AbstractContextManager[None] = nullcontext()
        if subcommand == "fit" and _is_first_process():
            held = folder_lock(run_folder(self.config[subcommand]), "a training run")
        with held:
            super()._run_subcommand(subcommand)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the Trainer for as many epochs as the data module has."""
        settings = self.config_init[self.subcommand].trainer
        epochs = total_epochs(self.datamodule, self.model, settings.max_epochs)
        if settings.enable_progress_bar is not False and not _has_progress_bar(settings.callbacks):
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [RoundProgressBar()]}
        return super().instantiate_trainer(max_epochs=epochs, **kwargs)


class ParseOnlyCLI(LongMabCLI):
    """A parser of the sections of `fit` for another command; no Trainer is made.

    Args:
        args: arguments of the command, its name first.
        add_arguments: adds the command's own options.
        description: description of the command.
    """

    def __init__(self, args: Sequence[str], add_arguments: AddArguments, description: str) -> None:
        self._add_arguments_of_command = add_arguments
        parser_kwargs = {"prog": f"longmab {args[0]}", "description": description}
        super().__init__(args[1:], seed_everything_default=0, run=False, parser_kwargs=parser_kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        self._add_arguments_of_command(parser)

    def instantiate_classes(self) -> None:
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule, self.model = self.config_init.data, self.config_init.model


def _is_first_process() -> bool:
    """Return whether this process is the first of a run; launchers number the others."""
    return all(environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def run_folder(config: Any) -> Path:
    """Return the run folder that a parsed config names."""
    return Path(str(config.trainer.default_root_dir))


def checkpoint_to_resume(asked: Any, run: Path, folder: str | None = None) -> str | None:
    """Return the path of the checkpoint to resume from, or None for a new run.

    Args:
        asked: value of `--ckpt_path`: a file, or `last` or `best` for the run's own.
        run: the run folder.
        folder: folder of its checkpoints, if not the usual one.

    Raises:
        ConfigError: there is no such checkpoint; the message names the existing ones.
    """
    if asked is None:
        return None
    checkpoints = Path(folder) if folder else run / "checkpoints"
    path = checkpoints / f"{asked}.ckpt" if asked in ("last", "best") else Path(str(asked))
    if path.exists():
        return str(path)
    there = sorted(str(found) for found in checkpoints.glob("*.ckpt"))
    instead = f"there are {', '.join(there)}" if there else f"{checkpoints} holds none: leave --ckpt_path out to begin"
    raise ConfigError(f"--ckpt_path {asked}: there is no {path}; {instead}")


def total_epochs(data: LightningDataModule, model: DPOModule, asked: int | None) -> int | None:
    """Return the number of epochs of a run.

    Args:
        data: the data module, which sets the number if it is one of this package's.
        model: the module, whose phases may set the epochs of a round.
        asked: value of `trainer.max_epochs`.

    Raises:
        ConfigError: two of them set different numbers.
    """
    if not isinstance(data, PairDataModule):
        return asked
    data.adopt_phases(model.phases)
    if asked not in (None, data.total_epochs):
        raise ConfigError(
            f"trainer.max_epochs is {asked}, but {data.epochs_setting} is {data.total_epochs}; leave "
            "trainer.max_epochs out"
        )
    return data.total_epochs


def run(args: Sequence[str]) -> None:
    """Run `fit` or `validate`, as named by the first argument."""
    quiet_lightning()
    parser_kwargs = {name: {"default_env": False} for name in LongMabCLI.subcommands()}
    LongMabCLI(resolve_configs(args), seed_everything_default=0, parser_kwargs=parser_kwargs)


def _has_progress_bar(callbacks: Any) -> bool:
    return any(isinstance(callback, ProgressBar) for callback in callbacks or ())
