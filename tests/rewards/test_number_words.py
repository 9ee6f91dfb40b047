from __future__ import annotations

import pytest

from longmab_pl.rewards.number_words import digits_for_words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("two", "2"),
        ("twenty one", "21"),
        ("one hundred and two", "102"),
        ("hundred", "100"),
        ("two thousand and five", "2005"),
        ("three million two hundred thousand five", "3200005"),
        ("five hundred thousand people", "500000 people"),
        ("eleven hundred", "1100"),
        ("2.5 million", "2500000"),
        ("5 thousand", "5000"),
        ("3.0", "3"),
        ("3.50", "3.5"),
        ("007", "7"),
        # Years and lists are no sums.
        ("nineteen ninety", "19 90"),
        ("one two three", "1 2 3"),
        ("two and three", "2 and 3"),
        ("two million three million", "2000000 3000000"),
        ("million and", "1000000 and"),
        ("and two", "and 2"),
        ("someone ate", "someone ate"),
        ("1.2.3 v1.2", "1.2.3 v1.2"),
        ("9" * 30, "9" * 30),
        ("", ""),
    ],
)
def test_numbers_in_words_are_digits(words: str, expected: str) -> None:
    assert digits_for_words(words.split()) == expected.split()
