"""The probe: a chain of thought written with the gold answer in view, whose similarity to the chunks starts the bandit.

LongMab-PO, section 3.1. The prompt wording is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from longmab_pl.engines.protocol import Sampling
from longmab_pl.prompts.formats import Message
from longmab_pl.rewards.answer_match import normalize_answer

_PROBE = """Below are a document, a question about it, and the correct answer. Explain step by step how the document \
leads to this answer, quoting the statements you rely on. Finish with the sentence "The answer is {answer}."

Document:
{context}

Question: {question}
Correct answer: {answer}"""

_MARK = "the answer is"


@dataclass(frozen=True)
class Probe:
    """How probes are sampled and what happens to a record whose probe does not arrive at the gold answer.

    Args:
        sampling: one response per record.
        on_reject: `drop` the record (the paper), or start its bandit from the `query` similarity instead.
    """

    sampling: Sampling = field(default_factory=Sampling)
    on_reject: Literal["drop", "query"] = "drop"


def probe_messages(context: str, question: str, answer: str) -> list[Message]:
    """The probe's conversation."""
    return [{"role": "user", "content": _PROBE.format(context=context, question=question, answer=answer)}]


def probe_accepted(text: str, answers: Iterable[str]) -> bool:
    """Whether a probe arrives at a gold answer: what follows the first "the answer is", to the end of the line,
    contains the normalized answer or is contained in it. Nothing after the mark is not an answer."""
    _, mark, rest = text.lower().partition(_MARK)
    if not mark:
        return False
    stated = normalize_answer(rest.partition("\n")[0])
    golds = [normalize_answer(a) for a in answers]
    return bool(stated) and any(gold in stated or stated in gold for gold in golds if gold)
