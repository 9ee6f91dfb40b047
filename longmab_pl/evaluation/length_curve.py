"""A picture of scores by length, for every suite whose tasks are scored by length."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from longmab_pl.evaluation.group_scores import group_means
from longmab_pl.evaluation.results import EvaluationResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[str, float]
"""Score in percent by name of the length, ascending."""

_PREFIX = "length "
_NAMED = {"short": 0, "medium": 1, "long": 2}


def length_curve(result: EvaluationResult) -> dict[str, float]:
    """Return the mean over the records of each length, across all tasks, in 0..100.

    Lengths are the buckets called "length ..." (32768, "8k", "short"), and LongBench-E's ("0-4k").
    """
    means = {
        bucket.removeprefix(_PREFIX): mean
        for bucket, mean in group_means(result).items()
        if bucket.startswith(_PREFIX) or re.match(r"\d", bucket)
    }
    return {name: means[name] for name in sorted(means, key=length_order)}


def draw_length_curves(curves: Mapping[str, Curve], ylabel: str = "score") -> Figure:
    """Draw scores by length, a line for each result.

    Args:
        curves: curve by title, at least one; together they have at least one length.
        ylabel: name of the score.

    Returns:
        A figure without a window, which needs no closing.
    """
    from matplotlib.figure import Figure

    names = sorted({name for curve in curves.values() for name in curve}, key=length_order)
    figure = Figure(figsize=(max(4.8, 0.9 * len(names) + 2.4), 3.6), layout="constrained")
    axis = figure.subplots()
    for title, curve in curves.items():
        known = [name for name in names if name in curve]
        axis.plot([names.index(name) for name in known], [curve[name] for name in known], marker="o", label=title)
    axis.set_xticks(range(len(names)), [_shown(name) for name in names])
    axis.set_xlim(-0.3, len(names) - 0.7)
    axis.set_ylim(-2, 108)  # room for the legend above a perfect score
    axis.set_xlabel("length")
    axis.set_ylabel(f"{ylabel}, 0 to 100")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return figure


def curves_of(results: Sequence[EvaluationResult]) -> dict[str, dict[str, float]]:
    """Return the curve by model of those results that have lengths."""
    return {result.model: curve for result in results if (curve := length_curve(result))}


def length_order(name: str) -> tuple[float, str]:
    """Return a key that sorts names of lengths; other names follow by alphabet."""
    if name in _NAMED:
        return _NAMED[name], name
    found = re.match(r"(\d+(?:\.\d+)?)(k?)", name)
    return (float(found[1]) * (1000 if found[2] else 1), name) if found else (float("inf"), name)


def _shown(name: str) -> str:
    return f"{int(name):,}" if name.isdecimal() else name
