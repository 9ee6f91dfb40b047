"""One round: every record's strategy runs against the engine, and its responses become pairs on disk.

Needs no Trainer: `fit` and `longmab rollout` both use it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from longmab_pl.data.records import QARecord, records_digest
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import POLICY, Engine
from longmab_pl.errors import ConfigError, DataError, LongMabError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.files import PairWriter
from longmab_pl.pairs.rule import PairContext, PairRule
from longmab_pl.prompts.formats import NumberingFormat, PromptFormat
from longmab_pl.rewards.base import BUDGET_USED_UP, ComparingReward, GroundedReward, Reward
from longmab_pl.rollout.account import EngineAccount
from longmab_pl.rollout.journal import Journal, opened_journal
from longmab_pl.rollout.metrics import RoundMetrics
from longmab_pl.rollout.progress import RolloutBar
from longmab_pl.rollout.rollout_log import RolloutLog
from longmab_pl.rollout.round_folder import FORMAT, RoundFolder
from longmab_pl.rollout.runner import LocalRunner, RecordRunner, ServedEngines
from longmab_pl.rollout.scheduler import NOTHING_BESIDE, BesideRollout
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted, tell
from longmab_pl.storage.append_log import encode
from longmab_pl.storage.files import atomic_write_binary
from longmab_pl.storage.fingerprint import describe
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext


@dataclass(frozen=True)
class RoundPlan:
    """Settings of how a round samples, scores and pairs, independent of the model.

    Args:
        strategy: decides which prompts to ask.
        rewards: how responses are scored; the first one is what the strategy learns from and pairs compare.
        prompt_format: how a context and a question become a prompt.
        pairs: how responses become pairs.
        embedder: embedder for the initial arm values.
        seed: seed of record order, sampling and pair choice.
    """

    strategy: Strategy
    rewards: tuple[Reward, ...]
    prompt_format: PromptFormat
    pairs: PairRule
    embedder: Embedder
    seed: int = 0

    def __post_init__(self) -> None:
        names = [reward.name for reward in self.rewards]
        if not names:
            raise ConfigError("data.rewards is empty; give one reward at least, such as longmab_pl.rewards.AnswerMatch")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"data.rewards has two rewards of the name {twice[0]!r}; names must be unique")
        if unknown := sorted(set(self.pairs.reads) - set(names)):
            raise ConfigError(f"data.pairs compares {unknown[0]!r}; the rewards of this run are: {', '.join(names)}")
        for reward in self.rewards:
            if isinstance(reward, ComparingReward) and self.strategy.scored_together < reward.fewest_together:
                raise ConfigError(
                    f"data.strategy scores {self.strategy.scored_together} response at a time, but the reward "
                    f"{reward.name!r} compares at least {reward.fewest_together}; raise strategy.samples_per_pull, or "
                    "use longmab_pl.strategies.BestOfN"
                )
            if (
                isinstance(reward, GroundedReward)
                and reward.needs_numbered_passages
                and not isinstance(self.prompt_format, NumberingFormat)
            ):
                raise ConfigError(
                    f"the reward {reward.name!r} needs numbered passages, which data.prompt_format "
                    f"{type(self.prompt_format).__name__} does not make; use longmab_pl.prompts.CiteThenAnswer"
                )
        if self.strategy.budget == "adaptive" and self.pairs.reads and self.primary not in self.pairs.reads:
            raise ConfigError(
                f"data.strategy stops records by {self.primary!r}, but data.pairs compares "
                f"{', '.join(map(repr, self.pairs.reads))}; name it first in data.rewards, or set budget: fixed"
            )

    @property
    def primary(self) -> str:
        """Name of the first reward."""
        return self.rewards[0].name

    @property
    def engines(self) -> list[str]:
        """Sorted names of the engines that the strategy and the rewards use, without the policy's."""
        asked = set(self.strategy.engines).union(*(reward.engines for reward in self.rewards))
        return sorted(asked - {POLICY})

    @property
    def needs_embedder(self) -> bool:
        return self.strategy.needs_embedder or any(reward.needs_embedder for reward in self.rewards)

    def pair_context(self, tokenizer: Any, number: int) -> PairContext:
        """Return the context of a round's pair rule.

        Args:
            tokenizer: the policy's tokenizer.
            number: number of the round, from 0.
        """
        return PairContext(tokenizer, self.prompt_format, self.primary, self.round_seed(number), number)

    def round_seed(self, number: int) -> int:
        """Return a seed for each round, so that rounds sample differently."""
        return derive_seed(self.seed, "round", number)

    def records_of(
        self, records: Sequence[QARecord], number: int, per_round: int | None
    ) -> tuple[list[QARecord], list[QARecord]]:
        """Return a round's records and those that follow them, without repetition.

        Rounds go through the shuffled file in order and begin again at its end.

        Args:
            records: all of them, in the file's order.
            number: number of the round, from 0.
            per_round: number of records; None: all.
        """
        total = len(records)
        n = min(per_round or total, total)
        order = list(range(total))
        random.Random(derive_seed(self.seed, "records")).shuffle(order)
        walk = [records[order[(number * n + i) % total]] for i in range(total)]
        return walk[:n], walk[n:]

    def check_lengths(self, model: str, limit: int | None, engine_limit: int | None) -> None:
        """Raise an error for settings with which every long record would fail, before anything is loaded.

        Args:
            model: the model's name, for the message.
            limit: the model's limit in tokens; None: unknown.
            engine_limit: the engine's limit in tokens; None or 0: unknown before it starts.

        Raises:
            ConfigError: pairs or prompts can be longer than a limit.
        """
        if limit is None:
            return
        if self.pairs.max_prompt_length > limit:
            raise ConfigError(
                f"data.pairs.max_prompt_length is {self.pairs.max_prompt_length}, but {model} takes {limit} tokens; "
                "lower it"
            )
        served, needed = min(engine_limit or limit, limit), self.strategy.needed_model_len
        if needed > served:
            raise ConfigError(
                f"data.strategy asks for prompts and answers of about {needed} tokens (chunks x chunk_size + "
                f"max_tokens), but the engine takes {served}; lower top_k, chunk_size or max_tokens, or raise "
                "engine.max_model_len"
            )

    def reserve_of(self, following: Sequence[QARecord]) -> Sequence[QARecord]:
        """Return the following records that an adaptive budget may add to a round; none for a fixed budget."""
        return following if self.strategy.budget == "adaptive" else ()

    def settings(
        self, number: int, records: Sequence[QARecord], model: str, policy: str, following: Sequence[QARecord] = ()
    ) -> dict[str, Any]:
        """Return all that a round's answers and pairs depend on, as JSON values; its digest is the round's fingerprint.

        Args:
            number: number of the round, from 0.
            records: records of the round.
            model: name of the base model.
            policy: identifies the adapter's weights (`base`: none).
            following: the records after them; those that may be added are included (see `reserve_of`).
        """
        return {
            "format": FORMAT,
            "round": number,
            "model": model,
            "policy": policy,
            "records": records_digest([*records, *self.reserve_of(following)]),
            "strategy": describe(self.strategy),
            "rewards": describe(self.rewards),
            "primary": self.primary,
            "prompt_format": describe(self.prompt_format),
            "pairs": describe(self.pairs),
            "embedder": describe(self.embedder),
            "seed": self.seed,
        }


