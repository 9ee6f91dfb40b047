"""Rollouts as a LightningDataModule: a round's preference pairs are made when its train dataloader is requested."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from longmab_pl.checks import at_least
from longmab_pl.data.records import records_digest
from longmab_pl.datamodules.base import AskedBeside, PairDataModule
from longmab_pl.datamodules.distributed import on_rank_zero
from longmab_pl.datamodules.tokenized import TokenizedPairs
from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.engines.weight_sync import PolicySync
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.pairs.rule import PairRule
from longmab_pl.pairs.types import PairFormat
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rewards.base import Reward
from longmab_pl.rollout.cluster.settings import ClusterSettings
from longmab_pl.rollout.no_pairs import no_pairs
from longmab_pl.rollout.record_choice import RecordOrder
from longmab_pl.rollout.repair import is_whole, repair
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.rollout.scheduler import BesideRollout
from longmab_pl.rollout.session import NamedEngine, RecordSelection, RolloutSession
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.strategies.bandit.strategy import BanditRollout
from longmab_pl.strategies.base import Strategy
from longmab_pl.training.left_out import NO_GROUP, NO_SHORT_PROMPT

log = logging.getLogger(__name__)


class RolloutDataModule(PairDataModule):
    """On-policy rounds: sample -> score -> pair, with the engine answering as the current policy.

    A round is `epochs_per_round` epochs over the pairs of one rollout. Pairs are made when the train dataloader is
    requested and the round is new; a repeated request does nothing. A round's files are in
    `<run folder>/rounds/<number>-<fingerprint>/`, and an interrupted rollout continues from its journal.

    Args:
        train: QA records: a JSONL/JSON/Parquet file, a Hugging Face dataset (`owner/name[:config[:split]]`), or
            `shipped:synthetic_train`.
        engine: answers the prompts (default: `VLLMEngine`).
        strategy: decides which prompts to ask (default: the paper's bandit).
        rewards: how responses are scored (default: `AnswerMatch`); strategies learn from the first one and pairs
            compare it; the others are only stored.
        prompt_format: how a context and a question become a prompt.
        pairs: how responses become pairs (default: `BestWorst`, the paper's).
        embedder: for initial arm values and rewards that compare texts.
        engines: further engines by the name that a strategy or a reward uses for them (`judge`).
        rounds: number of on-policy rounds.
        epochs_per_round: passes over each round's pairs; with `model.phases`, the sum of their epochs.
        records_per_round: records to roll out in a round (None: all); rounds go through the shuffled file in order.
        records: order of the records: `shuffled`, or `curriculum`: from the second round on, those come first whose
            last pass rate is near 1/2, and those that were always or never right last.
        pass_value: value of the first reward from which a response counts as right, for `records: curriculum`.
        limit: use only this many records of the file.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        fields: the data's names of `id, question, answers, context`, if they differ: `{question: ask}`.
        split: split of a folder or a data set whose name does not include it.
        batch_size: pairs per batch (packed behind one another; use gradient accumulation for more).
        max_tokens_per_batch: instead of `batch_size`: pack pairs up to this many tokens per batch, every shared prompt
            counted once (pairs of one prompt stay together).
        eval_fraction: share of the contexts whose records are held out for evaluation (`QASuite` without `data` asks
            them); they are never rolled out.
        val_fraction: share of records whose pairs are held out for validation.
        max_live_records: number of active records (None: twice as many as fill the engine).
        pair_format: format of the rounds' pairs files: `jsonl` or `parquet`.
        verify_sync: after every sync compare the engine's log-probabilities with the policy's on a few prompts, and
            raise an error if the engine still has old weights.
        cluster: makes the rounds on the workers of a Ray cluster, each with an engine like `engine`, which loads the
            policy's adapter from the run folder; evaluations use an engine of this process. None: this process makes
            them.
        seed: seed of record order, sampling and pair choice; null: that of `seed_everything`. The records that are held
            out for evaluation (`eval_fraction`) do not depend on it.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        train: str = "shipped:synthetic_train",
        strategy: Strategy | None = None,
        rewards: list[Reward] | None = None,
        prompt_format: PromptFormat | None = None,
        pairs: PairRule | None = None,
        embedder: Embedder | None = None,
        engines: dict[str, NamedEngine] | None = None,
        rounds: int = 2,
        epochs_per_round: int = 1,
        records_per_round: int | None = None,
        records: RecordOrder = "shuffled",
        pass_value: float = 0.5,
        limit: int | None = None,
        on_bad_record: Literal["error", "skip"] = "error",
        fields: dict[str, str] | None = None,
        split: str = "train",
        batch_size: int = 1,
        max_tokens_per_batch: int | None = None,
        eval_fraction: float = 0.0,
        val_fraction: float = 0.0,
        max_live_records: int | None = None,
        pair_format: PairFormat = "jsonl",
        verify_sync: bool = True,
        cluster: ClusterSettings | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed, max_tokens_per_batch)
        at_least("data.rounds", rounds, 1)
        at_least("data.epochs_per_round", epochs_per_round, 1)
        self.session = RolloutSession(
            RoundPlan(
                strategy or BanditRollout(),
                tuple(rewards or [AnswerMatch()]),
                prompt_format or ReasonThenAnswer(),
                pairs or BestWorst(),
                embedder or Embedder(),
                self.seed,
            ),
            RecordSelection(
                train,
                records_per_round,
                limit,
                on_bad_record,
                fields,
                split,
                eval_fraction,
                records,
                pass_value,
            ),
            engine or VLLMEngine(),
            engines,
            max_live=max_live_records,
            pair_format=pair_format,
        )
        self.rounds = rounds
        self.epochs_per_round = epochs_per_round
        self.verify_sync = verify_sync
        self.cluster = cluster
        # The session's engine is what a cluster's workers start from, so it never starts here.
        self._own_engine = self.session.engine if cluster is None else deepcopy(self.session.engine)
        self.store: RoundFolder | None = None
        self._before: str | None = None  # fingerprint of the round before `store`
        self._loaded_round: int | None = None
        self._restored: dict[str, Any] | None = None
        self._beside: list[AskedBeside] = []

    @property
    def plan(self) -> RoundPlan:
        """Settings of how rounds sample, score and pair."""
        return self.session.plan

    @property
    def engine(self) -> Engine:
        """The policy's engine in this process."""
        return self._own_engine

    @property
    def prompt_format(self) -> PromptFormat:
        """Format of the prompts; evaluation callbacks use it too."""
        return self.plan.prompt_format

    # set-up

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        if self.records:
            return
        self.adopt_phases(self.policy.phases)
        if stage != "fit":
            raise ConfigError(
                f"{stage} needs pairs that are there already: use longmab_pl.PreferenceDataModule as data"
            )
        self.end_after_all_rounds()
        # Rounds differ in length, so Lightning must request a loader every epoch; `round` is the current round.
        self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
        if self.val_fraction == 0:
            self.trainer.limit_val_batches = 0
        self.session.load(self.policy.model, show=self.trainer.is_global_zero)
        self.tokenizer, self.records = self.session.tokenizer, self.session.records
        self.eval_records = self.session.eval_records
        self.served = PolicySync(self.engine, self.run_folder / "adapters")
        if self.verify_sync and isinstance(self.trainer.strategy, ModelParallelStrategy):
            rank_zero_info(
                "data.verify_sync: not under FSDP, where no rank alone can say the policy's log-probabilities"
            )
        elif self.verify_sync:
            self.served.verify_with(self._weight_sync_texts)

    def _weight_sync_texts(self) -> list[tuple[list[int], int]]:
        """Return a few short prompts with gold answers, which training affects most, and where the answers begin."""
        texts = []
        for record in self.records[:8]:
            prompt = self.prompt_format.prompt_ids(self.tokenizer, record.context[-800:], record.question)
            text = record.answer or record.question  # a writing instruction has no gold answer
            answer = self.tokenizer.encode(" " + text, add_special_tokens=False)
            texts.append(([*prompt, *answer[:64]], len(prompt)))
        return texts

    # progress in rounds

    @property
    def round(self) -> int:
        """The current round, from 0."""
        return min(self.epochs_done // self.epochs_per_round, self.rounds - 1)

    def stage_name(self) -> str:
        """Return the current epoch's name on the progress bar."""
        epoch = self.epochs_done % self.epochs_per_round + 1
        part = f", epoch {epoch}/{self.epochs_per_round}" if self.epochs_per_round > 1 else ""
        return f"round {self.round + 1}/{self.rounds} training{part}{self.phase_name()}"

    def report_row(self) -> dict[str, Any]:
        """Return a report's values for the current round, without its training metrics."""
        assert self.store is not None
        folder = self.store.folder.name
        return {"round": self.store.number + 1, "folder": folder, **self.store.read_summary()["statistics"]}

    def state_dict(self) -> dict[str, Any]:
        return {
            "round": self.store.number if self.store else None,
            "fingerprint": self.store.fingerprint if self.store else None,
            "before": self._before,
            "epochs_done": self.epochs_done,
            "seed": self.seed,
            "records": records_digest(self.records),
            "adapter_version": self.policy_version(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict
        if state_dict["records"] != records_digest(self.records):
            log.warning("the training records are not those of the checkpoint; they count from the next round on")
        self.resume_seed(state_dict["seed"])
        self.session.plan = replace(self.session.plan, seed=self.seed)

    # a round

    @property
    def rollout_follows(self) -> bool:
        """Whether a rollout with the current weights follows the current round's end (or the run's beginning), on an
        engine of this process."""
        return self.cluster is None and self.rounds_done < self.rounds

    def ask_beside(self, questions: AskedBeside) -> None:
        """Ask questions together with the next rollout; only if `rollout_follows`."""
        self._beside.append(questions)

    def ensure_pairs(self) -> None:
        assert self.trainer is not None
        number = self.round
        if self._loaded_round == number:
            return
        last = self._fingerprint_of(number - 1)
        self.store = self._resumed_store(number)
        if self.store is None:
            self._before = last
            self.policy.start_round()
            self.policy.gather_adapter()
            making = self.session.new_round(
                self.run_folder, number, self.policy.model, self.policy.adapter_digest(), self._before
            )
            self.store = making.store
            on_rank_zero(lambda: self._make_or_find(making))
        beside, self._beside = self._beside, []
        for questions in beside:
            questions.after()
        self._load_pairs(self.store)
        statistics = self.store.read_summary()["statistics"]
        for logger in self.trainer.loggers:
            logger.log_metrics(
                {_logged_name(name): value for name, value in statistics.items()}, self.trainer.global_step
            )
        self._loaded_round = number
        if not self.training:
            said = no_pairs(self.plan, number, statistics, held_out=len(self.held_out))
            more = "; the run goes on with the next round" if number + 1 < self.rounds else ""
            if self.trainer.is_global_zero:
                log.warning("%s. The responses: %s%s", said, self.store.rollouts, more)

    def pairs_folder(self) -> Path:
        assert self.store is not None
        return self.store.folder

    def first_epoch_of_pairs(self) -> int:
        return self.epochs_done - self.epochs_done % self.epochs_per_round

    def epochs_over_pairs(self) -> int:
        return self.epochs_per_round

    def _make_or_find(self, making: Round) -> None:
        """Make the round on rank 0; the other ranks wait, without a time limit, and read its files."""
        if making.store.complete and is_whole(making, self.policy_version()):
            number = making.store.number + 1
            print(f"round {number}: same settings, records and policy as {making.store.folder}; its pairs count")
        else:
            self._make(making)

    def _fingerprint_of(self, number: int) -> str | None:
        """Return the fingerprint of a round, if it was the last one, here or when the checkpoint was saved."""
        if self.store is not None:
            return self.store.fingerprint if self.store.number == number else None
        restored = self._restored
        return restored["fingerprint"] if restored is not None and restored["round"] == number else None

    def _resumed_store(self, number: int) -> RoundFolder | None:
        """Return the files of the round in which the checkpoint was saved, or None for a new round.

        The policy has changed since that round began, so the fingerprint is the checkpoint's and not computed again.
        """
        restored, self._restored = self._restored, None
        if restored is None or restored["round"] != number:
            return None
        store = RoundFolder(self.run_folder, number, restored["fingerprint"])
        self._before = restored["before"]
        if not store.complete:
            raise DataError(
                f"the checkpoint is in the middle of round {number + 1}, whose pairs are not in {store.folder}: resume "
                "with the same trainer.default_root_dir, or start from the round's first checkpoint"
            )
        on_rank_zero(lambda: self._repair(store))
        return store

    def _repair(self, store: RoundFolder) -> None:
        """Repair damaged files of the current round from its journal; its policy has changed since."""
        damage = store.damage()
        if damage is not None:
            records, following = self.session.records_of(self.run_folder, store.number, self._before)
            try:
                settings = store.read_settings()
            except DataError:  # made again from this run's: only the round's first adapter has no name any more
                again = self.session.new_round(
                    self.run_folder, store.number, self.policy.model, "unknown", self._before
                )
                settings = again.origin
            chats = self.session.chats
            making = Round(self.plan, store, records, self.tokenizer, settings, reserve=following, chats=chats)
            repair(making, damage, store.folder.name)

    def _make(self, making: Round) -> None:
        assert self.served is not None
        version, began = self.policy_version(), time.monotonic()
        title = f"round {making.store.number + 1}/{self.rounds} rollout"
        if self.cluster is not None:
            self._roll_out_on(self.cluster, making, title, self.served.adapter_folder(self.policy, version))
        else:
            with self.served.awake(self.policy, version) as engine, ExitStack() as asking:
                assert self.served.last_sync is not None
                asked = [asking.enter_context(questions.during(engine)) for questions in self._beside]
                beside = BesideRollout(chain.from_iterable(each.streams for each in asked), sum(e.total for e in asked))
                self.session.roll_out(making, title, adapter=self.served.last_sync.folder, beside=beside)
                self.rollout_seconds += time.monotonic() - began
            began = time.monotonic()  # not with the rest of the context, which is the evaluations'
        making.finish(version)
        self.rollout_seconds += time.monotonic() - began

    def _roll_out_on(self, cluster: ClusterSettings, making: Round, title: str, adapter: Path | None) -> None:
        from longmab_pl.rollout.cluster.round import roll_out_on_cluster  # needs Ray, which is optional

        with sigterm_interrupts():
            roll_out_on_cluster(self.session, making, cluster, model=self.policy.model, adapter=adapter, title=title)

    def _load_pairs(self, store: RoundFolder) -> None:
        self.training, self.held_out = [], []
        pairs = TokenizedPairs(
            self.tokenizer,
            self.session.context_limit,
            self.prompt_format.template_arguments,
            short_prompts=self.policy.phases.needs_short_prompt,
            groups=self.policy.phases.needs_group,
        )
        for record_id, example in pairs.examples(read_round_pairs(store.pairs)):
            (self.held_out if self.is_held_out(record_id) else self.training).append(example)
        if lines := pairs.account(f"round {store.number + 1}"):
            rank_zero_warn("\n".join(lines))
        if pairs.count and pairs.left_out[NO_GROUP] == pairs.count:
            raise ConfigError(
                f"none of the {pairs.count} pairs of round {store.number + 1} has a group of all responses, which "
                "model.losses trains on (GroupTerm); set data.pairs: longmab_pl.pairs.AllResponses. What was answered "
                f"stays in {store.folder}"
            )
        if pairs.count and pairs.left_out[NO_SHORT_PROMPT] == pairs.count:
            raise ConfigError(
                f"none of the {pairs.count} pairs of round {store.number + 1} has a short prompt, which the "
                "short-to-long term of the loss needs: only answers that were sampled from chunks have one. Train "
                "without model.short_to_long (the round's pairs are kept), or use a strategy that chooses chunks "
                "(longmab_pl.strategies.BanditRollout)"
            )

    def pairs_digest(self) -> str:
        return self.store.fingerprint if self.store else ""

    # the end

    def _close_engine(self) -> None:
        self.session.close()
        self._own_engine.close()


def _logged_name(name: str) -> str:
    """Return a round statistic's name for loggers: below `rollout/`, as training metrics are below `train/`."""
    return name if name.startswith("rollout/") else f"rollout/{name}"
