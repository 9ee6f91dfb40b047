"""HELMET's files as they are, in the shape of its download."""

from __future__ import annotations

import json

import pytest
from tokenizers_like import chatml_like

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.helmet.files import read_task, tasks_in
from longmab_pl.evaluation.helmet.suite import HELMETSuite
from longmab_pl.evaluation.judge import Judge
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext

TOKENIZER = chatml_like()
SHORT = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=40)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    """Two questions at three depths, as its kilt files have them; novels; NarrativeQA flat and as on the hub."""
    ctxs = [{"id": "1", "title": "Tower", "text": "Ann built it.", "has_answer": True}] * 2
    kilt = [
        {"question": f"Who {i // 3}?", "answers": ["Ann", "Ann B."], "ctxs": ctxs, "depth": i % 3} for i in range(6)
    ]
    write(tmp_path / "kilt" / "nq-dev-multikilt_1000_k50_dep6.jsonl", kilt[:2])
    write(tmp_path / "kilt" / "nq-dev-multikilt_1000_k1000_dep6.jsonl", kilt)
    write(
        tmp_path / "kilt" / "popqa_test_1000_k1000_dep6.jsonl",
        [row | {"s_pop": 10 ** (2 + i)} for i, row in enumerate(kilt)],
    )
    choice = {"id": 7, "context": "A novel.", "input": "Where?", "options": ["Paris", "Lyon"], "answer": ["Lyon"]}
    write(tmp_path / "longbook_choice_eng.jsonl", [choice])
    write(
        tmp_path / "longbook_qa_eng.jsonl", [{"id": 1, "context": "A novel.", "input": "Who?", "answer": ["Ann", "A"]}]
    )
    nested = {"document": {"text": "A script."}, "question": {"text": "Why?"}, "answers": [{"text": "for money"}]}
    write(tmp_path / "narrativeqa_test.jsonl", [nested, {"context": "A book.", "question": "How?", "answer": "well"}])
    return tmp_path


def test_the_folder_says_which_tasks_there_are_and_the_longest_file_counts(folder):
    found = tasks_in(folder, None)
    assert set(found) == {"kilt_nq", "kilt_popqa_3", "narrativeqa", "infbench_qa_eng", "infbench_choice_eng"}
    assert found["kilt_nq"].name == "nq-dev-multikilt_1000_k1000_dep6.jsonl"
    with pytest.raises(DataError, match="hotpotqa-dev-multikilt_1000_k1000_dep3"):
        tasks_in(folder, ["kilt_hotpotqa"])
    with pytest.raises(DataError, match="no folder"):
        tasks_in(folder / "nowhere", None)


def test_a_question_is_kept_at_all_its_depths(folder):
    path = tasks_in(folder, None)["kilt_nq"]
    items = read_task(path, "kilt_nq", None, 42)
    assert len(items) == 6
    assert items[0].context == "Document (Title: Tower): Ann built it.\n\nDocument (Title: Tower): Ann built it."
    assert items[0].answers == ("Ann", "Ann B.")
    few = read_task(path, "kilt_nq", 1, 42)
    assert len(few) == 3
    assert len({item.question for item in few}) == 1
    assert len({item.id for item in items}) == 6


def test_popular_subjects_are_left_out_of_popqa(folder):
    assert len(read_task(tasks_in(folder, None)["kilt_popqa_3"], "kilt_popqa_3", None, 42)) == 1


def test_novels_and_scripts_are_read(folder):
    found = tasks_in(folder, None)
    (choice,) = read_task(found["infbench_choice_eng"], "infbench_choice_eng", None, 42)
    assert choice.answers == ("B", "B. Lyon")
    first, second = read_task(found["narrativeqa"], "narrativeqa", None, 42)
    assert (first.context, first.question, first.answers) == ("A script.", "Why?", ("for money",))
    assert second.answers == ("well",)


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("nq-dev-a.jsonl", {"question": "Who?", "answers": ["Ann"]}, "ctxs"),
        ("nq-dev-a.jsonl", {"question": "Who?", "answers": [], "ctxs": [{"title": "a", "text": "b"}]}, "answers"),
        ("nq-dev-a.jsonl", {"question": "Who?", "answers": ["Ann"], "ctxs": [{"text": "b"}]}, "passage 0.*title"),
        ("popqa_test_a.jsonl", {"question": "Who?", "answers": ["Ann"], "ctxs": [], "s_pop": "many"}, "s_pop"),
        ("longbook_choice_eng.jsonl", {"input": "?", "context": "c", "options": ["a"], "answer": ["b"]}, "none of the"),
        ("narrativeqa.jsonl", {"question": "Who?", "answers": ["Ann"]}, "context"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, file, row, message):
    write(tmp_path / file, [row])
    ((name, path),) = tasks_in(tmp_path, None).items()
    with pytest.raises(DataError, match=message):
        read_task(path, name, None, 42)


def test_each_task_has_its_metric_under_every_style(folder):
    suite = HELMETSuite(str(folder), styles=["plain", "agentic"], sampling=SHORT, paragraph_tokens=50)
    tasks = suite.tasks(TOKENIZER, SuiteContext())
    engine = ScriptedEngine(lambda request, i: "Answer: Ann. B. Lyon", max_model_len=4000)
    result = evaluate(tasks, engine, TOKENIZER, progress=False)
    main = {name: task.metric for name, task in result.tasks.items()}
    for style in ("plain", "agentic"):
        assert main[f"kilt_nq-{style}"] == "substring_exact_match"
        assert main[f"narrativeqa-{style}"] == "rougeL_f1"
        assert main[f"infbench_choice_eng-{style}"] == "exact_match"
        assert result.tasks[f"infbench_choice_eng-{style}"].score == 100.0
        assert result.tasks[f"kilt_nq-{style}"].score == 100.0
    scores = suite.scores(result)
    assert set(scores) == {"score", "plain", "agentic"}
    assert 0 < scores["score"].value == scores["agentic"].value < 100


def test_settings_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigError, match="kilt_nq"):
        HELMETSuite("x", tasks=["nq"])
    with pytest.raises(ConfigError, match="styles"):
        HELMETSuite("x", styles=["chat"])


def test_a_judge_rates_the_stories_and_leaves_the_rest(folder, tiny_model, tmp_path):
    def rating(request, i):
        return "It is right in part. [[2]]"

    judge = Judge(tiny_model, ScriptedEngine(rating, max_model_len=20_000))
    suite = HELMETSuite(str(folder), ["kilt_nq", "narrativeqa"], ["plain"], sampling=SHORT, judge=judge)
    tasks = suite.tasks(TOKENIZER, SuiteContext())
    engine = ScriptedEngine(lambda request, i: "Answer: Ann", max_model_len=4000)
    out = tmp_path / "out"
    asked = evaluate(tasks, engine, TOKENIZER, predictions=out, progress=False)
    result = suite.rated(asked, tasks, out)
    assert result.tasks["narrativeqa-plain"].scores == {"rating": 50.0}
    assert result.tasks["kilt_nq-plain"].score == 100.0
    assert suite.scores(result)["plain"].value == 75.0
    without = HELMETSuite(str(folder), ["narrativeqa"], ["plain"], sampling=SHORT)
    assert without.rated(asked, tasks, out) is asked
