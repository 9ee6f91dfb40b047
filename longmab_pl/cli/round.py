"""`longmab rollout`: one round without training, in this process or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser

from longmab_pl.checks import at_least
from longmab_pl.cli.failed_start import no_folder_of_a_failed_start
from longmab_pl.cli.lightning import ParseOnlyCLI
from longmab_pl.cli.quiet import quiet_lightning
from longmab_pl.cli.run_log import start_log
from longmab_pl.cli.settings.merged import run_folder
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.errors import ConfigError
from longmab_pl.models.adapter_files import fitting_adapter
from longmab_pl.models.hub import resolve_model
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.cost_table import budget_lines, cost_table
from longmab_pl.reporting.run_report import statistics_table
from longmab_pl.rollout.dry_run import RECORDS
from longmab_pl.rollout.repair import is_whole
from longmab_pl.sigterm import sigterm_interrupts


def roll_out_round(
    data: RolloutDataModule,
    model: str,
    run: Path,
    *,
    adapter: str | None = None,
    number: int = 1,
) -> Path:
    """Make one round with a model without training, and print its metrics.

    The round has the records, seeds and folder that it would have in `fit`. So a `fit` with the same settings in the
    same run folder reuses a first round that was rolled out by the base model here.

    Args:
        data: the settings of the rollout.
        model: the base model, as in `DPOModule`.
        run: the run folder.
        adapter: folder of the PEFT adapter that answers; None: the base model.
        number: number of the round, from 1.

    Returns:
        The round's folder.

    Raises:
        ConfigError, DataError: the settings, the records or the adapter cannot be used.
        LongMabError: the engine or the disk failed; the same command continues.
    """
    at_least("--round", number, 1, "rounds are counted from 1")
    session = data.session
    session.load(model)
    folder = resolve_model(model)
    info = None if adapter is None else fitting_adapter(adapter, folder)
    before = session.found_before(run, number - 1)
    making = session.new_round(run, number - 1, model, "base" if info is None else info.digest, before)
    store = making.store
    name = "base" if info is None else str(info.folder)
    if store.complete and is_whole(making, name):
        print(f"round {number} is there already, with the same settings, records and policy")
        summary = store.read_summary()
    else:
        try:
            with sigterm_interrupts():
                title, weights = f"round {number} rollout", None if info is None else info.folder
                if data.cluster is not None:
                    from longmab_pl.rollout.cluster.round import roll_out_on_cluster  # needs Ray, which is optional

                    roll_out_on_cluster(session, making, data.cluster, model=model, adapter=weights, title=title)
                else:
                    data.engine.start(folder)
                    data.engine.wake()
                    data.engine.sync(weights)
                    session.roll_out(making, title, adapter=weights)
        finally:
            session.close()
        summary = making.finish(name)
    console = wide_console()
    console.print(statistics_table(summary["statistics"], f"round {number}: {store.folder.name}"))
    console.print(f"pairs      {store.pairs}", soft_wrap=True)
    console.print(f"responses  {store.rollouts}", soft_wrap=True)
    return store.folder


def show_expected_costs(data: RolloutDataModule, model: str, *, number: int = 1) -> None:
    """Print how many calls and tokens a round will take, by engine and purpose, without asking or loading a model.

    Args:
        data: the settings of the rollout.
        model: the base model, as in `DPOModule`.
        number: number of the round, from 1.

    Raises:
        ConfigError, DataError: the settings or the records cannot be used.
    """
    at_least("--round", number, 1, "rounds are counted from 1")
    session = data.session
    session.load(model)
    costs = session.expected_costs(number - 1)
    records, _ = session.plan.records_of(session.records, number - 1, session.selection.per_round)
    console = wide_console()
    console.print(cost_table(costs, len(records), f"round {number}, about: {len(records):,} records"))
    console.print(
        f"From {min(len(records), RECORDS)} records with placeholder answers, half as long as allowed. Early stopping "
        "and answers that are known already take less, replies without a verdict more.",
        soft_wrap=True,
    )
    budgets = {name: other.budget for name, other in session.others.items() if other.budget is not None}
    for line in budget_lines(costs, budgets):
        console.print(line, soft_wrap=True)


def run(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: the command's name and its arguments, checked and written out.
    """
    quiet_lightning()
    cli = ParseOnlyCLI(args, _add_arguments, "Run one round without training, with the same config file as fit.")
    data, config = cli.datamodule, cli.config
    if not isinstance(data, RolloutDataModule):
        raise ConfigError(f"data is a {type(data).__name__}; a rollout needs longmab_pl.RolloutDataModule")
    folder = run_folder(config.trainer.default_root_dir)
    if config.dry_run:
        show_expected_costs(data, cli.model.model, number=config.round)
        return
    try:
        with no_folder_of_a_failed_start(folder), start_log().kept_in(folder):
            made = roll_out_round(data, cli.model.model, folder, adapter=config.adapter, number=config.round)
            print(made)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def _add_arguments(parser: LightningArgumentParser) -> None:
    parser.add_argument(
        "--adapter", type=str | None, default=None, help="PEFT folder to answer with (default: the base model)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print how many calls and tokens the round will take, and ask nothing"
    )
    parser.add_argument(
        "--round", type=int, default=1, help="which round, from 1: decides its records and seeds (default: 1)"
    )
