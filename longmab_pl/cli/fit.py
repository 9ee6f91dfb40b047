"""`longmab fit` and `longmab validate`: what is certain is checked and said before the libraries are imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from longmab_pl.cli.checkpoints import checkpoint_to_resume
from longmab_pl.cli.fit_help import PAGES
from longmab_pl.cli.given_documents import given_documents
from longmab_pl.cli.inputs_check import refuse_missing_documents, refuse_missing_inputs
from longmab_pl.cli.plan import announce
from longmab_pl.cli.run_log import start_log
from longmab_pl.cli.settings.shortcuts import DOCUMENT_SET
from longmab_pl.cli.start import HELP_FLAGS, checked_options
from longmab_pl.cli.start_checks import refuse_impossible
from longmab_pl.live import step
from longmab_pl.shown import shown


def run(args: Sequence[str]) -> None:
    """Run `fit` or `validate`, as named by the first argument."""
    command, *given = args
    if not given or any(arg in HELP_FLAGS for arg in given):
        print(PAGES[command])
        return
    documents = given_documents(command, given)
    options, config = checked_options(given)
    printing = any(arg.startswith("--print_config") for arg in options)
    if not printing:
        refuse_impossible(config)
        checkpoint_to_resume(config.value("ckpt_path"), config.run_folder, config.value("checkpoint", "dirpath"))
        announce(command, config)
        if documents is not None:
            print(
                f"  {'documents':<11}{shown(documents.folder)}: the model writes the questions first", file=sys.stderr
            )
            refuse_missing_documents(documents.folder)
        refuse_missing_inputs(config, made=None if documents is None else config.run_folder / DOCUMENT_SET)
    start_log()
    with nullcontext() if printing else step("loading the libraries"):
        from longmab_pl.cli import lightning
    lightning.run([command, *options], None if printing else documents)
