from __future__ import annotations

from dataclasses import dataclass

import pytest
from judging import WordEmbedder, drive, judged_by, verdict

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.rewards import AnswerMatch, Consistency, LLMJudge, RewardContext, Score, Weighted, WeightedSum
from longmab_pl.rewards.base import ComparingReward

RECORD = QARecord("r", "Where is Lima?", ("Peru",), "Lima is the capital of Peru. ")
HALVES = WeightedSum((Weighted(AnswerMatch(), 0.5), Weighted(LLMJudge(), 0.5)))


def score(tokenizer, reward, answers, judge=verdict):
    context = RewardContext(tokenizer, WordEmbedder(), 0, "r/0/weighted_sum", judged_by(tokenizer))
    return drive(reward.score(RECORD, answers, context), judge, tokenizer)


def test_half_answer_match_and_half_judge(byte_tokenizer):
    scores, asked = score(byte_tokenizer, HALVES, ["Answer: Peru", "Answer: Chile"])
    assert [each.value for each in scores] == pytest.approx([0.5 * 1 + 0.5 * 9 / 40, 0.5 * 0 + 0.5 * 9 / 40])
    assert scores[0].parts["answer_match"] == 1.0
    assert scores[0].parts["llm_judge"] == pytest.approx(9 / 40)
    assert scores[0].parts["llm_judge/helpfulness"] == 3.0
    assert scores[0].parts["answer_match/in_format"] == 1.0
    assert any(name.startswith("llm_judge/completeness") for name in scores[0].notes)
    assert all(request.id.startswith("r/0/weighted_sum/llm_judge/") for request in asked)


def test_what_one_reward_excludes_has_no_sum(byte_tokenizer):
    scores, _ = score(byte_tokenizer, HALVES, ["Answer: Peru"], judge=lambda prompt: "")
    assert scores[0].excluded == "llm_judge: no verdict: completeness, faithfulness, helpfulness, logicality"
    assert scores[0].value == 0.0
    assert scores[0].parts["answer_match"] == 1.0
    assert "llm_judge" not in scores[0].parts


def test_the_sum_needs_what_its_rewards_need():
    assert HALVES.engines == ("judge",)
    assert HALVES.needs_embedder
    plain = WeightedSum((Weighted(AnswerMatch(), 1.0),))
    assert (plain.engines, plain.needs_embedder, plain.fewest_together) == ((), False, 1)
    compares = WeightedSum((Weighted(AnswerMatch(), 0.5), Weighted(Consistency("rouge"), 0.5)))
    assert isinstance(compares, ComparingReward)
    assert compares.fewest_together == 2


@dataclass(frozen=True)
class Nothing:
    name = "nothing"
    engines = ()
    needs_embedder = False

    def score(self, record, responses, context):
        return [Score(0.0) for _ in responses]
        yield


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (lambda: (), "reward.terms is empty"),
        (lambda: (Weighted(Nothing(), 0.5), Weighted(Nothing(), 0.5)), "two rewards of the name 'nothing'"),
        (lambda: (Weighted(Nothing(), 0.0),), "reward.weight is 0.0; it must be positive"),
        (lambda: (Weighted(Nothing(), float("nan")),), "reward.weight is nan"),
    ],
)
def test_sums_without_sense_are_refused(terms, says):
    with pytest.raises(ConfigError, match=says):
        WeightedSum(terms())
