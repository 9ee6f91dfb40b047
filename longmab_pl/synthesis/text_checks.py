"""Checks of a written question that need no model: its form, its answer's place, what it refers to."""

from __future__ import annotations

import re

from longmab_pl.rewards.lenient_match import contains_words, normalize_lenient
from longmab_pl.synthesis.candidates import (
    GIVEN_AWAY,
    MALFORMED,
    NAMES_NOTHING,
    NOT_IN_CHUNK,
    POINTS_TO_TEXT,
    Candidate,
)

MAX_QUESTION_WORDS = 40
"""Longest question, in words."""

_POINTS = re.compile(
    r"\b(?:the|this|that|these|those|given|provided|following|above)\s+(?:\w+\s+)?"
    r"(?:texts?|passages?|paragraphs?|articles?|excerpts?|documents?|sentences?|statements?|authors?|snippets?|extracts?"
    r"|context)\b(?!\s+(?:of|called|named|by|signed)\b)"
    r"|\b(?:mentioned|described|discussed|stated|listed)\s*(?:here|above|below|earlier|\?)",
    re.IGNORECASE,
)
"""Pattern of words that point to a text which the reader of a question alone does not see."""

_POINTING_WORDS = re.compile(
    r"\b(?:he|she|it|they|him|her|them|his|its|their|theirs|hers|this|that|these|those|here|there)\b", re.IGNORECASE
)
_NAME = re.compile(r"(?<=[\w,;:'’\"“(-] )[\"“'(]?[^\W\d_a-z]\w*|\d")
"""A word with a capital that is not the first, or a number."""


def problem_of(candidate: Candidate, max_answer_words: int) -> str | None:
    """Return why a question is left out, by its text alone and in the order of the filters; None: it passes.

    Pointing words are English ones; in other languages these two checks find nothing.

    Args:
        candidate: the question.
        max_answer_words: longest answer, in words.
    """
    question, answer = normalize_lenient(candidate.question), normalize_lenient(candidate.answer)
    if not _is_short_question(candidate, answer, max_answer_words):
        return MALFORMED
    if not contains_words(normalize_lenient(candidate.chunk.text), answer):
        return NOT_IN_CHUNK
    if contains_words(question, answer):
        return GIVEN_AWAY
    if _POINTS.search(candidate.question):
        return POINTS_TO_TEXT
    if names_nothing(candidate.question):
        return NAMES_NOTHING
    return None


def names_nothing(question: str) -> bool:
    """Return whether a question has a pronoun and no name or number that it could refer to.

    Example:
        >>> names_nothing("When did he leave the city?"), names_nothing("When did Velden close its port?")
        (True, False)
    """
    return _POINTING_WORDS.search(question) is not None and _NAME.search(question) is None


def _is_short_question(candidate: Candidate, normal_answer: str, max_answer_words: int) -> bool:
    question = candidate.question
    return (
        question.endswith(("?", "？", "؟"))
        and 3 <= len(question.split()) <= MAX_QUESTION_WORDS
        and bool(normal_answer)
        and len(candidate.answer.split()) <= max_answer_words
    )
