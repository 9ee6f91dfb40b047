"""Agentic inference and the styles beside it, on a scripted engine."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from tokenizers_like import FAMILIES, chatml_like

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.agentic.loop import AgenticTask, pointed_paragraphs, unknown_note
from longmab_pl.evaluation.agentic.styles import STYLES
from longmab_pl.evaluation.agentic.suite import AgenticSuite
from longmab_pl.evaluation.agentic.tasks import SubstringMatch, task_of
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.prompted_task import BenchmarkItem
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.prompts import clarification as say
from longmab_pl.prompts import transcript

TOKENIZER = chatml_like()
SHORT = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=40)
ITEM = BenchmarkItem("q", "Who built it?", ("Ann",), "The tower was built in 1800. " * 20 + "Ann built it.")


def task(style="agentic", item=ITEM, paragraph_tokens=100, **given):
    options = {"means": SubstringMatch, "sampling": SHORT, "asking": Asking(), "prompt_tokens": None}
    return task_of(style, "mine", [item], paragraph_tokens=paragraph_tokens, **(options | given))


class FiveTurns:
    """Says what an attentive model would."""

    def __init__(self, pointed="<para 5>"):
        self.pointed = pointed

    def __call__(self, request, i):
        return ["Who is the builder?", self.pointed, "The builder is Ann.", "Answer: Ann", "Yes"][
            int(request.id.rpartition("/")[2]) if request.id.count("/") == 3 else 0
        ]


def run(asked, answer=None, **options):
    engine = ScriptedEngine(answer or FiveTurns(), max_model_len=4000)
    return evaluate(asked, engine, TOKENIZER, progress=False, **options), engine


def test_five_turns_go_on_with_one_conversation(tmp_path):
    result, engine = run(task(), predictions=tmp_path)
    prompts = [request.prompt_ids for request in engine.asked]
    assert len(prompts) == 5
    for shorter, longer in itertools.pairwise(prompts):
        assert longer[: len(shorter)] == shorter, "the engine's prefix cache holds all but the last turn"
    (row,) = map(json.loads, (tmp_path / "mine-agentic.jsonl").read_text().splitlines())
    assert row["pred"] == "Answer: Ann"
    assert row["steps"] == ["Who is the builder?", "<para 5>", "The builder is Ann.", "Yes"]
    assert result.tasks["mine-agentic"].scores["substring_exact_match"] == 100.0


def test_the_turns_are_those_that_are_trained():
    _, engine = run(task())
    paragraphs = len(pointed_paragraphs(TOKENIZER.decode(list(engine.asked[0].prompt_ids)))) - 0
    assert paragraphs >= 6
    last = TOKENIZER.decode(list(engine.asked[4].prompt_ids))
    places = [
        last.index(text)
        for text in (
            say.SYSTEM,
            "<para 0>",
            say.clarify(ITEM.question),
            say.POINT_BACK,
            say.ANSWER_FROM_PARAGRAPHS,
            say.final_request(ITEM.question),
            say.CHECK,
        )
    ]
    assert places == sorted(places)


def test_a_finished_conversation_is_not_asked_again(tmp_path):
    run(task(), predictions=tmp_path)
    result, engine = run(task(), predictions=tmp_path)
    assert engine.asked == []
    assert result.tasks["mine-agentic"].scores["substring_exact_match"] == 100.0


def test_a_paragraph_that_does_not_exist_is_told_to_the_model():
    assert pointed_paragraphs("<para 3>, paragraphs 12 and Para. 3; 99") == [3, 12]
    assert unknown_note("nothing", 4) == ""
    _, engine = run(task(), FiveTurns("<para 99>"))
    assert "has no paragraph 99; its paragraphs are 0 to 5" in TOKENIZER.decode(list(engine.asked[2].prompt_ids))
    _, engine = run(task(), FiveTurns("<para 5>"))
    assert "has no paragraph" not in TOKENIZER.decode(list(engine.asked[4].prompt_ids))


def test_empty_turns_do_not_end_the_conversation():
    result, engine = run(task(), lambda request, i: "")
    assert len(engine.asked) == 5
    assert result.tasks["mine-agentic"].scores["substring_exact_match"] == 0.0


def test_a_long_document_is_cut_so_that_all_turns_fit():
    long = replace(ITEM, context="The tower was built in 1800. " * 400)
    engine = ScriptedEngine(FiveTurns(), max_model_len=3000)
    result = evaluate(task(item=long), engine, TOKENIZER, progress=False)
    assert result.tasks["mine-agentic"].cut_prompts == 1
    assert all(len(request.prompt_ids) + 40 <= 3000 for request in engine.asked)
    assert len(engine.asked[4].prompt_ids) > 2000
    with pytest.raises(PromptTooLong, match="no room for the document"):
        task().prompt(ITEM, TOKENIZER, 900)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_asks_over_the_same_document_first(style):
    prompt = task(style).prompt(ITEM, TOKENIZER, 4000)
    text = TOKENIZER.decode(list(prompt.ids))
    assert text.index("Ann built it.") < text.index(ITEM.question)
    assert isinstance(task(style), AgenticTask) is (style == "agentic")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_templates_can_hold_five_turns(family):
    tokenizer = FAMILIES[family]()
    said = ["Who?", "<para 1>", "Ann.", "Ann"]
    turn = task().next_turn(ITEM, said, tokenizer, 6000)
    text = tokenizer.decode(list(turn.prompt.ids))
    assert "Was your answer right?" in text


def test_the_suite_scores_each_style_and_the_last_one_counts():
    suite = AgenticSuite(styles=["plain", "step_by_step", "agentic"], limit=3, sampling=SHORT, paragraph_tokens=100)
    tasks = suite.tasks(TOKENIZER, SuiteContext())
    assert [t.name for t in tasks] == ["agentic-plain", "agentic-step_by_step", "agentic-agentic"]
    assert [r.id for r in tasks[0].records] == [r.id for r in tasks[2].records]
    golds = {record.question: record.answers[0] for record in tasks[0].records}

    def answer(request, i):
        text = TOKENIZER.decode(list(request.prompt_ids))
        plain = "step by step" not in text and "<para 0>" not in text
        return next(gold for question, gold in golds.items() if question in text) if plain else "nothing"

    result, _ = run(tasks, answer)
    scores = suite.scores(result)
    assert scores["plain"].value == 100.0
    assert scores["agentic"].value == scores["score"].value == scores["step_by_step"].value == 0.0
    assert scores["plain"].low <= 100.0 <= scores["plain"].high


@pytest.mark.parametrize("styles", [[], ["plain", "plain"], ["chatty"]])
def test_unknown_styles_are_refused(styles):
    with pytest.raises(ConfigError, match=r"AgenticSuite\.styles"):
        AgenticSuite(styles=styles)


def test_trained_conversations_begin_as_the_loop_does():
    """`ClarificationPairs(first_answer=False)` and the loop begin with the same tokens."""
    from longmab_pl.strategies.clarification_tree import conversation
    from longmab_pl.strategies.clarification_tree.paragraphs import cut_paragraphs, mark_paragraphs

    marked = mark_paragraphs([p.text for p in cut_paragraphs(ITEM.context, TOKENIZER, 100)])
    trained = conversation.root(marked, ITEM.question, None)
    assert transcript.transcript(TOKENIZER, trained).ids == task().prompt(ITEM, TOKENIZER, 4000).ids
