from __future__ import annotations

import re

import pytest
from judging import WordEmbedder, drive, kind, verdict

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards import Consistency, LLMJudge
from longmab_pl.rewards.base import RewardContext
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import StrategyContext
from longmab_pl.strategies.best_of_n import BestOfN

RECORD = QARecord("r", "Where is Lima?", ("Peru",), "Lima is the capital of Peru. " * 40)
ANSWERS = ["Lima is in Peru.", "In Chile.", "I do not know."]


def score(tokenizer, judge, *, style="joint", answers=ANSWERS, record=RECORD):
    context = RewardContext(tokenizer, WordEmbedder(), seed=0, key="r/0/llm_judge")
    return drive(LLMJudge(style=style).score(record, answers, context), judge, tokenizer)


@pytest.mark.parametrize("style", ["joint", "original"])
def test_the_value_is_the_mean_of_four_dimensions(byte_tokenizer, style):
    scores, _ = score(byte_tokenizer, lambda prompt: verdict(prompt, 6, "partially"), style=style)
    assert [each.value for each in scores] == pytest.approx([(6 + 6 + 5 + 6) / 40] * 3)
    assert {name: scores[0].parts[name] for name in ("helpfulness", "logicality", "faithfulness", "completeness")} == {
        "helpfulness": 6.0,
        "logicality": 6.0,
        "faithfulness": 5.0,
        "completeness": 6.0,
    }
    assert all(each.excluded is None for each in scores)
    assert "Rating" in scores[1].notes["completeness/1"]


def test_a_joint_verdict_reaches_the_answer_that_it_names(byte_tokenizer):
    def judge(prompt):
        if kind(prompt) != "helpfulness_of_all":
            return verdict(prompt)
        quoted = re.findall(r"<([0-9a-f]+-\d+)>\n(.*?)\n</", prompt)
        assert sorted(text for _, text in quoted) == sorted(ANSWERS)
        given = ", ".join(f'"{name}": {9 if "Peru" in text else 1}' for name, text in quoted)
        return f"One is right. {{{given}}}"

    scores, _ = score(byte_tokenizer, judge)
    assert [each.parts["helpfulness"] for each in scores] == [9.0, 1.0, 1.0]


def test_joint_requests_are_far_fewer_than_the_originals(byte_tokenizer):
    answers = [f"Answer {i} is in Peru." for i in range(10)]
    record = QARecord("r", "Where?", ("Peru",), "x" * (4096 * 8))

    def judge(prompt):
        if kind(prompt) == "statements":
            return "".join(f"<statement>S{i}</statement>" for i in range(22))
        return verdict(prompt)

    joint, original = (
        score(byte_tokenizer, judge, style=style, answers=answers, record=record) for style in ("joint", "original")
    )
    assert len(joint[1]) == 8 + 2 + 10 * 3 == 40
    assert len(original[1]) == 8 + 10 * (2 + 1 + 22 + 1) == 268
    assert [each.value for each in joint[0]] == pytest.approx([each.value for each in original[0]])
    assert joint[0][0].parts["requests"] == 4.0
    assert joint[0][0].parts["statements"] == 22.0


def test_requests_go_to_the_judge_with_ids_of_their_own(byte_tokenizer):
    _, asked = score(byte_tokenizer, verdict)
    assert {request.to for request in asked} == {"judge"}
    assert len({request.id for request in asked}) == len(asked)
    assert all(request.id.startswith("r/0/llm_judge/") for request in asked)
    assert len({request.seed for request in asked}) == len(asked)


def test_a_question_is_asked_again_warmer_and_then_given_up(byte_tokenizer):
    def judge(prompt):
        return "I would rather not." if kind(prompt) == "completeness" else verdict(prompt)

    scores, asked = score(byte_tokenizer, judge, answers=ANSWERS[:1])
    again = [request.sampling.temperature for request in asked if "/completeness/" in request.id]
    assert again == [0.01, 0.95, 0.95, 0.95, 0.95]
    assert scores[0].excluded == "the judge gave no verdict on completeness"
    assert scores[0].parts["helpfulness"] == 3.0


