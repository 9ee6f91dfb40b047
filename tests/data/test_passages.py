from __future__ import annotations

from longmab_pl.data.passages import fill_budget, join_passages


def test_passages_are_numbered_and_follow_without_blank_lines():
    assert join_passages(["First.\n", "", "  Third."]) == "Passage 1:\nFirst.\nPassage 2:\nPassage 3:\n  Third."


def test_no_passages_are_an_empty_context():
    assert join_passages([]) == ""


def test_a_document_too_long_is_passed_over():
    assert fill_budget(50, [40, 80, 10, 1], budget=100) == [0, 2]


def test_lines_above_documents_count():
    assert fill_budget(0, [45, 45], budget=100, header_tokens=5) == [0, 1]
    assert fill_budget(0, [45, 46], budget=100, header_tokens=5) == [0]


def test_nothing_is_added_where_the_budget_is_spent():
    assert fill_budget(120, [0, 1], budget=100) == []
