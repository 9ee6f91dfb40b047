from __future__ import annotations

import pytest

from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.answer_match import extract_answer, rollout_reward


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Answer: Lima", "Answer: Lima"),
        ("<think>Lima?</think>\n\nAnswer: Quito", "Answer: Quito"),
        ("Lima?\n</think>\nQuito", "Quito"),  # the template opened it
        ("<think>Answer: Lima", ""),
        ("[THINK]a[/THINK]b", "b"),
        ("The tag is <think>x</think>.", "The tag is <think>x</think>."),
    ],
)
def test_only_what_follows_the_thought_is_said(text: str, said: str) -> None:
    assert without_thought(text) == said


def test_a_thought_is_not_scored() -> None:
    assert extract_answer("<think>Answer: Lima</think>I do not know.") is None
    assert rollout_reward("<think>Lima it is.</think>Answer: Quito", "Lima") == 0.0
