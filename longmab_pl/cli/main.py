"""The command line: `fit` under LightningCLI, and the package's own steps."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.round_report import RoundReport
from longmab_pl.cli.compare import compare, paths_as_list
from longmab_pl.cli.config_errors import ConfigParser
from longmab_pl.cli.evaluate import evaluate
from longmab_pl.cli.pairs import pairs, roll_out_round
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.export.export import export
from longmab_pl.training.module import DPOModule


class LongMabCLI(LightningCLI):
    """LightningCLI for `DPOModule` and a data module of pairs; every link between config sections stands here."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        parser.add_lightning_class_args(AdapterExport, "export")
        parser.add_lightning_class_args(RoundReport, "report")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
        }

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        self._set_epochs(config)
        callbacks = config.trainer.callbacks or []
        if (
            not any("ProgressBar" in c.class_path for c in callbacks)
            and config.trainer.enable_progress_bar is not False
        ):
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [RoundProgressBar()]}

    @staticmethod
    def _set_epochs(config: Any) -> None:
        data = config.data.init_args
        if "rounds" in data:
            epochs, named = data.rounds * data.epochs_per_round, "data.rounds x data.epochs_per_round"
        elif "epochs" in data:
            epochs, named = data.epochs, "data.epochs"
        else:
            return
        if config.trainer.max_epochs is None:
            config.trainer.max_epochs = epochs
        elif config.trainer.max_epochs != epochs:
            raise ConfigError(
                f"trainer.max_epochs is {config.trainer.max_epochs}, but {named} is {epochs}; "
                "leave trainer.max_epochs out"
            )


class RolloutCLI(LongMabCLI):
    """The same sections and links for one round without training: nothing is loaded but what a rollout needs."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--adapter", type=str | None, default=None, help="PEFT folder to answer with (default: the base model)"
        )
        parser.add_argument(
            "--round", type=int, default=1, help="which round, from 1: decides its records and seeds (default: 1)"
        )

    def before_instantiate_classes(self) -> None:
        """Nothing of the Trainer is used but its folder."""

    def instantiate_classes(self) -> None:
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule, self.model = self.config_init.data, self.config_init.model


def shipped_config(name: str) -> str:
    """Path of a config by name: a file as it is, or `demo` / `demo.yaml` among the files that come with the package."""
    if Path(name).exists():
        return name
    folder = Path(next(iter(import_module("longmab_pl.configs").__path__)))
    for candidate in (folder / name, folder / f"{name}.yaml", folder / Path(name).name):
        if candidate.is_file():
            return str(candidate)
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise ConfigError(f"--config {name}: no such file; the configs that come with the package are: {known}")


def _resolve_configs(args: Sequence[str]) -> list[str]:
    resolved: list[str] = []
    for arg in args:
        if resolved and resolved[-1] in ("--config", "-c"):
            resolved.append(shipped_config(arg))
        elif arg.startswith("--config="):
            resolved.append("--config=" + shipped_config(arg.removeprefix("--config=")))
        else:
            resolved.append(arg)
    return resolved


class _NoAdvertising(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "litlogger" not in record.getMessage()


def _quiet() -> None:
    """Leave what a person can act on: libraries' own bars, tips and notices about their internals go."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_NoAdvertising())
    for message in (
        "LightningCLI's args parameter is intended",  # `main(args)` is called from Python in tests and notebooks
        ".*isinstance\\(treespec, LeafSpec\\).*",
        # vLLM opens a process group of one rank; evaluation scores are the same on every rank anyway.
        r"It is recommended to use `self.log\('eval/",
        "Checkpoint directory .* exists and is not empty",  # so it is on every resume
        "The .*dataloader.* does not have many workers",  # pairs are tokenized already
        "Be aware that when using `ckpt_path`",
    ):
        warnings.filterwarnings("ignore", message=message)


_LIGHTNING: dict[str, Any] = {
    "model_class": DPOModule,
    "datamodule_class": LightningDataModule,
    "subclass_mode_data": True,
    "parser_class": ConfigParser,
    "seed_everything_default": 0,
    "save_config_kwargs": {"overwrite": True},
    "trainer_defaults": {"num_sanity_val_steps": 0, "log_every_n_steps": 1, "default_root_dir": "runs/longmab"},
}


