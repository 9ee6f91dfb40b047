"""The conversations of a clarification tree: the requests of each step, and the training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.prompts import clarification as say
from longmab_pl.prompts.transcript import Turn, assistant, user
from longmab_pl.prompts.transcript import system as system_turn
from longmab_pl.strategies.clarification_tree.paragraphs import paragraph_marks

TURNS_PER_ROUND = 8


@dataclass(frozen=True)
class Round:
    """One clarification round of a node. The turns keep their sampled token ids.

    Args:
        clarification: the model's clarifying question.
        kept: numbers of the selected paragraphs.
        answer: its answer to its own question.
        final: its final answer after this round.
    """

    clarification: Turn
    kept: tuple[int, ...]
    answer: Turn
    final: Turn


def system() -> Turn:
    """Return the system turn."""
    return system_turn(say.SYSTEM)


def root(marked_context: str, question: str, answer: Turn | None) -> list[Turn]:
    """Return the conversation of the root: the whole document, the question, and the answer without clarification.

    Args:
        marked_context: the document with marked paragraphs.
        question: the original question.
        answer: the answer; None: it is left out, and the user's turn ends with the request for a clarifying question.
    """
    if answer is None:
        return [system(), user(say.ask_and_clarify(marked_context, question))]
    return [system(), user(say.base_request(marked_context, question)), answer]


def history(rounds: Sequence[Round], question: str) -> list[Turn]:
    """Return the turns of finished rounds, eight per round; paragraphs are given by their marks only."""
    turns: list[Turn] = []
    for done in rounds:
        turns += [
            user(say.clarify(question)),
            done.clarification,
            user(say.POINT_BACK),
            assistant(say.pointed_back(paragraph_marks(done.kept))),
            user(say.ANSWER_FROM_PARAGRAPHS),
            done.answer,
            user(say.final_request(question)),
            done.final,
        ]
    return turns


def trace(marked_context: str, question: str, first_answer: Turn | None, rounds: Sequence[Round]) -> list[Turn]:
    """Return the whole conversation of a node for training: 3 turns and 8 per round, or 2 less without a first answer.

    Source: AgenticLU, section 3.3.
    """
    told = history(rounds, question)
    return [*root(marked_context, question, first_answer), *(told if first_answer is not None else told[1:])]


def base_answer_request(context: str, question: str) -> list[Turn]:
    """Return the request for the answer without clarification, from the paragraphs that help with the question."""
    return [user(say.answer_plainly(context, question))]


def clarification_request(rounds: Sequence[Round], local_context: str, question: str) -> list[Turn]:
    """Return the request for clarifying questions; several are sampled.

    Args:
        rounds: the node's finished rounds.
        local_context: text of the paragraphs kept in its last round (at the root: for the question).
        question: the original question.
    """
    return [system(), *history(rounds, question), user(say.clarify_in_context(local_context, question))]


def relevance_request(paragraph: str, questions: Sequence[str], structured: bool = False) -> list[Turn]:
    """Return the request for verdicts on one paragraph, about one question or several.

    Args:
        paragraph: text of the paragraph.
        questions: the questions; one alone gets a short reason.
        structured: whether a reply about several is kept to a JSON schema.
    """
    asked = (
        say.relevance(paragraph, questions[0])
        if len(questions) == 1
        else say.relevance_of_all(paragraph, questions, structured)
    )
    return [system(), user(asked)]


def answer_request(rounds: Sequence[Round], question: str, clarification: Turn, context: str) -> list[Turn]:
    """Return the request to answer the clarifying question from the kept paragraphs."""
    asked = [user(say.clarify(question)), clarification]
    return [system(), *history(rounds, question), *asked, user(say.answer_own_question(context))]


def final_request(
    rounds: Sequence[Round], question: str, clarification: Turn, context: str, answer: Turn
) -> list[Turn]:
    """Return the request for the final answer of a round."""
    before = answer_request(rounds, question, clarification, context)
    return [*before, answer, user(say.final_request(question))]


def check_request(
    rounds: Sequence[Round], question: str, clarification: Turn, context: str, answer: Turn, final: Turn
) -> list[Turn]:
    """Return the request that lets the model judge its final answer."""
    before = final_request(rounds, question, clarification, context, answer)
    return [*before, final, user(say.CHECK)]
