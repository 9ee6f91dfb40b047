"""Instructions that ask for reasoning over a long context, and the prompt that they complete (SeaLong, section 2)."""

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
"""What is added to a question, by the name of the way to reason."""


def reasoning_prompt(context: str, question: str, instruction: str = "") -> str:
    """Return the context, a blank line, and the question with its instruction, between line ends.

    Args:
        context: the passages, as they are.
        question: stripped together with the instruction.
        instruction: one of `INSTRUCTIONS`, or any text.

    Example:
        >>> reasoning_prompt("Passage 1:\\nLyon is in France.", "Where is Lyon?")
        '\\nPassage 1:\\nLyon is in France.\\n\\nWhere is Lyon?\\n'

    Source: SeaLong, `synthesize.py`.
    """
    request = f"{question}\n{instruction}".strip()
    return f"\n{context}\n\n{request}\n"
