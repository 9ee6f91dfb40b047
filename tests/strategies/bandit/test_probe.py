from __future__ import annotations

import pytest

from longmab_pl.strategies.bandit.probe import probe_accepted, probe_messages


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("The report says 1943. The answer is 1943.", True),
        ("the ANSWER IS: the Year 1943!", True),
        ("The answer is 1943, and not what it seems\nThe answer is 7.", True),
        ("The answer is 7.\nNo: the answer is 1943.", False),  # the first statement counts
        ("It was 1943.", False),
        ("The answer is", False),
        ("The answer is ...", False),
        ("The answer is 19", True),  # contained in the gold answer
        ("", False),
    ],
)
def test_accepted_when_the_first_stated_answer_matches(text, accepted):
    assert probe_accepted(text, ["1943"]) is accepted


def test_any_of_several_golds_is_enough():
    assert probe_accepted("The answer is Paris.", ["London", "paris"])


def test_the_prompt_shows_document_question_and_gold_even_with_braces():
    (message,) = probe_messages("a {context} {0} b", "who {is}?", "{it}")
    assert "a {context} {0} b" in message["content"]
    assert "who {is}?" in message["content"]
    assert message["content"].count("{it}") == 2
