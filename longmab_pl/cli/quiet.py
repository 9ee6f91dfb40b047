"""Silencing of libraries' progress bars, tips and internal notices; messages that a user can act on stay."""

from __future__ import annotations

import logging
import os
import warnings

from longmab_pl.cli.run_log import start_log


def quiet_transformers() -> None:
    """Hide the progress bars of loading weights, and keep the messages of libraries from the console."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    start_log().quiet_libraries()


def quiet_lightning() -> None:
    """Hide what libraries say of their internals and Lightning of this package's own settings, for commands that use
    its Trainer or parser."""
    quiet_transformers()
    # MLflow is imported by its logger, later than handlers are taken from the libraries here.
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_NoAdvertising())
    for message in (
        "LightningCLI's args parameter is intended",  # `main(args)` is called from Python in tests and notebooks
        ".*isinstance\\(treespec, LeafSpec\\).*",
        # vLLM opens a process group of one rank; evaluation scores are the same on every rank.
        r"It is recommended to use `self.log\('eval/",
        "Checkpoint directory .* exists and is not empty",  # true on every resume
        "The .*dataloader.* does not have many workers",  # pairs are tokenized already
        "train_dataloader yielded None",  # the step of a round without a pair
        "Be aware that when using `ckpt_path`",
    ):
        warnings.filterwarnings("ignore", message=message)


class _NoAdvertising(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "litlogger" not in record.getMessage()
