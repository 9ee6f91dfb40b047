from __future__ import annotations

import pytest

from longmab_pl.errors import DataError
from longmab_pl.rewards.llm_judge.dimensions import faithfulness, language, overall


def test_faithfulness_is_ten_times_the_mean_support():
    assert faithfulness([1.0, 0.5, 0.0, 0.0]) == 3.75


def test_an_answer_without_statements_has_the_documented_value():
    assert faithfulness([]) == 0.0


def test_the_reward_is_the_mean_of_the_four_dimensions():
    assert overall({"helpfulness": 8.0, "logicality": 10.0, "faithfulness": 5.0, "completeness": 3.0}) == 6.5


def test_a_missing_dimension_is_named():
    with pytest.raises(DataError, match="no score for logicality, completeness"):
        overall({"helpfulness": 8.0, "faithfulness": 5.0})


@pytest.mark.parametrize(
    ("text", "found"), [("", "zh"), ("你abcd", "zh"), ("你abcde", "en"), ("____", "en"), ("Привет", "zh")]
)
def test_language_needs_more_than_four_latin_characters_a_han_one(text, found):
    assert language(text) == found
