from __future__ import annotations

import math

import pytest

from longmab_pl.training.schedule import lr_factor


def test_warm_up_is_linear_to_the_peak() -> None:
    assert lr_factor(0.0, 0.1, "cosine") == 0
    assert lr_factor(0.05, 0.1, "cosine") == pytest.approx(0.5)
    assert lr_factor(0.1, 0.1, "cosine") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("schedule", "quarter", "end"),
    [("cosine", 0.5 * (1 + math.cos(math.pi / 4)), 0.0), ("linear", 0.75, 0.0), ("constant", 1.0, 1.0)],
)
def test_decay(schedule: str, quarter: float, end: float) -> None:
    # A quarter of what is left after the warm-up.
    assert lr_factor(0.2 + 0.8 / 4, 0.2, schedule) == pytest.approx(quarter)
    assert lr_factor(1.0, 0.2, schedule) == pytest.approx(end)
    assert lr_factor(0.0, 0.0, schedule) == 1.0
