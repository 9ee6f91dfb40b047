"""Tables and picture of a run: every evaluation is in them, and an adaptive budget does not bend the reward."""

from __future__ import annotations

import json

import pytest
from lightning import Trainer
from rich.console import Console
from river_rounds import write_rivers

from longmab_pl.callbacks import RoundReport
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.errors import DataError
from longmab_pl.evaluation import EvaluationEntry, Score
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.pairs import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.reporting.figures import draw, reward_panel
from longmab_pl.reporting.rollout_trace import (
    RolloutTrace,
    best_so_far,
    evidence_lift,
    mean_of_step,
    read_traces,
    share_of_pulls_by_rank,
)
from longmab_pl.reporting.run_record import RunRecord
from longmab_pl.reporting.run_report import RunReport, evaluations_table, load_report, round_table
from longmab_pl.strategies import BanditRollout, BestOfN, Chunking, EarlyStopping, Strategy
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings

SOLVED = RolloutTrace(rewards=((0.0, 1.0),), pulls=(1, 1, 0, 0), evidence=(True, False, False, False))
HARD = RolloutTrace(rewards=((0.2, 0.0), (0.4, 0.0), (0.0, 0.0)), pulls=(3, 2, 1, 0), evidence=(False,) * 4)


def entry(when, rounds, step, suite, scores, task=None, test=None):
    return EvaluationEntry(when, rounds, step, suite, task, 8, scores, 1.0, 0.0, test, "tiny + base", "evaluations/x")


def run_of_three_suites():
    rows = []
    for when, number, step, shift in (
        ("before training", 0, 0, 0.0),
        ("after step 3", 0, 3, 2.0),
        ("after round 1", 1, 5, 4.0),
    ):
        test = PairedTest(shift, shift - 1, shift + 1, 0.04, 8) if step else None
        rows.append(
            entry(when, number, step, "held", {"f1": Score(10 + shift, 5, 20), "em": Score(1 + shift, 0, 5)}, test=test)
        )
        rows.append(entry(when, number, step, "longbench", {"score": Score(30 + shift, 20, 40)}, test=test))
        rows += [
            entry(when, number, step, "longbench", {"f1": Score(value + shift, 10, 60)}, task)
            for task, value in (("musique", 20), ("hotpotqa", 40))
        ]
        rows.append(entry(when, number, step, "needle", {"accuracy": Score(50 + shift, 40, 70), "spread": Score(9.0)}))
    return RunReport([{"round": 1, "train/rewards/accuracies": 0.7}], rows)


def shown(table):
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_closing_table_has_the_scores_of_every_suite_named_or_not():
    table = shown(round_table(run_of_three_suites()))
    for part in ("held", "F1", "EM", "longbench", "score", "needle", "accuracy", "10.0", "34.0", "54.0"):
        assert part in table, part
    assert "spread" not in table, "what was derived from scores stays out of the summary"
    alone = RunReport([{"round": 1}], [entry("after round 1", 1, 5, "held", {"f1": Score(14.0, 5, 20)})])
    assert "held" not in shown(round_table(alone))
    assert "14.0" in shown(round_table(alone))


def test_the_table_of_evaluations_has_tasks_intervals_and_steps():
    report = run_of_three_suites()
    table = shown(evaluations_table(report))
    for part in ("after step 3", "musique", "hotpotqa", "24.0 [10.0, 60.0]", "spread", "9.0"):
        assert part in table, part
    assert report.has_more_evaluations()
    held_only = RunReport(report.rounds, [e for e in report.evaluations if e.suite == "held" and e.step != 3])
    assert not held_only.has_more_evaluations()


def test_of_many_evaluations_the_first_and_the_last_are_shown():
    many = [entry(f"after step {s}", 0, s, "held", {"f1": Score(float(s))}) for s in range(1, 11)]
    table = shown(evaluations_table(RunReport([], many)))
    assert "after step 1 " in table
    assert "after step 10" in table
    assert "after step 3 " not in table
    assert "4 evaluations between are in report.json" in table


