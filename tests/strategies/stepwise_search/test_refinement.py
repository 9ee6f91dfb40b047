from __future__ import annotations

from longmab_pl.prompts.blocks import SUGGESTIONS_FOLLOW
from longmab_pl.strategies.stepwise_search.refinement import (
    ChosenBlock,
    Suggestion,
    better_principles,
    merge_refined,
    needs_refinement,
    pick_suggestions,
    with_suggestions,
)


def test_a_candidate_wins_only_where_both_are_rated():
    chosen = {"principle1": 2.0, "principle2": 4.0, "principle3": 3.0}
    assert better_principles(chosen, {"principle1": 2.5, "principle2": 4.0, "principle7": 5.0}) == [0]


def test_only_blocks_with_a_low_score_are_refined():
    assert needs_refinement(2.4, 2.5)
    assert not needs_refinement(2.5, 2.5)
    assert not needs_refinement(None, 2.5)


def test_suggestions_belong_to_one_block():
    suggestions = [
        Suggestion(0, 1, "a", 2.0),
        Suggestion(0, 2, "b", 5.0),
        Suggestion(0, 1, "c", 4.0),
        Suggestion(1, 1, "d", 5.0),
        Suggestion(0, 1, "e", 2.0),
    ]
    assert pick_suggestions(suggestions, group=0, depth=1, limit=2) == ["c", "a"]
    assert pick_suggestions(suggestions, group=2, depth=1, limit=2) == []


def test_suggestions_follow_the_instruction():
    assert with_suggestions(" Write. ", [" Vary words. ", "Add detail."]) == (
        f"Write. {SUGGESTIONS_FOLLOW} Vary words. Add detail."
    )
    assert with_suggestions("Write.", []) == "Write."


def test_refined_blocks_replace_their_own_and_leave_the_instruction():
    blocks = [ChosenBlock(0, 1, "q", "old 1"), ChosenBlock(0, 2, "q", "old 2")]
    refined = [
        ChosenBlock(0, 2, "q with advice", "x"),
        ChosenBlock(0, 2, "q with advice", "new"),
        ChosenBlock(9, 9, "", ""),
    ]
    assert merge_refined(blocks, refined) == [blocks[0], ChosenBlock(0, 2, "q", "new")]
