"""Prompts of a clarification round (AgenticLU, section 3), in English and in our own words."""

from __future__ import annotations

from collections.abc import Sequence

SYSTEM = (
    "You analyze long documents. Keep the whole conversation in mind, relate ideas that are far apart, and say so when "
    "a part has to be read again. Break hard questions into smaller ones, state your steps and your assumptions, and "
    "base every conclusion on evidence from the text."
)

NOTHING_HELPFUL = "No paragraph helps with this."
"""Text in place of the paragraphs if none was kept."""

POINT_BACK = "Please find the paragraphs that help to answer your clarifying question."

ANSWER_FROM_PARAGRAPHS = "Using these paragraphs, please answer your clarifying question."


def base_request(marked_context: str, question: str) -> str:
    """Return the first request: the document with marked paragraphs, and the question."""
    return f"{marked_context}\n\n{question}"


def clarify(question: str) -> str:
    """Return the request for one clarifying question."""
    return (
        f"Look again at what is known so far about this question: {question}\n"
        "Then ask exactly one new question whose answer would help most. Write the question only."
    )


def clarify_in_context(local_context: str, question: str) -> str:
    """Return the request for a clarifying question, after the paragraphs that the last round kept."""
    return f"{local_context or NOTHING_HELPFUL}\n{clarify(question)}"


def relevance(paragraph: str, question: str) -> str:
    """Return the request for a verdict on one paragraph. The paragraph comes first, so that its prefix is cached for
    all questions about it."""
    return (
        f"{paragraph}\n\nDoes this paragraph help in any way to answer the following question?\n{question}\n\n"
        "Give a short reason, then end with one line: Answer: (yes/maybe/no)"
    )


def relevance_of_all(paragraph: str, questions: Sequence[str], structured: bool) -> str:
    """Return the request for verdicts on one paragraph about several questions, the paragraph first.

    Args:
        paragraph: text of the paragraph.
        questions: the questions.
        structured: whether the engine keeps the reply to a JSON schema.
    """
    numbered = "\n".join(f"{number}. {' '.join(question.split())}" for number, question in enumerate(questions, 1))
    form = (
        'Reply with a JSON object of yes, maybe or no for the number of each question, such as {"1": "maybe", ...}'
        if structured
        else "Reply with one line for each question, its number and yes, maybe or no, such as: 1: maybe"
    )
    return (
        f"{paragraph}\n\nDoes this paragraph help in any way to answer the following questions?\n{numbered}\n\n{form}"
    )


def answer_plainly(context: str, question: str) -> str:
    """Return the request for the first answer, without clarification, from the relevant paragraphs."""
    return f"{context or NOTHING_HELPFUL}\n{question}"


def ask_and_clarify(marked_context: str, question: str) -> str:
    """Return the first request of a conversation without a first answer: the document, the question, and the request
    for a clarifying question."""
    return f"{base_request(marked_context, question)}\n\n{clarify(question)}"


def pointed_back(marks: str) -> str:
    """Return the reply that refers to paragraphs by their marks, joined by spaces."""
    return f"These paragraphs help: {marks}" if marks else NOTHING_HELPFUL


def answer_own_question(kept_context: str) -> str:
    """Return the request to answer the clarifying question from the text of the kept paragraphs."""
    return (
        f"Here is the relevant part of the document:\n{kept_context or NOTHING_HELPFUL}\n\n"
        "Answer your own question from it, and sum up what you found."
    )


def final_request(question: str) -> str:
    """Return the request for the final answer."""
    return f"With all of this in mind, answer the original question in as few words as possible. {question}"


CHECK = 'Was your answer right? Reply in JSON only: {"explanation": "...", "answer": "Yes or No"}'
