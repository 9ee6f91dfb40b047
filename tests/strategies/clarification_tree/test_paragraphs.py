from __future__ import annotations

import pytest

from longmab_pl.strategies.clarification_tree.paragraphs import (
    is_relevant,
    join_paragraphs,
    kept_paragraphs,
    mark_paragraphs,
    paragraph_marks,
)


def test_paragraphs_are_tagged_with_their_numbers():
    assert mark_paragraphs(["a", ""]) == "<para 0> a </para 0><para 1>  </para 1>"
    assert paragraph_marks([0, 7]) == "<para 0> <para 7>"
    assert join_paragraphs(["a", "b", "c"], [0, 2]) == "a...\n\n...c"


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("Answer: yes", True),
        ("Answer: maybe, I know little", True),
        ("Yes, it notes the date. Answer: Yes", True),
        ("Answer: no", False),
        ("answer : NO.", False),
        ("Answer: not really", False),
        ("It does not help.", False),
        ("Answer: no\nAnswer: yes", True),
        ("Answer: yes\nAnswer: no", False),
        ("", True),
        ("Answer: unknown", True),
    ],
)
def test_a_paragraph_is_dropped_for_a_no_and_not_for_its_letters(reply, kept):
    assert is_relevant(reply) is kept


def test_paragraphs_are_kept_by_number():
    assert kept_paragraphs(["Answer: no", "Answer: yes", "?"]) == [1, 2]
