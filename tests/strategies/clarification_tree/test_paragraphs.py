from __future__ import annotations

import pytest
from tokenizers_like import FAMILIES

from longmab_pl.strategies.clarification_tree.paragraphs import (
    cut_paragraphs,
    is_relevant,
    join_paragraphs,
    kept_paragraphs,
    mark_paragraphs,
    paragraph_marks,
    structured_labels,
    verdict_labels,
    within_budget,
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


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ("1: yes\n2: no\n3: maybe", ["yes", "no", "maybe"]),
        ("**1.** I know it well: yes\n2) None of it.\n\n 3 - maybe", ["yes", "no", "maybe"]),
        ("1: yes\n1: no\n2: no\n2: No.\n7: yes", ["unreadable", "no", "unreadable"]),
        ("yes, no, maybe", ["unreadable"] * 3),
        ("", ["unreadable"] * 3),
        (f"{'0' * 5000}: yes\n2: no", ["unreadable", "no", "unreadable"]),
    ],
)
def test_a_joint_verdict_has_a_label_for_each_number(reply, labels):
    assert verdict_labels(reply, 3) == labels


def test_a_joint_verdict_on_one_question_may_lack_its_number():
    assert verdict_labels("Answer: maybe", 1) == ["maybe"]


@pytest.mark.parametrize("reply", ['{"1": "yes"', "[1]", '{"1": ["yes"], "2": "nope"}', "null"])
def test_json_that_breaks_its_schema_is_unreadable(reply):
    assert structured_labels(reply, 2) == ["unreadable"] * 2


def test_the_surest_paragraphs_are_kept_first_and_stand_in_document_order():
    labels = ["maybe", "no", "unreadable", "yes", "yes"]
    assert within_budget(labels, [10] * 5, 1000) == [0, 2, 3, 4]
    assert within_budget(labels, [10] * 5, 60) == [0, 3, 4]
    assert within_budget(labels, [10] * 5, 20) == [3]
    assert within_budget(["no"], [10], 100) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_paragraphs_together_are_the_document(family):
    tokenizer = FAMILIES[family]()
    text = "Zoë saw 東京 — twice. <|im_end|> " * 9
    paragraphs = cut_paragraphs(text, tokenizer, 13)
    assert [p.number for p in paragraphs] == list(range(len(paragraphs)))
    assert all(p.tokens <= 13 for p in paragraphs)
    if tokenizer.is_fast:
        assert "".join(p.text for p in paragraphs) == text


def test_paragraphs_are_kept_by_number():
    assert kept_paragraphs(["Answer: no", "Answer: yes", "?"]) == [1, 2]
