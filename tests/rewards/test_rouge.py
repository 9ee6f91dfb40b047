from __future__ import annotations

import pytest

from longmab_pl.rewards.rouge import Rouge, best_rouge_l_sum, rouge_l, rouge_l_sum, rouge_words


def test_words_are_ascii_in_lower_case_and_stemmed_beyond_three_characters():
    assert rouge_words("The cats' caf\u00e9s, 3.5 runs!") == ["the", "cat", "caf", "s", "3", "5", "run"]


def test_rouge_l_is_the_longest_common_subsequence():
    # Common: "the ... sat on" of 6 predicted and 5 expected words.
    assert rouge_l("the black cat sat on mats", "the dog sat on it") == Rouge(0.5, 0.6, pytest.approx(6 / 11))


def test_line_breaks_count_for_the_sum_only():
    prediction, reference = "c d\na b", "a b\nc d"
    assert rouge_l(prediction, reference).f1 == 0.5
    assert rouge_l_sum(prediction, reference).f1 == 1.0


def test_a_predicted_word_is_counted_once():
    assert rouge_l_sum("a", "a\na\na") == Rouge(1.0, pytest.approx(1 / 3), 0.5)


@pytest.mark.parametrize(("prediction", "reference"), [("", "a"), ("a", ""), ("", ""), ("中文", "中文")])
def test_texts_without_common_words_score_zero(prediction, reference):
    assert rouge_l(prediction, reference) == rouge_l_sum(prediction, reference) == Rouge(0.0, 0.0, 0.0)


def test_the_best_prediction_and_reference_count():
    assert best_rouge_l_sum(["x", "Lyon\nParis"], ["Rome", "Paris"]) == pytest.approx(2 / 3)
    assert best_rouge_l_sum([], ["Rome"]) == 0.0