def test_report_json_is_read_back_as_it_was_and_another_file_is_refused(tmp_path):
    report = run_of_three_suites()
    report.save(tmp_path)
    assert load_report(tmp_path) == report
    with pytest.raises(DataError, match="give the folder of a run"):
        load_report(tmp_path / "nowhere")
    for content in ("{", "[]", '{"rounds": []}', '{"rounds": [], "evaluations": [{"when": 1}]}'):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(DataError, match="is not the report of a run"):
            load_report(tmp_path)


def test_reward_over_all_records_does_not_fall_because_solved_records_stop():
    # Of the answers alone the second pull has a mean of 0.2, and the first one of 0.3: solved records are not asked.
    assert best_so_far([SOLVED, HARD]) == pytest.approx([(1 + 0.2) / 2, (1 + 0.4) / 2, (1 + 0.4) / 2])
    assert mean_of_step([SOLVED, HARD]) == pytest.approx([(0.5 + 0.1) / 2, (0.5 + 0.2) / 2, (0.5 + 0.0) / 2])
    assert best_so_far([RolloutTrace(())]) == mean_of_step([]) == []


def test_pulls_by_rank_and_lift_of_evidence():
    assert share_of_pulls_by_rank([SOLVED, HARD]) == pytest.approx([0.5, (0.5 + 2 / 6) / 2, 1 / 12, 0.0])
    assert evidence_lift([SOLVED, HARD]) == pytest.approx(0.5 / 0.25)
    assert evidence_lift([HARD]) is None
    assert share_of_pulls_by_rank([RolloutTrace(((1.0,),))]) == []


def test_the_picture_of_a_run_without_rollouts_and_with_all_its_evaluations(tmp_path):
    run_of_three_suites().save(tmp_path)
    assert draw(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_the_reward_panel_says_which_line_is_which():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    reward_panel(axis, [(1, [SOLVED, HARD]), (2, [SOLVED])])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "round 1",
        "round 2",
        "best answer so far",
        "mean of the pull's answers",
    ]
    assert "keep their last value" in axis.get_xlabel()


def right_every_second_time(request, i):
    record = int(request.id.split("/")[0])
    return f" number {record * 10 + record % 4}" if i % 2 else " no idea"


@pytest.mark.parametrize("method", ["bandit", "best of n"])
def test_a_round_is_drawn_from_the_rollouts_that_a_run_writes(tmp_path, tiny_model, method):
    """An adaptive budget, and a method without arms: rows as the package writes them."""
    if method == "bandit":
        budget: dict = {"budget": "adaptive", "early_stopping": EarlyStopping(patience=None)}
        chunking = Chunking(60, 0, 1)
        strategy: Strategy = BanditRollout(
            pulls=3, top_k=2, samples_per_pull=2, init="uniform", chunking=chunking, **budget
        )
    else:
        strategy = BestOfN(n=3)
    run = tmp_path / "run"
    data = RolloutDataModule(
        ScriptedEngine(right_every_second_time),
        str(write_rivers(tmp_path / "rivers.jsonl")),
        strategy=strategy,
        prompt_format=DirectAnswer(),
        pairs=BestWorst(max_prompt_length=1500),
        rounds=1,
        verify_sync=False,
    )
    module = DPOModule(tiny_model, lora=LoRASettings(r=2, alpha=4), dtype="fp32", gradient_checkpointing=False)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=1,
        callbacks=[RoundReport()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)
    (folder,) = (run / "rounds").iterdir()
    traces = read_traces(folder)
    assert len(traces) == 12
    best = best_so_far(traces)
    assert best == sorted(best)
    assert 0 < best[-1] <= 1
    assert all(bool(trace.pulls) is (method == "bandit") for trace in traces)
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (run / "report.html").read_text()
    assert "12 records rolled out" in page
    assert "Which river at place 3?" in page
    assert ("The document, " in page) is (method == "bandit")
    record = RunRecord.load(run)
    assert record.costs[1].rollout > 0
    assert record.costs[1].training > 0
    assert record.versions["torch"]
    assert record.host_memory > 0.1


def test_a_missing_round_is_named(tmp_path):
    with pytest.raises(DataError, match=r"rollouts.jsonl is missing"):
        read_traces(tmp_path)
    RunReport([{"round": 1, "folder": "000-gone"}], []).save(tmp_path)
    with pytest.raises(DataError, match="000-gone"):
        draw(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["evaluations"] == []
