"""RULER asked of a reader that is good at short texts only."""

from __future__ import annotations

import json
import re

import pytest
from suites import asked

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import Asking, RULERSuite
from longmab_pl.evaluation.ruler.tasks import TASKS
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext

LENGTHS = [8000, 16000]


def short_sighted(record):
    return " ".join(record.answers) if record.length == LENGTHS[0] else "I cannot say."


def test_a_reader_of_short_texts_has_that_effective_length(tokenizer, scripted_engine):
    suite = RULERSuite(LENGTHS, samples=2)
    result, prompts = asked(suite, tokenizer, scripted_engine, short_sighted)
    assert list(result.tasks) == list(TASKS)
    assert len(prompts) == 13 * 2 * 2
    scores = suite.scores(result)
    assert scores["length-8000"].value == 100
    assert scores["length-16000"].value == 0
    assert (scores["score"].value, scores["effective"].value) == (50, 8000)
    assert scores["average_increasing"].value == pytest.approx(100 / 3)


def test_every_example_fills_its_length_and_never_exceeds_it(tokenizer):
    tasks = RULERSuite(LENGTHS, samples=3).tasks(tokenizer, SuiteContext())
    for task in tasks:
        for record in task.records:
            tokens = len(task.prompt(record, tokenizer, 10**6).ids) + task.new_tokens
            assert tokens == record.tokens <= record.length
            least = 0.95 if task.name.startswith("niah") else 0.85
            assert tokens > least * record.length, (task.name, record.id, tokens)


def test_answers_stand_in_the_text_and_the_answer_is_started(tokenizer):
    (task,) = RULERSuite([4000], tasks=["niah_multiquery"], samples=1).tasks(tokenizer, SuiteContext())
    (record,) = task.records
    prompt = tokenizer.decode(task.prompt(record, tokenizer, 10**6).ids)
    assert all(answer in record.context for answer in record.answers)
    assert re.search(r"</u><a>The secret numbers for .* in the text are$", prompt)
    (task,) = RULERSuite([4000], tasks=["niah_multiquery"], samples=1, answer_prefix=False).tasks(
        tokenizer, SuiteContext()
    )
    assert tokenizer.decode(task.prompt(task.records[0], tokenizer, 10**6).ids).endswith("</u><a>")


def test_a_task_without_room_is_noted_and_left_out(tokenizer):
    notes = []
    tasks = RULERSuite([600], tasks=["niah_single_1", "cwe"], samples=1).tasks(
        tokenizer, SuiteContext(note=notes.append)
    )
    assert [task.name for task in tasks] == ["niah_single_1"]
    assert "RULER cwe is left out at 600 tokens" in notes[0]
    with pytest.raises(ConfigError, match="no task has room"):
        RULERSuite([200], tasks=["cwe"], samples=1).tasks(tokenizer, SuiteContext())


def test_lengths_beyond_the_model_are_skipped_and_the_curve_ends_there(tokenizer, scripted_engine):
    suite = RULERSuite([2000, 4000], tasks=["niah_single_1", "vt"], samples=2)
    tasks = suite.tasks(tokenizer, SuiteContext())
    result = evaluate(tasks, scripted_engine(lambda _: "none", max_model_len=2000), tokenizer, progress=False)
    assert [len(task.skipped) for task in result.tasks.values()] == [2, 2]
    assert [key for key in suite.scores(result) if key.startswith("length-")] == ["length-2000"]


def test_numbers_in_a_thought_do_not_count_unless_asked(tokenizer, scripted_engine):
    def thinker(record):
        return f"<think>{record.answers[0]}</think> I forgot."

    for score_reasoning, expected in ((False, 0), (True, 100)):
        suite = RULERSuite([1500], tasks=["niah_single_1"], samples=1, asking=Asking(score_reasoning=score_reasoning))
        result, _ = asked(suite, tokenizer, scripted_engine, thinker)
        assert result.score == expected


def test_table_and_picture_show_the_curve(tokenizer, scripted_engine, tmp_path):
    suite = RULERSuite([1500, 3000], tasks=["niah_single_1", "qa_1"], samples=2)
    result, _ = asked(suite, tokenizer, scripted_engine, lambda record: record.answers[0])
    (table,) = suite.tables([result])
    assert [column.header for column in table.columns] == ["task", "1,500", "3,000", "mean"]
    assert "2 of 13 tasks" in table.caption
    assert "effective length (above 85.6): 3,000" in table.caption
    pictures = suite.figures([result])
    assert [picture.name for picture in pictures] == ["curve", "tasks"]
    assert all(picture.save(tmp_path).stat().st_size > 5000 for picture in pictures)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lengths": []}, "at least one length"),
        ({"lengths": [4096, 4096]}, "each once"),
        ({"lengths": [64]}, "at least 128"),
        ({"tasks": ["niah_single_9"]}, "niah_single_9"),
        ({"samples": 0}, "RULERSuite.samples is 0"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        RULERSuite(**settings)


def test_lengths_above_the_models_are_noted_and_not_made(tokenizer):
    notes = []
    context = SuiteContext(note=notes.append, max_model_len=4096)
    (task,) = RULERSuite([1500, 10**7], tasks=["niah_single_1"], samples=1).tasks(tokenizer, context)
    assert {record.length for record in task.records} == {1500}
    assert "the model takes 4096 tokens, so [10000000] are left out" in notes[0]
    with pytest.raises(ConfigError, match=r"lengths is \[8192\] and the model takes 4096 tokens"):
        RULERSuite([8192]).tasks(tokenizer, context)


def test_the_words_of_a_file_are_used(tokenizer, tmp_path):
    path = tmp_path / "wording.json"
    niah = {"text": "FIND {type_needle_v}.\n{context}\nWhich for {query}?", "prefix": " They are"}
    path.write_text(json.dumps({"niah": niah, "noise": "Grass is green.", "keys": [f"key-{i}" for i in range(30)]}))
    (task,) = RULERSuite([1500], tasks=["niah_single_1"], samples=1, wording=str(path)).tasks(tokenizer, SuiteContext())
    (record,) = task.records
    assert record.context.startswith("FIND number.\nGrass is green.")
    assert re.search(r"Which for key-\d+\?$", record.context)
    assert record.question == " They is", "one answer is asked for in the singular, also in other words"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"niha": {}}, "niha.* is no part of RULER's wording"),
        ({"niah": {"text": "no place"}}, "niah has no {context}"),
        ({"vt": {"text": "{context} {quary}"}}, "vt has a field 'quary' that is not there; fields are context, query"),
        ({"keys": ["a"]}, "keys must be a list of at least 20 words"),
    ],
)
def test_a_wording_that_cannot_be_used_is_named(tmp_path, words, message):
    path = tmp_path / "wording.json"
    path.write_text(json.dumps(words))
    with pytest.raises(ConfigError, match=message):
        RULERSuite([1500], wording=str(path))
