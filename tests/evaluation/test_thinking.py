"""Thinking models: the setting reaches the chat template, and reasoning is kept but not scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_fixtures import CharacterTokenizer
from suites import asked

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import LongBenchSuite, LongBenchV2Suite, NeedleSuite, QASuite, RULERSuite
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.needle.task import NeedleSettings
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.evaluation.tables import notes
from longmab_pl.evaluation.thinking import thinking_note, with_thinking
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer


class ThinkingTokenizer(CharacterTokenizer):
    """A template like Qwen3's: with thinking off it writes an empty thought."""

    chat_template = "{{ messages }}{% if enable_thinking is false %}<think></think>{% endif %}"

    def apply_chat_template(self, messages, enable_thinking=True, **_):
        return super().apply_chat_template(messages) + ("" if enable_thinking else "<think>\n\n</think>\n\n")


@pytest.fixture
def tokenizer():
    return ThinkingTokenizer()


@pytest.fixture
def longbench(tmp_path: Path) -> str:
    row = {"_id": "1", "input": "Who?", "context": "Ada did it.", "answers": ["Ada"], "length": 3, "all_classes": None}
    (tmp_path / "musique.jsonl").write_text(json.dumps(row))
    return str(tmp_path)


@pytest.mark.parametrize(("enabled", "ending"), [(True, "<a>"), (False, "<a><think>\n\n</think>\n\n"), (None, "<a>")])
def test_the_setting_reaches_the_template(longbench, tokenizer, enabled, ending):
    suites = [LongBenchSuite(longbench, enable_thinking=enabled), QASuite(longbench, enable_thinking=enabled)]
    for suite in suites:
        (task,) = suite.tasks(tokenizer, SuiteContext())
        assert tokenizer.decode(task.prompt(task.records[0], tokenizer, 10_000).ids).endswith(ending)


@pytest.mark.parametrize(
    ("answer", "score", "reasoned"),
    [
        ("<think>Bob, no.</think>\n\nAda", 100, 1),
        ("Ada", 100, 0),
        ("<think>Ada, or Bob", 0, 1),
    ],
)
def test_longbench_scores_what_follows_the_reasoning(
    longbench, tokenizer, scripted_engine, tmp_path, answer, score, reasoned
):
    (task,) = LongBenchSuite(longbench).tasks(tokenizer, SuiteContext())
    engine = scripted_engine(lambda prompt: answer, max_model_len=10_000)
    result = evaluate([task], engine, tokenizer, progress=False, predictions=tmp_path / "out")
    assert result.score == score
    assert sum(item.reasoned for item in result.tasks["musique"].items) == reasoned
    assert ("1 with reasoning, which is cut off before scoring" in " ".join(notes(result))) == bool(reasoned)
    row = json.loads((tmp_path / "out" / "musique.jsonl").read_text())
    assert row["pred"] == answer, "the whole answer is kept"


def test_questions_and_needles_score_reasoning_too_where_that_is_asked_for(longbench, tokenizer):
    for asked_for in (False, True):
        (qa,) = QASuite(longbench, score_reasoning=asked_for).tasks(tokenizer, SuiteContext())
        answer = "<think>I have it. Answer: Ada</think> It is she."
        assert qa.metric().score(answer, ["Ada it is she"]).well_formed == asked_for
        settings = NeedleSettings(lengths=[600], depths=[0], needles=1)
        (needle,) = NeedleSuite(settings, score_reasoning=asked_for).tasks(tokenizer, SuiteContext())
        assert needle.metric().score("<think>12345</think>", ["12345"]).scores == {"accuracy": float(asked_for)}


def test_longbench_scores_reasoning_too_where_that_is_asked_for(longbench, tokenizer, scripted_engine):
    suite = LongBenchSuite(longbench, score_reasoning=True)
    result, _ = asked(suite, tokenizer, scripted_engine, lambda record: "<think>Bob</think>Ada", max_model_len=10_000)
    assert result.score < 100


def test_an_answer_within_the_reasoning_is_not_read(tokenizer, scripted_engine):
    record = QARecord("1", "Who?", ("Ada",), "Ada did it.")
    task = QATask("qa", [record], ReasonThenAnswer(), Sampling(temperature=0.0, max_tokens=100))
    for answer, score in (("<think>Answer: Bob</think>Answer: Ada", 100), ("<think>Answer: Ada</think>I pass.", 0)):
        engine = scripted_engine(lambda prompt, answer=answer: answer, max_model_len=10_000)
        assert evaluate([task], engine, tokenizer, progress=False).tasks["qa"].scores["em"] == score


def test_suites_with_short_official_limits_give_room_to_think():
    thinking = Asking(enable_thinking=True)
    ruler = RULERSuite([4096], asking=thinking)
    assert (ruler.answer_prefix, ruler.new_tokens) == (False, 4096)
    assert (RULERSuite([4096]).answer_prefix, RULERSuite([4096]).new_tokens) == (True, None)
    assert LongBenchV2Suite("data.json", asking=thinking).sampling.max_tokens == 4096
    assert LongBenchV2Suite("data.json", asking=thinking, new_tokens=300).sampling.max_tokens == 300
    with pytest.raises(ConfigError, match="no place to think"):
        RULERSuite([4096], asking=thinking, answer_prefix=True)
    with pytest.raises(ConfigError, match="DirectAnswer starts the answer"):
        NeedleSuite(enable_thinking=True)
    assert with_thinking(DirectAnswer(), False).template_arguments == {"enable_thinking": False}


def test_a_template_that_decides_by_itself_is_noted(longbench, tokenizer):
    def note(suite):
        return thinking_note(tokenizer, suite.tasks(tokenizer, SuiteContext()))

    assert "musique leave it at the template's default" in note(LongBenchSuite(longbench))
    assert note(LongBenchSuite(longbench, enable_thinking=False)) == ""
    assert note(QASuite(longbench, enable_thinking=True)) == ""
    ruler = RULERSuite([1500], tasks=["niah_single_1"], samples=1)
    assert note(ruler) == "", "a started answer has no thoughts"
    assert thinking_note(CharacterTokenizer(), LongBenchSuite(longbench).tasks(tokenizer, SuiteContext())) == ""
