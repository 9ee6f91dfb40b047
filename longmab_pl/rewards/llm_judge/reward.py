"""LongReward: a judge rates answers by helpfulness, logicality, faithfulness and completeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar

from longmab_pl.checks import at_least, one_of
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts.judge import CHINESE, ENGLISH, JudgePrompts
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.llm_judge.asking import ask
from longmab_pl.rewards.llm_judge.attempts import TEMPERATURES
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS, language, overall
from longmab_pl.rewards.llm_judge.questions import COMPARED, JudgeStyle, Outcomes, RecordQuestions
from longmab_pl.rewards.llm_judge.replies import ReplyLimits
from longmab_pl.rewards.llm_judge.retrieval import EVIDENCE_CHUNKS
from longmab_pl.rewards.llm_judge.verdicts import MAX_SCORE
from longmab_pl.seeding import derive_seed


@dataclass(frozen=True)
class LLMJudge:
    """Rates the answers to a record by four dimensions, 0 to 10 each, with a judge that never sees the whole document.

    Helpfulness and logicality are judged from question and answer. For faithfulness, the judge lists the answer's
    factual statements and compares each with the most similar parts of the document. For completeness, it takes notes
    on the question from every part of the document, once for all answers, and rates each answer's coverage of them.

    `style="joint"` (default) uses one request for the helpfulness of all answers and one for their logicality, in a
    random order per record, and one for all statements of an answer: 8 + 2 + 10 * 3 = 40 requests for a document of
    32k tokens and 10 answers. Equal answers are judged once, and a joint question that is too long for the judge is
    divided. `style="original"` uses separate requests as the program does, about 268.

    The value is the mean of the dimensions divided by 10. Parts are the dimensions (0 to 10), `statements` (their
    number), `requests` and `tokens` (the answer's share of the judge's requests, and of the tokens in them and in
    their replies), and in the joint style `helpfulness_bias` and `logicality_bias`: their means over answers are the
    points by which an answer that is shown last is rated above one that is shown first. Notes are the judge's
    analyses.

    An answer without a verdict in five attempts is excluded, and so is one whose questions are too long for the judge
    or exceed the budget of its engine; an answer without factual statements has faithfulness 0
    (`FAITHFULNESS_WITHOUT_STATEMENTS`).

    Quoted text is between tags that its author cannot know, and cannot be parsed as a verdict (`prompts.quoting`).
    Where the engine keeps replies to a JSON schema, verdicts are its fields; elsewhere they are read from text.

    Args:
        engine: name of the judging engine in `data.engines`; `policy` is the trained model with its current adapter.
        style: `joint` or `original`, see above.
        english: prompts for questions in English: the name of a YAML file, or its keys.
        chinese: prompts for questions in Chinese, likewise.
        evidence_chunks: number of chunks of 128 tokens that a statement is judged against.
        reply_tokens: maximum lengths of the judge's replies.

    Example:
        >>> LLMJudge(engine="policy", style="joint").engines
        ('policy',)

    Source: LongReward (arXiv:2410.21252), section 3.
    """

    name: ClassVar[str] = "llm_judge"
    needs_embedder: ClassVar[bool] = True

    engine: str = "judge"
    style: JudgeStyle = "joint"
    english: JudgePrompts = ENGLISH
    chinese: JudgePrompts = CHINESE
    evidence_chunks: int = EVIDENCE_CHUNKS
    reply_tokens: ReplyLimits = field(default_factory=ReplyLimits)

    def __post_init__(self) -> None:
        one_of("reward.style", self.style, ("joint", "original"))
        at_least("reward.evidence_chunks", self.evidence_chunks, 1)

    @property
    def engines(self) -> tuple[str, ...]:
        return (self.engine,)

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        if not record.context.strip():
            return [Score(0.0, excluded="no document to judge by") for _ in responses]
        answers = [without_thought(text) for text in responses]
        judged = list(dict.fromkeys(answers)) if self.style == "joint" else answers
        questions = RecordQuestions(
            record.question,
            record.context,
            judged,
            context.addressee(self.engine),
            self.english if language(record.question) == "en" else self.chinese,
            self.style,
            self.reply_tokens,
            derive_seed(record.id, "order", *sorted(judged)),
        )
        first = [*questions.comparisons(), *questions.about_document(), *questions.about_statements()]
        outcomes = yield from ask(first, context, self.engine, TEMPERATURES)
        second = [
            *questions.about_completeness(outcomes),
            *questions.about_support(outcomes, context.embedder, self.evidence_chunks),
        ]
        outcomes |= yield from ask(second, context, self.engine, TEMPERATURES)
        scores = [_score(questions, i, outcomes, len(answers)) for i in range(len(judged))]
        return scores if self.style == "original" else [scores[judged.index(answer)] for answer in answers]


def _score(questions: RecordQuestions, i: int, outcomes: Outcomes, answers: int) -> Score:
    """Return the score of one judged answer; costs are shared by all answers of the record."""
    verdicts = {name: questions.verdict(name, i, outcomes) for name in DIMENSIONS}
    found = {name: verdict.value for name, verdict in verdicts.items() if verdict.value is not None}
    parts = {
        **found,
        "statements": float(len(outcomes[f"statements/{i}"].value or ())),
        "requests": sum(outcome.attempts for outcome in outcomes.values()) / answers,
        "tokens": sum(outcome.tokens for outcome in outcomes.values()) / answers,
    }
    for name in COMPARED if questions.style == "joint" else ():
        bias = questions.place_bias(name, i, outcomes)
        if bias is not None:
            parts[f"{name}_bias"] = bias
    notes = questions.analyses(i, outcomes)
    missing = sorted((verdict.missing, name) for name, verdict in verdicts.items() if verdict.value is None)
    if missing:
        reasons = [
            f"{reason}: {', '.join(name for _, name in group)}"
            for reason, group in groupby(missing, key=lambda each: each[0])
        ]
        return Score(0.0, parts, "; ".join(reasons), notes)
    return Score(overall(found) / MAX_SCORE, parts, None, notes)
