from __future__ import annotations

import json
import re
import statistics

import pytest
from evaluation_fixtures import CharacterTokenizer
from judging import WordEmbedder, drive, judged_by, kind, names, verdict

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


class OtherTokenizer(CharacterTokenizer):
    """Another model's tokenizer."""

    def encode(self, text, **_):
        return super().encode(text)

    def decode(self, ids, **_):
        return super().decode(ids)


RECORD = QARecord("r", "Where is Lima?", ("Peru",), "Lima is the capital of Peru. " * 40)
ANSWERS = ["Lima is in Peru.", "In Chile.", "I do not know."]


def score(tokenizer, judge, *, style="joint", answers=ANSWERS, record=RECORD, **judge_engine):
    addressees = judged_by(tokenizer, **judge_engine)
    context = RewardContext(tokenizer, WordEmbedder(), 0, "r/0/llm_judge", addressees)
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
    assert len({request.seed for request in asked}) == len({request.prompt_ids for request in asked})


def test_a_question_is_asked_again_warmer_and_then_given_up(byte_tokenizer):
    def judge(prompt):
        return "I would rather not." if kind(prompt) == "completeness" else verdict(prompt)

    scores, asked = score(byte_tokenizer, judge, answers=ANSWERS[:1])
    again = [request.sampling.temperature for request in asked if "/completeness/" in request.id]
    assert again == [0.01, 0.95, 0.95, 0.95, 0.95]
    assert scores[0].excluded == "no verdict: completeness"
    assert scores[0].parts["helpfulness"] == 3.0


@pytest.mark.parametrize(
    "reply", ["", "[[7", "完全不知道", "I cannot judge this.", "x" * 1_000_000, "{}" * 1000, "\x00"]
)
def test_a_judge_that_says_nothing_useful_excludes_answers(byte_tokenizer, reply):
    scores, _ = score(byte_tokenizer, lambda prompt: reply, answers=ANSWERS[:1])
    assert scores[0].excluded.startswith("no verdict: ")
    assert {"helpfulness", "logicality", "faithfulness", "completeness"}.isdisjoint(scores[0].parts)


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


@pytest.mark.parametrize("style", ["joint", "original"])
def test_an_engine_that_keeps_to_a_schema_is_asked_for_json(byte_tokenizer, style):
    scores, asked = score(
        byte_tokenizer, lambda prompt: verdict(prompt, 6, "partially"), style=style, structured_output=True
    )
    assert [each.value for each in scores] == pytest.approx([(6 + 6 + 5 + 6) / 40] * 3)
    for request in asked:
        schema = json.loads(request.schema)
        assert set(schema["required"]) == set(schema["properties"])
        assert next(iter(schema["properties"])) in ("analysis", "statements", "notes")


@pytest.mark.parametrize(
    "reply",
    ["", "7", "[]", "null", "{}", '{"verdict": 7}', '{"analysis": "", "verdict": true}', '{"analysis": "x', "[" * 9999],
)
def test_a_reply_that_is_not_the_json_object_is_no_verdict(byte_tokenizer, reply):
    scores, asked = score(
        byte_tokenizer, lambda prompt: reply, style="original", answers=ANSWERS[:1], structured_output=True
    )
    assert scores[0].excluded == "no verdict: completeness, faithfulness, helpfulness, logicality"
    assert max(int(request.id.rpartition("/")[2]) for request in asked) == 4


def test_a_question_that_is_too_long_is_divided_or_excludes_its_answer_only(byte_tokenizer):
    answers = [*ANSWERS, "Lima is in Peru. " * 400]
    scores, asked = score(byte_tokenizer, verdict, answers=answers, max_model_len=6000)
    assert [each.excluded for each in scores[:3]] == [None] * 3
    assert scores[3].excluded == "too long for the judge: completeness, faithfulness, helpfulness, logicality"
    assert scores[0].parts["helpfulness"] == 3.0
    assert all(len(request.prompt_ids) + request.sampling.max_tokens <= 6000 for request in asked)


def test_many_statements_are_divided_among_questions_that_fit(byte_tokenizer):
    def judge(prompt):
        if kind(prompt) == "statements":
            return "".join(f"<statement>Lima {i} is in Peru.</statement>" for i in range(60))
        return verdict(prompt, support="fully")

    (one,), asked = score(byte_tokenizer, judge, answers=["Long."], max_model_len=4500)
    assert one.excluded is None
    assert one.parts["faithfulness"] == 10.0
    assert one.parts["statements"] == 60.0
    assert 1 < sum("/support/" in request.id for request in asked) < 60


