from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from longmab_pl.evaluation.longbench.loading import LongBenchItem
from longmab_pl.evaluation.longbench.metrics import Classification, task_metric
from longmab_pl.evaluation.longbench.table import TASKS
from longmab_pl.evaluation.longbench.task import LongBenchTask
from longmab_pl.evaluation.qa import QAMatch
from longmab_pl.evaluation.runner import evaluate

VECTORS = Path(__file__).parents[2] / "assets" / "longbench_scores.jsonl.gz"


def rows_by_task() -> dict[str, list[dict]]:
    rows = defaultdict(list)
    with gzip.open(VECTORS, "rt", encoding="utf-8") as file:
        for line in file:
            rows[json.loads(line)["task"]].append(json.loads(line))
    return rows


def test_every_task_metric_accumulates_to_the_mean_of_the_official_scores() -> None:
    for task, rows in rows_by_task().items():
        metric = task_metric(task)
        for start in range(0, len(rows), 3):
            batch = rows[start : start + 3]
            columns = [[row["prediction"] for row in batch], [row["answers"] for row in batch]]
            if isinstance(metric, Classification):
                columns.append([row["all_classes"] for row in batch])
            metric.update(*columns)
        official = sum(row["score"] for row in rows) / len(rows)
        assert metric.compute().item() == pytest.approx(official, abs=5.1e-3), task  # official rows have 2 digits
        metric.reset()
        assert metric.n == 0


def test_the_runner_gives_the_official_scores_of_every_task(scripted_engine, tokenizer) -> None:
    """Answers are the vectors' predictions: items and means are what the official scorer gives them."""
    for name, rows in rows_by_task().items():
        spec = replace(TASKS[name.removesuffix("_e")], prompt="{context}", max_new_tokens=100_000)
        items = [
            LongBenchItem(str(number), "", tuple(row["answers"]), f"<{number}>", 10, row["all_classes"])
            for number, row in enumerate(rows)
        ]
        task = LongBenchTask(name, items, spec)
        said = [row["prediction"] for row in rows]
        engine = scripted_engine(
            lambda text, said=said: said[int(re.search(r"<(\d+)>", text)[1])], max_model_len=1_000_000
        )
        result = evaluate(task, engine, tokenizer, progress=False, resamples=10).tasks[name]
        scored = {item.id: round(100 * item.scores[spec.metric], 2) for item in result.items}
        assert scored == {str(number): row["score"] for number, row in enumerate(rows)}, name
        metric = task.metric()
        metric.update(said, [row["answers"] for row in rows], [row["all_classes"] for row in rows])
        assert round(metric.means()[spec.metric], 2) == result.score


def test_qa_match_is_in_percent_and_counts_answers_of_the_asked_form() -> None:
    metric = QAMatch()
    metric.update(["So.\nAnswer: the blue whale", "no idea"], [["Blue whale"], "x"])
    metric.update(["Answer: a whale"], [["blue whale", "shark"]])
    result = {name: value.item() for name, value in metric.compute().items()}
    assert result == pytest.approx(
        {"em": 100 / 3, "f1": 100 * (1 + 2 / 3) / 3, "subem": 100 / 3, "format_rate": 2 / 3, "n": 3}
    )


def test_first_line_is_the_tasks_choice() -> None:
    few_shot, plain = task_metric("triviaqa"), task_metric("hotpotqa")
    for metric in (few_shot, plain):
        metric.update(["\nblue whale\nPassage: more"], ["blue whale"])
    assert few_shot.compute() == 100
    assert plain.compute() < 100


def _rank(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    metric, match = task_metric("hotpotqa"), QAMatch()
    # Ranks of unequal size: a mean of the ranks' means would be wrong.
    for prediction in [["x"], ["Answer: x", "Answer: y", "y"]][rank]:
        metric.update([prediction], ["x"])
        match.update([prediction], ["x"])
    torch.save((metric.compute(), match.compute()), f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_metrics_add_up_over_ranks(tmp_path: Path) -> None:
    mp.start_processes(_rank, (str(tmp_path / "store"), str(tmp_path)), nprocs=2, start_method="fork")
    for rank in range(2):
        f1, match = torch.load(tmp_path / f"{rank}.pt")
        assert f1.item() == pytest.approx(100 * (1 + 2 / 3) / 4)
        assert match["em"].item() == 25
        assert match["format_rate"].item() == 0.5
        assert match["n"] == 4
