"""A round without a Trainer: its files, its memory, going on after a crash, what stopped records leave to others."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, replace

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.errors import ConfigError, EngineError, LongMabError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_lower_half import BestLowerHalf
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rewards.base import Score
from longmab_pl.rewards.consistency import Consistency
from longmab_pl.rollout.rollout_log import RolloutLog
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.storage.fingerprint import digest
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import RecordRollout, RequestStream, Response, StrategyContext
from longmab_pl.strategies.best_of_n import BestOfN

RECORDS = [
    QARecord(f"r{i}", f"Which river at {i}?", (f"number {i}",), f"Place {i} lies on river number {i}. " * 5)
    for i in range(12)
]
STRATEGY = BanditRollout(
    pulls=4, top_k=2, init="uniform", chunking=Chunking(60, 0, 1), sampling=Sampling(max_tokens=16)
)


def answer(request: Request, i: int) -> str:
    record, pull = request.id.split("/")
    number = int(record[1:])
    return f" number {number}" if (number + int(pull)) % 3 == 0 else f" number {number + 1} or so"


def make(folder, tokenizer, records=RECORDS, strategy=STRATEGY, rule=None, reserve=(), format="jsonl"):
    rule = rule or BestWorst(max_prompt_length=400)
    plan = RoundPlan(strategy, (AnswerMatch(),), DirectAnswer(), rule, Embedder(), seed=5)
    settings = plan.settings(0, records, "tiny", "base")
    store = RoundFolder(folder, 0, digest(settings), format)
    return Round(plan, store, records, tokenizer, settings, reserve)


def done(folder, tokenizer, engine=None, **options):
    making = make(folder, tokenizer, **options)
    making.roll_out({"policy": engine or ScriptedEngine(answer)})
    return making, making.finish("step-0")


def files(making):
    return {name: (making.store.folder / name).read_bytes() for name in ("pairs.jsonl", "rollouts.jsonl", "round.json")}


def test_files_are_in_record_order_whatever_finishes_first(tmp_path, byte_tokenizer):
    making, summary = done(tmp_path / "a", byte_tokenizer)
    other, _ = done(tmp_path / "b", byte_tokenizer, ScriptedEngine(answer, concurrency=3, jitter=30))
    assert files(making) == files(other)
    rows = [json.loads(line) for line in files(making)["rollouts.jsonl"].splitlines()]
    assert [row["record_id"] for row in rows] == [r.id for r in RECORDS]
    assert rows[0]["responses"][0]["text"].startswith("Answer: number ")
    assert [p.id for p in read_round_pairs(making.store.pairs)] == [r.id for r in RECORDS]
    assert summary["statistics"]["pairs/count"] == 12
    assert summary["statistics"]["rollout/responses"] == 48
    assert summary["statistics"]["rollout/usable_pair_rate"] == 1.0
    assert not making.store.rollout_log.exists()


def test_several_pairs_a_record_in_parquet(tmp_path, byte_tokenizer):
    rule = BestWorst(max_prompt_length=400, pairs_per_record=3, distinct="text")
    making, summary = done(tmp_path, byte_tokenizer, rule=rule, format="parquet")
    assert making.store.pairs.name == "pairs.parquet"
    pairs = list(read_round_pairs(making.store.pairs))
    assert len(pairs) == summary["statistics"]["pairs/count"]
    assert summary["statistics"]["rollout/usable_pair_rate"] == 1.0, "records with a pair, not pairs"
    assert len({p.name for p in pairs}) == len(pairs)


def test_a_round_that_was_cut_off_asks_for_nothing_twice_and_ends_the_same(tmp_path, byte_tokenizer):
    whole, _ = done(tmp_path / "whole", byte_tokenizer)
    asked: list[str] = []
    for fail_after in (15, 12, 9):
        making = make(tmp_path / "cut", byte_tokenizer)
        engine = ScriptedEngine(answer, fail_after=fail_after)
        with pytest.raises(EngineError):
            making.roll_out({"policy": engine})
        assert making.store.rollout_log.exists()
    engine = ScriptedEngine(answer)
    making, _ = done(tmp_path / "cut", byte_tokenizer, engine)
    asked = [r.id for r in engine.asked]
    assert len(asked) == len(set(asked)) < 40
    assert files(making) == files(whole)


def test_a_full_disk_leaves_nothing_in_flight_and_the_same_engine_continues(tmp_path, byte_tokenizer, monkeypatch):
    def full(log, rollout):
        raise LongMabError("the disk is full")

    engine, making = ScriptedEngine(answer), make(tmp_path, byte_tokenizer)
    with monkeypatch.context() as patched:
        patched.setattr(RolloutLog, "add", full)
        with pytest.raises(LongMabError, match="the disk is full") as failed:
            making.roll_out({"policy": engine})
    assert engine.aborted == 1, "while the error, with its frames, is still held"
    making.roll_out({"policy": engine})
    assert making.finish("step-0")["statistics"]["rollout/responses"] == 48
    assert failed.value.args == ("the disk is full",)


def test_finished_records_are_not_even_replayed(tmp_path, byte_tokenizer):
    @dataclass(frozen=True)
    class Counting(BanditRollout):
        def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
            rolled.append(record.id)
            return super().roll(record, context)

    rolled: list[str] = []
    strategy = Counting(**{name: getattr(STRATEGY, name) for name in STRATEGY.__dataclass_fields__})
    making = make(tmp_path, byte_tokenizer, strategy=strategy)
    making.roll_out({"policy": ScriptedEngine(answer)})
    assert sorted(rolled) == sorted(r.id for r in RECORDS)
    rolled.clear()
    making = make(tmp_path, byte_tokenizer, strategy=strategy)
    making.roll_out({"policy": ScriptedEngine(answer)})
    assert making.finish("step-0")["statistics"]["pairs/count"] == 12
    assert rolled == []


def test_a_record_that_fails_is_counted_and_costs_no_other(tmp_path, byte_tokenizer, capsys):
    records = [*RECORDS[:5], replace(RECORDS[5], context="Very long. " * 2000), *RECORDS[6:]]
    strategy = replace(STRATEGY, chunking=Chunking(9000, 0, 1))
    _, summary = done(
        tmp_path, byte_tokenizer, ScriptedEngine(answer, max_model_len=5000), records=records, strategy=strategy
    )
    assert [name for name, _ in summary["failures"]] == ["r5"]
    assert summary["statistics"]["rollout/failed_records"] == 1
    assert summary["statistics"]["rollout/records"] == 12
    said = capsys.readouterr().err
    assert "record 'r5' failed" in said
    assert "1 records failed. To try them again" in said
    # As it says: what failed is tried again, and what was answered is not asked again.
    roomier = ScriptedEngine(answer)
    making = make(tmp_path, byte_tokenizer, records=records, strategy=strategy)
    making.store.summary.unlink()
    making.roll_out({"policy": roomier})
    assert making.finish("step-0")["failures"] == []
    assert {r.id.split("/")[0] for r in roomier.asked} == {"r5"}


def test_a_round_whose_records_all_failed_is_not_complete(tmp_path, byte_tokenizer):
    making = make(tmp_path, byte_tokenizer)
    making.roll_out({"policy": ScriptedEngine(answer, max_model_len=30)})
    with pytest.raises(LongMabError, match=r"all 12 records failed; the first, 'r\d+': .*exceed the engine's 30"):
        making.finish("step-0")
    assert not making.store.complete
    again, _ = done(tmp_path, byte_tokenizer)
    assert again.store.complete


def test_an_embedder_that_cannot_be_loaded_is_said_before_anything_is_asked(tmp_path, byte_tokenizer):
    making = make(tmp_path, byte_tokenizer, strategy=replace(STRATEGY, init="query"))
    making.plan = replace(making.plan, embedder=Embedder(str(tmp_path / "nothing")))
    engine = ScriptedEngine(answer)
    with pytest.raises(ConfigError, match="embedder"):
        making.roll_out({"policy": engine})
    assert engine.asked == []


@dataclass(frozen=True)
class StopsEarly:
    """Asks record i for 1 + i % 4 of 8 responses."""

    budget: str = "adaptive"
    engines = ()
    needs_embedder = False
    expected_responses = 8
    progress_unit = "answers"
    scored_together = 1
    needed_model_len = 100
    max_response_tokens = 4

    def roll(self, record, context):
        responses = []
        n = 1 + int(record.id[1:]) % 4 if self.budget == "adaptive" else 8
        for t in range(n):
            prompt = context.prompt_format.prompt_ids(context.tokenizer, "", record.question)
            (completion,) = yield [Request(f"{record.id}/{t}", prompt, Sampling(max_tokens=4))]
            responses.append(Response(completion.texts[0], True, t, (0,), scores={"answer_match": Score(0.0)}))
        return RecordRollout(record.id, "ok", tuple(responses), stopped="separated" if n < 8 else "")

    def describe(self, rollout):
        return {"steps": float(len(rollout.responses))}


def test_what_stopped_records_leave_lets_others_in_whatever_the_order(tmp_path, byte_tokenizer):
    let_in = set()
    for n, (concurrency, jitter) in enumerate([(1, 1), (3, 20), (8, 5), (100, 3)]):
        engine = ScriptedEngine(answer, concurrency=concurrency, jitter=jitter)
        making, _ = done(
            tmp_path / str(n), byte_tokenizer, engine, records=RECORDS[:4], strategy=StopsEarly(), reserve=RECORDS[4:]
        )
        rows = making.store.rollouts.read_text().splitlines()
        let_in.add(len(rows) - 4)
        assert len(engine.asked) <= 4 * 8, "no more responses than the fixed budget"
        for cut in (3, 7, 11):
            folder = tmp_path / f"{n} cut {cut}"
            with pytest.raises(EngineError):
                make(folder, byte_tokenizer, RECORDS[:4], StopsEarly(), reserve=RECORDS[4:]).roll_out(
                    {"policy": ScriptedEngine(answer, fail_after=cut)}
                )
            again, _ = done(folder, byte_tokenizer, records=RECORDS[:4], strategy=StopsEarly(), reserve=RECORDS[4:])
            assert again.store.rollouts.read_text().splitlines() == rows
    assert len(let_in) == 1
    assert let_in.pop() >= 3
    making, _ = done(
        tmp_path / "fixed", byte_tokenizer, records=RECORDS[:4], strategy=StopsEarly("fixed"), reserve=RECORDS[4:]
    )
    assert len(making.store.rollouts.read_text().splitlines()) == 4


def test_memory_holds_no_finished_record(tmp_path, byte_tokenizer):
    most = 0
    gc.collect()
    others = {id(o) for o in gc.get_objects() if isinstance(o, Response)}  # of other tests

    def watching(request: Request, i: int) -> str:
        nonlocal most
        record, pull = request.id.split("/")
        if pull == "3" and int(record[1:]) % 20 == 0:
            most = max(most, sum(isinstance(o, Response) and id(o) not in others for o in gc.get_objects()))
        return answer(request, i)

    records = [replace(RECORDS[0], id=f"r{i}") for i in range(200)]
    making = make(tmp_path, byte_tokenizer, records=records)
    making.roll_out({"policy": ScriptedEngine(watching, concurrency=4)}, max_live=8)
    assert 0 < most <= 8 * 4 + 4, "only records at work have their responses in memory (800 were made)"


def test_the_fingerprint_covers_the_records_that_an_adaptive_budget_may_let_in():
    def fingerprint(strategy, following):
        rule = BestWorst(max_prompt_length=400)
        plan = RoundPlan(strategy, (AnswerMatch(),), DirectAnswer(), rule, Embedder(), seed=5)
        return digest(plan.settings(0, RECORDS[:4], "tiny", "base", following))

    adaptive = replace(STRATEGY, budget="adaptive")
    assert fingerprint(STRATEGY, RECORDS[4:8]) == fingerprint(STRATEGY, RECORDS[8:])
    assert fingerprint(adaptive, RECORDS[4:8]) != fingerprint(adaptive, RECORDS[8:])


def test_a_reward_that_compares_answers_is_refused_where_they_are_scored_one_by_one():
    def plan(strategy):
        return RoundPlan(strategy, (AnswerMatch(), Consistency("rouge")), DirectAnswer(), BestWorst(), Embedder())

    with pytest.raises(ConfigError, match=r"'consistency' compares at least 2; raise strategy\.samples_per_pull"):
        plan(STRATEGY)
    plan(replace(STRATEGY, samples_per_pull=2))
    plan(BestOfN(2))


def test_records_that_the_pair_rule_skips_are_counted_in_the_rounds_statistics(tmp_path, byte_tokenizer):
    plan = RoundPlan(BestOfN(3), (Consistency("rouge"),), DirectAnswer(), BestLowerHalf(600), Embedder())
    making = Round(plan, RoundFolder(tmp_path, 0, "f"), RECORDS, byte_tokenizer, plan.settings(0, RECORDS, "t", "b"))

    def differing(request: Request, i: int) -> str:
        return " same" if int(request.id[1]) % 2 else f" is {i}" * (i + 1)

    making.roll_out({"policy": ScriptedEngine(differing)})
    statistics = making.finish("base")["statistics"]
    assert statistics["pairs/skipped_same_score"] == 7  # r1, r3, r5, r7, r9, and r10 and r11
    assert statistics["pairs/count"] == 5
