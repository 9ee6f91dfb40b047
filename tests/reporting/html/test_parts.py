"""The parts that pages are made of: intervals, curves, differences, texts, strips, trees."""

from __future__ import annotations

import json

import numpy as np
import pytest

from longmab_pl.evaluation.statistics import wilson_interval
from longmab_pl.reporting.html.differences import differences
from longmab_pl.reporting.html.intervals import RunningMean, share
from longmab_pl.reporting.html.panels import round_colors, shown_rounds, training_charts
from longmab_pl.reporting.html.round_digest import DrawnRecord, RoundDigest
from longmab_pl.reporting.html.run_data import RunData
from longmab_pl.reporting.html.samples import sample
from longmab_pl.reporting.html.step_curves import StepCurveSums
from longmab_pl.reporting.html.strip import strip
from longmab_pl.reporting.html.text import clean, line, script_json
from longmab_pl.reporting.html.tree import MAX_NODES, tree
from longmab_pl.reporting.rollout_trace import RolloutTrace, best_so_far, mean_of_step
from longmab_pl.reporting.run_record import RunRecord
from longmab_pl.reporting.run_report import RunReport
from longmab_pl.rollout.metrics import RoundMetrics
from longmab_pl.strategies.base import RecordRollout


def test_the_running_mean_is_the_mean_with_its_normal_interval():
    values = [0.1, 0.7, 0.4, 0.9, 0.2]
    found = RunningMean(values).estimate()
    half = 1.959964 * np.std(values, ddof=1) / np.sqrt(5)
    assert (found.value, found.low, found.high) == pytest.approx(
        (np.mean(values), np.mean(values) - half, np.mean(values) + half)
    )
    assert RunningMean().estimate() is None
    assert RunningMean([3.0]).estimate().low is None


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 10), (10, 10)])
def test_shares_have_the_wilson_interval_that_scipy_computes(successes, trials):
    found = share(successes, trials)
    assert (found.low, found.high) == pytest.approx(wilson_interval(successes, trials), abs=1e-12)
    assert share(0, 0) is None


def test_step_curves_are_means_over_all_records_with_stopped_ones_carried_forward():
    chance = np.random.default_rng(0)
    traces = [RolloutTrace(tuple(tuple(chance.random(2)) for _ in range(steps))) for steps in (1, 4, 2, 4, 3, 1)]
    sums = StepCurveSums()
    for trace in [*traces, RolloutTrace(())]:
        sums.add(trace)
    curves = sums.curves()
    assert [e.value for e in curves.best] == pytest.approx(best_so_far(traces))
    assert [e.value for e in curves.mean] == pytest.approx(mean_of_step(traces))
    assert curves.asked == pytest.approx([1, 4 / 6, 3 / 6, 2 / 6])
    last = [max(max(step) for step in trace.rewards) for trace in traces]
    half = 1.959964 * np.std(last, ddof=1) / np.sqrt(6)
    assert curves.best[-1].high == pytest.approx(np.mean(last) + half)
    assert StepCurveSums().curves().best == ()


def test_differences_give_both_texts_back_and_mark_only_what_differs():
    a, b = "The town lies on the river Po, in Italy.", "The town lies at the river Rhine, in Italy."
    left, right = differences(a, b)
    assert "".join(part.text for part in left) == a
    assert "".join(part.text for part in right) == b
    assert [part.text for part in left if part.differs] == ["on", "Po"]
    assert [part.text for part in right if part.differs] == ["at", "Rhine"]
    assert [part.differs for part in differences("same", "same")[0]] == [False]
    assert differences("", "x") == ([], differences("x", "")[0])


def test_long_different_answers_are_compared_by_beginning_and_end():
    a = "start " + "one " * 5_000 + "end"
    b = "start " + "two " * 5_000 + "end"
    left, _ = differences(a, b)
    assert [part.differs for part in left] == [False, True, False]


def test_text_shows_what_a_page_would_hide():
    assert clean("a\u202eb\x1b[0m\ud83d\n\tc\u3000d") == "a\\u202eb\\x1b[0m\\ud83d\n\tc\u3000d"
    assert clean("x" * 50, 20).startswith("x" * 10 + "\n[… 30 characters left out …]")
    assert line("a\n b\x00", 10) == "a b\\x00"
    assert line("x" * 30, 10) == "x" * 10 + "…"
    embedded = script_json(["</script>", "<!--", "&", float("nan"), 1.5])
    assert "<" not in embedded
    assert json.loads(embedded) == ["</script>", "<!--", "&", None, 1.5]


