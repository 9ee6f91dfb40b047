"""Prompts of a judge (LongReward), in English and Chinese and in our own words: `judge_texts/*.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from longmab_pl.prompts.dollar_names import check_names

_QUESTION = frozenset({"rule", "question", "reply"})

FIELDS: Mapping[str, frozenset[str]] = {
    "helpfulness": _QUESTION | {"answer"},
    "logicality": _QUESTION | {"answer"},
    "helpfulness_of_all": _QUESTION | {"answers"},
    "logicality_of_all": _QUESTION | {"answers"},
    "statements": _QUESTION | {"answer"},
    "support": frozenset({"rule", "statement", "evidence", "reply"}),
    "support_of_all": frozenset({"rule", "evidence", "statements", "reply"}),
    "notes": _QUESTION | {"document"},
    "completeness": _QUESTION | {"notes", "answer"},
    "reply_rating": frozenset(),
    "reply_ratings": frozenset({"form"}),
    "reply_statements": frozenset({"nothing"}),
    "reply_support": frozenset(),
    "reply_supports": frozenset({"form"}),
    "reply_notes": frozenset({"nothing"}),
    "reply_json": frozenset({"scale", "form"}),
    "reply_json_list": frozenset({"form"}),
}
"""The `$names` that each text must contain. They are replaced once, without replacing names in the inserted texts."""


@dataclass(frozen=True)
class JudgePrompts:
    """The texts of a judge, with `$names` for what is filled in (`FIELDS`).

    In a config it is the name of a YAML file with these keys, or the keys themselves.

    Args:
        helpfulness: rates one answer.
        logicality: rates one answer.
        helpfulness_of_all: rates all answers to a question at once.
        logicality_of_all: rates all answers to a question at once.
        statements: lists the factual statements of an answer.
        support: rates how far evidence supports one statement.
        support_of_all: rates the support of all statements of an answer at once.
        notes: notes what a part of the document says on the question.
        completeness: rates whether an answer covers the notes.
        reply_rating: form of a reply to a rating of one answer.
        reply_ratings: form of a reply to a rating of all answers.
        reply_statements: form of a list of statements.
        reply_support: form of a reply on one statement.
        reply_supports: form of a reply on all statements.
        reply_notes: form of notes.
        reply_json: form of a rating or label under a JSON schema.
        reply_json_list: form of a list under a JSON schema.

    Raises:
        ConfigError: a text lacks one of its `$names`, or has another.
    """

    helpfulness: str
    logicality: str
    helpfulness_of_all: str
    logicality_of_all: str
    statements: str
    support: str
    support_of_all: str
    notes: str
    completeness: str
    reply_rating: str
    reply_ratings: str
    reply_statements: str
    reply_support: str
    reply_supports: str
    reply_notes: str
    reply_json: str
    reply_json_list: str

    def __post_init__(self) -> None:
        for each in fields(self):
            check_names(f"the judge's prompt {each.name!r}", getattr(self, each.name), FIELDS[each.name])


def _shipped(language: str) -> JudgePrompts:
    return JudgePrompts(**yaml.safe_load((Path(__file__).parent / f"judge_texts/{language}.yaml").read_text("utf-8")))


ENGLISH = _shipped("english")
CHINESE = _shipped("chinese")
