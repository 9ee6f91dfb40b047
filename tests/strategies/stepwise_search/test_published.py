from __future__ import annotations

from longmab_pl.prompts.blocks import SUGGESTIONS_FOLLOW
from longmab_pl.strategies.stepwise_search.published import state_in_chatml, state_with_suggestions, written_part


def test_what_was_written_follows_the_instruction():
    assert written_part("[INST]q[/INST]one [/INST] two") == "one [/INST] two"
    assert written_part("no marks") == "no marks"


def test_suggestions_go_inside_the_instruction():
    state = state_with_suggestions("[INST]q[/INST]block", ["Add detail."])
    assert state == f"[INST]q {SUGGESTIONS_FOLLOW} Add detail.[/INST]block"


def test_a_text_without_an_instruction_stays_as_it_is():
    assert state_with_suggestions("no marks", ["Add detail."]) == "no marks"
    assert state_with_suggestions("q[/INST]block", ["Add detail."]) == "q[/INST]block"


def test_marks_become_turn_tokens():
    assert state_in_chatml("[INST]q[/INST]block") == "<|im_start|>user\nq<|im_end|>\nblock"
