from __future__ import annotations

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch, pair_reward
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import StrategyContext
from longmab_pl.strategies.best_of_n import BestOfN

CONTEXT = " ".join(f"Sentence {i} speaks of river {i}." for i in range(40))
RECORD = QARecord("q7", "Which river?", ("river 3",), CONTEXT)
SAMPLING = Sampling(max_tokens=16)


def answer(request, i):
    return f" river {i}"


def roll(strategy, tokenizer, max_model_len=4096, record=RECORD):
    engine = ScriptedEngine(answer, max_model_len=max_model_len)
    context = StrategyContext(tokenizer, DirectAnswer(), Embedder(), max_model_len, 0, (AnswerMatch(),))
    ((_, result),) = Scheduler({"policy": engine}).run([("q7", strategy.roll(record, context))])
    return result, engine


def test_one_prompt_with_the_whole_context_gives_n_scored_answers(byte_tokenizer):
    result, engine = roll(BestOfN(5, SAMPLING), byte_tokenizer)
    (request,) = engine.asked
    assert request.n == 5
    assert CONTEXT in byte_tokenizer.decode(list(request.prompt_ids))
    assert [r.text for r in result.responses] == [f"Answer: river {i}" for i in range(5)]
    assert [r.scores["answer_match"].value for r in result.responses] == [
        pair_reward(r.text, ["river 3"]) for r in result.responses
    ]
    assert result.responses[3].scores["answer_match"].value == 1.0
    assert result.trace["cut_tokens"] == 0


def test_a_context_that_does_not_fit_is_cut_in_the_middle_and_counted(byte_tokenizer):
    strategy = BestOfN(2, SAMPLING)
    result, engine = roll(strategy, byte_tokenizer, max_model_len=400)
    text = byte_tokenizer.decode(list(engine.asked[0].prompt_ids))
    assert "Sentence 0" in text
    assert "river 39." in text
    assert "Sentence 20" not in text
    assert len(engine.asked[0].prompt_ids) + SAMPLING.max_tokens <= 400
    assert result.trace["cut_tokens"] > 500
    assert strategy.describe(result) == {"rollout/cut_context_rate": 1.0}
    limited, engine = roll(BestOfN(2, SAMPLING, max_context_tokens=100), byte_tokenizer)
    assert limited.trace["cut_tokens"] == len(CONTEXT) - 100
    assert BestOfN(2, SAMPLING, max_context_tokens=100).needed_model_len == 116


def test_a_question_without_room_for_its_context_costs_its_record_only(byte_tokenizer):
    result, engine = roll(BestOfN(2, SAMPLING), byte_tokenizer, max_model_len=60)
    assert isinstance(result, DataError)
    assert engine.asked == []


def test_one_answer_makes_no_pair():
    with pytest.raises(ConfigError, match=r"strategy\.n is 1"):
        BestOfN(n=1)
