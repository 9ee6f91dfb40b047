"""A session's round on the workers of a cluster."""

from __future__ import annotations

from pathlib import Path

from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.server.engine import ServerEngine
from longmab_pl.rollout.cluster.connection import connected, gpus_of_workers
from longmab_pl.rollout.cluster.runner import ClusterRunner
from longmab_pl.rollout.cluster.settings import ClusterSettings, refuse_budgets
from longmab_pl.rollout.cluster.worker import Job
from longmab_pl.rollout.round import Round
from longmab_pl.rollout.session import RolloutSession


def roll_out_on_cluster(
    session: RolloutSession, making: Round, settings: ClusterSettings, *, model: str, adapter: Path | None, title: str
) -> None:
    """Roll out a round on the workers of a cluster; a connection that is there already is used.

    Every record gives the rollout that it has in one process: its seeds do not depend on who asks.

    Args:
        session: the session, with its records loaded; its own engines are not started.
        making: a round, as returned by `session.new_round`.
        settings: settings of the cluster.
        model: the policy's base model.
        adapter: PEFT folder of the policy (None: the base model), on storage that all workers see.
        title: title of the progress bar.

    Raises:
        ConfigError: the cluster is not there, the engines cannot be divided among the workers, or a worker lacks
            something.
        LongMabError: no worker is left, or the disk is full; call it again to continue.
    """
    refuse_budgets(name for name, other in session.others.items() if other.budget is not None)
    engines = engines_of_workers(session.engine, settings)
    with connected(settings):
        gpus = gpus_of_workers(settings, isinstance(session.engine, ServerEngine) and session.engine.addresses != [])
        job = cluster_job(session, making, model=model, adapter=adapter)
        making.run(lambda journal: ClusterRunner(job, engines, gpus, len(making.records)), title)


def cluster_job(session: RolloutSession, making: Round, *, model: str, adapter: Path | None) -> Job:
    """Return what the workers of a round need to know; arguments as for `roll_out_on_cluster`."""
    return Job(
        plan=making.plan,
        selection=session.selection,
        others=session.others,
        max_live=session.max_live,
        model=model,
        adapter=None if adapter is None else adapter.absolute(),
        run_folder=making.store.run_folder.absolute(),
        number=making.store.number,
        fingerprint=making.store.fingerprint,
        origin=making.origin,
    )


def engines_of_workers(engine: Engine, settings: ClusterSettings) -> list[Engine]:
    """Return an engine for each worker: a share of the servers, or the same settings for each.

    Args:
        engine: the configured engine, not started.
        settings: settings of the cluster.

    Raises:
        ConfigError: there are fewer servers than workers.
    """
    if not isinstance(engine, ServerEngine) or not engine.addresses:
        return [engine] * settings.workers
    settings.refuse_too_few_servers(len(engine.addresses))
    return [engine.share(number, settings.workers) for number in range(settings.workers)]
