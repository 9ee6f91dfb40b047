"""A session that makes rounds from a plan: records, tokenizer and engines. Needs no Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from longmab_pl.checks import at_least
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import POLICY, Engine
from longmab_pl.errors import ConfigError
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.pairs.types import PairFormat
from longmab_pl.prompts import encoding
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder, refuse_older_rounds
from longmab_pl.shown import tell
from longmab_pl.storage.fingerprint import digest


@dataclass(frozen=True)
class NamedEngine:
    """A further engine, which a strategy or a reward uses by name.

    Args:
        engine: answers the requests that are addressed to it.
        model: its model, as in `DPOModule` (`bundled:` name, folder, hub name).
        shares_device: whether it shares the policy engine's device: one of the two is awake at a time.

    Example:
        >>> judge = NamedEngine(VLLMEngine(concurrency=32), "Qwen/Qwen2.5-7B-Instruct", shares_device=True)
        >>> RolloutDataModule(engine, rewards=[LLMJudge()], engines={"judge": judge})
    """

    engine: Engine
    model: str
    shares_device: bool = False


@dataclass(frozen=True)
class RecordSelection:
    """The choice of records that a run rolls out.

    Args:
        source: a file, a hub data set or `shipped:synthetic_train`, as in `RolloutDataModule`.
        per_round: records in a round (None: all); rounds go through the shuffled file in order.
        limit: use only this many records of the file.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        fields: the data's names of `id, question, answers, context`, if they differ: `{question: ask}`.
        split: split of a folder or a data set whose name does not include it.
    """

    source: str
    per_round: int | None = None
    limit: int | None = None
    on_bad_record: Literal["error", "skip"] = "error"
    fields: Mapping[str, str] | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        at_least("data.records_per_round", self.per_round, 1, or_null=True)
        at_least("data.limit", self.limit, 1, or_null=True)


class RolloutSession:
    """A session that makes rounds, starts its engines when they are needed and closes them at the end.

    Args:
        plan: how to sample, score and pair.
        selection: the choice of records.
        engine: engine of the policy.
        others: further engines by name; unused ones are not started.
        max_live: number of active records (None: twice as many as fill the policy's engine).
        pair_format: format of the rounds' pairs files.

    Raises:
        ConfigError: the strategy or a reward uses an engine that is not given.

    Attributes:
        records: all records of the selection, once `load` has run.
        tokenizer: the policy's tokenizer, likewise.
        context_limit: the model's limit in tokens (None: unknown), likewise.

    Example:
        >>> session = RolloutSession(plan, RecordSelection("qa.jsonl"), engine)
        >>> session.load("bundled:smollm2-135m-instruct")
        >>> making = session.new_round(Path("runs/a"), 0, "bundled:smollm2-135m-instruct", "base")
        >>> session.roll_out(making, "round 1")
        >>> making.finish("base")
    """

    def __init__(
        self,
        plan: RoundPlan,
        selection: RecordSelection,
        engine: Engine,
        others: Mapping[str, NamedEngine] | None = None,
        *,
        max_live: int | None = None,
        pair_format: PairFormat = "jsonl",
    ) -> None:
        at_least("data.max_live_records", max_live, 1, or_null=True)
        self.plan = plan
        self.selection = selection
        self.engine = engine
        self.others = dict(others or {})
        if POLICY in self.others:
            raise ConfigError(f"data.engines has an engine named {POLICY!r}: that is data.engine; name it otherwise")
        for name in plan.engines:
            if name not in self.others:
                raise ConfigError(
                    f"the strategy or a reward asks an engine named {name!r}, which data.engines does not have; "
                    f"add data.engines.{name} with an engine and a model"
                )
        self.max_live = max_live
        self.pair_format: PairFormat = pair_format
        self.records: list[QARecord] = []
        self.context_limit: int | None = None

    def load(self, model: str, show: bool = True) -> None:
        """Read records and tokenizer and check that the settings fit the model; no engine is started.

        Args:
            model: the policy's base model, as in `DPOModule`.
            show: report skipped records on stderr.

        Raises:
            ConfigError, DataError: a setting or the records cannot be used.
        """
        chosen = self.selection
        found = read_records(
            chosen.source,
            on_bad_record=chosen.on_bad_record,
            limit=chosen.limit,
            split=chosen.split,
            fields=chosen.fields,
        )
        self.records = found.records
        if found.bad and show:
            tell(found.skipped())
        folder = resolve_model(model)
        self.tokenizer = load_tokenizer(folder)
        self.context_limit = context_limit(folder)
        spelled = sum(
            encoding.spells_control_tokens(self.tokenizer, [r.context, r.question, *r.answers]) for r in self.records
        )
        if (note := encoding.spelled_out_note(chosen.source, spelled, len(self.records))) and show:
            tell(note)
        self.plan.check_lengths(model, self.context_limit, self.engine.max_model_len)

    def new_round(self, run_folder: Path, number: int, model: str, policy: str) -> Round:
        """Return a policy's round, finished or not.

        Args:
            run_folder: run folder; the round's files go into `rounds/` there.
            number: number of the round, from 0.
            model: the policy's base model.
            policy: identifies the adapter's weights, as returned by `DPOModule.adapter_digest` (`base`: none).

        Raises:
            DataError: the run folder holds rounds of another version.
        """
        refuse_older_rounds(run_folder)
        records, following = self.plan.records_of(self.records, number, self.selection.per_round)
        settings = self.plan.settings(number, records, model, policy, following)
        settings["weight_format"] = self.engine.weight_format
        if asked := self.plan.engines:
            settings["engines"] = {
                name: {"model": self.others[name].model, "weight_format": self.others[name].engine.weight_format}
                for name in asked
            }
        store = RoundFolder(run_folder, number, digest(settings), self.pair_format)
        source = Path(self.selection.source).expanduser()
        origin = {**settings, "train": str(source.resolve()) if source.exists() else self.selection.source}
        if self.selection.fields or self.selection.split != "train":
            origin |= {"fields": dict(self.selection.fields or {}), "split": self.selection.split}
        return Round(self.plan, store, records, self.tokenizer, origin, reserve=following)

    def roll_out(self, making: Round, title: str) -> None:
        """Roll out a round with the policy's engine, which is started, awake and has the policy's adapter.

        Args:
            making: a round, as returned by `new_round`.
            title: title of the progress bar.

        Raises:
            LongMabError: an engine or the disk failed; call it again to continue.
        """
        engines = {POLICY: self.engine}
        shared = [name for name in self.plan.engines if self.others[name].shares_device]
        for name in self.plan.engines:
            self._start(self.others[name])
            engines[name] = self.others[name].engine
        making.roll_out(
            engines,
            max_live=self.max_live,
            taking_turns=[POLICY, *shared] if shared else (),
            title=title,
        )
        for name in self.plan.engines:
            self.others[name].engine.sleep()

    def _start(self, other: NamedEngine) -> None:
        """Start an engine: awake if it has its own device, asleep if it shares one."""
        if not other.engine.started:
            if other.shares_device:
                self.engine.sleep()
            other.engine.start(resolve_model(other.model))
            if other.shares_device:
                other.engine.sleep()
                self.engine.wake()
        if not other.shares_device:
            other.engine.wake()

    def close(self) -> None:
        """Stop all engines; safe to call twice and at any time."""
        with ExitStack() as closing:  # closes all of them, also if one fails to close
            for engine in (self.engine, *(other.engine for other in self.others.values())):
                closing.callback(engine.close)
