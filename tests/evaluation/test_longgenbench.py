from __future__ import annotations

import pytest

from longmab_pl.evaluation.longgenbench import Checks, completion_of, mentions, sections_of

CHECKS = Checks(
    "Week",
    4,
    {
        "once": {2: "my wife birthday"},
        "range": {3: "Sailing school", 4: "Sailing school"},
        "periodic": {1: "Jazz club"},
    },
)
ANSWER = "#*# Week 1 (January): Jazz club again. #*# Week 2: A quiet week. #*# Week 3: The sailing school began."


def test_sections_are_found_by_unit_and_number_and_empty_ones_are_none():
    assert sections_of(ANSWER, "Week") == {
        1: "Week 1 (January): Jazz club again.",
        2: "Week 2: A quiet week.",
        3: "Week 3: The sailing school began.",
    }
    assert sections_of("#*# Week 5:  #*# Week 6: 12 #*# Floor 7: Offices.", "Week") == {}
    assert sections_of("#*# Menu Week 3: Soup and bread.", "Menu Week") == {3: "Menu Week 3: Soup and bread."}
    assert sections_of("#*# Week 2: First text. #*# Week 2: Second text.", "Week") == {2: "Week 2: First text."}
    assert sections_of("", "Week") == {}


def test_rates_are_of_the_sections_that_are_there_and_of_all():
    found = completion_of(ANSWER, CHECKS)
    assert found.completion == 0.75
    assert found.accuracy() == pytest.approx(2 / 3), "week 4 is not there; week 2 lacks the birthday"
    assert found.accuracy(of_all=True) == pytest.approx(2 / 4)
    assert found.accuracy("range") == 1.0
    assert found.accuracy("range", of_all=True) == 0.5


def test_a_judges_verdicts_take_the_place_of_words():
    found = completion_of(ANSWER, CHECKS, {("once", 2): True, ("range", 3): False})
    assert found.accuracy() == 0.5, "a task without a verdict is left out"
    assert found.accuracy(of_all=True) == 0.25


def test_an_empty_answer_has_nothing_and_divides_by_nothing():
    found = completion_of("", CHECKS)
    assert (found.completion, found.accuracy(), found.accuracy(of_all=True)) == (0.0, None, 0.0)


def test_sections_beyond_the_last_do_not_count():
    assert completion_of("#*# Week 9: Nothing new here.", CHECKS).completion == 0.0


@pytest.mark.parametrize(
    ("section", "task", "fulfilled"),
    [
        ("Today was my wife's birthday.", "my wife birthday", True),
        ("A long day at work.", "my wife birthday", False),
        ("We participated in the parenting workshops.", "Attend a parenting workshop", True),
        ("Anything.", "the and for", False),
    ],
)
def test_words_stand_in_for_a_judge(section, task, fulfilled):
    assert mentions(section, task) is fulfilled
