from __future__ import annotations

import pytest

from longmab_pl.evaluation.longbench.judged import best_rating, item_score, judged_score


@pytest.mark.parametrize(
    ("reply", "highest", "score"),
    [
        ("[[1]]", 3, 0.0),
        ("[[2]]", 3, 0.5),
        ("[[2]]", 5, 0.25),
        ("[[5]]", 5, 1.0),
        ("[[5]]", 3, None),
        ("none", 5, None),
    ],
)
def test_ratings_become_scores_from_0_to_1(reply, highest, score):
    assert judged_score(reply, highest) == score


def test_summaries_have_the_longer_scale():
    assert best_rating("gov_report") == 5
    assert best_rating("hotpotqa") == 3


def test_the_best_reference_counts_and_no_verdict_is_no_score():
    assert item_score([0.0, None, 0.5]) == 0.5
    assert item_score([None, None]) is None