def test_a_passage_that_several_statements_need_is_shown_once(byte_tokenizer):
    parts = [f"{letter} part " + letter * 121 for letter in "abcdefgh"]
    record = QARecord("r", "Where?", ("Peru",), "".join(parts))
    seen = []

    def judge(prompt):
        if kind(prompt) == "support_of_all":
            seen.append(prompt)
        if kind(prompt) == "statements":
            return "<statement>a part</statement><statement>h part</statement>"
        return verdict(prompt)

    score(byte_tokenizer, judge, answers=["x"], record=record)
    (prompt,) = seen
    numbers = [set(map(int, found.split(", "))) for found in re.findall(r"\n\((\d[\d, ]*)\)", prompt)]
    assert [len(each) for each in numbers] == [5, 5]
    shown = set(map(int, re.findall(r"\n(\d)\. ", prompt)))
    assert shown == set(range(1, len(numbers[0] | numbers[1]) + 1)) == numbers[0] | numbers[1]
    assert all(prompt.count(letter * 121) <= 1 for letter in "abcdefgh")


def test_equal_answers_are_judged_once(byte_tokenizer):
    scores, asked = score(byte_tokenizer, verdict, answers=[ANSWERS[0], ANSWERS[1], ANSWERS[0]])
    once, _ = score(byte_tokenizer, verdict, answers=ANSWERS[:2])
    assert sum("/statements/" in request.id for request in asked) == 2
    assert scores[0] == scores[2]
    assert scores[0].value == once[0].value


def test_a_judge_that_prefers_the_first_place_shows_in_the_bias(byte_tokenizer):
    answers = [f"Answer {i}." for i in range(5)]

    def judge(prompt):
        if kind(prompt) != "helpfulness_of_all":
            return verdict(prompt)
        return json.dumps({name: 10 - 2 * place for place, name in enumerate(names(prompt))})

    scores, _ = score(byte_tokenizer, judge, answers=answers)
    assert statistics.mean(each.parts["helpfulness_bias"] for each in scores) == pytest.approx(-8)
    assert statistics.mean(each.parts["logicality_bias"] for each in scores) == pytest.approx(0)
    assert sorted(each.parts["helpfulness"] for each in scores) == [2, 4, 6, 8, 10]
    assert [each.parts["helpfulness"] for each in scores] != [10, 8, 6, 4, 2]  # their order was shuffled


def test_the_same_question_is_the_same_request_in_every_round(byte_tokenizer):
    def asked(key):
        context = RewardContext(byte_tokenizer, WordEmbedder(), hash(key), key, judged_by(byte_tokenizer))
        _, requests = drive(LLMJudge().score(RECORD, ANSWERS, context), verdict, byte_tokenizer)
        return [(request.prompt_ids, request.sampling, request.seed) for request in requests]

    assert asked("r/0/llm_judge") == asked("r/7/llm_judge")


def test_the_judge_is_asked_in_its_own_chat_format(byte_tokenizer):
    own = OtherTokenizer()
    context = RewardContext(byte_tokenizer, WordEmbedder(), 0, "r/0/llm_judge", judged_by(own))
    scores, asked = drive(LLMJudge().score(RECORD, ANSWERS, context), verdict, own)
    assert all(each.excluded is None for each in scores)
    assert all(own.decode(request.prompt_ids).startswith("<u>") for request in asked)


def test_an_engine_that_the_run_does_not_have_is_named(byte_tokenizer):
    context = RewardContext(byte_tokenizer, WordEmbedder(), 0, "r/0/llm_judge", {})
    with pytest.raises(ConfigError, match="no engine named 'judge'"):
        drive(LLMJudge().score(RECORD, ANSWERS, context), verdict, byte_tokenizer)


def test_an_unknown_style_is_refused():
    with pytest.raises(ConfigError, match="style"):
        LLMJudge(style="fast")


def test_judge_and_consistency_score_the_answers_of_a_strategy_beside_the_policy(byte_tokenizer):
    records = [QARecord(f"r{i}", f"Where is city {i}?", (), f"City {i} is in land {i}. ") for i in range(6)]
    policy = ScriptedEngine(lambda request, i: f" land {request.id}" if i < 3 else " nowhere")
    judge = ScriptedEngine(lambda request, i: verdict(byte_tokenizer.decode(list(request.prompt_ids)), 8), jitter=9)
    rewards = (LLMJudge(), Consistency(similarity="rouge"))
    context = StrategyContext(
        byte_tokenizer, DirectAnswer(), WordEmbedder(), 4096, 0, rewards, judged_by(byte_tokenizer)
    )
    strategy = BestOfN(4, Sampling(max_tokens=16))
    scheduler = Scheduler({"policy": policy, "judge": judge})
    rolled = dict(scheduler.run((record.id, strategy.roll(record, context)) for record in records))
    assert len(policy.asked) == 6
    assert len(judge.asked) == 6 * (1 + 2 + 2 * 3)  # two different answers
    assert max(judge.occupancy) == judge.concurrency
    for rollout in rolled.values():
        assert [each.scores["llm_judge"].value for each in rollout.responses] == pytest.approx([24 / 40] * 4)
        agreement = [each.scores["consistency"].value for each in rollout.responses]
        assert agreement[0] > agreement[3]
