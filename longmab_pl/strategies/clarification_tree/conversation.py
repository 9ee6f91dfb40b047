"""The conversations of a clarification tree: the requests of each step, and the training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.prompts import clarification as say

Message = dict[str, str]
"""A message with `role` and `content`."""


@dataclass(frozen=True)
class Round:
    """One clarification round of a node.

    Args:
        clarification: the model's clarifying question.
        marks: opening tags of the selected paragraphs, joined by spaces.
        context: text of these paragraphs, included in the answer's prompt but not in training.
        answer: its answer to its own question.
        final: its final answer after this round.
    """

    clarification: str
    marks: str
    context: str
    answer: str
    final: str


def system() -> Message:
    """Return the system message."""
    return {"role": "system", "content": say.SYSTEM}


def root(marked_context: str, question: str, answer: str) -> list[Message]:
    """Return the conversation of the root: the whole document, the question, and the answer without clarification."""
    return [system(), _user(say.base_request(marked_context, question)), _assistant(answer)]


def history(rounds: Sequence[Round], question: str) -> list[Message]:
    """Return the messages of finished rounds, eight per round; paragraphs are given by their marks only."""
    messages: list[Message] = []
    for done in rounds:
        messages += [
            _user(say.clarify(question)),
            _assistant(done.clarification),
            _user(say.POINT_BACK),
            _assistant(say.pointed_back(done.marks)),
            _user(say.ANSWER_FROM_PARAGRAPHS),
            _assistant(done.answer),
            _user(say.final_request(question)),
            _assistant(done.final),
        ]
    return messages


def trace(marked_context: str, question: str, first_answer: str, rounds: Sequence[Round]) -> list[Message]:
    """Return the whole conversation of a node for training: 3 messages and 8 per round.

    Source: AgenticLU, section 3.3.
    """
    return [*root(marked_context, question, first_answer), *history(rounds, question)]


def clarification_request(rounds: Sequence[Round], local_context: str, question: str) -> list[Message]:
    """Return the request for clarifying questions; several are sampled.

    Args:
        rounds: the node's finished rounds.
        local_context: text of the paragraphs kept in its last round (at the root: for the question).
        question: the original question.
    """
    return [system(), *history(rounds, question), _user(say.clarify_in_context(local_context, question))]


def relevance_request(paragraph: str, question: str) -> list[Message]:
    """Return the request for a verdict on one paragraph."""
    return [system(), _user(say.relevance(paragraph, question))]


def answer_request(rounds: Sequence[Round], question: str, clarification: str, context: str) -> list[Message]:
    """Return the request to answer the clarifying question from the kept paragraphs."""
    asked = [_user(say.clarify(question)), _assistant(clarification)]
    return [system(), *history(rounds, question), *asked, _user(say.answer_own_question(context))]


def final_request(
    rounds: Sequence[Round], question: str, clarification: str, context: str, answer: str
) -> list[Message]:
    """Return the request for the final answer of a round."""
    before = answer_request(rounds, question, clarification, context)
    return [*before, _assistant(answer), _user(say.final_request(question))]


def check_request(
    rounds: Sequence[Round], question: str, clarification: str, context: str, answer: str, final: str
) -> list[Message]:
    """Return the request that lets the model judge its final answer."""
    before = final_request(rounds, question, clarification, context, answer)
    return [*before, _assistant(final), _user(say.CHECK)]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
