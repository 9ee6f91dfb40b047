"""Ways of asking a question about a document: plain, three prompting methods, and agentic inference."""

from __future__ import annotations

from typing import Literal

from longmab_pl.evaluation.prompted_task import BenchmarkItem

Style = Literal["plain", "step_by_step", "plan_and_solve", "fact_and_reflection", "agentic"]

STYLES: tuple[Style, ...] = ("plain", "step_by_step", "plan_and_solve", "fact_and_reflection", "agentic")

_FORM = "End with one line of the form\nAnswer: <your answer, as short as possible>"

ADDED: dict[Style, str] = {
    "plain": "Answer in as few words as possible, in one line of the form\nAnswer: <your answer>",
    "step_by_step": f"Think step by step. {_FORM}",
    "plan_and_solve": (
        f"First understand the question and make a plan to solve it. Then carry out the plan step by step. {_FORM}"
    ),
    "fact_and_reflection": (
        "First list the facts of the document that matter for the question. Then reflect on what follows from them. "
        f"{_FORM}"
    ),
}
"""What each style but the agentic one adds to the question, in our own words.

Sources: Kojima et al. (arXiv 2205.11916), Wang et al. (arXiv 2305.04091), Zhao et al. (arXiv 2402.17124).
"""


def asked(item: BenchmarkItem) -> str:
    """Return the question with its options, if it has any."""
    if not item.options:
        return item.question
    options = "\n".join(labelled_options(item.options))
    return f"{item.question}\nChoose one of these options and answer with its letter:\n{options}"


def labelled_options(options: tuple[str, ...]) -> list[str]:
    """Return the options with their letters.

    Example:
        >>> labelled_options(("Paris", "Lyon"))
        ['A. Paris', 'B. Lyon']
    """
    return [f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(options)]


def prompted(style: Style, item: BenchmarkItem) -> str:
    """Return the user's turn of a style that asks once: the document first, so that its prefix is cached."""
    return f"{item.context}\n\nQuestion: {asked(item)}\n\n{ADDED[style]}"
