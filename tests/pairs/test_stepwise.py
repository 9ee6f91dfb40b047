from __future__ import annotations

from longmab_pl.pairs.stepwise import Step, ends_turn, other_candidates, rejected_block, swapped_words


def test_a_block_is_not_compared_with_itself():
    assert other_candidates("b", ["a", "b", "c"]) == ["a", "c"]
    assert other_candidates("a", ["a"]) == []


def test_the_rejected_block_is_the_worst_and_not_any():
    assert rejected_block([3.0, 2.9, 1.0, 1.0], chosen=0) == 2


def test_blocks_that_are_as_good_are_not_rejected():
    assert rejected_block([3.0, 3.0], chosen=0) is None
    assert rejected_block([3.0, 2.6], chosen=0, margin=0.5) is None
    assert rejected_block([3.0], chosen=0) is None


def test_neighboring_words_are_swapped_from_left_to_right():
    assert swapped_words("one two three four", [0.29, 0.5, 0.0]) == "two one four three"
    assert swapped_words("one two three", [0.1, 0.1]) == "two three one"


def test_a_copy_with_no_word_swapped_is_none():
    assert swapped_words("one two", [0.3]) is None
    assert swapped_words("the the", [0.0]) is None
    assert swapped_words("one", []) is None


def test_the_end_token_follows_finished_last_blocks_only():
    steps = [Step(0, 2, True), Step(0, 1, True), Step(1, 1, False), Step(2, 1, True)]
    assert ends_turn(steps) == [True, False, False, True]