class Round:
    """One round: `roll_out` with the engine awake, then `finish` without it.

    Both may be called again after a crash, in another process: finished records are in the rollout log, finished
    completions of the others in the journal. Files are written in record order, whatever the order in which records
    finished.

    Args:
        plan: how to sample, score and pair.
        store: folder of the round's files.
        records: the round's records.
        tokenizer: the policy's tokenizer.
        origin: `RoundPlan.settings` and the records' source (`train`), saved with the files so that pairs can be made
            again by another rule.
        reserve: further records. If the strategy has an adaptive budget, they are added one by one to use the responses
            that stopped records did not request. The choice does not depend on the order in which records finish.
        chats: chat formats of further engines by name; an engine that is not among them has the policy's.
    """

    def __init__(
        self,
        plan: RoundPlan,
        store: RoundFolder,
        records: Sequence[QARecord],
        tokenizer: Any,
        origin: dict[str, Any],
        reserve: Sequence[QARecord] = (),
        chats: Mapping[str, ChatFormat] | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.records = records
        self.tokenizer = tokenizer
        self.origin = origin
        self.reserve = plan.reserve_of(reserve)
        self.chats = dict(chats or {})
        self.failures: dict[str, str] = {}
        self._spare = 0  # responses that stopped records did not request
        self._at_work = 0  # active records

    @property
    def _cost(self) -> int:
        return self.plan.strategy.expected_responses

    def roll_out(
        self,
        engines: Mapping[str, Engine],
        *,
        max_live: int | None = None,
        accounts: Mapping[str, EngineAccount] | None = None,
        taking_turns: Collection[str] = (),
        title: str = "rollout",
        beside: BesideRollout = NOTHING_BESIDE,
    ) -> None:
        """Run every record's strategy; a record that fails is stored in `failures` and does not affect the others.

        Args:
            engines: started and awake, by name; `policy` answers as the policy.
            max_live: number of active records (None: the scheduler's default).
            accounts: as in `Scheduler`.
            taking_turns: as in `Scheduler`.
            title: title of the progress bar.
            beside: requests beside the rollout, as in `Scheduler`.

        Raises:
            LongMabError: an engine or the disk failed; call it again to continue.
            ConfigError: the embedder cannot be loaded; no request has been sent.
        """
        if self.plan.needs_embedder:
            self.plan.embedder.load()
        served = ServedEngines(engines, accounts or {}, tuple(taking_turns))
        if taking_turns:  # the policy's engine is not always the one that answers
            beside = NOTHING_BESIDE
        self.run(lambda journal: self.local_runner(served, journal, max_live, beside), title, beside=beside.total)

    def local_runner(
        self,
        served: ServedEngines,
        journal: Journal,
        max_live: int | None,
        beside: BesideRollout = NOTHING_BESIDE,
    ) -> LocalRunner:
        """Return a runner of records with engines of this process; the embedder is loaded if the plan needs it.

        Args:
            served: the engines.
            journal: where completions are written, and known ones are read.
            max_live: number of active records (None: the scheduler's default).
            beside: requests beside the rollout, as in `Scheduler`.
        """
        context = StrategyContext(
            tokenizer=self.tokenizer,
            prompt_format=self.plan.prompt_format,
            embedder=self.plan.embedder,
            max_model_len=served.engines[POLICY].max_model_len,
            seed=self.seed,
            rewards=self.plan.rewards,
            addressees=self._addressees(served.engines),
        )
        return LocalRunner(self.plan.strategy, context, served, journal, max_live, beside)

    def run(self, open_runner: Callable[[Journal], RecordRunner], title: str, *, beside: int = 0) -> None:
        """Run every record's strategy with a runner, and keep the results in the rollout log.

        Args:
            open_runner: returns the runner, given the round's journal; the runner is closed at the end.
            title: title of the progress bar.
            beside: number of questions that are asked beside the rollout.

        Raises:
            LongMabError: the engines or the disk failed; call it again to continue.
        """
        self.failures.clear()
        self._spare = self._at_work = 0
        store = self.store
        # Its lock guards the whole folder.
        journal = opened_journal(store.journal, store.fingerprint, store.worker_journals)
        try:
            with closing(open_runner(journal)) as runner:
                self._collect(runner, title, beside)
            for path in store.worker_journals:
                journal.take_over(path)
        finally:
            journal.close()
        if journal.resumed:
            tell(f"continued from {journal.resumed} journalled completions in {journal.path}")

    def _collect(self, runner: RecordRunner, title: str, beside: int) -> None:
        """Write the round's settings, and the results of a runner as they come."""
        strategy = self.plan.strategy
        self.store.write_settings(
            {
                **self.origin,
                "max_model_len": {name: facts.max_model_len for name, facts in runner.facts.items()},
                "structured_output": {name: facts.structured_output for name, facts in runner.facts.items()},
                "record_digests": {r.id: records_digest([r]) for r in (*self.records, *self.reserve)},
            }
        )
        bar = RolloutBar(title, len(self.records), self._cost, self.plan.primary, strategy.progress_unit, beside)
        with closing(bar), RolloutLog(self.store.rollout_log, self.store.fingerprint) as log:
            for key, result in runner.run(self._waiting(log, bar), bar.show):
                self._at_work -= 1
                if isinstance(result, LongMabError):
                    self.failures[key] = str(result)
                    bar.finished(None)
                else:
                    log.add(result)
                    self._finished(result, bar)
            bar.show(runner.progress)
            bar.complete()

    def _addressees(self, engines: Mapping[str, Engine]) -> dict[str, Addressee]:
        policy = ChatFormat(self.tokenizer, self.plan.prompt_format.template_arguments)
        return {
            name: Addressee(self.chats.get(name, policy), engine.max_model_len, engine.structured_output)
            for name, engine in engines.items()
        }

    def _waiting(self, log: RolloutLog, bar: RolloutBar) -> Iterator[QARecord | None]:
        """Yield records to roll out: the round's that are not in the rollout log yet, then reserve records for the
        responses that stopped records did not request (None: not now, perhaps when active records have finished)."""
        for record in self.records:
            if not self._known(record, log, bar):
                self._at_work += 1
                yield record
        for record in self.reserve:
            while self._spare < self._cost:
                if not self._at_work:
                    return
                yield None
            self._spare -= self._cost
            bar.admit()
            if not self._known(record, log, bar):
                self._at_work += 1
                yield record

    def _known(self, record: QARecord, log: RolloutLog, bar: RolloutBar) -> bool:
        if record.id not in log:
            return False
        rollout = log.read(record.id)
        if any(BUDGET_USED_UP in (score.excluded or "") for r in rollout.responses for score in r.scores.values()):
            return False  # the budget may have been raised; what is in the journal is not asked again
        self._finished(rollout, bar)
        bar.skip(rollout.units)
        return True

    def _finished(self, rollout: RecordRollout, bar: RolloutBar) -> None:
        """Count a finished record."""
        if rollout.stopped:
            # At least 0: a reward that asks the policy can use more than the strategy's own responses, and the
            # reserve records would then depend on the order in which records finish.
            self._spare += max(0, self._cost - rollout.asked)
        bar.finished(rollout)

    @property
    def seed(self) -> int:
        """Seed of this round; it depends on the round's number, so that rounds sample differently."""
        return self.plan.round_seed(self.store.number)

    def finish(self, policy: str) -> dict[str, Any]:
        """Write the round's files from the rollout log, the summary last, and return the summary.

        Args:
            policy: name of the weights that answered, for the summary.

        Raises:
            LongMabError: every record failed, or the disk is full; the round is not complete then.
        """
        statistics = RoundMetrics(self.plan.primary, self.plan.strategy.describe)
        context = replace(self.plan.pair_context(self.tokenizer, self.store.number), skip=statistics.skip)
        everyone = [*self.records, *self.reserve]
        with (
            self._some_finished(RolloutLog(self.store.rollout_log, self.store.fingerprint)) as log,
            atomic_write_binary(self.store.rollouts) as rollouts,
            PairWriter(self.store.pairs, self.store.format) as pairs,
        ):
            for record in everyone:
                if record.id not in log:
                    continue
                rollout = log.read(record.id)
                asked = {"question": record.question, "answers": list(record.answers)}  # for readers of the file
                rollouts.write(encode(rollout.to_json() | asked))
                try:
                    made = self.plan.pairs.pairs(record, rollout, context)
                except DataError as error:
                    self.failures[record.id] = str(error)
                    continue
                statistics.add(rollout, made)
                for pair in made:
                    pairs.write(pair)
        failures = [(r.id, self.failures[r.id]) for r in everyone if r.id in self.failures]
        statistics.add_failures(len(failures))
        for record_id, message in failures[:10]:
            tell(f"record {quoted(record_id)} failed: {message}")
        if failures:
            tell(
                f"{len(failures)} records failed. To try them again once the cause is fixed, remove "
                f"{self.store.summary} and run the same command: what was answered is in the journal"
            )
        for name, reasons in statistics.exclusions().items():
            listed = "; ".join(f"{count} x {quoted(reason, 120)}" for reason, count in list(reasons.items())[:5])
            tell(f"{sum(reasons.values())} responses have no score by {name}: {listed}")
            if any(BUDGET_USED_UP in reason for reason in reasons):
                tell(
                    f"To score those that the budget left out, raise it, remove {self.store.summary} and run the same "
                    "command: what was answered is not asked again"
                )
        summary = {
            "round": self.store.number,
            "fingerprint": self.store.fingerprint,
            "policy": policy,
            "statistics": statistics.result(),
            "failures": failures,
            "exclusions": statistics.exclusions(),
        }
        self.store.write_summary(summary)
        self.store.rollout_log.unlink()
        return summary

    def _some_finished(self, log: RolloutLog) -> RolloutLog:
        if self.failures and not any(r.id in log for r in [*self.records, *self.reserve]):
            record_id, message = next(iter(self.failures.items()))
            log.close()
            raise LongMabError(
                f"all {len(self.failures)} records failed; the first, {quoted(record_id)}: {message}\nFix it and run "
                "the same command again: what was answered is in the journal"
            )
        return log
