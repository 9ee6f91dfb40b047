"""RULER's length budget with a generator of known lengths."""

from __future__ import annotations

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Example, Redraw
from longmab_pl.evaluation.ruler.sizing import filling_size, fitting_example, search_size


def words(size):
    return Example("w " * size, "", ("w",))


def count(example):
    return len(example.text.split()) + 7  # seven for the answer


def test_search_finds_the_largest_size_that_fits():
    assert search_size(words, count, 100, 5, beside=7) == 93


def test_search_falls_back_to_one_step_where_nothing_fits():
    assert search_size(words, count, 10, 5, beside=7) == 5


def test_an_example_that_is_too_long_shrinks_by_the_step():
    example, taken = fitting_example(words, count, 110, 100, 10)
    assert (taken, len(example.text.split())) == (97, 90)


def test_an_example_is_counted_again_after_it_is_finished():
    def longer(e):
        return Example(e.text + "w w w", e.prefix, e.answers)

    example, taken = fitting_example(words, count, 93, 100, 1, longer)
    assert (taken, len(example.text.split())) == (100, 93)


def test_a_length_without_room_is_refused_and_not_tried_for_ever():
    with pytest.raises(ConfigError, match="takes 12 tokens with its answer and 10 are there"):
        fitting_example(words, count, 5, 10, 5)


def test_an_example_that_cannot_be_used_is_drawn_again():
    sizes = []

    def make(size):
        sizes.append(size)
        if len(sizes) == 1:
            raise Redraw
        return words(size)

    assert fitting_example(make, count, 20, 100, 5)[1] == 22
    assert sizes == [20, 15]


@pytest.mark.parametrize(("limit", "slack"), [(100, 0), (1000, 1), (99_999, 0), (99_999, 500)])
def test_a_filled_size_leaves_no_more_free_than_the_slack(limit, slack):
    assert 0 <= limit - count(words(filling_size(words, count, limit, 1, slack))) <= slack


def test_lines_of_unequal_length_fill_too():
    def lines(size):
        return Example("w " * sum(i % 40 for i in range(size)), "", ("w",))

    size = filling_size(lines, count, 5000, 1, 0)
    assert count(lines(size)) <= 5000 < count(lines(size + 1))


def test_a_filled_size_ends_at_what_there_is_and_begins_at_the_least():
    assert filling_size(words, count, 1000, 1, 1, most=50) == 50
    assert filling_size(words, count, 10, 5, 1) == 5
