from __future__ import annotations

import numpy as np

from longmab_pl.rewards.llm_judge.retrieval import labeled_notes, nearest_chunks, span_label


def test_chunks_come_by_cosine_and_not_by_length():
    chunks = np.array([[10.0, 10.0], [1.0, 0.0], [0.0, 3.0], [1.0, 0.1]])
    assert nearest_chunks(np.array([5.0, 0.0]), chunks, k=3) == [1, 3, 0]


def test_equal_chunks_keep_the_order_of_the_document():
    chunks = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    assert nearest_chunks(np.array([1.0, 0.0]), chunks, k=2) == [1, 2]


def test_a_zero_vector_is_similar_to_nothing():
    assert nearest_chunks(np.array([1.0, 0.0]), np.array([[0.0, 0.0], [1.0, 1.0]]), k=5) == [1, 0]


def test_half_percents_are_rounded_to_even():
    assert span_label(1, 3, 200) == "0% - 2%"
    assert span_label(4096, 8192, 65536) == "6% - 12%"


def test_chunks_of_the_same_label_keep_their_notes():
    notes = labeled_notes([(0, 1), (1, 2), (2, 1000)], 1000, ["a", "b", "c"])
    assert notes == [("0% - 0%", "a"), ("0% - 0%", "b"), ("0% - 100%", "c")]
