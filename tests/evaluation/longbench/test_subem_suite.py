"""SeaLong's evaluation: SubEM of the whole response, asked by the plan-and-solve prompt."""

from __future__ import annotations

import json

from longmab_pl.engines import ScriptedEngine
from longmab_pl.evaluation import SubEMSuite, SuiteContext, evaluate
from longmab_pl.evaluation.longbench.subem_suite import TASKS
from longmab_pl.prompts import PlanAndSolve


def test_five_tasks_are_asked_as_sealong_does_and_scored_on_the_whole_response(tmp_path, byte_tokenizer):
    for task in (*TASKS, "narrativeqa"):
        row = {"_id": task, "input": "Where {is} it?", "context": f"It is in {task}.", "answers": ["The Peru!", "x"]}
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(row) + "\n")
    tasks = SubEMSuite(str(tmp_path), max_new_tokens=50).tasks(byte_tokenizer, SuiteContext())
    assert [task.name for task in tasks] == list(TASKS)
    texts = ["It is PERU, I plan", "Chile", "<think>Peru</think>Chile", "peru. Answer: Chile", "Peruvian"]
    said = dict(zip(TASKS, texts, strict=True))
    engine = ScriptedEngine(lambda request, i: said[request.id.split("/")[1]])
    result = evaluate(tasks, engine, byte_tokenizer, progress=False)
    assert {name: task.scores["subem"] for name, task in result.tasks.items()} == {
        "qasper": 100.0,
        "multifieldqa_en": 0.0,
        "hotpotqa": 0.0,
        "musique": 100.0,
        "2wikimqa": 100.0,
    }
    (asked,) = [r for r in engine.asked if r.id.split("/")[1] == "qasper"]
    expected = PlanAndSolve(ending="").prompt_ids(byte_tokenizer, "It is in qasper.", "Where {is} it?")
    assert asked.prompt_ids == expected
    assert asked.sampling.temperature == 0
