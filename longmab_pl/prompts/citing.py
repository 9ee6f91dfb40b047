"""A prompt format with numbered passages, whose answers name those that they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.checks import at_least
from longmab_pl.data.numbering import numbered
from longmab_pl.data.records import QARecord
from longmab_pl.prompts.formats import PrefilledPrompt

_CITE = """Read the numbered passages and answer the question that follows them.

Passages:
{context}

Question: {question}

First think it through step by step. Then end with two lines of the form
Evidence: <the numbers of the passages that the answer rests on, such as [2] [5]>
Answer: <your answer, as short as possible, nothing else>"""


@dataclass(frozen=True)
class CiteThenAnswer(PrefilledPrompt):
    """Numbered passages, a line "Evidence: [2] [5]" that names those used, then a line "Answer: ...".

    For `longmab_pl.rewards.Grounding`. The whole context is numbered once (`longmab_pl.data.numbering`), so a passage
    has the same number in a rollout prompt with a few chunks and in the training prompt. A chunk that begins within a
    passage begins with its number.

    Args:
        template: prompt with `{context}` and `{question}`.
        prefill: beginning of the assistant's turn, which the model continues; `Evidence:` for models too small to
            reason in a fixed format.
        max_characters: passages that are longer are numbered in parts of whole sentences up to this length.
        template_arguments: as for `ReasonThenAnswer`.

    Raises:
        ConfigError: `max_characters` is below 1.

    Example:
        >>> record = QARecord("r", "Where is Lima?", ("Peru",), "Lima is in Peru.\\n\\nQuito is in Ecuador.")
        >>> CiteThenAnswer().numbered(record).context
        '[1] Lima is in Peru.\\n\\n[2] Quito is in Ecuador.'
    """

    template: str = _CITE
    prefill: str = ""
    max_characters: int = 1500

    def __post_init__(self) -> None:
        at_least("prompt_format.max_characters", self.max_characters, 1)

    def numbered(self, record: QARecord) -> QARecord:
        return numbered(record, self.max_characters)
