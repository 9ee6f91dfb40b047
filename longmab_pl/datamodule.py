"""The rollout as a LightningDataModule: a round's preference pairs are made when its train dataloader is asked for."""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from lightning import LightningDataModule
from tqdm.auto import tqdm

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.dpo.batch import PreferenceExample
from longmab_pl.dpo.loading import context_limit, load_tokenizer
from longmab_pl.dpo.module import DPOModule
from longmab_pl.dpo.tokenization import tokenize_pair
from longmab_pl.engine.protocol import Engine
from longmab_pl.errors import ConfigError, DataError, LongMabError
from longmab_pl.models import resolve_model
from longmab_pl.rollout.bandit_rollout import BanditRollout
from longmab_pl.rollout.embedding import Embedder
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.pairs import PairRule, PreferencePair, build_pair, read_pairs, write_pairs
from longmab_pl.rollout.reading import ReadingProtocol, ReasonThenAnswer
from longmab_pl.rollout.round_store import FORMAT, RoundStore, describe, digest, records_digest
from longmab_pl.rollout.scheduler import Progress, Scheduler
from longmab_pl.rollout.served_policy import ServedPolicy
from longmab_pl.rollout.statistics import rollout_statistics, trace
from longmab_pl.rollout.strategy import RecordRollout, Strategy, Tools, derive_seed
from longmab_pl.round_loader import RoundLoader

log = logging.getLogger(__name__)


