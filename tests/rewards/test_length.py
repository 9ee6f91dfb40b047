from __future__ import annotations

import pytest

from longmab_pl.errors import DataError
from longmab_pl.rewards.length import count_words, length_score, length_term


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), ("中文 and don't", 5), ("GPT4 AI技术 café", 2), ("one-two.three", 3), ("Привет мир", 0)],
)
def test_words_are_chinese_characters_and_latin_runs(text, words):
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("required", "words", "score"),
    [
        (1000, 1000, 100.0),
        (1000, 2500, 50.0),
        (1000, 4000, 0.0),
        (1000, 9000, 0.0),
        (1000, 500, 50.0),
        (1200, 400, 0.0),
        (1000, 0, 0.0),
        (1_000_000, 1, 0.0),
    ],
)
def test_too_long_is_milder_than_too_short(required, words, score):
    assert length_score(required, words) == pytest.approx(score)


@pytest.mark.parametrize("required", [0, -5])
def test_a_required_length_below_one_is_refused(required):
    with pytest.raises(DataError, match=f"is {required} words; it must be at least 1"):
        length_score(required, 10)


def test_the_term_of_a_step_is_a_tenth_of_the_score():
    assert length_term(1000, 500) == pytest.approx(5.0)
    assert length_term(1000, 500, scale=50.0) == pytest.approx(1.0)
