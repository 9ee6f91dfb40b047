"""Forms of a judge's replies about the blocks of a long text: free text that ends with JSON, or JSON by a schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from longmab_pl.rewards.llm_judge.json_replies import object_schema, read_object, shown_object
from longmab_pl.rewards.llm_judge.ratings import only_object, parse_labels
from longmab_pl.rewards.llm_judge.replies import ReplyForm
from longmab_pl.rewards.llm_judge.verdicts import NO_STATEMENTS, parse_statements
from longmab_pl.rewards.principles import PRINCIPLES, parse_principles_of_all, principles_of_all

ANALYSIS_TOKENS = 384
RATING_TOKENS = 96
LABEL_TOKENS = 24
ADVICE_TOKENS = 128
LIST_TOKENS = 1024
"""Longest replies: an analysis, one candidate's ratings, a label, advice on one principle, a list of facts."""

ANALYSIS_CHARACTERS = 400
FACT_CHARACTERS = 200
MAX_FACTS = 8
"""Lengths under a schema, so that a reply is never cut off before its end."""

LABELS = {"contradicts": 1.0, "contradict": 1.0, "consistent": 0.0}

_ANY = '"..."'
_ADVICE = '{"suggestion": "...", "confidence": n}'
_NUMBERED = "Reply with one JSON object: a short analysis, then {what} under its number (the last part of its name), "


def ratings_form(names: Sequence[str], structured: bool) -> ReplyForm[list[dict[str, float]]]:
    """Return the form of the seven ratings of each candidate, in order.

    Args:
        names: names of the candidates in the prompt.
        structured: whether the engine keeps replies to a schema.
    """
    max_tokens = ANALYSIS_TOKENS + RATING_TOKENS * len(names)
    if not structured:
        rated = shown_object(dict.fromkeys(PRINCIPLES, "n"))
        told = (
            "Compare the candidates, in a few sentences. Then end with one JSON object that gives each candidate its "
            f"seven ratings under its name, exactly as in: {shown_object(dict.fromkeys(names, rated))}"
        )
        return ReplyForm(told, lambda reply: parse_principles_of_all(reply, names), max_tokens)
    numbers = _numbers(names)

    def parse(reply: str) -> list[dict[str, float]] | None:
        found = read_object(reply) or {}
        lists = [found.get(number) for number in numbers]
        whole = [own for own in lists if isinstance(own, list) and len(own) == len(PRINCIPLES)]
        if len(whole) < len(lists):
            return None
        return principles_of_all([dict(zip(PRINCIPLES, own, strict=True)) for own in whole])

    told = _NUMBERED.format(what="each candidate's seven ratings in the order of the principles")
    rating = {"type": "integer", "minimum": 1, "maximum": 5}
    seven = {"type": "array", "items": rating, "minItems": len(PRINCIPLES), "maxItems": len(PRINCIPLES)}
    example = "[" + ", ".join("n" for _ in PRINCIPLES) + "]"
    return ReplyForm(
        told + "in the form: " + shown_object({"analysis": _ANY, **dict.fromkeys(numbers, example)}),
        parse,
        max_tokens,
        json.dumps(object_schema({"analysis": _text(ANALYSIS_CHARACTERS), **dict.fromkeys(numbers, seven)})),
    )


def contradictions_form(names: Sequence[str], structured: bool) -> ReplyForm[list[bool]]:
    """Return the form of the verdict on each candidate: whether it contradicts a fact. Arguments as above."""
    max_tokens = ANALYSIS_TOKENS + LABEL_TOKENS * len(names)
    keys = _numbers(names) if structured else names

    def parse(reply: str) -> list[bool] | None:
        found = parse_labels(reply, keys, LABELS)
        return None if found is None else [found[key] == 1.0 for key in keys]

    if not structured:
        told = (
            "Compare first, in a few sentences. Then end with one JSON object that says contradicts or consistent for "
            f"each candidate under its name, exactly as in: {shown_object(dict.fromkeys(names, _ANY))}"
        )
        return ReplyForm(told, parse, max_tokens)
    told = _NUMBERED.format(what="contradicts or consistent for each candidate")
    label = {"enum": ["consistent", "contradicts"]}
    return ReplyForm(
        told + "in the form: " + shown_object({"analysis": _ANY, **dict.fromkeys(keys, _ANY)}),
        parse,
        max_tokens,
        json.dumps(object_schema({"analysis": _text(ANALYSIS_CHARACTERS), **dict.fromkeys(keys, label)})),
    )


def facts_form(structured: bool) -> ReplyForm[list[str]]:
    """Return the form of a list of facts, which may be empty."""
    if not structured:
        told = (
            "Write every fact between <statement> and </statement>. If the part states none, write only "
            f"{NO_STATEMENTS}"
        )
        return ReplyForm(told, parse_statements, LIST_TOKENS)

    def parse(reply: str) -> list[str] | None:
        facts = (read_object(reply) or {}).get("facts")
        if not isinstance(facts, list) or not all(isinstance(fact, str) for fact in facts):
            return None
        return [fact.strip() for fact in facts if fact.strip()]

    told = 'Reply with one JSON object, in the form: {"facts": ["...", "..."]} (an empty list if there are none).'
    listed = {"type": "array", "items": _text(FACT_CHARACTERS), "maxItems": MAX_FACTS}
    return ReplyForm(told, parse, LIST_TOKENS, json.dumps(object_schema({"facts": listed})))


def advice_form(names: Sequence[str], structured: bool) -> ReplyForm[list[tuple[str, float]]]:
    """Return the form of advice on each principle, with the judge's confidence from 1 to 5.

    Args:
        names: names of the principles.
        structured: whether the engine keeps replies to a schema.
    """
    told = f"End with one JSON object, exactly as in: {shown_object(dict.fromkeys(names, _ADVICE))}"
    confidence = {"type": "integer", "minimum": 1, "maximum": 5}
    advice = object_schema({"suggestion": _text(FACT_CHARACTERS), "confidence": confidence})
    schema = json.dumps(object_schema(dict.fromkeys(names, advice))) if structured else None
    return ReplyForm(told, lambda reply: parse_advice(reply, names), ADVICE_TOKENS * (1 + len(names)), schema)


def parse_advice(reply: str, names: Sequence[str]) -> list[tuple[str, float]] | None:
    """Return the advice in a reply with its confidence, in the order of the principles; None without a verdict.

    Advice is shortened to 400 characters; a missing or impossible confidence counts as 1.

    Example:
        >>> parse_advice('{"principle5": {"suggestion": "Vary the verbs.", "confidence": 4}}', ["principle5"])
        [('Vary the verbs.', 4.0)]
    """
    found = only_object(reply, names)
    if found is None:
        return None
    advice = []
    for name in names:
        own = found[name]
        text = own.get("suggestion") if isinstance(own, dict) else None
        if not isinstance(text, str) or not text.strip():
            continue
        sure = own.get("confidence")
        valid = isinstance(sure, int | float) and not isinstance(sure, bool) and 1 <= sure <= 5
        advice.append((" ".join(text.split())[:400], float(sure) if valid else 1.0))
    return advice or None


def _numbers(names: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(names) + 1)]


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest}
