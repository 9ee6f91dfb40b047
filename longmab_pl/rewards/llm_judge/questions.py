"""The questions about one record's answers, and the answers' scores from their outcomes (LongReward, section 3)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longmab_pl.data.token_chunks import TokenChunk, token_chunks
from longmab_pl.engines.addressee import Addressee
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts import encoding
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.judge import JudgePrompts
from longmab_pl.prompts.quoting import Fence
from longmab_pl.rewards.llm_judge.asking import Question
from longmab_pl.rewards.llm_judge.attempts import Outcome
from longmab_pl.rewards.llm_judge.dimensions import faithfulness
from longmab_pl.rewards.llm_judge.replies import JSONReplies, Replies, ReplyForm, ReplyLimits, TextReplies
from longmab_pl.rewards.llm_judge.retrieval import EVIDENCE_TOKENS, NOTES_TOKENS, labeled_notes, nearest_chunks
from longmab_pl.rewards.llm_judge.verdicts import NO_NOTES

JudgeStyle = Literal["joint", "original"]
Outcomes = Mapping[str, Outcome[Any]]
Compared = Literal["helpfulness", "logicality"]

COMPARED: tuple[Compared, ...] = ("helpfulness", "logicality")
"""Dimensions that are judged from question and answer, jointly for all answers in the joint style."""


@dataclass(frozen=True)
class Group:
    """Answers that one joint question rates.

    Args:
        name: name of the question.
        answers: indices of the answers, in the order in which the question shows them.
    """

    name: str
    answers: tuple[int, ...]


class RecordQuestions:
    """The questions about the answers to one record.

    Args:
        question: the record's question.
        document: the record's context.
        answers: the answers; in the joint style without duplicates.
        judge: the engine that is asked.
        prompts: prompts in the question's language.
        style: `joint` or `original`.
        limits: maximum lengths of replies.
        seed: seed of the order of answers in joint questions.
    """

    def __init__(
        self,
        question: str,
        document: str,
        answers: Sequence[str],
        judge: Addressee,
        prompts: JudgePrompts,
        style: JudgeStyle,
        limits: ReplyLimits,
        seed: int,
    ) -> None:
        self.question = question
        self.answers = list(answers)
        self.judge = judge
        self.prompts = prompts
        self.style = style
        forms = JSONReplies if judge.structured_output else TextReplies
        self.replies: Replies = forms(prompts, limits)
        tokenizer = encoding.text_tokenizer(judge.chat.tokenizer, document)
        self.evidence = token_chunks(document, tokenizer, EVIDENCE_TOKENS)
        self.parts: list[TokenChunk] = token_chunks(document, tokenizer, NOTES_TOKENS)
        self.groups: dict[Compared, list[Group]] = {name: [] for name in COMPARED}
        self.order = list(range(len(self.answers)))
        random.Random(seed).shuffle(self.order)

    # ------------------------------------------------------------------ first questions

    def comparisons(self) -> list[Question]:
        """Return the questions on helpfulness and logicality."""
        if self.style == "original":
            return [self._rate(name, i) for name in COMPARED for i in range(len(self.answers))]
        return [question for name in COMPARED for question in self._rate_all(name, tuple(self.order))]

    def _rate_all(self, name: Compared, answers: tuple[int, ...]) -> list[Question]:
        """Return one question on all answers, or several on parts of them if it is too long for the judge."""
        shown = [("", self.question), *((str(place), self.answers[i]) for place, i in enumerate(answers, 1))]
        fence = Fence.around(0, [text for _, text in shown])
        form = self.replies.ratings([fence.name(label) for label, _ in shown[1:]])
        template = self.prompts.helpfulness_of_all if name == "helpfulness" else self.prompts.logicality_of_all
        quoted = "\n\n".join(fence.quote(text, label) for label, text in shown[1:])
        question = self._question(f"{name}/of-{answers[0]}", template, fence, form, answers=quoted)
        if not question.fits and len(answers) > 1:
            half = (len(answers) + 1) // 2
            return [*self._rate_all(name, answers[:half]), *self._rate_all(name, answers[half:])]
        self.groups[name].append(Group(question.name, answers))
        return [question]

    def _rate(self, name: Literal["helpfulness", "logicality", "completeness"], i: int, notes: str = "") -> Question:
        fence = Fence.around(0, [self.question, self.answers[i], notes])
        texts = {"answer": fence.quote(self.answers[i], "answer")}
        if notes:
            texts["notes"] = fence.quote(notes, "notes")
        template = {
            "helpfulness": self.prompts.helpfulness,
            "logicality": self.prompts.logicality,
            "completeness": self.prompts.completeness,
        }[name]
        return self._question(f"{name}/{i}", template, fence, self.replies.rating(), **texts)

    def about_document(self) -> list[Question]:
        """Return the questions that take notes, one per part of the document."""
        questions = []
        for i, part in enumerate(self.parts):
            fence = Fence.around(0, [self.question, part.text])
            document = fence.quote(part.text, "document")
            questions.append(
                self._question(f"notes/{i}", self.prompts.notes, fence, self.replies.notes(), document=document)
            )
        return questions

    def about_statements(self) -> list[Question]:
        """Return the questions that list statements, one per answer."""
        questions = []
        for i, answer in enumerate(self.answers):
            fence = Fence.around(0, [self.question, answer])
            quoted = fence.quote(answer, "answer")
            form = self.replies.statements()
            questions.append(self._question(f"statements/{i}", self.prompts.statements, fence, form, answer=quoted))
        return questions

    # ------------------------------------------------------------------ second questions

    def about_completeness(self, outcomes: Outcomes) -> list[Question]:
        """Return the questions on completeness, one per answer; none if a part of the document has no notes."""
        notes = [note for i in range(len(self.parts)) if (note := outcomes[f"notes/{i}"].value) is not None]
        if len(notes) < len(self.parts):
            return []
        spans = [(part.start, part.end) for part in self.parts]
        labeled = labeled_notes(spans, self.parts[-1].end, notes)
        told = "\n\n".join(f"{label}:\n{text}" for label, text in labeled if text != NO_NOTES) or NO_NOTES
        return [self._rate("completeness", i, told) for i in range(len(self.answers))]

    def about_support(self, outcomes: Outcomes, embedder: Embedder, evidence_chunks: int) -> list[Question]:
        """Return the questions on the support of all statements that the answers make."""
        questions: list[Question] = []
        for i in range(len(self.answers)):
            statements = outcomes[f"statements/{i}"].value
            if statements:
                evidence = self._evidence(statements, embedder, evidence_chunks)
                stated = list(zip(range(len(statements)), statements, evidence, strict=True))
                if self.style == "original":
                    questions += [self._support(i, *each) for each in stated]
                else:
                    questions += self._support_of_all(i, stated)
        return questions

    def _evidence(self, statements: list[str], embedder: Embedder, count: int) -> list[list[int]]:
        """Return the indices of the evidence chunks of each statement, in document order."""
        chunks = embedder.encode([chunk.text for chunk in self.evidence])
        return [sorted(nearest_chunks(vector, chunks, count)) for vector in embedder.encode(statements)]

    def _support(self, i: int, k: int, statement: str, evidence: Sequence[int]) -> Question:
        passages = self._passages(evidence)
        fence = Fence.around(0, [statement, passages])
        texts = {"statement": fence.quote(statement, "statement"), "evidence": fence.quote(passages, "passages")}
        return self._question(f"support/{i}/{k}", self.prompts.support, fence, self.replies.support(), **texts)

    def _support_of_all(self, i: int, stated: Sequence[tuple[int, str, list[int]]]) -> list[Question]:
        """Return one question on all statements, or several on parts of them if it is too long for the judge.

        A passage that several statements need is shown once.
        """
        shown = sorted({chunk for *_, evidence in stated for chunk in evidence})
        number = {chunk: n for n, chunk in enumerate(shown, 1)}
        passages = self._passages(shown)
        fence = Fence.around(0, [passages, *(statement for _, statement, _ in stated)])
        form = self.replies.supports([fence.name(place) for place in range(1, len(stated) + 1)])
        statements = "\n\n".join(
            f"{fence.quote(statement, str(place))}\n({', '.join(str(number[chunk]) for chunk in evidence)})"
            for place, (_, statement, evidence) in enumerate(stated, 1)
        )
        texts = {"evidence": fence.quote(passages, "passages"), "statements": statements}
        name = f"support/{i}/{stated[0][0]}"
        question = self._question(name, self.prompts.support_of_all, fence, form, **texts)
        if not question.fits and len(stated) > 1:
            half = (len(stated) + 1) // 2
            return [*self._support_of_all(i, stated[:half]), *self._support_of_all(i, stated[half:])]
        return [question]

    def _passages(self, chunks: Sequence[int]) -> str:
        """Return evidence chunks with their numbers from 1."""
        return "\n\n".join(f"{n}. {self.evidence[chunk].text}" for n, chunk in enumerate(chunks, 1))

    def _question(self, name: str, template: str, fence: Fence, form: ReplyForm[Any], **texts: str) -> Question:
        """Return a question with its quoted texts, and with the record's question if the prompt uses it."""
        common = {"rule": fence.rule(), "question": fence.quote(self.question, "question"), "reply": form.told}
        return Question(name, fill(template, **common, **texts), form, self.judge)

    # ------------------------------------------------------------------ verdicts

    def verdict(self, dimension: str, i: int, outcomes: Outcomes) -> Outcome[float]:
        """Return an answer's score on a dimension, 0 to 10, or why there is none."""
        if dimension == "faithfulness":
            return self._faithfulness(i, outcomes)
        if dimension == "completeness" and f"completeness/{i}" not in outcomes:
            return next(o for n, o in outcomes.items() if n.startswith("notes/") and o.value is None)
        for name in COMPARED if self.style == "joint" else ():
            if name == dimension:
                group = self.group_of(name, i)
                found = outcomes[group.name]
                rating = None if found.value is None else found.value[group.answers.index(i)]
                return Outcome(rating, found.attempts, found.reply, found.missing)
        return outcomes[f"{dimension}/{i}"]

    def group_of(self, name: Compared, i: int) -> Group:
        """Return the group in which an answer was rated."""
        return next(group for group in self.groups[name] if i in group.answers)

    def _faithfulness(self, i: int, outcomes: Outcomes) -> Outcome[float]:
        stated = outcomes[f"statements/{i}"]
        if stated.value is None:
            return stated
        found = [outcome for name, outcome in outcomes.items() if name.startswith(f"support/{i}/")]
        values: list[float] = []
        for outcome in found:
            if outcome.value is None:
                return outcome
            values += outcome.value if isinstance(outcome.value, list) else [outcome.value]
        return Outcome(faithfulness(values), 0, "")

    def place_bias(self, name: Compared, i: int, outcomes: Outcomes) -> float | None:
        """Return an answer's share in the position bias of its joint question; None if it has no rating.

        The mean over a group's answers is the slope of a least-squares line through its ratings: the points by which
        the answer that is shown last is rated above the one that is shown first.
        """
        group = self.group_of(name, i)
        ratings = outcomes[group.name].value
        if ratings is None or len(ratings) < 2:
            return None
        last = len(ratings) - 1
        places = [place / last - 0.5 for place in range(len(ratings))]  # centered
        mean = sum(ratings) / len(ratings)
        at = group.answers.index(i)
        return len(ratings) * places[at] * (ratings[at] - mean) / sum(place * place for place in places)

    def analyses(self, i: int, outcomes: Outcomes) -> dict[str, str]:
        """Return the judge's replies on one answer, by question."""
        names = [name for name in outcomes if name.split("/")[1] == str(i) and not name.startswith("notes/")]
        if self.style == "joint":
            names += [self.group_of(name, i).name for name in COMPARED]
        return {name: outcomes[name].reply for name in names if outcomes[name].reply}
