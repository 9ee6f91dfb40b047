"""The probe: a chain of thought for the known gold answer; its similarity to the chunks gives the initial values.

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
    """Settings of the probe: sampling, and the handling of records whose probe does not state the gold answer.

    Args:
        sampling: sampling parameters; each record has one probe.
        on_reject: `drop` the record (the paper), or start its bandit from the `query` similarity instead.
    """

    sampling: Sampling = field(default_factory=Sampling)
    on_reject: Literal["drop", "query"] = "drop"


def probe_messages(context: str, question: str, answer: str) -> list[Message]:
    """Return the probe's conversation."""
    return [{"role": "user", "content": _PROBE.format(context=context, question=question, answer=answer)}]


def probe_accepted(text: str, answers: Iterable[str]) -> bool:
    """Return whether a probe states a gold answer.

    The text from the first "the answer is" to the end of the line must contain the normalized gold answer or be
    contained in it. An empty text is not an answer.
    """
    _, mark, rest = text.lower().partition(_MARK)
    if not mark:
        return False
    stated = normalize_answer(rest.partition("\n")[0])
    golds = [normalize_answer(a) for a in answers]
    return bool(stated) and any(gold in stated or stated in gold for gold in golds if gold)
