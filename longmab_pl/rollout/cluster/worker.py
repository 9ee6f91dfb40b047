"""A worker of a cluster: an engine and a scheduler in a process of their own, fed with records one by one.

Nothing here imports Ray: the driver makes an actor of `Worker`.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.models.hub import resolve_embedder, resolve_model
from longmab_pl.rollout.journal import JOURNAL, Journal
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.rollout.runner import EngineFacts, Result, ServedEngines
from longmab_pl.rollout.scheduler import Progress
from longmab_pl.rollout.session import NamedEngine, RecordSelection, RolloutSession
from longmab_pl.storage.append_log import read_fingerprint

REPORT_SECONDS = 0.5
"""Seconds after which a worker reports even with no record finished, so that the progress bar moves."""


@dataclass(frozen=True)
class Job:
    """All that the workers of a round need to know beside their engine and records.

    Args:
        plan: how to sample and score.
        selection: the choice of records, for the session.
        others: further engines by name.
        max_live: number of active records of a worker (None: twice as many as fill its engine).
        model: the policy's base model.
        adapter: PEFT folder of the policy (None: the base model).
        run_folder: run folder, on storage that all workers and the driver see under this path.
        number: number of the round, from 0.
        fingerprint: fingerprint of the round.
        origin: `Round.origin`.
    """

    plan: RoundPlan
    selection: RecordSelection
    others: Mapping[str, NamedEngine]
    max_live: int | None
    model: str
    adapter: Path | None
    run_folder: Path
    number: int
    fingerprint: str
    origin: dict[str, Any]

    @property
    def store(self) -> RoundFolder:
        """Folder of the round's files."""
        return RoundFolder(self.run_folder, self.number, self.fingerprint)


@dataclass(frozen=True)
class GivenRecord:
    """A record for a worker.

    Args:
        record: the record.
        journals: journals of lost workers that have had it: their answers are not asked for again.
    """

    record: QARecord
    journals: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a worker runs: the node's host name and the process id."""

    host: str
    pid: int


@dataclass(frozen=True)
class Report:
    """What a worker has done since its last report.

    Args:
        finished: results of records.
        progress: counts since the worker began.
        failure: why the worker cannot go on; None: it can.
    """

    finished: list[Result]
    progress: Progress
    failure: LongMabError | None = None


@dataclass
class _Feed:
    """Records on their way to the scheduler, and results on their way back."""

    given: queue.SimpleQueue[GivenRecord | None] = field(default_factory=queue.SimpleQueue)
    finished: queue.SimpleQueue[Result | None] = field(default_factory=queue.SimpleQueue)
    """None: the scheduler's thread has ended."""
    active: int = 0
    """Number of records that the scheduler has begun and not finished."""


class Worker:
    """One worker: `check`, `start`, then `exchange` until the round is done, then `stop`.

    Args:
        job: the round.
        engine: the policy's engine, not started.
        number: number of the worker in the round, unique also among those that replace lost ones.
    """

    def __init__(self, job: Job, engine: Engine, number: int) -> None:
        self._job = job
        self._number = number
        self._session = RolloutSession(job.plan, job.selection, engine, job.others, max_live=job.max_live)
        self._feed = _Feed()
        self._progress = Progress()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._journal: Journal | None = None
        self._read: set[Path] = set()
        self._open = ExitStack()

    def check(self) -> Place:
        """Check that the run folder, the models and the adapter are there, and open the worker's journal.

        Raises:
            ConfigError: one of them is not.
            LongMabError: the journal cannot be written.
        """
        job, store, host = self._job, self._job.store, socket.gethostname()
        where = f"worker {self._number} on {host}"
        if read_fingerprint(store.journal, JOURNAL) != job.fingerprint:
            raise ConfigError(
                f"{where} does not see the run folder {job.run_folder}; give --output a folder on storage that all "
                "machines of the cluster share, under the same path"
            )
        try:
            for name in (job.model, *(other.model for other in job.others.values() if other.model)):
                resolve_model(name)
            if job.plan.needs_embedder:
                resolve_embedder(job.plan.embedder.model)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        if job.adapter is not None and not job.adapter.is_dir():
            raise ConfigError(f"{where} does not see the adapter {job.adapter}; put it on storage that all share")
        self._journal = Journal(store.worker_journal(self._number), job.fingerprint)
        self._read_too(store.journal)
        return Place(host, os.getpid())

    def start(self) -> dict[str, EngineFacts]:
        """Load tokenizers and engines, and begin to take records. Call `check` first.

        Raises:
            LongMabError: an engine or the embedder cannot be loaded.
        """
        assert self._journal is not None
        job, session = self._job, self._session
        session.load_tokenizers(job.model)
        if job.plan.needs_embedder:
            job.plan.embedder.load()
        making = Round(job.plan, job.store, [], session.tokenizer, job.origin, chats=session.chats)
        self._open.callback(session.close)
        session.engine.start(resolve_model(job.model))
        session.engine.wake()
        session.engine.sync(job.adapter)
        writer = f"-worker-{self._number:03d}"
        served = self._open.enter_context(session.serving(making, adapter=job.adapter, writer=writer))
        self._thread = threading.Thread(target=self._work, args=(making, served, self._journal), daemon=True)
        self._thread.start()
        return EngineFacts.of(served.engines)

    def exchange(self, given: list[GivenRecord]) -> Report:
        """Take records and report, as soon as a record is finished or after `REPORT_SECONDS`.

        Args:
            given: further records.
        """
        for one in given:
            self._feed.given.put(one)
        finished: list[Result] = []
        try:
            result = self._feed.finished.get(timeout=REPORT_SECONDS)
            while result is not None:
                finished.append(result)
                result = self._feed.finished.get_nowait()
        except queue.Empty:
            pass
        failure = self._failure
        if failure is not None and not isinstance(failure, LongMabError):
            raise failure
        return Report(finished, replace(self._progress), failure)

    def stop(self) -> None:
        """End when the records that the worker has are finished: close the journal and the engines."""
        self._feed.given.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._journal is not None:
            self._journal.close()
        self._open.close()

    def _work(self, making: Round, served: ServedEngines, journal: Journal) -> None:
        """Run the scheduler, in a thread of its own."""
        try:
            runner = making.local_runner(served, journal, self._job.max_live)
            for result in runner.run(self._records(), self._show):
                self._feed.active -= 1
                self._feed.finished.put(result)
            self._show(runner.progress)
        except BaseException as error:  # reported by the next exchange
            self._failure = error
            journal.close()  # what is in it goes to other workers
        self._feed.finished.put(None)

    def _records(self) -> Iterator[QARecord | None]:
        while True:
            try:
                one = self._feed.given.get(block=not self._feed.active)
            except queue.Empty:
                yield None
                continue
            if one is None:
                return
            for path in one.journals:
                self._read_too(path)
            self._feed.active += 1
            yield one.record

    def _read_too(self, path: Path) -> None:
        assert self._journal is not None
        if path not in self._read:
            self._read.add(path)
            self._journal.read_too(path)

    def _show(self, progress: Progress) -> None:
        self._progress = progress
