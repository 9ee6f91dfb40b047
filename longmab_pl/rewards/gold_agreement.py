"""AgenticLU's score of an answer: ROUGE-L with the gold answer, plus whether it agrees with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts.agreement import JSON_YES_OR_NO, YES_OR_NO, agreement_question
from longmab_pl.prompts.quoting import Fence
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.answer_match import substring_match
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.llm_judge.asking import Question, ask
from longmab_pl.rewards.llm_judge.json_replies import object_schema, read_object
from longmab_pl.rewards.llm_judge.replies import ReplyForm
from longmab_pl.rewards.parsed_answer import parsed_answer
from longmab_pl.rewards.rouge import best_rouge_l_sum
from longmab_pl.seeding import derive_seed

_TEMPERATURES = (0.01, 0.95, 0.95)
"""Sampling temperature of each attempt."""


@dataclass(frozen=True)
class GoldAgreement:
    """The ROUGE-Lsum F1 of an answer, plus 1 if it agrees with the gold answer: 0 to 2.

    Parts are `rouge` (the better of the whole text and of the answer that it states) and `agrees` (0 or 1). An answer
    on which the judge gives no verdict in three attempts is excluded.

    Args:
        judge: name of the engine that judges agreement, as in `data.engines`; `policy` is the trained model itself.
            null: an answer agrees if a gold answer occurs in it (SubEM), which suits short gold answers.

    Example:
        >>> GoldAgreement(judge="judge").engines
        ('judge',)

    Source: AgenticLU (arXiv 2502.15920), section 3.2.
    """

    name: ClassVar[str] = "gold_agreement"
    needs_embedder: ClassVar[bool] = False

    judge: str | None = None

    @property
    def engines(self) -> tuple[str, ...]:
        return () if self.judge is None else (self.judge,)

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        answers = [without_thought(text) for text in responses]
        missing: dict[int, str] = {}
        agrees: Sequence[float | None]
        if self.judge is None:
            agrees = [float(substring_match(answer, record.answers)) for answer in answers]
        else:
            judge = context.addressee(self.judge)
            questions = [_question(record, answer, i, judge) for i, answer in enumerate(answers)]
            outcomes = yield from ask(questions, context, self.judge, _TEMPERATURES)
            agrees = [outcomes[question.name].value for question in questions]
            missing = {i: outcomes[question.name].missing for i, question in enumerate(questions)}
        scores = []
        for i, (answer, agreed) in enumerate(zip(answers, agrees, strict=True)):
            if agreed is None:
                rouge = node_score(answer, record.answers, 0.0)
                scores.append(Score(0.0, {"rouge": rouge}, f"{missing[i]}: agreement"))
            else:
                value = node_score(answer, record.answers, agreed)
                scores.append(Score(value, {"rouge": value - agreed, "agrees": agreed}))
        return scores


def _question(record: QARecord, answer: str, i: int, judge: Addressee) -> Question:
    """Return the question whether an answer agrees with the gold answers."""
    fence = Fence.around(derive_seed(record.id, "agreement"), [record.question, *record.answers, answer])
    form = _JSON if judge.structured_output else _TEXT
    prompt = agreement_question(
        fence.rule(),
        fence.quote(record.question, "question"),
        [fence.quote(gold, "gold") for gold in record.answers],
        fence.quote(answer, "answer"),
        form.told,
    )
    return Question(f"agreement/{i}", prompt, form, judge)


def agreement(reply: str) -> float | None:
    """Return 1 if a judge says that an answer agrees with the gold answer, 0 if it says no, else None.

    The first occurrence of yes or no decides.

    Example:
        >>> agreement("Yes."), agreement("No, not yes"), agreement("Correct")
        (1.0, 0.0, None)

    Source: AgenticLU, section 3.2 (the program requires "yes" between spaces, so that "Yes." is a no).
    """
    verdict = re.search(r"\b(yes|no)\b", reply.lower())
    return None if verdict is None else float(verdict[1] == "yes")


def node_score(final: str, references: Sequence[str], agrees: float) -> float:
    """Return a node's score, 0 to 2: ROUGE-Lsum F1 of its final answer plus the judge's agreement.

    Args:
        final: the final answer; the better of its whole text and its stated answer counts.
        references: gold answers, of which the best counts.
        agrees: 1 or 0 (see `agreement`), or an answer-match reward in its place.

    Example:
        >>> node_score("Answer: Paris", ["Paris"], agrees=1.0)
        2.0

    Source: AgenticLU, section 3.2.
    """
    return best_rouge_l_sum([final, parsed_answer(final)], references) + agrees


def _json_agreement(reply: str) -> float | None:
    verdict = (read_object(reply) or {}).get("agrees")
    return {"yes": 1.0, "no": 0.0}.get(verdict) if isinstance(verdict, str) else None


_TEXT = ReplyForm(YES_OR_NO, agreement, 256)
_JSON = ReplyForm(
    JSON_YES_OR_NO,
    _json_agreement,
    256,
    json.dumps(object_schema({"reason": {"type": "string", "maxLength": 300}, "agrees": {"enum": ["yes", "no"]}})),
)
