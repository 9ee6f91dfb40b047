"""The study: its sets share nothing, its arms are valid configs, and its table compares question by question."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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


def test_a_paragraph_with_another_number_is_the_same_one() -> None:
    numbered = [
        QARecord(
            f"q{n}", f"Who built tower {n}?", (f"Mason{n}",), f"Passage {n}:\nIt rains.\n\nPassage 7:\nMason{n} came."
        )
        for n in range(4)
    ]
    for row in real_sets.build(numbered, 4, seed=0):
        parts = row["context"].split("\n\n")
        assert len(set(parts)) == 4
        assert "Passage" not in row["context"]
    assert real_sets.build(numbered, 6, seed=0) == [], "four builders and the rain are five paragraphs"


STOPPED = """
import sys, time
from pathlib import Path
import study
child = "import os, sys, time; from pathlib import Path; Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
one = study.Study(Path("sets"), Path("out"), time.monotonic() + 60)
one._run([sys.executable, "-c", child, sys.argv[1]], Path(sys.argv[1] + ".log"))
"""


def test_a_study_that_is_stopped_leaves_no_run_behind(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    places = {**os.environ, "PYTHONPATH": str(Path(study.__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(number)], env=places, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (number.is_file() and number.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_questions_without_enough_other_text_are_left_out() -> None:
    assert real_sets.build(records(2), 5, seed=0) == []
    assert len(real_sets.build(records(2), 4, seed=0)) == 2


def test_a_question_with_two_gold_paragraphs_is_left_out() -> None:
    twice = QARecord("q", "Who?", ("Ann",), "Ann came.\n\nAnn went.")
    assert not list(real_sets.with_one_gold([twice]))


@pytest.fixture
def first_round(tmp_path: Path) -> study.Study:
    """A study whose three rounds are trained, with three pairs in the first of them."""
    run = study.Study(tmp_path / "sets", tmp_path / "out", 0.0)
    run.sets.mkdir()
    (run.sets / "train_4.jsonl").touch()
    folder = run.folder(study.BASE_ARM, 0)
    round_folder = folder / "rounds" / "000-abc"
    round_folder.mkdir(parents=True)
    (folder / "done").touch()
    for step in ("step-000010", "step-000021"):
        (folder / "adapters" / step).mkdir(parents=True)
    sides = [("chosen", "good{n}"), ("rejected", "bad{n}")]
    pairs = [
        {
            "id": f"q{n}",
            "prompt": [{"role": "user", "content": f"Question {n}"}],
            **{key: [{"role": "assistant", "content": text.format(n=n)}] for key, text in sides},
        }
        for n in range(3)
    ]
    records = [
        {
            "record_id": f"q{n}",
            "answers": [f"gold{n}"],
            "responses": [{"text": f"{t}{n}"} for t in ("good", "bad", "bad")],
        }
        for n in range(3)
    ]
    for name, rows in [("pairs", pairs), ("rollouts", records)]:
        (round_folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, arm in study.ARMS.items() if arm.changes is not None and not arm.after]
)
def test_each_arm_is_a_valid_config(name: str, first_round: study.Study, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    folder = first_round.folder(name, 0)
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(first_round._config(name, study.ARMS[name], 0, folder)))
    ParseOnlyCLI(["fit", "--config", str(config)], lambda parser: None, "")


def test_arms_that_differ_in_training_alone_share_the_first_round(first_round: study.Study) -> None:
    alone = {name for name, arm in study.ARMS.items() if arm.in_training_alone}
    assert {"SFT on chosen", "IPO", "NLL 0", "rate 5e-5", "short to long", "detached prompt"} <= alone
    assert not alone & {"default", "base", "random chunks", "group, RLOO", "SFT on gold", "curriculum"}
    for name in ("IPO", "random chunks"):
        folder = first_round.folder(name, 0)
        config = first_round._config(name, study.ARMS[name], 0, folder)
        assert config["data"]["class_path"] == "longmab_pl.RolloutDataModule"
        assert (folder / "rounds" / "000-abc" / "pairs.jsonl").is_file() == (name == "IPO")


def test_an_arm_after_a_round_has_the_adapter_that_the_next_rollout_had(first_round: study.Study) -> None:
    for name, step in [("default", "step-000010"), ("default, two rounds", "step-000021")]:
        found = first_round.train(name, study.ARMS[name], 0)
        assert found == first_round.folder(study.BASE_ARM, 0) / "adapters" / step


def test_an_arm_whose_questions_are_not_there_is_left_out(
    first_round: study.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert first_round.run(["questions from documents"], [0])
    assert "documents_4.jsonl is not there" in capsys.readouterr().out


def trained_on(run: study.Study, name: str, seed: int = 0) -> list[tuple[str, str, str]]:
    folder = run.folder(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = run._config(name, study.ARMS[name], seed, folder)
    assert config["data"]["class_path"] == "longmab_pl.PreferenceDataModule"
    rows = [json.loads(line) for line in Path(config["data"]["init_args"]["train"]).read_text().splitlines()]
    return [tuple(row[key][0]["content"] for key in ("prompt", "chosen", "rejected")) for row in rows]


def test_arms_on_other_answers_have_the_questions_of_the_first_round(first_round: study.Study) -> None:
    assert trained_on(first_round, "SFT on gold") == [(f"Question {n}", f"gold{n}", f"bad{n}") for n in range(3)]
    others = trained_on(first_round, "SFT on other answers")
    assert sorted(question for question, *_ in others) == [f"Question {n}" for n in range(3)]
    assert sorted(chosen for _, chosen, _ in others) == [f"good{n}" for n in range(3)]
    assert all(question[-1] != chosen[-1] for question, chosen, _ in others)
    permuted = trained_on(first_round, "rewards permuted")
    assert all({chosen, rejected} == {f"good{n}", f"bad{n}"} for n, (_, chosen, rejected) in enumerate(permuted))
    assert permuted == trained_on(first_round, "rewards permuted")


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
    bandit = {"bandit": {"policy": "ucb1", "options": {"prior_weight": 30}}, "pulls": 4}
    assert study._merged(bandit, {"bandit": {"policy": "uniform"}}) == {"bandit": {"policy": "uniform"}, "pulls": 4}
