"""The contract of what runs a round's records, and the runner that uses engines of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Engine, Request, RequestStream
from longmab_pl.errors import BudgetUsedUp, LongMabError
from longmab_pl.rollout.account import EngineAccount
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import NOTHING_BESIDE, BesideRollout, Progress, Scheduler
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext

Result = tuple[str, RecordRollout | LongMabError]
"""A record's id with its rollout, or with the error that ended it."""


@dataclass(frozen=True)
class EngineFacts:
    """What prompts depend on of an engine that runs.

    Args:
        max_model_len: longest prompt plus response, in tokens.
        structured_output: whether responses follow JSON schemas.
    """

    max_model_len: int
    structured_output: bool

    @classmethod
    def of(cls, engines: Mapping[str, Engine]) -> dict[str, EngineFacts]:
        """Return the facts of engines by name."""
        return {name: cls(engine.max_model_len, engine.structured_output) for name, engine in engines.items()}


@dataclass(frozen=True)
class ServedEngines:
    """Engines that are started and awake, as `Scheduler` takes them.

    Args:
        engines: by name; `policy` answers as the policy.
        accounts: accounts of engines by name.
        taking_turns: names of engines that share a device.
    """

    engines: Mapping[str, Engine]
    accounts: Mapping[str, EngineAccount] = field(default_factory=dict)
    taking_turns: tuple[str, ...] = ()


class RecordRunner(Protocol):
    """Something that runs records' strategies: the engines of this process, or the workers of a cluster."""

    facts: Mapping[str, EngineFacts]
    """Facts of the engines by name."""

    progress: Progress
    """The current state, for a progress display."""

    def run(self, records: Iterable[QARecord | None], on_progress: Callable[[Progress], None]) -> Iterator[Result]:
        """Yield results as records finish, in any order.

        Args:
            records: consumed lazily. None in place of a record means "not now": it is read again when the records under
                way, of which there must be at least one, have advanced.
            on_progress: called whenever `progress` may have changed.

        Raises:
            LongMabError: all engines or the disk failed; everything finished by then is in a journal.
        """

    def close(self) -> None:
        """Release what the runner has started; safe to call twice."""


class LocalRunner:
    """A runner with the engines of this process.

    Args:
        strategy: decides what is asked.
        context: what the strategy sees.
        served: the engines.
        journal: known completions; new ones are written to it before they are used.
        max_live: number of active records (None: the scheduler's default).
        beside: requests beside the rollout.
    """

    def __init__(
        self,
        strategy: Strategy,
        context: StrategyContext,
        served: ServedEngines,
        journal: Journal,
        max_live: int | None = None,
        beside: BesideRollout = NOTHING_BESIDE,
    ) -> None:
        self.facts: Mapping[str, EngineFacts] = EngineFacts.of(served.engines)
        self.progress = Progress()
        self._strategy = strategy
        self._context = context
        self._served = served
        self._journal = journal
        self._max_live = max_live
        self._beside = beside

    def run(self, records: Iterable[QARecord | None], on_progress: Callable[[Progress], None]) -> Iterator[Result]:
        scheduler = Scheduler(
            self._served.engines,
            self._journal,
            max_live=self._max_live,
            accounts=self._served.accounts,
            taking_turns=self._served.taking_turns,
            on_progress=on_progress,
            beside=self._beside.streams,
        )
        self.progress = scheduler.progress
        return scheduler.run(
            None if record is None else (record.id, _counted(self._strategy.roll(record, self._context)))
            for record in records
        )

    def close(self) -> None:
        """Do nothing: the engines belong to the caller."""


def _counted(stream: RequestStream[RecordRollout]) -> RequestStream[RecordRollout]:
    """Run a strategy's generator, and add to its result the number of responses requested from the policy, and the
    units of progress."""
    asked, units = 0, 0
    resume: Callable[[], list[Request]] = partial(next, stream)
    while True:
        try:
            requests = resume()
        except StopIteration as stop:
            return replace(stop.value, asked=asked, units=units)
        asked += sum(request.responses for request in requests)
        units += sum(request.units for request in requests)
        try:
            resume = partial(stream.send, (yield requests))
        except BudgetUsedUp as error:
            resume = partial(stream.throw, error)
