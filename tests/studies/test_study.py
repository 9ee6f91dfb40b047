"""The study: its sets share nothing, its arms are valid configs, and its table compares question by question."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import real_sets
import study
import yaml

from longmab_pl.cli.lightning import ParseOnlyCLI
from longmab_pl.data.records import QARecord
from longmab_pl.evaluation.results import EvaluationResult, ItemResult, macro_average, task_result


def records(count: int) -> list[QARecord]:
    return [
        QARecord(f"q{n}", f"Who built tower {n}?", (f"Mason{n}",), f"Mason{n} built tower {n}.\n\nRain {n} fell.")
        for n in range(count)
    ]


def test_a_set_has_the_gold_paragraph_once_among_others() -> None:
    rows = real_sets.build(records(8), 4, seed=0)
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(8)]
    for n, row in enumerate(rows):
        parts = row["context"].split("\n\n")
        assert len(parts) == len(set(parts)) == 4
        assert [f"Mason{n} " in part for part in parts].count(True) == 1
    assert rows == real_sets.build(list(reversed(records(8))), 4, seed=0)[::-1], "a question's context is its own"
    assert rows != real_sets.build(records(8), 4, seed=1)


def test_questions_without_enough_other_text_are_left_out() -> None:
    assert real_sets.build(records(2), 5, seed=0) == []
    assert len(real_sets.build(records(2), 4, seed=0)) == 2


def test_a_question_with_two_gold_paragraphs_is_left_out() -> None:
    twice = QARecord("q", "Who?", ("Ann",), "Ann came.\n\nAnn went.")
    assert not list(real_sets.with_one_gold([twice]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, arm in study.ARMS.items() if arm.changes is not None])
def test_each_arm_is_a_valid_config(name: str, tmp_path: Path) -> None:
    overlay = tmp_path / "changes.yaml"
    overlay.write_text(yaml.safe_dump(dict(study.ARMS[name].changes)))
    train = ["--data.init_args.train", "train_4.jsonl"]
    ParseOnlyCLI(["fit", "--config", str(study.BASE), "--config", str(overlay), *train], lambda parser: None, "")


def evaluated(folder: Path, name: str, seed: int, scores: dict[str, float]) -> None:
    items = [
        ItemResult(key, dict.fromkeys(study.METRICS, value), True, False, False, 9, 3) for key, value in scores.items()
    ]
    tasks = {"held_out_4": task_result("held_out_4", study.METRICS, items, {}, None)}
    result = EvaluationResult("model", tasks, *macro_average(tasks))
    result.save(study.Study(folder, folder, 0.0).folder(name, seed) / "evaluation" / "held_out_4" / "result.json")


def test_the_table_pairs_questions_and_averages_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [f"q{n}" for n in range(20)]
    evaluated(tmp_path, "base", 0, dict.fromkeys(questions, 0.25))
    evaluated(tmp_path, "default", 0, dict.fromkeys(questions, 0.5))
    evaluated(tmp_path, "default", 1, dict.fromkeys(questions, 1.0))
    found = study.summary(study.Study(tmp_path, tmp_path, 0.0))
    base, default = found["rows"]
    assert default["seeds"] == [0, 1]
    assert default["f1"]["mean"] == pytest.approx(75)
    assert default["f1"]["over_seeds"] == pytest.approx(35.36, abs=0.01)
    assert default["f1"]["minus_base"]["difference"] == pytest.approx(50)
    assert default["f1"]["minus_base"]["p"] < 0.001
    assert base["f1"]["over_seeds"] is None
    study.show(found)
    assert "| default | held_out_4 | 2 | 75.0 [75.0, 75.0] |" in capsys.readouterr().out
    json.dumps(found)


def test_settings_of_an_arm_are_laid_over_those_of_the_run() -> None:
    assert study._merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}
    assert replace(study.ARMS["base"], changes={}).changes == {}
