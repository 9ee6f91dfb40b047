"""InfiniteBench's scores by hand, in both versions of the program."""

from __future__ import annotations

import pytest

from longmab_pl.errors import DataError
from longmab_pl.evaluation.infinitebench import scoring
from longmab_pl.evaluation.infinitebench.prompts import fields, labels


def test_the_published_program_never_finds_a_key_value_label_in_a_list():
    assert scoring.key_value('"v1".', ["v1"]) == 0.0
    assert scoring.key_value('"v1".', ["v1"], "corrected") == 1.0
    assert scoring.key_value('"v1".', "v1") == 1.0


def test_names_of_two_words_are_found_by_the_corrected_program_only():
    assert scoring.dialogue("I say ACE ROTHSTEIN.", ["ACE ROTHSTEIN"]) == 0.0
    assert scoring.dialogue("I say ACE ROTHSTEIN.", ["ACE ROTHSTEIN"], "corrected") == 1.0
    assert scoring.dialogue("PLACE", ["ACE"], "corrected") == 1.0


@pytest.mark.parametrize(
    ("prediction", "published", "corrected"),
    [("B.", 1.0, 1.0), ("The answer is: B", 1.0, 1.0), ("So it is B", 1.0, 1.0), ("A or B", 0.0, 1.0), ("", 0.0, 0.0)],
)
def test_choice(prediction, published, corrected):
    assert scoring.choice(prediction, ["Bread", "B"]) == published
    assert scoring.choice(prediction, ["Bread", "B"], "corrected") == corrected


def test_numbers():
    assert scoring.number("the key is 71432.", ["71432"]) == 1.0
    assert scoring.math_find("about 88.5", [88.5]) == 1.0
    with pytest.raises(ValueError, match="invalid literal"):
        scoring.math_find("88.0", [88])
    assert scoring.code_run("It returns 4.", [4]) == 1.0
    assert scoring.code_run("It returns 4.", ["4"]) == 0.0


def test_calculation_counts_up_to_the_first_wrong_result():
    assert scoring.calculation("1, 5, 9, 7", [1, 5, 8, 7]) == 0.5
    assert scoring.calculation("3 1 5", [1, 5], skip_first=True) == 1.0


def test_rouge_sum_takes_the_union_over_lines():
    # "a b" is found in the first line and "c" in the second: 3 hits of 3 reference and 4 prediction tokens.
    assert scoring.summary("a b\nx c", ["a b c"]) == pytest.approx(2 * (3 / 4) * 1 / (3 / 4 + 1))
    assert scoring.summary("", ["a"]) == 0.0
    assert scoring.summary("running", ["runs"]) == 0.0  # no stemmer


def test_labels_of_a_choice_are_its_text_and_letter():
    assert labels("code_debug", ["two"], ["one", "two", "three", "four"]) == ["two", "B"]
    with pytest.raises(DataError, match="not one of its options"):
        labels("longbook_choice_eng", ["five"], ["one", "two", "three", "four"])


def test_fields_of_code_run_name_the_call():
    found = fields("code_run", "code", "What does func_3(-5) return?", [])
    assert (found["func"], found["func_call"]) == ("func_3", "func_3(-5)")
    with pytest.raises(DataError, match="no call"):
        fields("code_run", "code", "What?", [])
