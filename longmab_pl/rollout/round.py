"""The making of one round: every record's strategy runs against the engine, and its responses become pairs on disk.

Needs no Trainer: `fit` makes rounds with it, and so does `longmab rollout`.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from longmab_pl.data.records import QARecord
from longmab_pl.engine.protocol import Engine
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.rollout.embedding import Embedder
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.pairs import PairRule, PreferencePair, build_pair, write_pairs
from longmab_pl.rollout.reading import ReadingProtocol
from longmab_pl.rollout.round_store import FORMAT, RoundStore, describe, digest, records_digest, whole_file
from longmab_pl.rollout.scheduler import Progress, Scheduler
from longmab_pl.rollout.spool import RolloutSpool, rollout_to_row
from longmab_pl.rollout.statistics import RoundStatistics
from longmab_pl.rollout.strategy import RecordRollout, Strategy, Tools, derive_seed


@dataclass(frozen=True)
class RoundPlan:
    """What decides how a round asks and pairs, whoever answers.

    Args:
        strategy: decides what to ask.
        reading: how a context and a question become a prompt.
        pairs: how responses become pairs.
        embedder: for the initial arm values.
        seed: of record order, sampling and pair choice.
    """

    strategy: Strategy
    reading: ReadingProtocol
    pairs: PairRule
    embedder: Embedder
    seed: int = 0

    def records_of(self, records: Sequence[QARecord], number: int, per_round: int | None) -> list[QARecord]:
        """A round's records, none twice: rounds walk through the shuffled file and begin again at its end.

        Args:
            records: all of them, in the file's order.
            number: the round, from 0.
            per_round: how many; None: all.
        """
        total = len(records)
        n = min(per_round or total, total)
        order = list(range(total))
        random.Random(derive_seed(self.seed, "records")).shuffle(order)
        return [records[order[(number * n + i) % total]] for i in range(n)]

    def settings(self, number: int, records: Sequence[QARecord], model: str, policy: str) -> dict[str, Any]:
        """All that a round's answers and pairs depend on, as JSON values.

        Args:
            number: the round, from 0.
            records: its records.
            model: name of the base model.
            policy: stands for the adapter's weights (`base`: none).
        """
        return {
            "format": FORMAT,
            "round": number,
            "model": model,
            "policy": policy,
            "records": records_digest(records),
            "strategy": describe(self.strategy),
            "reading": describe(self.reading),
            "pairs": describe(self.pairs),
            "embedder": describe(self.embedder),
            "seed": self.seed,
        }

    def fingerprint(self, number: int, records: Sequence[QARecord], model: str, policy: str) -> str:
        """16 digits that stand for `settings`."""
        return digest(self.settings(number, records, model, policy))


class Round:
    """One round in the making: `roll_out` with the engine awake, then `finish` without it.

    Both may be called again after a crash, in another process: finished records lie in the spool, finished completions
    of the others in the journal. Files come out in record order, whatever the order in which records finished.

    Args:
        plan: how to ask and pair.
        store: where the round's files go.
        records: the round's records.
        tokenizer: the policy's.
    """

    def __init__(self, plan: RoundPlan, store: RoundStore, records: Sequence[QARecord], tokenizer: Any) -> None:
        self.plan = plan
        self.store = store
        self.records = records
        self.tokenizer = tokenizer
        self.failures: dict[str, str] = {}

    @property
    def seed(self) -> int:
        """Contains the round's number, so that rounds sample differently."""
        return derive_seed(self.plan.seed, "round", self.store.number)

    def roll_out(self, engine: Engine, *, max_live: int | None = None, title: str = "rollout") -> None:
        """Run every record's strategy; a record that fails is kept in `failures` and costs no other.

        Args:
            engine: started, awake, answering as the policy.
            max_live: records at work at once (None: as many as fill the engine).
            title: of the progress bar.

        Raises:
            LongMabError: the engine or the disk failed; call it again to continue.
        """
        tools = Tools(
            tokenizer=self.tokenizer,
            reading=self.plan.reading,
            embedder=self.plan.embedder,
            max_model_len=engine.max_model_len,
            seed=self.seed,
        )
        strategy = self.plan.strategy
        self.failures.clear()
        with RolloutSpool(self.store.spool) as spool:
            waiting = [record for record in self.records if record.id not in spool]
            journal = Journal(self.store.journal, self.store.fingerprint)
            bar = tqdm(total=len(waiting) * strategy.expected_responses(), desc=title, unit="resp", dynamic_ncols=True)
            rewards = [0.0, 0]

            def show(progress: Progress) -> None:
                bar.update(progress.responses - bar.n)
                mean = f"{rewards[0] / rewards[1]:.3f}" if rewards[1] else "-"
                bar.set_postfix_str(
                    f"{progress.tokens_per_second:.0f} tok/s, {progress.records_done}/{len(waiting)} records, "
                    f"reward {mean}"
                )

            scheduler = Scheduler(engine, journal, max_live=max_live, on_progress=show)
            try:
                for key, result in scheduler.run((r.id, strategy.roll(r, tools)) for r in waiting):
                    if isinstance(result, LongMabError):
                        self.failures[key] = str(result)
                    else:
                        spool.add(result)
                        rewards[0] += sum(response.reward for response in result.responses)
                        rewards[1] += len(result.responses)
                show(scheduler.progress)
            finally:
                bar.close()
                journal.close()
            if journal.resumed:
                print(f"continued from {journal.resumed} journalled completions in {journal.path}", file=sys.stderr)

    def finish(self, policy: str) -> dict[str, Any]:
        """Write the round's files from the spool, the summary last, and give the summary.

        Args:
            policy: names the weights that answered, for the summary.
        """
        statistics = RoundStatistics()
        with RolloutSpool(self.store.spool) as spool:
            with whole_file(self.store.rollouts) as rollouts:
                pairs: list[PreferencePair] = []
                for record in self.records:
                    if record.id not in spool:
                        continue
                    rollout = spool.read(record.id)
                    rollouts.write(json.dumps(rollout_to_row(rollout), ensure_ascii=False) + "\n")
                    try:
                        pair = self._pair(record, rollout)
                    except DataError as error:
                        self.failures[record.id] = str(error)
                        continue
                    statistics.add(rollout, [pair] if pair else [])
                    pairs += [pair] if pair else []
            write_pairs(self.store.pairs, pairs)
        failures = [(r.id, self.failures[r.id]) for r in self.records if r.id in self.failures]
        statistics.add_failures(len(failures))
        for record_id, message in failures[:10]:
            print(f"record {record_id!r} failed: {message}", file=sys.stderr)
        summary = {
            "round": self.store.number,
            "fingerprint": self.store.fingerprint,
            "policy": policy,
            "statistics": statistics.result(),
            "failures": failures,
        }
        self.store.write_summary(summary)
        self.store.spool.unlink()
        return summary

    def _pair(self, record: QARecord, rollout: RecordRollout) -> PreferencePair | None:
        return build_pair(
            record,
            rollout,
            self.plan.pairs,
            self.plan.reading,
            self.tokenizer,
            seed=self.seed,
            round=self.store.number,
        )