@pytest.mark.parametrize(
    "reply", ["", "[[7", "完全不知道", "I cannot judge this.", "x" * 1_000_000, "{}" * 1000, "\x00"]
)
def test_a_judge_that_says_nothing_useful_excludes_answers(byte_tokenizer, reply):
    scores, _ = score(byte_tokenizer, lambda prompt: reply, answers=ANSWERS[:1])
    assert scores[0].excluded.startswith("the judge gave no verdict on helpfulness, logicality")


def test_an_answer_without_statements_has_faithfulness_zero(byte_tokenizer):
    scores, asked = score(byte_tokenizer, lambda prompt: verdict(prompt, 8, statement=""), answers=ANSWERS[2:])
    assert scores[0].parts["faithfulness"] == 0.0
    assert scores[0].value == pytest.approx(24 / 40)
    assert not any("/support/" in request.id for request in asked)


def test_a_record_without_a_document_excludes_its_answers(byte_tokenizer):
    scores, asked = score(byte_tokenizer, verdict, record=QARecord("r", "Where?", ("Peru",), " "))
    assert [each.excluded for each in scores] == ["no document to judge by"] * 3
    assert asked == []


def test_evidence_comes_in_the_order_of_the_document(byte_tokenizer):
    parts = [f"part {letter} " + letter * 120 for letter in "abcdefgh"]
    record = QARecord("r", "Where?", ("Peru",), "".join(parts))
    seen = []

    def judge(prompt):
        if kind(prompt) == "support":
            seen.append(prompt)
        return verdict(prompt, statement="part h part c")

    score(byte_tokenizer, judge, style="original", answers=["x"], record=record)
    numbered = re.findall(r"\n?(\d)\. ", seen[0])
    assert numbered == ["1", "2", "3", "4", "5"]


def test_a_thought_of_the_judge_is_not_its_verdict(byte_tokenizer):
    def judge(prompt):
        return f"<think>Maybe [[9]]?</think>{verdict(prompt)}"

    scores, _ = score(byte_tokenizer, judge, style="original", answers=ANSWERS[:1])
    assert scores[0].parts["helpfulness"] == 3.0


def test_a_question_in_chinese_is_judged_in_chinese(byte_tokenizer):
    prompts = []

    def judge(prompt):
        prompts.append(prompt)
        return ""

    score(
        byte_tokenizer, judge, record=QARecord("r", "利马在哪里？", ("秘鲁",), "利马是秘鲁的首都。"), answers=["秘鲁"]
    )
    assert all("问题" in prompt or "陈述" in prompt for prompt in prompts)


def test_an_unknown_style_is_refused():
    with pytest.raises(ConfigError, match="style"):
        LLMJudge(style="fast")


def test_judge_and_consistency_score_the_answers_of_a_strategy_beside_the_policy(byte_tokenizer):
    records = [QARecord(f"r{i}", f"Where is city {i}?", (), f"City {i} is in land {i}. ") for i in range(6)]
    policy = ScriptedEngine(lambda request, i: f" land {request.id}" if i < 3 else " nowhere")
    judge = ScriptedEngine(lambda request, i: verdict(byte_tokenizer.decode(list(request.prompt_ids)), 8), jitter=9)
    rewards = (LLMJudge(), Consistency(similarity="rouge"))
    context = StrategyContext(byte_tokenizer, DirectAnswer(), WordEmbedder(), 4096, 0, rewards)
    strategy = BestOfN(4, Sampling(max_tokens=16))
    scheduler = Scheduler({"policy": policy, "judge": judge})
    rolled = dict(scheduler.run((record.id, strategy.roll(record, context)) for record in records))
    assert len(policy.asked) == 6
    assert len(judge.asked) == 6 * (1 + 2 + 4 * 3)
    assert max(judge.occupancy) == judge.concurrency
    for rollout in rolled.values():
        assert [each.scores["llm_judge"].value for each in rollout.responses] == pytest.approx([24 / 40] * 4)
        agreement = [each.scores["consistency"].value for each in rollout.responses]
        assert agreement[0] > agreement[3]
