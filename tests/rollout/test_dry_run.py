"""The expected cost of a round is what the round then costs."""

from __future__ import annotations

import json

import pytest
from judging import WordEmbedder, judged_by

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards import AnswerMatch, LLMJudge, WritingQuality
from longmab_pl.rollout.account import EngineAccount
from longmab_pl.rollout.dry_run import RECORDS, expected_costs, placeholder
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import StrategyContext
from longmab_pl.strategies.best_of_n import BestOfN
from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch

SAMPLING = Sampling(max_tokens=400)


def records(count):
    return [QARecord(f"r{i}", f"Where is city {i}?", ("x",), f"City {i} is in land {i}. " * 700) for i in range(count)]


def plan(strategy, *rewards):
    return RoundPlan(strategy, rewards, DirectAnswer(), BestWorst(), WordEmbedder())


def costs(tokenizer, strategy, *rewards, count=3):
    addressees = {"policy": Addressee(ChatFormat(tokenizer), 100_000), **judged_by(tokenizer)}
    found = expected_costs(plan(strategy, *rewards), records(count), tokenizer, addressees)
    return {(cost.engine, cost.purpose): cost for cost in found}


@pytest.mark.parametrize(
    ("style", "calls"), [("joint", 4 + 2 + 10 * 3), ("original", 4 + 10 * (2 + 1 + 16 + 1))], ids=["joint", "original"]
)
def test_expected_calls_and_prompt_tokens_are_those_of_the_rollout(byte_tokenizer, tmp_path, style, calls):
    strategy, rewards = BestOfN(10, SAMPLING), (LLMJudge(style=style), AnswerMatch())
    found = costs(byte_tokenizer, strategy, *rewards, count=1)
    assert set(found) == {("policy", "strategy"), ("judge", "llm_judge")}
    assert found["policy", "strategy"].calls == 1
    # 16 kB of document are 4 parts of 4,096 tokens.
    assert found["judge", "llm_judge"].calls == calls

    def answer(request: Request, i: int) -> str:
        return placeholder(request, i, items=16)

    policy, judge = ScriptedEngine(answer), ScriptedEngine(answer, max_model_len=10**6, structured_output=True)
    account = EngineAccount("judge", tmp_path / "judge.jsonl", "m")
    addressees = judged_by(byte_tokenizer, structured_output=True)
    context = StrategyContext(byte_tokenizer, DirectAnswer(), WordEmbedder(), 100_000, 0, rewards, addressees)
    scheduler = Scheduler({"policy": policy, "judge": judge}, accounts={"judge": account})
    for _, rollout in scheduler.run((r.id, strategy.roll(r, context)) for r in records(1)):
        assert all(response.scores["llm_judge"].excluded is None for response in rollout.responses)
    assert len(judge.asked) == found["judge", "llm_judge"].calls
    prompts = sum(len(request.prompt_ids) for request in judge.asked)
    expected = found["judge", "llm_judge"].prompt_tokens
    if style == "original":
        assert expected == pytest.approx(prompts, rel=0.05)
    else:  # how many statements share a passage is not known: the estimate has few that do
        assert prompts <= expected <= 2 * prompts


def test_a_few_records_stand_for_all(byte_tokenizer):
    strategy = BestOfN(2, SAMPLING)
    few = costs(byte_tokenizer, strategy, AnswerMatch(), count=RECORDS)["policy", "strategy"]
    many = costs(byte_tokenizer, strategy, AnswerMatch(), count=3 * RECORDS)["policy", "strategy"]
    assert (few.calls, many.calls) == (RECORDS, 3 * RECORDS)
    assert many.new_tokens == 3 * few.new_tokens
    assert few.new_tokens == pytest.approx(RECORDS * 2 * 200, rel=0.05)


def test_a_bandit_with_a_judge_takes_notes_once_a_record(byte_tokenizer):
    strategy = BanditRollout(
        pulls=6, top_k=2, init="uniform", chunking=Chunking(200, 0, 1), sampling=Sampling(max_tokens=60)
    )
    found = costs(byte_tokenizer, strategy, LLMJudge(), count=2)
    assert found["policy", "strategy"].calls == 12
    assert found["judge", "llm_judge"].calls == 2 * (4 + 6 * (2 + 3))


def test_placeholders_fit_the_schema():
    schema = {
        "type": "object",
        "properties": {
            "analysis": {"type": "string", "maxLength": 30},
            "verdict": {"type": "integer", "minimum": 2, "maximum": 4},
            "label": {"enum": ["a", "b"]},
            "list": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        },
    }
    value = json.loads(placeholder(Request("a", (1,), SAMPLING, schema=json.dumps(schema)), 0, 22))
    assert 0 < len(value["analysis"]) <= 30
    assert value["verdict"] in (2, 3, 4)
    assert value["label"] in ("a", "b")
    assert len(value["list"]) == 3


def test_a_stepwise_search_is_expected_to_write_all_its_blocks(byte_tokenizer):
    """4 steps: 4 calls for values, and between them 3 for facts and 3 for contradictions."""
    strategy = StepwiseSearch(blocks=4, sampling=SAMPLING, refinement=None)
    found = costs(byte_tokenizer, strategy, WritingQuality())
    assert found["policy", "strategy"].calls == 3 * 4
    assert found["policy", "strategy"].new_tokens == 3 * 4 * 4 * 400
    assert found["judge", "writing_quality"].calls == 3 * 4
    assert found["judge", "strategy"].calls == 3 * (3 + 3)
