"""Pictures of stored results, chosen by the class of the suite that made them."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.evaluation.needle.heat_map import draw_needle_maps, map_from_ids
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.ruler.curve import draw_curves, draw_task_maps, length_scores
from longmab_pl.evaluation.ruler.scoring import THRESHOLD
from longmab_pl.evaluation.suite import Picture, length_pictures

_NEEDLE = "longmab_pl.evaluation.NeedleSuite"
_RULER = "longmab_pl.evaluation.RULERSuite"


def pictures_of(results: Sequence[EvaluationResult], name: str) -> list[Picture]:
    """Return the pictures of one suite's results side by side.

    The needle probe has heat maps by length and depth, RULER its curve and heat maps by task and length, another suite
    whose tasks have lengths a curve.

    Args:
        results: at least one, with different labels.
        name: the suite's name, which the names of the files begin with.
    """
    kind = results[0].kind
    if kind == _NEEDLE:
        maps = {result.model: map_from_ids(next(iter(result.tasks.values()))) for result in results}
        return [Picture(f"{name}-map", draw_needle_maps(maps))]
    if kind == _RULER:
        curves = {result.model: length_scores(result) for result in results}
        return [
            Picture(f"{name}-curve", draw_curves(curves, THRESHOLD)),
            Picture(f"{name}-tasks", draw_task_maps(results)),
        ]
    return length_pictures(results, f"{name}-curve")
