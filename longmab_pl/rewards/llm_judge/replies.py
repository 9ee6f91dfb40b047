"""Forms of a judge's replies: what the prompt says about them, their JSON schema, and their parser.

`TextReplies` reads verdicts in free text. `JSONReplies` is used where the engine keeps replies to a JSON schema: a
reply is then one object and nothing else, in which quoted text can only be part of the analysis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from longmab_pl.checks import at_least
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.judge import JudgePrompts
from longmab_pl.rewards.llm_judge.json_replies import object_schema, shown_object
from longmab_pl.rewards.llm_judge.ratings import parse_labels, parse_ratings
from longmab_pl.rewards.llm_judge.verdicts import (
    MAX_SCORE,
    NO_NOTES,
    NO_STATEMENTS,
    SUPPORT,
    parse_notes,
    parse_score,
    parse_statements,
    parse_support,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NAME_TOKENS = 24
"""Tokens for each further verdict of a joint reply."""

ITEM_TOKENS = 64
"""Tokens for each listed statement or note under a schema, so that the list is never cut off."""

ITEM_CHARACTERS = 240
"""Maximum length of a listed statement or note under a schema: about `ITEM_TOKENS` tokens."""


@dataclass(frozen=True)
class ReplyLimits:
    """Maximum lengths of a judge's replies, in tokens; the defaults are the original program's.

    Under a JSON schema, the number of listed items and the characters of an analysis are limited too, so that a reply
    ends before it is cut off.

    Args:
        verdict: an analysis with its verdict; a joint reply gets `NAME_TOKENS` more for each verdict.
        notes: the notes on one part of a document.
        statements: the list of an answer's statements.

    Raises:
        ConfigError: a limit is below 64.

    Source: LongReward, `long_reward/auto_scorer.py`.
    """

    verdict: int = 512
    notes: int = 1024
    statements: int = 2048

    def __post_init__(self) -> None:
        for name in ("verdict", "notes", "statements"):
            at_least(f"reward.reply_tokens.{name}", getattr(self, name), ITEM_TOKENS)


@dataclass(frozen=True)
class ReplyForm(Generic[T_co]):
    """The form of a reply.

    Args:
        told: the end of the prompt, which describes the form.
        parse: function that reads a reply; None means that it has no verdict.
        max_tokens: maximum length of the reply, in tokens.
        schema: JSON schema of the reply, as text; None: free text.
    """

    told: str
    parse: Callable[[str], T_co | None]
    max_tokens: int
    schema: str | None = None


class Replies(Protocol):
    """The forms of all replies that LongReward needs."""

    def rating(self) -> ReplyForm[float]:
        """Return the form of a rating from 0 to 10."""

    def ratings(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        """Return the form of one rating for each name, in order."""

    def statements(self) -> ReplyForm[list[str]]:
        """Return the form of a list of statements, which may be empty."""

    def support(self) -> ReplyForm[float]:
        """Return the form of a support label: 1 fully, 0.5 partially, 0 not."""

    def supports(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        """Return the form of one support label for each name, in order."""

    def notes(self) -> ReplyForm[str]:
        """Return the form of notes; `NO_NOTES` if there is nothing to note."""


@dataclass(frozen=True)
class TextReplies:
    """Replies in free text that ends with the verdict."""

    prompts: JudgePrompts
    limits: ReplyLimits

    def rating(self) -> ReplyForm[float]:
        return ReplyForm(self.prompts.reply_rating, parse_score, self.limits.verdict)

    def ratings(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        def parse(reply: str) -> list[float] | None:
            found = parse_ratings(reply, names, 0.0, MAX_SCORE)
            return None if found is None else [found.scores[name] for name in names]

        told = fill(self.prompts.reply_ratings, form=shown_object(dict.fromkeys(names, "n")))
        return ReplyForm(told, parse, self.limits.verdict + NAME_TOKENS * len(names))

    def statements(self) -> ReplyForm[list[str]]:
        told = fill(self.prompts.reply_statements, nothing=NO_STATEMENTS)
        return ReplyForm(told, parse_statements, self.limits.statements)

    def support(self) -> ReplyForm[float]:
        return ReplyForm(self.prompts.reply_support, parse_support, self.limits.verdict)

    def supports(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        def parse(reply: str) -> list[float] | None:
            found = parse_labels(reply, names, SUPPORT)
            return None if found is None else [found[name] for name in names]

        told = fill(self.prompts.reply_supports, form=shown_object(dict.fromkeys(names, '"..."')))
        return ReplyForm(told, parse, self.limits.verdict + NAME_TOKENS * len(names))

    def notes(self) -> ReplyForm[str]:
        return ReplyForm(fill(self.prompts.reply_notes, nothing=NO_NOTES), parse_notes, self.limits.notes)


_LABELS: Mapping[str, float] = {"fully": 1.0, "partially": 0.5, "none": 0.0}
_RATING = {"type": "integer", "minimum": 0, "maximum": int(MAX_SCORE)}
_LABEL = {"enum": list(_LABELS)}
_ITEM = {"type": "string", "maxLength": ITEM_CHARACTERS}


@dataclass(frozen=True)
class JSONReplies:
    """Replies that the engine keeps to a JSON schema.

    Joint verdicts are named `1`, `2`, ...: the last part of the names in the prompt, which are longer to write.
    """

    prompts: JudgePrompts
    limits: ReplyLimits

    def rating(self) -> ReplyForm[float]:
        return self._verdict(_RATING, _rating, "0 to 10", "n")

    def ratings(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        return self._verdicts(len(names), _RATING, _rating, "0 to 10", "n")

    def support(self) -> ReplyForm[float]:
        return self._verdict(_LABEL, _label, "fully, partially, none", '"..."')

    def supports(self, names: Sequence[str]) -> ReplyForm[list[float]]:
        return self._verdicts(len(names), _LABEL, _label, "fully, partially, none", '"..."')

    def statements(self) -> ReplyForm[list[str]]:
        def parse(reply: str) -> list[str] | None:
            return _texts(_read(reply, ["statements"]), "statements")

        return self._listed("statements", parse, self.limits.statements)

    def notes(self) -> ReplyForm[str]:
        def parse(reply: str) -> str | None:
            notes = _texts(_read(reply, ["notes"]), "notes")
            if notes is None:
                return None
            return "\n".join(f"{n}. {note}" for n, note in enumerate(notes, 1)) or NO_NOTES

        return self._listed("notes", parse, self.limits.notes)

    def _verdict(
        self, schema: Mapping[str, Any], value: Callable[[Any], float | None], scale: str, example: str
    ) -> ReplyForm[float]:
        def parse(reply: str) -> float | None:
            found = _read(reply, ["analysis", "verdict"])
            return None if found is None else value(found["verdict"])

        return self._analyzed({"verdict": schema}, parse, scale, example)

    def _verdicts(
        self, count: int, schema: Mapping[str, Any], value: Callable[[Any], float | None], scale: str, example: str
    ) -> ReplyForm[list[float]]:
        names = [str(n) for n in range(1, count + 1)]

        def parse(reply: str) -> list[float] | None:
            found = _read(reply, ["analysis", *names])
            values = [] if found is None else [v for name in names if (v := value(found[name])) is not None]
            return values if len(values) == count else None

        return self._analyzed(dict.fromkeys(names, schema), parse, scale, example)

    def _analyzed(
        self, verdicts: Mapping[str, Any], parse: Callable[[str], T | None], scale: str, example: str
    ) -> ReplyForm[T]:
        form = shown_object({"analysis": '"..."', **dict.fromkeys(verdicts, example)})
        told = fill(self.prompts.reply_json, scale=scale, form=form)
        schema = object_schema({"analysis": {"type": "string", "maxLength": self.limits.verdict}, **verdicts})
        return ReplyForm(told, parse, self.limits.verdict + NAME_TOKENS * len(verdicts), json.dumps(schema))

    def _listed(self, name: str, parse: Callable[[str], T | None], max_tokens: int) -> ReplyForm[T]:
        told = fill(self.prompts.reply_json_list, form=shown_object({name: '["...", "..."]'}))
        items = {"type": "array", "items": _ITEM, "maxItems": max_tokens // ITEM_TOKENS}
        return ReplyForm(told, parse, max_tokens, json.dumps(object_schema({name: items})))


def _read(reply: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Return a reply that is one JSON object with exactly these names, each once; otherwise None."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    try:
        found = json.loads(reply, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and set(found) == set(names) else None


def _rating(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= MAX_SCORE else None


def _label(value: Any) -> float | None:
    return _LABELS.get(value) if isinstance(value, str) else None


def _texts(found: Mapping[str, Any] | None, name: str) -> list[str] | None:
    """Return the texts of a list, stripped and without empty ones; None if it is no list of texts."""
    if found is None or not isinstance(found[name], list) or not all(isinstance(item, str) for item in found[name]):
        return None
    return [text for item in found[name] if (text := item.strip())]