def lightning(args: Sequence[str]) -> None:
    """Run LightningCLI on these arguments: `fit` or `validate` first."""
    _quiet()
    ConfigParser.files = [a.removeprefix("--config=") for a in args if a.endswith((".yaml", ".yml", ".json"))]
    LongMabCLI(
        **_LIGHTNING, parser_kwargs={"fit": {"default_env": False}, "validate": {"default_env": False}}, args=list(args)
    )


def rollout(args: Sequence[str]) -> None:
    """Run one round without training, with the same config file as fit; resumable."""
    from longmab_pl.datamodules.rollouts import RolloutDataModule

    _quiet()
    ConfigParser.files = [a.removeprefix("--config=") for a in args if a.endswith((".yaml", ".yml", ".json"))]
    cli = RolloutCLI(
        **_LIGHTNING,
        parser_kwargs={"prog": "longmab rollout", "description": rollout.__doc__},
        args=list(args),
        run=False,
    )
    if not isinstance(cli.datamodule, RolloutDataModule):
        raise ConfigError(f"data is a {type(cli.datamodule).__name__}; a rollout needs longmab_pl.RolloutDataModule")
    config = cli.config
    run = Path(config.trainer.default_root_dir)
    try:
        print(roll_out_round(cli.datamodule, cli.model.model, run, adapter=config.adapter, number=config.round))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def doctor(args: Sequence[str]) -> None:
    """Check a config and this machine before fit: versions, model, data, and the memory of each phase."""
    from longmab_pl.cli.doctor import examine  # it imports this module

    _quiet()
    raise SystemExit(examine(args))


def synthesize(folder: str, train: int = 240, eval: int = 100, passages: int = 6, seed: int = 0) -> None:
    """Write a synthetic multi-passage QA set (train.jsonl, eval.jsonl) whose answers stand in invented documents.

    Args:
        folder: where to write.
        train: number of training records.
        eval: number of evaluation records (no entity of theirs occurs in training).
        passages: passages per context; about 50 tokens each, so 300 make 15k tokens.
        seed: the same seed gives the same files.
    """
    from longmab_pl.data.synthesis import write_dataset

    for path in write_dataset(Path(folder), seed=seed, n_train=train, n_eval=eval, passages=passages):
        print(path)


def report(run: str) -> None:
    """Print the table of a finished run and draw its picture again.

    Args:
        run: the run folder (trainer.default_root_dir).
    """
    from longmab_pl.reporting.console import wide_console
    from longmab_pl.reporting.figures import draw
    from longmab_pl.reporting.run_report import load_report, round_table

    console = wide_console()
    console.print(round_table(load_report(Path(run))))
    console.print(f"picture    {draw(Path(run))}")


COMMANDS: dict[str, Any] = {
    "pairs": pairs,
    "synthesize": synthesize,
    "report": report,
    "evaluate": evaluate,
    "compare": compare,
    "export": export,
}


def overview() -> str:
    """What the command can do, a line each."""
    lines = ["usage: longmab COMMAND [options]     (longmab COMMAND --help says more)", ""]
    lines.append(
        f"  {'fit':<12}Run on-policy rounds: sample, score, pair, train, evaluate. `--config demo` tries it out."
    )
    lines.append(
        f"  {'validate':<12}DPO metrics of a checkpoint or the base model on given pairs (PreferenceDataModule)."
    )
    for name, command in {"rollout": rollout, "doctor": doctor, **COMMANDS}.items():
        lines.append(
            f"  {name:<12}{(inspect.getdoc(command) or '').partition(chr(10) + chr(10))[0]}".replace("\n", " ")
        )
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; errors that a person can act on are printed without a traceback."""
    args = list(sys.argv[1:] if args is None else args)
    try:
        if args in ([], ["-h"], ["--help"]):
            print(overview())
        elif args[0] in COMMANDS:
            from jsonargparse import auto_cli

            command, rest = COMMANDS[args[0]], args[1:]
            _quiet()
            # jsonargparse takes a positional list only as "[a, b]".
            auto_cli(command, args=paths_as_list(rest) if command is compare else rest, prog=f"longmab {args[0]}")
        elif args[0] == "rollout":
            rollout(_resolve_configs(args[1:]))
        elif args[0] == "doctor":
            doctor(_resolve_configs(args[1:]))
        else:
            lightning(_resolve_configs(args))
    except Exception as error:
        known = _longmab_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(2) from None


def _longmab_error(error: BaseException | None) -> LongMabError | None:
    """The package's own error behind what a library made of it."""
    while error is not None and not isinstance(error, LongMabError):
        error = error.__cause__ or error.__context__
    return error
