"""Records that the page shows whole: question, gold answer, both answers of a pair and all that was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.reporting.html.differences import Part, differences
from longmab_pl.reporting.html.round_digest import DrawnRecord, outcome
from longmab_pl.reporting.html.strip import Strip, strip
from longmab_pl.reporting.html.text import clean, line, number
from longmab_pl.reporting.html.tree import Tree, tree

PROMPT_CHARACTERS = 4_000
ANSWERS = 40
"""Largest number of a record's answers that are listed."""


@dataclass(frozen=True)
class ScoreRow:
    """A reward of one answer: its name, value and parts, why it is excluded ("" if it is not), and notes by title."""

    name: str
    value: str
    parts: Mapping[str, str]
    excluded: str
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Side:
    """One answer of a pair."""

    name: str
    parts: Sequence[Part]
    reward: str
    scores: Sequence[ScoreRow]
    read: str
    step: int
    ended: bool


@dataclass(frozen=True)
class Answer:
    """An answer in the list of all answers to a record."""

    number: int
    step: int
    read: str
    reward: str
    text: str
    cut: bool
    compared: str


@dataclass(frozen=True)
class Sample:
    """A record as the page shows it; of an unfinished round, question and gold answer are not in the run's files."""

    id: str
    round: int
    outcome: str
    question: str
    gold: str
    sides: Sequence[Side]
    strip: Strip | None
    tree: Tree | None
    answers: Sequence[Answer]
    left_out: int
    prompt: Sequence[tuple[str, str]]


def sample(drawn: DrawnRecord, round_number: int) -> Sample:
    """Return a record's texts, cleaned and cut, with the drawings of its document or its tree."""
    rollout, pair = drawn.rollout, drawn.pair
    responses = rollout["responses"]
    primary = _primary(responses)
    texts = [_answer(pair.get(name), _shared(pair)) for name in ("chosen", "rejected")] if pair else []
    sides = []
    if texts:
        for name, text_parts in zip(("chosen", "rejected"), differences(*map(clean, texts)), strict=True):
            sides.append(_side(name, pair, text_parts, responses))
    compared = {pair.get(f"{name}_index"): name for name in ("rejected", "chosen")} if pair else {}
    return Sample(
        id=line(rollout["record_id"], 80),
        round=round_number,
        outcome=outcome(rollout, int(bool(pair))),
        question=clean(rollout.get("question") or pair.get("input", ""), PROMPT_CHARACTERS),
        gold=clean(_gold(rollout) or pair.get("answer", ""), PROMPT_CHARACTERS),
        sides=sides,
        strip=strip(rollout, _indices(pair.get("chosen_read")), _indices(pair.get("rejected_read")), primary),
        tree=tree(rollout["trace"]),
        answers=[_listed(i, response, primary, compared) for i, response in enumerate(responses[:ANSWERS])],
        left_out=max(len(responses) - ANSWERS, 0),
        prompt=[(line(m.get("role", ""), 20), clean(m.get("content", ""), PROMPT_CHARACTERS)) for m in _messages(pair)],
    )


def _gold(rollout: Mapping[str, Any]) -> str:
    answers = rollout.get("answers")
    return "\n".join(map(str, answers)) if isinstance(answers, list) else ""


def _primary(responses: Sequence[Mapping[str, Any]]) -> str:
    return next((name for response in responses for name in response["scores"]), "")


def _shared(pair: Mapping[str, Any]) -> int:
    """Return how many turns at the beginning both conversations of a pair have in common."""
    shared = pair.get("shared_turns", 0)
    return shared if isinstance(shared, int) and shared > 0 else 0


def _answer(messages: Any, shared: int) -> str:
    """Return the text of a pair's answer; of a conversation, the turns after the first `shared` ones."""
    if not isinstance(messages, list):
        return str(messages or "")
    turns = [message for message in messages if isinstance(message, Mapping)]
    said = [f"(after {shared} turns that both have)"] if shared else []
    for turn in turns[shared:]:
        asked = turn.get("role") != "assistant"
        said.append(f"{'[asked] ' if asked else ''}{turn.get('content', '')}")
    return "\n\n".join(said)


def _messages(pair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    prompt = pair.get("prompt")
    if isinstance(prompt, str):
        return [{"role": "text", "content": prompt}]
    return [m for m in prompt if isinstance(m, Mapping)][-4:] if isinstance(prompt, list) else []


def _side(name: str, pair: Mapping[str, Any], parts: Sequence[Part], responses: Sequence[Mapping[str, Any]]) -> Side:
    index = pair.get(f"{name}_index")
    found = responses[index] if isinstance(index, int) and 0 <= index < len(responses) else None
    return Side(
        name=name,
        parts=parts,
        reward=number(pair.get(f"{name}_reward")),
        scores=[] if found is None else [_score(key, score) for key, score in found["scores"].items()],
        read=_read(_indices(pair.get(f"{name}_read"))),
        step=int(pair.get(f"{name}_step", 0)) + 1,
        ended=bool(pair.get(f"{name}_ended", True)),
    )


def _score(name: str, score: Mapping[str, Any]) -> ScoreRow:
    return ScoreRow(
        name=line(name, 60),
        value=number(score["value"]),
        parts={line(key, 60): number(value) for key, value in score["parts"].items()},
        excluded=line(score["excluded"] or ""),
        notes={line(key, 60): clean(value, 1_500) for key, value in score.get("notes", {}).items()},
    )


def _listed(i: int, response: Mapping[str, Any], primary: str, compared: Mapping[Any, str]) -> Answer:
    score = response["scores"].get(primary)
    reward = None if score is None or score["excluded"] is not None else score["value"]
    return Answer(
        number=i + 1,
        step=response["step"] + 1,
        read=_read(response["read"]),
        reward=number(reward),
        text=line(response["text"], 400),
        cut=not response["finished"],
        compared=compared.get(i, ""),
    )


def _indices(value: Any) -> Sequence[int]:
    return [i for i in value if isinstance(i, int)] if isinstance(value, list) else []


def _read(indices: Sequence[int]) -> str:
    """Return the numbers of the chunks that an answer's prompt held, from 1; without chunks it was read as it is."""
    if not indices:
        return "the whole prompt"
    shown = ", ".join(str(i + 1) for i in indices[:40]) + (", …" if len(indices) > 40 else "")
    return f"chunk{'s' if len(indices) > 1 else ''} {shown}"