def test_a_tree_is_drawn_parents_before_children_and_a_broken_one_too():
    nodes = [{"id": i, "parent": None if i == 0 else (i - 1) // 2, "score": i} for i in range(7)]
    drawn = tree({"nodes": nodes})
    assert [node.depth for node in drawn.nodes] == [0, 1, 1, 2, 2, 2, 2]
    leaves = [node.y for node in drawn.nodes[3:]]
    assert leaves == sorted(set(leaves))
    assert drawn.nodes[0].y == (drawn.nodes[1].y + drawn.nodes[2].y) / 2
    assert (drawn.nodes[0].shade, drawn.nodes[6].shade) == (0, 1)
    broken = tree({"nodes": [{"id": 0, "parent": 0}, {"id": 1, "parent": "gone", "score": float("nan")}, "no node"]})
    assert [node.parent for node in broken.nodes] == [None, None]
    assert tree({"nodes": []}) is tree({}) is None
    chain = tree({"nodes": [{"id": i, "parent": i - 1 if i else None} for i in range(5000)]})
    assert (len(chain.nodes), chain.left_out) == (MAX_NODES, 5000 - MAX_NODES)


def test_a_strip_colors_chunks_by_value_and_pulls_by_reward():
    score = {"answer_match": {"value": 0.5, "excluded": None}}
    responses = [{"step": 0, "read": [0, 2], "scores": score}, {"step": 1, "read": [1], "scores": {}}]
    trace = {"values": [0.2, 0.4, 0.9], "pulls": [1, 1, 1], "evidence": [0, 0, 1]}
    drawn = strip({"trace": trace, "responses": responses}, [0, 2], [1], "answer_match")
    kinds = [cell.kind for cell in drawn.cells]
    assert (kinds.count("value"), kinds.count("gold"), kinds.count("chosen"), kinds.count("rejected")) == (3, 1, 2, 1)
    assert [cell.shade for cell in drawn.cells if cell.kind == "read"] == [0.5, 0.5, None]
    assert "chunk 3 of 3, value 0.900, 1 pull, holds the gold answer, read for the chosen answer" in {
        cell.title for cell in drawn.cells
    }
    assert strip({"trace": {"nodes": []}, "responses": []}, [], [], "") is None


def test_of_many_rounds_the_first_the_last_and_some_between_are_drawn():
    rounds = [RoundDigest(number) for number in range(1, 41)]
    shown = [r.number for r in shown_rounds(rounds)]
    assert len(shown) == 6
    assert (shown[0], shown[-1]) == (1, 40)
    assert ["--seq-b) 0%" in color for color in round_colors(rounds[:2])] == [True, False]
    assert "--seq-b) 100%" in round_colors(rounds[:1])[0]


def test_failed_records_count_once_in_the_interval_of_usable_records(tmp_path):
    metrics = RoundMetrics("answer_match")
    for i in range(6):
        metrics.add(RecordRollout(f"record-{i}", "ok", ()), [])
    metrics.add_failures(4)
    report = RunReport([{"round": 1, **metrics.result()}], [])
    (chart,) = [
        c for c in training_charts(RunData(tmp_path, report, {}, RunRecord(), (), {}, {})) if "usable" in c.title
    ]
    ((_, found),) = chart.lines[0].points
    assert (found.n, found.high) == (10, pytest.approx(wilson_interval(0, 10)[1]))


def test_of_conversations_the_page_shows_the_turns_that_differ():
    def turns(*texts):
        return [{"role": ("assistant", "user")[i % 2], "content": text} for i, text in enumerate(texts)]

    rollout = {
        "record_id": "r",
        "question": "q",
        "answers": ["a"],
        "responses": [],
        "trace": {},
        "status": "ok",
        "stopped": None,
    }
    pair = {
        "chosen": turns("first thought", "go on", "a good end"),
        "rejected": turns("first thought", "go on", "a bad end"),
        "shared_turns": 2,
        "chosen_reward": 1.0,
        "rejected_reward": 0.0,
    }
    sides = sample(DrawnRecord(rollout, pair), 1).sides
    shown = ["".join(part.text for part in side.parts) for side in sides]
    assert shown == ["(after 2 turns that both have)\n\na good end", "(after 2 turns that both have)\n\na bad end"]
    assert [[part.text.strip() for part in side.parts if part.differs] for side in sides] == [["good"], ["bad"]]
    whole = sample(DrawnRecord(rollout, pair | {"shared_turns": 0}), 1).sides[0]
    assert "".join(part.text for part in whole.parts) == "first thought\n\n[asked] go on\n\na good end"
