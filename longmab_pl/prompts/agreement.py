"""The question whether an answer agrees with the gold answer (AgenticLU, section 3.2), in our own words."""

from __future__ import annotations

from collections.abc import Sequence

YES_OR_NO = "Reply with Yes or No only."

JSON_YES_OR_NO = 'Reply with a JSON object: {"reason": "...", "agrees": "yes or no"}'


def agreement_question(rule: str, question: str, golds: Sequence[str], answer: str, form: str) -> str:
    """Return the request for a yes or no.

    Args:
        rule: what the tags around quoted texts mean.
        question: the quoted question.
        golds: the quoted gold answers, any of which is right.
        answer: the quoted answer.
        form: the sentence on the form of the reply.
    """
    right = "\n".join(golds)
    return (
        "Decide whether an answer to a question says the same as a right answer. A longer answer that includes the "
        f"right one is the same; one that contradicts it or leaves it open is not.\n{rule}\n\nQuestion:\n{question}\n\n"
        f"Right answers, any of them:\n{right}\n\nAnswer:\n{answer}\n\n{form}"
    )