class RolloutDataModule(LightningDataModule):
    """On-policy rounds: sample -> score -> pair, with the engine answering as the current policy.

    A round is `epochs_per_round` epochs over the pairs of one rollout. Pairs are made when the train dataloader is
    asked for and the round is new; being asked again is free. Everything a round makes lies under
    `<run folder>/rounds/<number>-<fingerprint>/`, and an interrupted rollout continues from its journal.

    Args:
        train: QA records: a JSONL/JSON/Parquet file, a Hugging Face dataset (`owner/name[:config[:split]]`), or
            `shipped:synthetic_train`.
        engine: answers the prompts.
        strategy: decides what to ask (default: the paper's bandit).
        reading: how a context and a question become a prompt.
        pairs: how responses become a pair.
        embedder: for the initial arm values.
        rounds: on-policy rounds.
        epochs_per_round: passes over each round's pairs.
        records_per_round: records to roll out in a round (None: all); rounds walk through the shuffled file.
        limit: use only this many records of the file.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        batch_size: pairs per batch (packed behind one another; use gradient accumulation for more).
        val_fraction: share of records whose pairs are held out for validation.
        max_live_records: records at work at once (None: as many as fill the engine).
        verify_sync: after every adapter hand-over compare the engine's log-probabilities with the policy's on a few
            prompts and refuse to go on with old weights.
        seed: of record order, sampling and pair choice.
    """

    def __init__(
        self,
        engine: Engine,
        train: str = "shipped:synthetic_train",
        strategy: Strategy | None = None,
        reading: ReadingProtocol | None = None,
        pairs: PairRule | None = None,
        embedder: Embedder | None = None,
        rounds: int = 2,
        epochs_per_round: int = 1,
        records_per_round: int | None = None,
        limit: int | None = None,
        on_bad_record: Literal["error", "skip"] = "error",
        batch_size: int = 1,
        val_fraction: float = 0.0,
        max_live_records: int | None = None,
        verify_sync: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("rounds", rounds), ("epochs_per_round", epochs_per_round), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"data.{name} is {value}; it must be at least 1")
        if records_per_round is not None and records_per_round < 1:
            raise ConfigError(f"data.records_per_round is {records_per_round}; it must be at least 1 or null")
        if not 0 <= val_fraction < 1:
            raise ConfigError(f"data.val_fraction is {val_fraction}; it must be in [0, 1)")
        self.engine = engine
        self.train_source = train
        self.strategy = strategy or BanditRollout()
        self.reading = reading or ReasonThenAnswer()
        self.pair_rule = pairs or PairRule()
        self.embedder = embedder or Embedder()
        self.rounds = rounds
        self.epochs_per_round = epochs_per_round
        self.records_per_round = records_per_round
        self.limit = limit
        self.on_bad_record = on_bad_record
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.max_live_records = max_live_records
        self.verify_sync = verify_sync
        self.seed = seed
        self.records: list[QARecord] = []
        self.tokenizer: Any = None
        self.served: ServedPolicy | None = None
        self.store: RoundStore | None = None
        self._tokenized: list[PreferenceExample] = []
        self._loaded_round: int | None = None
        self._restored: dict[str, Any] | None = None

    # set-up

    @property
    def run_folder(self) -> Path:
        assert self.trainer is not None
        return Path(self.trainer.default_root_dir)

    @property
    def policy(self) -> DPOModule:
        assert self.trainer is not None
        return cast(DPOModule, self.trainer.lightning_module)

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        if stage != "fit" or self.records:
            return
        # Rounds differ in length, so Lightning must ask for a loader every epoch; which round it is, the clock says.
        self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
        if self.val_fraction == 0:
            self.trainer.limit_val_batches = 0
        found = read_records(self.train_source, on_bad_record=self.on_bad_record, limit=self.limit)
        self.records = found.records
        if found.bad and self.trainer.is_global_zero:
            print(found.skipped(), file=sys.stderr)
        model = resolve_model(self.policy.model)
        self.tokenizer = load_tokenizer(model)
        self._check_lengths(context_limit(model))
        self.served = ServedPolicy(self.engine, self.run_folder / "adapters")
        if self.verify_sync:
            self.served.watch(self._canary_texts)

    def _check_lengths(self, limit: int | None) -> None:
        """Refuse settings under which every long record would fail, before anything is loaded."""
        if limit is None:
            return
        if self.pair_rule.max_prompt_length > limit:
            raise ConfigError(
                f"data.pairs.max_prompt_length is {self.pair_rule.max_prompt_length}, but {self.policy.model} takes "
                f"{limit} tokens; lower it"
            )
        served = min(self.engine.max_model_len or limit, limit)
        if self.strategy.needed_model_len() > served:
            raise ConfigError(
                f"data.strategy asks for prompts and answers of about {self.strategy.needed_model_len()} tokens "
                f"(chunks x chunk_size + max_tokens), but the engine takes {served}; lower top_k, chunk_size or "
                "max_tokens, or raise engine.max_model_len"
            )

    def _canary_texts(self) -> list[tuple[list[int], int]]:
        """A few short prompts with their gold answers, where training moves the policy, and where the answers begin."""
        texts = []
        for record in self.records[:8]:
            prompt = self.reading.prompt_ids(self.tokenizer, record.context[-800:], record.question)
            answer = self.tokenizer.encode(" " + record.answer, add_special_tokens=False)
            texts.append(([*prompt, *answer[:64]], len(prompt)))
        return texts

    # the round clock

    @property
    def epochs_done(self) -> int:
        """Finished epochs. `processed` is the tracker that is already right inside an epoch-end checkpoint."""
        assert self.trainer is not None
        return cast(int, self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]

    @property
    def round(self) -> int:
        """The current round, from 0."""
        return min(self.epochs_done // self.epochs_per_round, self.rounds - 1)

    def state_dict(self) -> dict[str, Any]:
        return {
            "round": self.store.number if self.store else None,
            "fingerprint": self.store.fingerprint if self.store else None,
            "epochs_done": self.epochs_done,
            "seed": self.seed,
            "records": records_digest(self.records),
            "adapter_version": self.policy_version(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        if state_dict["records"] != records_digest(self.records):
            log.warning("the training records are not those of the checkpoint; they count from the next round on")
        if state_dict["seed"] != self.seed:
            log.warning("data.seed is %s, in the checkpoint it was %s", self.seed, state_dict["seed"])

    def policy_version(self) -> str:
        """Names the policy's weights within this run: optimizer steps taken."""
        assert self.trainer is not None
        return f"step-{self.trainer.global_step:06d}"

    # dataloaders

    def train_dataloader(self) -> RoundLoader:
        assert self.trainer is not None
        self._ensure_round()
        examples = self._examples(held_out=False)
        order = random.Random(derive_seed(self.seed, "order", self.epochs_done))
        order.shuffle(examples)
        world, rank = self.trainer.world_size, self.trainer.global_rank
        # Every rank takes the same number of pairs, none takes another's: the remainder waits for another epoch.
        examples = examples[rank : len(examples) - len(examples) % world : world]
        key = f"{self.store.fingerprint if self.store else ''}/{self.epochs_done}"
        return RoundLoader(examples, self.batch_size, key, self._batches_done)

    def _batches_done(self) -> int:
        """Finished batches of the epoch under way. Until an epoch has started, the counter is still the last one's."""
        assert self.trainer is not None
        epoch = self.trainer.fit_loop.epoch_progress.current
        if epoch.started <= self.epochs_done:  # type: ignore[attr-defined]
            return 0
        return cast(int, self.trainer.fit_loop.epoch_loop.batch_progress.current.processed)  # type: ignore[attr-defined]

    def val_dataloader(self) -> RoundLoader:
        self._ensure_round()
        return RoundLoader(self._examples(held_out=True), self.batch_size, key="validation")

    def _examples(self, *, held_out: bool) -> list[PreferenceExample]:
        return [e for e in self._tokenized if self._is_held_out(e.id) == held_out]

    def _tokenize(self, pairs: Sequence[PreferencePair]) -> list[PreferenceExample]:
        """Token form of the pairs; one that cannot be trained on is reported and costs no other."""
        examples = []
        for p in pairs:
            try:
                example = tokenize_pair(
                    self.tokenizer,
                    id=p.id,
                    messages=p.prompt,
                    chosen=p.chosen_text,
                    rejected=p.rejected_text,
                    chosen_ended=p.chosen_ended,
                    rejected_ended=p.rejected_ended,
                    chosen_reward=p.chosen_reward,
                    rejected_reward=p.rejected_reward,
                )
            except DataError as e:
                log.warning("pair left out: %s", e)
                continue
            examples.append(example)
        return examples

    def _is_held_out(self, record_id: str) -> bool:
        return derive_seed(self.seed, "validation", record_id) < self.val_fraction * 2**31

    # a round

    def _ensure_round(self) -> None:
        assert self.trainer is not None
        number = self.round
        if self._loaded_round == number:
            return
        self.store = self._resumed_store(number)
        if self.store is None:
            self.policy.start_round()
            self.store = RoundStore(self.run_folder, number, self._fingerprint(number))
            if self.trainer.is_global_zero:
                if self.store.complete:
                    print(
                        f"round {number + 1}: same settings, records and policy as {self.store.folder}; its pairs count"
                    )
                else:
                    self._make_round(self.store)
        self.trainer.strategy.barrier("rollout")
        self._tokenized = self._tokenize(read_pairs(self.store.pairs))
        summary = self.store.read_summary()
        for logger in self.trainer.loggers:
            logger.log_metrics(summary["statistics"], step=self.trainer.global_step)
        self._loaded_round = number
        if not self._examples(held_out=False):
            raise DataError(
                f"round {number + 1} has no usable pair: no record's responses differ in reward "
                f"(mean reward {summary['statistics']['rollout/reward']:.3f}, answers in the asked format "
                f"{summary['statistics']['rollout/answer_format_rate']:.0%}). See {self.store.rollouts}. "
                "A small model usually needs `reading: Direct`; a higher temperature or more rounds give variety."
            )

    def _resumed_store(self, number: int) -> RoundStore | None:
        """The files of the round that a checkpoint was taken in the middle of, or None for a new round.

        The policy has moved on since that round began, so the fingerprint is the checkpoint's and not computed anew.
        """
        restored, self._restored = self._restored, None
        if restored is None or restored["round"] != number:
            return None
        store = RoundStore(self.run_folder, number, restored["fingerprint"])
        if not store.complete:
            raise DataError(
                f"the checkpoint is in the middle of round {number + 1}, whose pairs are not in {store.folder}: resume "
                "with the same trainer.default_root_dir, or start from the round's first checkpoint"
            )
        return store

    def _fingerprint(self, number: int) -> str:
        return digest(
            {
                "format": FORMAT,
                "round": number,
                "model": self.policy.model,
                "policy": self.policy.adapter_digest(),
                "records": records_digest(self._records_of(number)),
                "strategy": describe(self.strategy),
                "reading": describe(self.reading),
                "pairs": describe(self.pair_rule),
                "embedder": describe(self.embedder),
                "seed": self.seed,
            }
        )

    def _records_of(self, number: int) -> list[QARecord]:
        """The round's records, none twice: rounds walk through the shuffled file and begin again at its end."""
        total = len(self.records)
        n = min(self.records_per_round or total, total)
        order = list(range(total))
        random.Random(derive_seed(self.seed, "records")).shuffle(order)
        return [self.records[order[(number * n + i) % total]] for i in range(n)]

    def _make_round(self, store: RoundStore) -> None:
        assert self.served is not None
        with self.served.awake(self.policy, self.policy_version()) as engine:
            rollouts, failures = self._roll(store, engine)
        records = {r.id: r for r in self._records_of(store.number)}
        pairs = []
        for rollout in rollouts:
            try:
                pair = build_pair(
                    records[rollout.record_id],
                    rollout,
                    self.pair_rule,
                    self.reading,
                    self.tokenizer,
                    seed=derive_seed(self.seed, "round", store.number),
                    round=store.number,
                )
            except DataError as e:
                failures.append((rollout.record_id, str(e)))
                continue
            if pair is not None:
                pairs.append(pair)
        write_pairs(store.pairs, pairs)
        with store.rollouts.open("w", encoding="utf-8") as f:
            for rollout in rollouts:
                f.write(json.dumps(trace(rollout), ensure_ascii=False) + "\n")
        for record_id, message in failures[:10]:
            print(f"record {record_id!r} failed: {message}", file=sys.stderr)
        statistics = rollout_statistics(rollouts, len(failures), pairs)
        store.write_summary(
            {
                "round": store.number,
                "fingerprint": store.fingerprint,
                "policy": self.policy_version(),
                "statistics": statistics,
                "failures": failures,
            }
        )

    def _roll(self, store: RoundStore, engine: Engine) -> tuple[list[RecordRollout], list[tuple[str, str]]]:
        records = self._records_of(store.number)
        tools = Tools(
            tokenizer=self.tokenizer,
            reading=self.reading,
            embedder=self.embedder,
            max_model_len=engine.max_model_len,
            seed=derive_seed(self.seed, "round", store.number),
        )
        journal = Journal(store.journal, store.fingerprint)
        expected = len(records) * self.strategy.expected_responses()
        bar = tqdm(
            total=expected, desc=f"round {store.number + 1}/{self.rounds} rollout", unit="resp", dynamic_ncols=True
        )
        rewards: list[float] = []

        def show(progress: Progress) -> None:
            bar.update(progress.responses - bar.n)
            mean = f"{sum(rewards) / len(rewards):.3f}" if rewards else "-"
            bar.set_postfix_str(
                f"{progress.tokens_per_second:.0f} tok/s, {progress.records_done}/{len(records)} records, reward {mean}"
            )

        scheduler = Scheduler(engine, journal, max_live=self.max_live_records, on_progress=show)
        rollouts: dict[str, RecordRollout] = {}
        failures: list[tuple[str, str]] = []
        try:
            for key, result in scheduler.run((r.id, self.strategy.roll(r, tools)) for r in records):
                if isinstance(result, LongMabError):
                    failures.append((key, str(result)))
                else:
                    rollouts[key] = result
                    rewards += [response.reward for response in result.responses]
            show(scheduler.progress)
        finally:
            bar.close()
            journal.close()
        if journal.resumed:
            print(f"continued from {journal.resumed} journalled completions in {store.journal}", file=sys.stderr)
        # In the file's order, whatever order they finished in: scheduling never shows in a round's files.
        return [rollouts[r.id] for r in records if r.id in rollouts], failures

    # the end

    def teardown(self, stage: str) -> None:
        self.engine.close()

    def on_exception(self, exception: BaseException) -> None:
        self.engine.close()
