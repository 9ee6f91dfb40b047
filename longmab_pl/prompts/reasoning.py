"""Instructions for reasoning over a long context, and the prompt they are added to (SeaLong, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

INSTRUCTIONS: Mapping[str, str] = {
    "plain": "",
    "direct": "Give the answer only, without an explanation.",
    "step_by_step": "Think it through one step at a time before you answer.",
    "plan_and_solve": (
        "Begin by making sure what the question asks and by planning how to find the answer. "
        "Then follow your plan one step at a time until the answer is reached."
    ),
    "fact_and_reflection": (
        "Begin by listing the facts from the passages that bear on the question. "
        "Then reason from these facts to the answer."
    ),
}
"""Name of the reasoning style -> instruction added to a question."""


def reasoning_prompt(context: str, question: str, instruction: str = "") -> str:
    """Return the context, a blank line, and the question with its instruction, with a line end before and after.

    Args:
        context: the passages, used unchanged.
        question: the question, stripped together with the instruction.
        instruction: one of `INSTRUCTIONS`, or any text.

    Example:
        >>> reasoning_prompt("Passage 1:\\nLyon is in France.", "Where is Lyon?")
        '\\nPassage 1:\\nLyon is in France.\\n\\nWhere is Lyon?\\n'

    Source: SeaLong, `synthesize.py`.
    """
    request = f"{question}\n{instruction}".strip()
    return f"\n{context}\n\n{request}\n"
