"""`longmab compare` over run folders, several suites, pictures and the export to lm-evaluation-harness's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.cli.compare import run
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.lm_eval import task_name
from longmab_pl.evaluation.results import EvaluationResult, ItemResult, macro_average, task_result


def items(scores: dict[str, float], metric: str) -> list[ItemResult]:
    return [ItemResult(name, {metric: score}, True, False, False, 9, 2) for name, score in scores.items()]


def save(folder: Path, suite: str, kind: str, model: str, right: float) -> None:
    """Write a result of eight records at two lengths; the share `right` of those at 4,096 tokens is right."""
    if suite == "needle":
        scores = {f"{n}-{d}-{i}": float(i < 4 * right) for n in (512, 4096) for d in (0, 50, 100) for i in range(4)}
        tasks = {"needle": task_result("needle", ["accuracy"], items(scores, "accuracy"), {}, None)}
    else:
        scores = {f"512-{i}": 1.0 for i in range(4)} | {f"4096-{i}": float(i < 4 * right) for i in range(4)}
        groups = {f"length {n}": [name for name in scores if name.startswith(f"{n}-")] for n in (512, 4096)}
        tasks = {name: task_result(name, ["accuracy"], items(scores, "accuracy"), {}, groups) for name in ("vt", "fwe")}
    EvaluationResult(model, tasks, *macro_average(tasks), suite=suite, kind=f"longmab_pl.evaluation.{kind}").save(
        folder / suite / "result.json"
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    for name, right in (("after-round-10", 0.75), ("after-round-2", 0.5), ("before-training", 0.25)):
        save(folder / "evaluations" / name, "ruler", "RULERSuite", f"tiny, {name}", right)
        save(folder / "evaluations" / name, "needle", "NeedleSuite", f"tiny, {name}", right)
    save(folder / "evaluations" / "before-training", "mine", "LongBenchSuite", "tiny, before-training", 1)
    (folder / "evaluations" / "after-round-11" / "ruler").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("typed", ["evaluations/*", "evaluations", "."])
def test_a_run_is_compared_as_it_is_typed_from_its_first_evaluation_on(run_folder, typed, tmp_path, capsys):
    names = sorted(map(str, run_folder.glob(typed))) if "*" in typed else [str(run_folder / typed)]
    run(["compare", *names, "--out", str(tmp_path / "tests.json")])
    shown = capsys.readouterr()
    tests = json.loads((tmp_path / "tests.json").read_text())
    assert set(tests) == {"ruler", "needle", "mine"}
    assert tests["ruler"]["first"] == "tiny, before-training"
    assert list(tests["ruler"]["against"]) == ["tiny, after-round-2", "tiny, after-round-10"]
    assert tests["needle"]["against"]["tiny, after-round-10"]["needle"]["difference"] == 50.0
    assert "mine: only tiny, before-training has it" in shown.out
    assert ("after-round-11 holds no result.json" in shown.err) == ("*" in typed)


def test_two_runs_with_the_same_labels_are_told_apart(run_folder, tmp_path, capsys):
    save(tmp_path / "other" / "evaluations" / "before-training", "ruler", "RULERSuite", "tiny, before-training", 1)
    first = run_folder / "evaluations" / "before-training" / "ruler" / "result.json"
    run(["compare", str(first), str(tmp_path / "other")])
    shown = " ".join(capsys.readouterr().out.split())
    assert "difference from tiny, before-training (demo)" in shown
    assert "tiny, before-training (other), macro: +37.50" in shown


def test_pictures_are_drawn_for_every_suite(run_folder, tmp_path):
    run(["compare", str(run_folder), "--pictures", str(tmp_path / "pictures")])
    found = sorted(path.name for path in (tmp_path / "pictures").glob("*.png"))
    assert found == ["mine-curve.png", "needle-map.png", "ruler-curve.png", "ruler-tasks.png"]
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "pictures").glob("*.png"))
    assert json.loads((tmp_path / "pictures" / "mine-curve.json").read_text()) == {
        "lengths": {"512": 100.0, "4096": 100.0}
    }


def test_results_without_the_name_of_a_suite_have_pictures_with_a_name(tmp_path):
    for folder in ("first", "second"):
        save(tmp_path / folder, "", "LongBenchSuite", folder, 0.5)
    run(["compare", str(tmp_path / "first"), str(tmp_path / "second"), "--pictures", str(tmp_path / "pictures")])
    assert [path.name for path in (tmp_path / "pictures").glob("*.png")] == ["results-curve.png"]


def test_a_task_whose_name_only_begins_like_its_suite_is_named_after_both():
    assert task_name("qa", "qasper") == "qa_qasper"
    assert task_name("ruler", "vt") == "ruler_vt"
    assert task_name("needle", "needle") == "needle"
    assert task_name("longbench_write", "longbench_write_quality") == "longbench_write_quality"
    assert task_name("agentic", "agentic-plain") == "agentic-plain"


def test_results_are_exported_in_the_layout_of_lm_evaluation_harness(run_folder, tmp_path, capsys):
    run(["compare", str(run_folder), "--lm_eval", str(tmp_path / "export")])
    files = sorted((tmp_path / "export").glob("*/results_*.json"))
    assert [file.parent.name for file in files] == [
        "tiny, after-round-10",
        "tiny, after-round-2",
        "tiny, before-training",
    ]
    found = json.loads(files[0].read_text())
    assert found["results"]["ruler_vt"]["accuracy,none"] == 0.875
    assert found["results"]["ruler_vt"]["accuracy_stderr,none"] == pytest.approx(0.125)
    assert found["group_subtasks"] == {"ruler": ["ruler_vt", "ruler_fwe"]}
    assert found["groups"]["ruler"]["score,none"] == pytest.approx(0.875)
    assert found["n-samples"]["needle"] == {"original": 24, "effective": 24}
    assert found["higher_is_better"]["needle"] == {"accuracy": True}
    for part in ("configs", "versions", "n-shot"):
        assert set(found[part]) == set(found["results"])


def test_one_result_is_not_compared(run_folder):
    with pytest.raises(ConfigError, match=r"at least two results and found 1 \(.*result.json\)"):
        run(["compare", str(run_folder / "evaluations" / "before-training" / "mine")])
    with pytest.raises(ConfigError, match="at least two results and found 0"):
        run(["compare", str(run_folder / "evaluations" / "after-round-11")])


def test_results_without_a_common_question_do_not_keep_the_others_from_being_compared(tmp_path, capsys):
    for name, right in (("first", 0.25), ("second", 0.75)):
        save(tmp_path / name, "ruler", "RULERSuite", name, right)
        scores = items({f"{name}-{i}": right for i in range(3)}, "f1")
        tasks = {"qa": task_result("qa", ["f1"], scores, {}, None)}
        qa = EvaluationResult(name, tasks, *macro_average(tasks), suite="qa", kind="longmab_pl.evaluation.QASuite")
        qa.save(tmp_path / name / "qa" / "result.json")
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]
    run(["compare", *folders, "--out", str(tmp_path / "tests.json")])
    shown = capsys.readouterr()
    assert "note: not tested: 'first' and 'second' share no task, metric and record" in shown.err
    assert "25.00" in shown.out, "the scores are shown all the same"
    tests = json.loads((tmp_path / "tests.json").read_text())
    assert tests["ruler"]["against"]["second"]["vt"]["difference"] == 25.0
    assert tests["qa"]["against"] == {}
    with pytest.raises(ConfigError, match="share no task"):
        run(["compare", *(f"{folder}/qa" for folder in folders)])
