from __future__ import annotations

from longmab_pl.evaluation.longbench_write import DIMENSIONS, parse_quality, quality_scores


def test_a_reply_needs_all_six_dimensions():
    object_of = ", ".join(f'"{name}": 4' for name in DIMENSIONS)
    assert parse_quality(f'{{"Analysis": "a", {object_of}}}').scores == dict.fromkeys(DIMENSIONS, 4.0)
    assert parse_quality('{"Relevance": 4, "Accuracy": 4}') is None


def test_quality_is_the_mean_on_a_scale_of_a_hundred():
    ratings = [dict.fromkeys(DIMENSIONS, 5.0), dict.fromkeys(DIMENSIONS, 2.0)]
    assert quality_scores(ratings) == dict.fromkeys((*DIMENSIONS, "total"), 62.5)


def test_a_missing_dimension_is_left_out_of_its_mean():
    assert quality_scores([{"Clarity": 5.0, "Accuracy": 1.0}, {"Clarity": 3.0}]) == {
        "Accuracy": 0.0,
        "Clarity": 75.0,
        "total": 37.5,
    }


def test_nothing_judged_has_no_quality():
    assert quality_scores([]) == {}
