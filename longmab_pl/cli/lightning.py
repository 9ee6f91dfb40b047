"""`longmab fit` and `longmab validate` with LightningCLI, and parsing of the same config without a Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from os import environ
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from longmab_pl.api import TRAINER_DEFAULTS
from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.round_report import RoundReport
from longmab_pl.callbacks.run_logging import RunLogging
from longmab_pl.cli.checkpoints import checkpoint_to_resume
from longmab_pl.cli.config_errors import OneErrorParser
from longmab_pl.cli.config_files import config_files
from longmab_pl.cli.failed_start import missing_folders, no_folder_of_a_failed_start
from longmab_pl.cli.given_documents import GivenDocuments
from longmab_pl.cli.logged_config import LoggedConfig
from longmab_pl.cli.quiet import quiet_lightning
from longmab_pl.cli.run_log import start_log
from longmab_pl.cli.settings.merged import RUN_FOLDER, run_folder
from longmab_pl.cli.settings.short_names import with_full_names
from longmab_pl.cli.settings.shortcuts import DOCUMENT_SET
from longmab_pl.cli.written_questions import refuse_unwritten, write_questions
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.errors import ConfigError
from longmab_pl.live import step
from longmab_pl.storage.files import disk_errors_of
from longmab_pl.storage.locks import folder_lock
from longmab_pl.training.module import DPOModule

AddArguments = Callable[[LightningArgumentParser], None]


class ConfigParser(OneErrorParser, LightningArgumentParser):
    """LightningCLI's parser with short errors and without abbreviated options."""


class LongMabCLI(LightningCLI):
    """The LightningCLI for `DPOModule` and a data module of pairs.

    Args:
        args: arguments of the command, with its name; configs are paths, classes may be named shortly.
        preparing: closed when everything is made and the run begins.
        documents: documents of which `fit` makes its questions first; None: it has questions.
        settings: those of LightningCLI.
    """

    def __init__(
        self,
        args: Sequence[str],
        preparing: ExitStack | None = None,
        documents: GivenDocuments | None = None,
        **settings: Any,
    ) -> None:
        self._documents = documents
        self._preparing = preparing or ExitStack()
        self._made: list[Path] = []
        super().__init__(
            model_class=DPOModule,
            datamodule_class=LightningDataModule,
            subclass_mode_data=True,
            parser_class=ConfigParser.for_files(config_files(args)),
            save_config_callback=LoggedConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults=TRAINER_DEFAULTS | {"default_root_dir": RUN_FOLDER},
            args=with_full_names(args),
            **settings,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RoundReport, "report")
        parser.add_lightning_class_args(AdapterExport, "export")  # its card reads the report
        parser.add_lightning_class_args(RunLogging, "logging")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
        }

    def _parse_ckpt_path(self) -> None:
        """Ignore a checkpoint's hyperparameters: Lightning would import the classes that they name."""

    @property
    def _run_folder(self) -> Path:
        return run_folder(self.config[self.subcommand].trainer.default_root_dir)

    def before_instantiate_classes(self) -> None:
        if self.subcommand is not None:
            config = self.config[self.subcommand]
            run = self._run_folder
            config.ckpt_path = checkpoint_to_resume(config.ckpt_path, run, config.checkpoint.dirpath)
            self._made = missing_folders(run)

    def instantiate_classes(self) -> None:
        """Make the Trainer and what it trains; some loggers write into the run folder as they are made."""
        if self.subcommand is None or not _is_first_process():
            super().instantiate_classes()
            return
        with no_folder_of_a_failed_start(self._run_folder, self._made):
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        """Lock the run folder during `fit`: two runs in one folder would overwrite each other's files."""
        self._preparing.close()
        run = self._run_folder
        if self._documents is not None and not _is_first_process():
            refuse_unwritten(run / DOCUMENT_SET)
        if subcommand != "fit" or not _is_first_process():
            super()._run_subcommand(subcommand)
            return
        with (
            no_folder_of_a_failed_start(run, self._made),
            folder_lock(run, "a training run"),
            disk_errors_of(run),
            start_log().kept_in(run),
        ):
            if self._documents is not None:
                write_questions(self._documents, self.datamodule, self.model.model, run / DOCUMENT_SET)
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


def run(args: Sequence[str], documents: GivenDocuments | None = None) -> None:
    """Run `fit` or `validate`, as named by the first argument; configs are paths.

    Args:
        args: the command's name and its arguments.
        documents: documents of which `fit` makes its questions first; None: it has questions.
    """
    quiet_lightning()
    parser_kwargs = {name: {"default_env": False} for name in LongMabCLI.subcommands()}
    with ExitStack() as preparing:
        preparing.enter_context(step("making the run"))
        LongMabCLI(args, preparing, documents, seed_everything_default=0, parser_kwargs=parser_kwargs)


def _has_progress_bar(callbacks: Any) -> bool:
    return any(isinstance(callback, ProgressBar) for callback in callbacks or ())
