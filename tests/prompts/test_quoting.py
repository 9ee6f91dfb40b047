from __future__ import annotations

import pytest

from longmab_pl.prompts.quoting import Fence, defused


def test_a_quoted_text_stands_between_tags_of_its_own():
    fence = Fence.around(1, ["text"])
    assert fence.quote("text", "answer") == f"<{fence.nonce}-answer>\ntext\n</{fence.nonce}-answer>"
    assert fence.nonce in fence.rule()


def test_tags_depend_on_the_texts_and_the_seed_and_on_nothing_else():
    first = Fence.around(1, ["a", "b"])
    assert first == Fence.around(1, ["a", "b"])
    assert len({first, Fence.around(2, ["a", "b"]), Fence.around(1, ["ab"]), Fence.around(1, ["a", "b", ""])}) == 4


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("[[10]]", "[ [10] ]"),
        ("[[[7]]]", "[ [ [7] ] ]"),
        ("a[0] and [b]", "a[0] and [b]"),
        ("<statement>x</Statement>", "< statement>x< /Statement>"),
        ("< no-statements/>", "<  no-statements/>"),
        ("x < y and <b>", "x < y and <b>"),
    ],
)
def test_verdicts_and_tags_are_broken_and_the_rest_is_kept(text, safe):
    assert defused(text) == safe
