"""LongDPO's step files: an instruction between `[INST]` and `[/INST]`, followed by the blocks written so far."""

from __future__ import annotations

from longmab_pl.strategies.stepwise_search.refinement import with_suggestions

BEGIN, END = "[INST]", "[/INST]"


def written_part(state: str) -> str:
    """Return the text after the instruction, or the whole text if no instruction ends in it.

    Example:
        >>> written_part("[INST]Write.[/INST]Once upon")
        'Once upon'

    Source: LongDPO, `filter_history`.
    """
    return state.split(END, 1)[-1]


def state_with_suggestions(state: str, suggestions: list[str]) -> str:
    """Return a state whose instruction is followed by suggestions (see `with_suggestions`).

    A state without both marks has no instruction and is unchanged.

    Source: LongDPO, `refine.py` (which inserts them into the middle of such a text).
    """
    before, begin, rest = state.partition(BEGIN)
    instruction, end, written = rest.partition(END)
    if not (begin and end):
        return state
    return f"{before}{begin}{with_suggestions(instruction, suggestions)}{end}{written}"


def state_in_chatml(state: str) -> str:
    """Return a state with its marks replaced by the turn tokens of Qwen.

    Source: LongDPO, `post_process_mcts.py`.
    """
    return state.replace(BEGIN, "<|im_start|>user\n").replace(END, "<|im_end|>\n")
