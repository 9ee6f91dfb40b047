"""All tasks of InfiniteBench from files in its format."""

from __future__ import annotations

import json

import pytest
from suites import asked

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import InfiniteBenchTasksSuite
from longmab_pl.evaluation.infinitebench.tasks import TASKS
from longmab_pl.evaluation.infinitebench.templates import TEMPLATES
from longmab_pl.evaluation.suite import SuiteContext

OPTIONS = ["one", "two", "three", "four"]
ROWS = {
    "passkey": {"input": "What is the pass key?", "answer": ["71432"]},
    "number_string": {"input": "What is the sequence?", "answer": ["1112"]},
    "kv_retrieval": {"input": "Key: k", "answer": ["v1"]},
    "longbook_sum_eng": {"input": "", "answer": ["A man walks home."]},
    "longbook_choice_eng": {"input": "Who?", "answer": ["two"], "options": OPTIONS},
    "longbook_qa_eng": {"input": "Who?", "answer": ["Ann", "Ann Lee"]},
    "longbook_qa_chn": {"input": "谁？", "answer": ["田立帆"]},
    "longdialogue_qa_eng": {"input": "", "answer": ["ADRIAN"]},
    "math_find": {"input": "What is the largest number? The largest number of the list is:", "answer": [88]},
    "math_calc": {"input": "", "answer": [3, 5, 4]},
    "code_run": {"input": "What does func_3(-5) return?", "answer": [-4]},
    "code_debug": {"input": "", "answer": ["two"], "options": OPTIONS},
}


@pytest.fixture
def folder(tmp_path):
    for task, row in ROWS.items():
        full = {"id": 0, "context": f"The context of {task} {{x}}.", "options": []} | row
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(full) + "\n")
    return tmp_path


def right(record):
    answers = record.answers
    return ", ".join(answers) if len(answers) == 3 else answers[-1]


def test_right_answers_score_full_but_where_the_published_program_is_wrong(folder, tokenizer, scripted_engine):
    assert set(ROWS) == set(TASKS) == set(TEMPLATES)
    published, prompts = asked(InfiniteBenchTasksSuite(str(folder)), tokenizer, scripted_engine, right)
    scores = {name: task.score for name, task in published.tasks.items()}
    assert {name for name, score in scores.items() if score < 100} == {
        "kv_retrieval",
        "code_debug",
        "longbook_qa_eng",
    } - {"longbook_qa_eng"}
    corrected, _ = asked(InfiniteBenchTasksSuite(str(folder), version="corrected"), tokenizer, scripted_engine, right)
    assert all(task.score == 100 for task in corrected.tasks.values())
    assert "The context of passkey {x}." in prompts["passkey/0"]
    assert "Find the largest number in this list." in prompts["math_find/0"]
    assert "What does func_3(-5) return?" in prompts["code_run/0"]


def test_a_number_that_stops_the_program_counts_nothing(folder, tokenizer, scripted_engine):
    suite = InfiniteBenchTasksSuite(str(folder), tasks=["math_find"])
    result, _ = asked(suite, tokenizer, scripted_engine, lambda record: "8.5")
    assert result.tasks["math_find"].score == 0


def test_templates_of_ones_own(folder, tmp_path, tokenizer, scripted_engine):
    (tmp_path / "templates.json").write_text(json.dumps({"passkey": "{context}|{input}"}))
    suite = InfiniteBenchTasksSuite(str(folder), tasks=["passkey"], templates=str(tmp_path / "templates.json"))
    _, prompts = asked(suite, tokenizer, scripted_engine, right)
    assert prompts["passkey/0"] == "<u>The context of passkey {x}.|What is the pass key?</u><a>"


def test_missing_files_and_wrong_options_are_named(tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="holds no task of InfiniteBench"):
        InfiniteBenchTasksSuite(str(tmp_path)).tasks(tokenizer, SuiteContext())
    with pytest.raises(DataError, match="xinrongzhang2022/InfiniteBench"):
        InfiniteBenchTasksSuite(str(tmp_path), tasks=["passkey"]).tasks(tokenizer, SuiteContext())
    row = {"id": 0, "context": "c", "input": "q", "answer": ["five"], "options": OPTIONS}
    for changes, message in (
        ({}, "row 1: the answer of a code_debug item, .*five.*, is not one of its options"),
        ({"answer": 5}, "row 1: the answer of a code_debug item, '5', is not one of its options"),
        ({"options": OPTIONS[:3]}, "row 1: field 'options' has 3 options; items of code_debug have four"),
        ({"options": "four"}, "row 1: field 'options' is 'four'; it must be a list"),
    ):
        (tmp_path / "code_debug.jsonl").write_text(json.dumps(row | changes))
        with pytest.raises(DataError, match=message):
            InfiniteBenchTasksSuite(str(tmp_path)).tasks(tokenizer, SuiteContext())


def test_questions_and_ids_that_cannot_be_used_are_named_before_anything_is_asked(tmp_path, tokenizer):
    row = {"id": 0, "context": "c", "input": "What does it return?", "answer": ["-4"]}
    file = tmp_path / "code_run.jsonl"
    for rows, message in (
        ([row], "row 1: the question of a code_run item has no call"),
        ([row | {"input": "func_1(2)"}] * 2, "row 2: id '0' is also that of .*row 1"),
        ([{"context": "c", "input": "func_1(2)", "answer": ["-4"]}], "row 1: there is no field 'id'"),
        ([{"id": 0, "context": "c", "input": "func_1(2)"}], "row 1: there is no field 'answer'"),
    ):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(DataError, match=message):
            InfiniteBenchTasksSuite(str(tmp_path)).tasks(tokenizer, SuiteContext())
