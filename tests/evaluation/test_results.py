from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.results import (
    EvaluationResult,
    ItemResult,
    compare,
    compare_headlines,
    macro_average,
    task_result,
)
from longmab_pl.evaluation.tables import notes, results_table


def items(scores: list[float], metric: str = "f1", **flags: bool) -> list[ItemResult]:
    outcome = {"well_formed": True, "truncated": False, "cut": False} | flags
    return [
        ItemResult(str(i), {metric: s}, **outcome, prompt_tokens=9, completion_tokens=2) for i, s in enumerate(scores)
    ]


def result(model: str = "base", **tasks: list[float]) -> EvaluationResult:
    made = {name: task_result(name, ["f1"], items(scores), {}, None) for name, scores in tasks.items()}
    return EvaluationResult(model, made, *macro_average(made))


def rendered(*results: EvaluationResult) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(results_table(results))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_tasks_weigh_alike_in_the_macro_average() -> None:
    made = result(small=[1.0], large=[0.0] * 99)
    assert made.macro == {"f1": 50.0}
    assert made.score == 50.0
    assert made.macro_intervals["f1"] == (50.0, 50.0)


def test_means_are_rounded_like_the_official_scorer() -> None:
    thirds = [1 / 3, 1.0, 0.0]
    assert result(a=thirds).tasks["a"].score == round(100 * (1 / 3 + 1.0 + 0.0) / 3, 2) == 44.44


def test_results_survive_json(tmp_path: Path) -> None:
    buckets = {"0-4k": ["0"], "4-8k": []}
    task = task_result("t_e", ["f1"], items([0.25, 1.0], truncated=True), {"9": "too long"}, buckets)
    made = EvaluationResult("m", {"t_e": task}, *macro_average({"t_e": task}), seconds=1.5)
    made.save(tmp_path / "new" / "result.json")
    assert EvaluationResult.load(tmp_path / "new" / "result.json") == made
    assert (
        json.loads((tmp_path / "new" / "result.json").read_text())["tasks"]["t_e"]["buckets"]["4-8k"]["score"] is None
    )


@pytest.mark.parametrize("content", ["[1]", "{", '{"model": "m"}', '{"model": 1, "tasks": {"a": 3}}'])
def test_files_that_are_no_results_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x.json: not an evaluation result"):
        EvaluationResult.load(tmp_path / "x.json")
    with pytest.raises(DataError, match="no such evaluation result"):
        EvaluationResult.load(tmp_path / "missing.json")


def test_compare_pairs_by_id_and_leaves_out_what_only_one_answered() -> None:
    first = result(a=[0.0, 0.5, 1.0, 0.0], b=[1.0, 1.0])
    second = result("tuned", a=[0.5, 1.0, 1.0], b=[1.0, 0.0], c=[1.0])
    tests = compare(first, second)
    assert set(tests) == {"a", "b", "macro"}
    assert tests["a"].difference == pytest.approx(100 * (0.5 + 0.5 + 0.0) / 3)
    assert tests["a"].n == 3
    assert tests["macro"].difference == pytest.approx((100 / 3 - 50) / 2)
    with pytest.raises(ConfigError, match="share no task"):
        compare(result(a=[1.0]), result(b=[1.0]))


def test_the_table_has_intervals_differences_and_the_macro_average() -> None:
    base = result(a=[0.0] * 30 + [1.0] * 10, b=[0.5] * 20)
    tuned = result("tuned", a=[0.0] * 10 + [1.0] * 30, b=[0.5] * 20)
    table = rendered(base, tuned)
    low, high = base.tasks["a"].intervals["f1"]
    assert f"25.00 [{low:.1f}, {high:.1f}]" in table
    assert "+50.00 (p 0.000)" in table
    assert "+0.00 (p 1.000)" in table
    assert "macro average" in table
    assert "macro average" not in rendered(result(a=[1.0]))


def test_tasks_of_different_metrics_have_one_average_and_no_macro_of_one_task() -> None:
    def mixed(model: str, shift: float) -> EvaluationResult:
        f1s, rouges = [0.0, 0.5] * 10, [0.1 + shift, 0.3 + shift] * 10
        made = {
            "a": task_result("a", ["f1"], items(f1s), {}, None),
            "b": task_result("b", ["rouge_l"], items(rouges, "rouge_l"), {}, None),
        }
        return EvaluationResult(model, made, *macro_average(made))

    base, tuned = mixed("base", 0.0), mixed("tuned", 0.2)
    assert base.score == pytest.approx(22.5)
    low, high = base.score_interval()
    assert 15 < low < 22.5 < high < 30
    table = rendered(base, tuned)
    assert "macro average" not in table
    (line,) = (line for line in table.splitlines() if "average" in line)
    assert f"22.50 [{low:.1f}, {high:.1f}]" in line
    assert "+10.00 (p 0.000)" in line


def test_a_task_that_one_result_lacks_leaves_its_cell_empty() -> None:
    table = rendered(result(a=[1.0, 0.0]), result("tuned", b=[1.0, 1.0]))
    assert "50.00" in table
    assert "(p" not in table


def test_averages_are_over_the_tasks_that_all_results_have() -> None:
    shown = rendered(result(a=[1.0, 0.0], b=[1.0], c=[0.0]), result("other", a=[1.0, 1.0], b=[1.0], d=[0.3]))
    (average,) = (line for line in shown.splitlines() if "macro average" in line)
    assert "macro average of shared tasks" in average
    assert "75.00 [" in average
    assert "100.00 [" in average
    assert "+25.00 (p" in average


def test_results_with_one_task_in_common_have_no_average_and_no_quarrel() -> None:
    by_rouge = task_result("b", ["rouge_l"], items([1.0], "rouge_l"), {}, None)
    made = {**result(a=[1.0]).tasks, "b": by_rouge}
    first = EvaluationResult("first", made, *macro_average(made))
    shown = rendered(first, EvaluationResult("other", {"b": by_rouge}, *macro_average({"b": by_rouge})))
    assert "average" not in shown
    assert "+0.00 (p" in shown


def test_buckets_have_their_own_rows() -> None:
    task = task_result("t_e", ["f1"], items([0.25]), {}, {"0-4k": ["0"], "8k+": []})
    table = rendered(EvaluationResult("m", {"t_e": task}, *macro_average({"t_e": task})))
    assert "25.00 (n 1)" in table
    assert "no record" in table


def test_notes_say_what_a_reader_must_know() -> None:
    task = task_result(
        "t", ["f1"], items([0.0, 0.0], well_formed=False, truncated=True), {"9": "record '9' is long"}, None
    )
    lines = notes(EvaluationResult("m", {"t": task}, *macro_average({"t": task})))
    assert lines == [
        "m, t (2 scored): 2 without a readable answer, 2 responses cut off at the token limit, 1 not scored",
        "  record '9' is long",
    ]
    assert notes(result(a=[1.0])) == []


def test_the_headlines_test_is_over_the_tasks_of_the_headline_alone() -> None:
    first, second = result(plain=[1.0, 1.0], agentic=[0.0, 0.0]), result(plain=[0.0, 0.0], agentic=[1.0, 0.0])
    assert compare_headlines(first, second).difference == pytest.approx(-25.0)
    first = replace(first, headline_tasks=("agentic",))
    found = compare_headlines(first, second)
    assert (found.difference, found.n) == (pytest.approx(50.0), 2)
    assert EvaluationResult.from_json(json.loads(json.dumps(first.to_json()))) == first
