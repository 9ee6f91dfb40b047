from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.rewards.consistency import consistency_scores, sibling_means


def test_an_answer_is_compared_with_its_siblings_only():
    assert consistency_scores([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).tolist() == [0.5, 0.5, 0.0]


def test_the_length_of_a_vector_does_not_count():
    short, long = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[9.0, 0.0], [0.1, 0.1], [0.0, 5.0]]
    assert consistency_scores(short) == pytest.approx(consistency_scores(long))


def test_the_original_counts_the_answer_itself_and_the_length():
    assert consistency_scores([[2.0, 0.0], [1.0, 0.0]], style="original").tolist() == [3.0, 1.5]


def test_a_single_answer_agrees_with_nobody():
    assert consistency_scores([[3.0, 4.0]]).tolist() == [0.0]


def test_any_similarity_can_be_averaged_and_is_left_as_it_was():
    similarities = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.0], [0.4, 0.0, 1.0]])
    assert sibling_means(similarities) == pytest.approx([0.3, 0.1, 0.2])
    assert similarities[0, 0] == 1.0


def test_an_unknown_style_is_named():
    with pytest.raises(ConfigError, match="'mean'; use 'siblings' or 'original'"):
        consistency_scores([[1.0]], style="mean")
