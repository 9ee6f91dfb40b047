"""Scores of a suite by the groups of its items: by length, by difficulty, by language."""

from __future__ import annotations

from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.results import EvaluationResult


def group_means(result: EvaluationResult) -> dict[str, float]:
    """Return the mean over the items of each bucket, across all tasks, in 0..100; empty buckets are left out."""
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    for task in result.tasks.values():
        for name, found in (task.buckets or {}).items():
            if found["score"] is not None and found["n"]:
                counts[name] = counts.get(name, 0) + found["n"]
                totals[name] = totals.get(name, 0) + found["n"] * found["score"]
    return {name: total / counts[name] for name, total in totals.items()}


def group_scores(result: EvaluationResult) -> dict[str, Score]:
    """Return the mean over the items of each group, across all tasks, as `<breakdown>-<group>`."""
    return {name.replace(" ", "-"): Score(mean) for name, mean in group_means(result).items()}
