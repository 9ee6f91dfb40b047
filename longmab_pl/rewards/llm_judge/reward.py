"""LongReward: a judge rates answers by helpfulness, logicality, faithfulness and completeness."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longmab_pl.checks import at_least, one_of
from longmab_pl.data.records import QARecord
from longmab_pl.data.token_chunks import TokenChunk, token_chunks
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts import encoding
from longmab_pl.prompts.judge import CHINESE, ENGLISH, JudgePrompts, fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.llm_judge.asking import Question, ask
from longmab_pl.rewards.llm_judge.attempts import TEMPERATURES, Outcome
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS, faithfulness, language, overall
from longmab_pl.rewards.llm_judge.ratings import parse_labels, parse_ratings
from longmab_pl.rewards.llm_judge.retrieval import (
    EVIDENCE_CHUNKS,
    EVIDENCE_TOKENS,
    NOTES_TOKENS,
    labeled_notes,
    nearest_chunks,
)
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
from longmab_pl.seeding import derive_seed

JudgeStyle = Literal["joint", "original"]

SCORE_TOKENS = 512
NOTE_TOKENS = 1024
LIST_TOKENS = 2048


@dataclass(frozen=True)
class LLMJudge:
    """Rates the answers to a record by four dimensions, 0 to 10 each, with a judge that never sees the whole document.

    Helpfulness and logicality are judged from question and answer. For faithfulness, the judge lists the answer's
    factual statements and compares each with the most similar parts of the document. For completeness, it takes notes
    on the question from every part of the document, once for all answers, and rates each answer's coverage of them.

    `style="joint"` (default) uses one request for the helpfulness of all answers and one for their logicality, in a
    random order per record, and one for all statements of an answer: 8 + 2 + 10 * 3 = 40 requests for a document of
    32k tokens and 10 answers. `style="original"` uses separate requests as the program does, about 268.

    The value is the mean of the dimensions divided by 10. Parts are the dimensions (0 to 10), `statements` (their
    number), `requests` (the answer's share of all) and `position` (its place among the answers in a joint request, 0 to
    1, which shows a position bias). Notes are the judge's analyses. An answer without a verdict in five attempts is
    excluded; an answer without factual statements has faithfulness 0 (`FAITHFULNESS_WITHOUT_STATEMENTS`).

    Quoted text is between tags that its author cannot know, and cannot be parsed as a verdict (`prompts.quoting`).

    Args:
        engine: name of the judging engine; `policy` is the trained model with its current adapter. It must have the
            policy's tokenizer.
        style: `joint` or `original`, see above.
        english: prompts for questions in English.
        chinese: prompts for questions in Chinese.
        evidence_chunks: number of chunks of 128 tokens that a statement is judged against.

    Example:
        >>> LLMJudge(engine="policy", style="joint").engines
        ('policy',)

    Source: LongReward (arXiv:2410.21252), section 3.
    """

    engine: str = "judge"
    style: JudgeStyle = "joint"
    english: JudgePrompts = ENGLISH
    chinese: JudgePrompts = CHINESE
    evidence_chunks: int = EVIDENCE_CHUNKS

    def __post_init__(self) -> None:
        one_of("reward.style", self.style, ("joint", "original"))
        at_least("reward.evidence_chunks", self.evidence_chunks, 1)

    @property
    def name(self) -> str:
        return "llm_judge"

    @property
    def engines(self) -> tuple[str, ...]:
        return (self.engine,)

    @property
    def needs_embedder(self) -> bool:
        return True

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        if not record.context.strip():
            return [Score(0.0, excluded="no document to judge by") for _ in responses]
        answers = [without_thought(text) for text in responses]
        judging = _Judging(self, record, answers, context)
        first = [*judging.about_all(), *judging.note_questions(), *judging.statement_questions()]
        outcomes = yield from self._ask(first, context)
        second = judging.second_questions(outcomes)
        outcomes = outcomes | (yield from self._ask(second, context))
        requests = sum(outcome.attempts for outcome in outcomes.values())
        return [judging.result(i, outcomes, requests) for i in range(len(answers))]

    def _ask(self, questions: list[Question], context: RewardContext) -> RequestStream[dict[str, Outcome[Any]]]:
        outcomes = yield from ask(questions, context, self.engine, TEMPERATURES)
        return {question.name: outcome for question, outcome in zip(questions, outcomes, strict=True)}


class _Judging:
    """Questions about one record's answers, and the scores from their outcomes."""

    def __init__(self, judge: LLMJudge, record: QARecord, answers: list[str], context: RewardContext) -> None:
        self.judge, self.record, self.answers, self.context = judge, record, answers, context
        self.prompts = judge.english if language(record.question) == "en" else judge.chinese
        seed = derive_seed(context.seed, context.key, "fence")
        self.fence = Fence.around(seed, [record.question, record.context, *answers])
        tokenizer = encoding.text_tokenizer(context.tokenizer, record.context)
        self.evidence = token_chunks(record.context, tokenizer, EVIDENCE_TOKENS)
        self.parts: list[TokenChunk] = token_chunks(record.context, tokenizer, NOTES_TOKENS)
        self.order = list(range(len(answers)))
        random.Random(derive_seed(context.seed, context.key, "order")).shuffle(self.order)

    def about_all(self) -> list[Question]:
        """Return the questions on helpfulness and logicality."""
        if self.judge.style == "original":
            return [
                self._about_one(name, getattr(self.prompts, name), i)
                for name in ("helpfulness", "logicality")
                for i in range(len(self.answers))
            ]
        labels = [self.fence.name(place) for place in range(1, len(self.answers) + 1)]
        quoted = "\n\n".join(self.fence.quote(self.answers[i], str(place)) for place, i in enumerate(self.order, 1))
        form = self._form(labels, "n")

        def parse(reply: str) -> dict[int, float] | None:
            ratings = parse_ratings(reply, labels, 0.0, MAX_SCORE)
            return None if ratings is None else dict(zip(self.order, ratings.scores.values(), strict=True))

        return [
            Question(name, self._fill(prompt, answers=quoted, form=form), parse, SCORE_TOKENS + 16 * len(labels))
            for name, prompt in (
                ("helpfulness", self.prompts.helpfulness_of_all),
                ("logicality", self.prompts.logicality_of_all),
            )
        ]

    def note_questions(self) -> list[Question]:
        """Return the questions that take notes, one per part of the document."""
        return [
            Question(
                f"notes/{i}",
                self._fill(self.prompts.notes, document=self.fence.quote(part.text, "document"), nothing=NO_NOTES),
                parse_notes,
                NOTE_TOKENS,
            )
            for i, part in enumerate(self.parts)
        ]

    def statement_questions(self) -> list[Question]:
        """Return the questions that list statements, one per answer."""
        return [
            Question(
                f"statements/{i}",
                self._fill(self.prompts.statements, answer=self.fence.quote(answer, "answer"), nothing=NO_STATEMENTS),
                parse_statements,
                LIST_TOKENS,
            )
            for i, answer in enumerate(self.answers)
        ]

    def second_questions(self, outcomes: Mapping[str, Outcome[Any]]) -> list[Question]:
        """Return the questions that depend on the notes and statements."""
        questions: list[Question] = []
        notes = [note for i in range(len(self.parts)) if (note := outcomes[f"notes/{i}"].value) is not None]
        if len(notes) == len(self.parts):
            spans = [(part.start, part.end) for part in self.parts]
            labeled = labeled_notes(spans, self.parts[-1].end, notes)
            told = "\n\n".join(f"{label}:\n{text}" for label, text in labeled if text != NO_NOTES) or NO_NOTES
            quoted = self.fence.quote(told, "notes")
            questions += [
                self._about_one("completeness", self.prompts.completeness, i, notes=quoted)
                for i in range(len(self.answers))
            ]
        for i in range(len(self.answers)):
            statements = outcomes[f"statements/{i}"].value
            if statements:
                questions += self._support_questions(i, statements)
        return questions

    def _support_questions(self, i: int, statements: list[str]) -> list[Question]:
        passages = self._passages(statements)
        if self.judge.style == "original":
            return [
                Question(
                    f"support/{i}/{k}",
                    self._fill(
                        self.prompts.support,
                        statement=self.fence.quote(statement, "statement"),
                        evidence=self.fence.quote(passages[k], "passages"),
                    ),
                    parse_support,
                    SCORE_TOKENS,
                )
                for k, statement in enumerate(statements)
            ]
        labels = [self.fence.name(k) for k in range(1, len(statements) + 1)]
        quoted = "\n\n".join(
            f"{self.fence.quote(statement, str(k))}\n{self.fence.quote(text, f'{k}-passages')}"
            for k, (statement, text) in enumerate(zip(statements, passages, strict=True), 1)
        )

        def parse(reply: str) -> list[float] | None:
            values = parse_labels(reply, labels, SUPPORT)
            return None if values is None else list(values.values())

        prompt = self._fill(self.prompts.support_of_all, statements=quoted, form=self._form(labels, '"..."'))
        return [Question(f"support/{i}", prompt, parse, SCORE_TOKENS + 24 * len(labels))]

    def result(self, i: int, outcomes: Mapping[str, Outcome[Any]], requests: int) -> Score:
        """Return the score of one answer."""
        verdicts = {name: self._verdict(name, i, outcomes) for name in DIMENSIONS}
        missing = [name for name, value in verdicts.items() if value is None]
        found = {name: value for name, value in verdicts.items() if value is not None}
        statements = outcomes[f"statements/{i}"].value
        parts = found | {
            "statements": float(len(statements or ())),
            "requests": requests / len(self.answers),
            "position": self.order.index(i) / max(len(self.answers) - 1, 1),
        }
        notes = self._analyses(i, outcomes)
        if missing:
            return Score(0.0, parts, f"the judge gave no verdict on {', '.join(missing)}", notes)
        return Score(overall(found) / MAX_SCORE, parts, None, notes)

    def _verdict(self, name: str, i: int, outcomes: Mapping[str, Outcome[Any]]) -> float | None:
        if name == "faithfulness":
            return self._faithfulness(i, outcomes)
        if name in outcomes:
            ratings = outcomes[name].value
            return None if ratings is None else float(ratings[i])
        own = outcomes.get(f"{name}/{i}")
        return None if own is None else own.value

    def _faithfulness(self, i: int, outcomes: Mapping[str, Outcome[Any]]) -> float | None:
        statements = outcomes[f"statements/{i}"].value
        if statements is None:
            return None
        if f"support/{i}" in outcomes:
            values = outcomes[f"support/{i}"].value
        else:
            values = [outcomes[f"support/{i}/{k}"].value for k in range(len(statements))]
        return None if values is None or None in values else faithfulness(values)

    def _analyses(self, i: int, outcomes: Mapping[str, Outcome[Any]]) -> dict[str, str]:
        own = {
            name: outcome.reply
            for name, outcome in outcomes.items()
            if name in ("helpfulness", "logicality") or str(i) in name.split("/")[1:2]
        }
        return {name: reply for name, reply in own.items() if not name.startswith("notes/")}

    def _passages(self, statements: list[str]) -> list[str]:
        """Return the evidence for each statement, in document order."""
        chunks = self.context.embedder.encode([chunk.text for chunk in self.evidence])
        passages = []
        for vector in self.context.embedder.encode(statements):
            nearest = sorted(nearest_chunks(vector, chunks, self.judge.evidence_chunks))
            passages.append("\n\n".join(f"{n}. {self.evidence[c].text}" for n, c in enumerate(nearest, 1)))
        return passages

    def _about_one(self, name: str, prompt: str, i: int, **texts: str) -> Question:
        filled = self._fill(prompt, answer=self.fence.quote(self.answers[i], "answer"), **texts)
        return Question(f"{name}/{i}", filled, parse_score, SCORE_TOKENS)

    def _fill(self, prompt: str, **texts: str) -> str:
        """Return the prompt with its texts, and with the quoted question if the prompt uses it."""
        common = {"rule": self.fence.rule(), "question": self.fence.quote(self.record.question, "question")}
        return fill(prompt, **common, **texts)

    def _form(self, labels: list[str], value: str) -> str:
        return "{" + ", ".join(f'"{label}": {value}' for label in labels) + "}"
