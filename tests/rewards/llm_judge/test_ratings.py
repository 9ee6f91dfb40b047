from __future__ import annotations

import pytest

from longmab_pl.rewards.llm_judge.ratings import Ratings, parse_ratings

NAMES = ("Clarity", "Reading Experience")


@pytest.mark.parametrize(
    "reply",
    [
        '{"Analysis": "fine", "Clarity": 4, "Reading Experience": 2}',
        'Sure:\n```JSON\n{"analysis": "fine", "clarity": "4", "reading_experience": 2.0}\n``` That is all.',
        '{"Analysis": "fine", "Clarity": [0, 0, 0, 2, 0], "ReadingExperience": [0, 0.3, 0, 0, 0]}',
        'It quotes {"Clarity": 5}. {"Analysis": "fine", "Clarity": 4, "Reading Experience": 2}',
    ],
)
def test_one_complete_object_is_the_verdict_wherever_it_stands(reply):
    assert parse_ratings(reply, NAMES) == Ratings({"Clarity": 4.0, "Reading Experience": 2.0}, "fine")


def test_weights_are_normalized_to_their_mean_point():
    ratings = parse_ratings('{"Clarity": [0, 0, 1, 1, 0], "Reading Experience": [1, 1, 1, 1, 1]}', NAMES)
    assert ratings.scores == {"Clarity": 3.5, "Reading Experience": 3.0}
    assert ratings.mean == 3.25


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "4 and 2",
        '{"Clarity": 4}',
        '{"Clarity": 4, "Reading Experience": 6}',
        '{"Clarity": 4, "Reading Experience": 0}',
        '{"Clarity": 4, "Reading Experience": null}',
        '{"Clarity": true, "Reading Experience": 2}',
        '{"Clarity": NaN, "Reading Experience": 2}',
        '{"Clarity": "four", "Reading Experience": 2}',
        '{"Clarity": [0, 0, 0, 0, 0], "Reading Experience": 2}',
        '{"Clarity": [0, 0, 0, 1], "Reading Experience": 2}',
        '{"Clarity": [0, 0, 0, -1, 2], "Reading Experience": 2}',
        '{"Clarity": [0, 0, 0, Infinity, 0], "Reading Experience": 2}',
        '{"Clarity": 5, "Reading Experience": 5} {"Clarity": 1, "Reading Experience": 1}',
        '{"Clarity": 4, "Reading Experience": 2',
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_verdict(reply):
    assert parse_ratings(reply, NAMES) is None


def test_braces_and_line_breaks_in_the_analysis_are_text():
    ratings = parse_ratings('{"Analysis": "uses {x}\nand }", "Clarity": 4, "Reading Experience": 2}', NAMES)
    assert ratings.analysis == "uses {x}\nand }"


def test_megabytes_are_not_searched():
    assert parse_ratings("{" * 5_000_000, NAMES) is None
