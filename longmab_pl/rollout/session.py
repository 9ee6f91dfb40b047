"""A session that makes rounds from a plan: records, tokenizer and engines. Needs no Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from longmab_pl.checks import at_least, one_of, unit_interval
from longmab_pl.data.held_out import split_by_context
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.adapter_turns import AdapterView
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import POLICY, Engine
from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.live import step
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.pairs.types import PairFormat
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import numbered_for
from longmab_pl.rollout.account import EngineAccount, EngineBudget
from longmab_pl.rollout.cuts import context_cuts
from longmab_pl.rollout.dry_run import ExpectedCost, expected_costs
from longmab_pl.rollout.record_choice import (
    BEFORE,
    RECORD_ORDERS,
    RecordOrder,
    by_pass_rate,
    last_pass_rates,
    round_before,
)
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder, refuse_older_rounds
from longmab_pl.rollout.runner import ServedEngines
from longmab_pl.rollout.scheduler import NOTHING_BESIDE, BesideRollout
from longmab_pl.shown import shown, tell
from longmab_pl.storage.fingerprint import digest

NO_LIMIT = 10**9
"""Length limit of a model whose config does not give one, in tokens."""


@dataclass(frozen=True)
class NamedEngine:
    """A further engine, which a strategy or a reward uses by name.

    Args:
        engine: answers the requests that are addressed to it; None: the policy's engine with its adapter off, which
            takes turns with the policy and needs no further weights.
        model: its model, as in `DPOModule` (`bundled:` name, folder, hub name); None: the policy's base model. Prompts
            are made with this model's own tokenizer and chat template.
        shares_device: whether it shares the policy engine's device: one of the two is awake at a time.
        template_arguments: further variables of its chat template, such as `enable_thinking: false`.
        budget: limits of what it is asked in a whole run. A reward then excludes the responses that it cannot score.

    Raises:
        ConfigError: a model is given without an engine.

    Example:
        >>> judge = NamedEngine(VLLMEngine(concurrency=32), "Qwen/Qwen2.5-7B-Instruct", shares_device=True)
        >>> RolloutDataModule(engine, rewards=[LLMJudge()], engines={"judge": judge})
    """

    engine: Engine | None = None
    model: str | None = None
    shares_device: bool = False
    template_arguments: dict[str, Any] = field(default_factory=dict)
    budget: EngineBudget | None = None

    def __post_init__(self) -> None:
        if self.engine is None and self.model is not None:
            raise ConfigError(
                f"an engine of data.engines has the model {self.model!r} and no engine; give its engine too, or leave "
                "out the model: it is then the policy's model with the adapter off"
            )


@dataclass(frozen=True)
class RecordSelection:
    """The choice of records that a run rolls out.

    Args:
        source: a file, a hub data set or `shipped:synthetic_train`, as in `RolloutDataModule`.
        per_round: records in a round (None: all); rounds go through the shuffled file in order.
        order: `shuffled`, or `curriculum`: from the second round on, the records come first whose last pass rate is
            near 1/2, those always or never right last (`rollout.record_choice`).
        pass_value: value of the first reward from which a response passes.
        limit: use only this many records of the file.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        fields: the data's names of `id, question, answers, context`, if they differ: `{question: ask}`.
        split: split of a folder or a data set whose name does not include it.
        eval_fraction: share of the contexts whose records are held out for evaluation, the same ones whatever the
            seed, so that runs of several seeds are asked the same questions.
    """

    source: str
    per_round: int | None = None
    limit: int | None = None
    on_bad_record: Literal["error", "skip"] = "error"
    fields: Mapping[str, str] | None = None
    split: str = "train"
    eval_fraction: float = 0.0
    order: RecordOrder = "shuffled"
    pass_value: float = 0.5

    def __post_init__(self) -> None:
        one_of("data.records", self.order, RECORD_ORDERS)
        unit_interval("data.eval_fraction", self.eval_fraction, one=False)
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
        records: the records to roll out, once `load` has run.
        eval_records: records held out for evaluation, likewise.
        tokenizer: the policy's tokenizer, likewise.
        context_limit: the model's limit in tokens (None: unknown), likewise.
        chats: chat formats of the further engines by name, likewise.

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
        self.eval_records: list[QARecord] = []
        self.context_limit: int | None = None
        self.chats: dict[str, ChatFormat] = {}

    def load(self, model: str, show: bool = True) -> None:
        """Read records and tokenizer and check that the settings fit the model; no engine is started.

        Args:
            model: the policy's base model, as in `DPOModule`.
            show: report skipped records on stderr.

        Raises:
            ConfigError, DataError: a setting or the records cannot be used.
        """
        chosen = self.selection
        with step(f"reading {shown(chosen.source, 100)}"):
            found = read_records(
                chosen.source,
                on_bad_record=chosen.on_bad_record,
                limit=chosen.limit,
                split=chosen.split,
                fields=chosen.fields,
            )
        self.records, self.eval_records = split_by_context(found.records, chosen.eval_fraction)
        self.records = numbered_for(self.plan.prompt_format, self.records)
        if not self.records:
            raise ConfigError(
                f"{shown(chosen.source)} has a single context, which data.eval_fraction holds out; give --eval FILE, "
                "or set data.eval_fraction: 0"
            )
        if self.eval_records and show:
            tell(
                f"held out for evaluation: {len(self.eval_records)} of {len(found.records)} records "
                f"({chosen.eval_fraction:.0%} of the contexts); --eval FILE asks other questions and trains on all"
            )
        if found.bad and show:
            tell(found.skipped())
        self.load_tokenizers(model)
        spelled = sum(
            encoding.spells_control_tokens(self.tokenizer, [r.context, r.question, *r.answers]) for r in self.records
        )
        if (note := encoding.spelled_out_note(chosen.source, spelled, len(self.records))) and show:
            tell(note)
        self.plan.check_lengths(model, self.context_limit, self.engine.max_model_len)
        if show:
            self._tell_cuts()

    def load_tokenizers(self, model: str) -> None:
        """Read the tokenizers of the policy and of further engines, and the policy's limit; `load` does it too.

        Args:
            model: the policy's base model.

        Raises:
            ConfigError: a model is not there.
        """
        folder = resolve_model(model)
        self.tokenizer = load_tokenizer(folder)
        self.context_limit = context_limit(folder)
        for name in self.plan.engines:
            other = self.others[name]
            own = self.tokenizer if other.model in (None, model) else load_tokenizer(resolve_model(other.model or ""))
            self.chats[name] = ChatFormat(own, other.template_arguments)

    def _tell_cuts(self) -> None:
        """Say how many contexts the training prompts cut, if they cut any."""
        plan = self.plan
        with step("measuring the contexts"):
            cuts = context_cuts(
                self.records, self.tokenizer, plan.pairs.max_prompt_length, plan.strategy.max_response_tokens
            )
        if cuts.cut:
            tell(f"note: {cuts.message()}")

    def records_of(self, run_folder: Path, number: int, before: str | None) -> tuple[list[QARecord], list[QARecord]]:
        """Return a round's records in its order, and those that follow them.

        Args:
            run_folder: run folder, whose earlier rounds order the records of a curriculum.
            number: number of the round, from 0.
            before: fingerprint of the round before it; None: there is none.

        Raises:
            DataError: the earlier rounds are damaged.
        """
        chosen = self.selection
        records, following = self.plan.records_of(self.records, number, chosen.per_round)
        if chosen.order == "shuffled" or before is None:
            return records, following
        store = RoundFolder(run_folder, number - 1, before)
        rates = last_pass_rates(store, self.plan.primary, chosen.pass_value)
        ordered = by_pass_rate([*records, *following], rates)
        return ordered[: len(records)], ordered[len(records) :]

    def found_before(self, run_folder: Path, number: int) -> str | None:
        """Return the fingerprint of the complete round before a round, if the order of records needs it.

        Args:
            run_folder: run folder.
            number: number of the round, from 0.

        Raises:
            DataError: there are several.
        """
        store = round_before(run_folder, number) if self.selection.order == "curriculum" else None
        return None if store is None else store.fingerprint

    def new_round(self, run_folder: Path, number: int, model: str, policy: str, before: str | None = None) -> Round:
        """Return a policy's round, finished or not.

        Args:
            run_folder: run folder; the round's files go into `rounds/` there.
            number: number of the round, from 0.
            model: the policy's base model.
            policy: identifies the adapter's weights, as returned by `DPOModule.adapter_digest` (`base`: none).
            before: fingerprint of the round before it; None: there is none.

        Raises:
            DataError: the run folder holds rounds of another version, or a curriculum's earlier rounds are damaged.
        """
        refuse_older_rounds(run_folder)
        records, following = self.records_of(run_folder, number, before)
        settings = self.plan.settings(number, records, model, policy, following)
        settings["weight_format"] = self.engine.weight_format
        if asked := self.plan.engines:
            settings["engines"] = {name: self._identity(self.others[name], model) for name in asked}
        store = RoundFolder(run_folder, number, digest(settings), self.pair_format)
        source = Path(self.selection.source).expanduser()
        origin = {**settings, "train": str(source.resolve()) if source.exists() else self.selection.source}
        origin["tokenizer"] = type(self.tokenizer).__name__
        if self.selection.order == "curriculum":
            origin[BEFORE] = before
        if self.selection.fields or self.selection.split != "train":
            origin |= {"fields": dict(self.selection.fields or {}), "split": self.selection.split}
        return Round(self.plan, store, records, self.tokenizer, origin, reserve=following, chats=self.chats)

    def _identity(self, other: NamedEngine, model: str) -> dict[str, Any]:
        """Return what an engine's answers depend on beside the request, given the policy's base model."""
        engine = other.engine or self.engine
        found: dict[str, Any] = {"model": other.model or model, "weight_format": engine.weight_format}
        return found | ({"template_arguments": other.template_arguments} if other.template_arguments else {})

    def expected_costs(self, number: int) -> list[ExpectedCost]:
        """Return the expected cost of a round by engine and purpose; no engine is started. Call `load` first.

        Args:
            number: number of the round, from 0. Its records are those of the shuffled order.
        """
        records, _ = self.plan.records_of(self.records, number, self.selection.per_round)
        policy = ChatFormat(self.tokenizer, self.plan.prompt_format.template_arguments)
        limit = self.engine.max_model_len or self.context_limit or NO_LIMIT
        addressees = {POLICY: Addressee(policy, limit, self.engine.structured_output)}
        for name, chat in self.chats.items():
            engine, model = self.others[name].engine or self.engine, self.others[name].model
            longest = self.context_limit if model is None else context_limit(resolve_model(model))
            addressees[name] = Addressee(chat, engine.max_model_len or longest or NO_LIMIT)
        return expected_costs(self.plan, records, self.tokenizer, addressees, self.plan.round_seed(number))

    def roll_out(
        self, making: Round, title: str, *, adapter: Path | None, beside: BesideRollout = NOTHING_BESIDE
    ) -> None:
        """Roll out a round with the policy's engine, which is started, awake and has the policy's adapter.

        Args:
            making: a round, as returned by `new_round`.
            title: title of the progress bar.
            adapter: PEFT folder that the engine has (None: the base model). Engines without the adapter take turns
                with it, and it is there again afterwards.
            beside: requests beside the rollout, as in `Scheduler`.

        Raises:
            LongMabError: an engine or the disk failed; call it again to continue.
        """
        with self.serving(making, adapter=adapter) as served:
            making.roll_out(
                served.engines,
                max_live=self.max_live,
                accounts=served.accounts,
                taking_turns=served.taking_turns,
                title=title,
                beside=beside,
            )

    @contextmanager
    def serving(self, making: Round, *, adapter: Path | None, writer: str = "") -> Iterator[ServedEngines]:
        """Yield the engines of a round's requests; the policy's is started, awake and has the policy's adapter.

        Args:
            making: a round, as returned by `new_round`.
            adapter: PEFT folder that the policy's engine has (None: the base model), and has again afterwards.
            writer: part of the names of the engines' accounts, different for each process of a run that keeps some.
        """
        others = {name: self.others[name] for name in self.plan.engines}
        own = {name: other.engine for name, other in others.items() if other.engine is not None}
        shared = [name for name in own if others[name].shares_device]
        base = [name for name in others if name not in own]
        for name, engine in own.items():
            self._start(engine, others[name].model or making.origin["model"], others[name].shares_device)
        engines: dict[str, Engine] = {POLICY: self.engine, **own}
        if base:
            engines[POLICY] = AdapterView(self.engine, adapter, frees_device=bool(shared))
            engines |= {name: AdapterView(self.engine, None, frees_device=bool(shared)) for name in base}
        with ExitStack() as closing:
            accounts = {name: self._account(name, making, closing, writer) for name in others}
            try:
                yield ServedEngines(engines, accounts, (POLICY, *base, *shared) if base or shared else ())
            except BaseException:
                for name in shared:  # the device belongs to the policy's engine, which is woken if this is tried again
                    with suppress(EngineError):
                        own[name].sleep()
                if base:  # the next answers are the policy's, whoever asks for them
                    with suppress(EngineError):
                        engines[POLICY].wake()
                raise
        for name, account in accounts.items():
            tell(
                f"{name}: {account.calls:,} calls and {account.tokens:,} tokens in this run; {account.repeated:,} "
                "answers were known already"
            )
        for engine in own.values():
            engine.sleep()
        if base or shared:  # whoever shares the policy's engine or device had the last turn
            engines[POLICY].wake()

    def _account(self, name: str, making: Round, closing: ExitStack, writer: str) -> EngineAccount:
        """Open the account of an engine, in the run folder, for all rounds with its model and weight format."""
        identity = {**making.origin["engines"][name]}
        identity.pop("template_arguments", None)  # they are in the prompts
        path = making.store.run_folder / "engines" / f"{name}-{digest(identity)}{writer}.jsonl"
        account = EngineAccount(name, path, digest(identity), self.others[name].budget)
        closing.callback(account.close)
        return account

    def _start(self, engine: Engine, model: str, shares_device: bool) -> None:
        """Start an engine: awake if it has its own device, asleep if it shares one."""
        if not engine.started:
            if shares_device:
                self.engine.sleep()
            engine.start(resolve_model(model))
            if shares_device:
                engine.sleep()
                self.engine.wake()
        if not shares_device:
            engine.wake()

    def close(self) -> None:
        """Stop all engines; safe to call twice and at any time."""
        with ExitStack() as closing:  # closes all of them, also if one fails to close
            for engine in (self.engine, *(other.engine for other in self.others.values())):
                if engine is not None:
                    closing.callback(engine.close)
