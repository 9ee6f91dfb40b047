"""LongBench v2's other ways of asking: thoughts first, and the probability of each letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.longbench_v2.scoring import LETTERS
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.task import LikelihoodTask, Prompt, SeveralTurns, Turn

ANSWER_START = "The correct answer is ("
"""Start of the sentence whose letter is compared."""


@dataclass(frozen=True)
class ThoughtsFirst(PromptedTask, SeveralTurns):
    """Questions that are answered in two steps: thoughts about the text, then the letter without the text.

    `fill` asks for the thoughts and `sampling` limits them. Reasoning that a model does by itself is cut off the
    thoughts. Without thoughts there is no second step, as officially, and no letter.

    Args:
        fill_answer: text of the second step, given an item and the thoughts.
        answer_tokens: longest answer of the second step in tokens.
    """

    fill_answer: Callable[[BenchmarkItem, str], str] = field(kw_only=True)
    answer_tokens: int = field(kw_only=True)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "answer_tokens": self.answer_tokens}

    def next_turn(self, record: QARecord, said: Sequence[str], tokenizer: Any, max_model_len: int) -> Turn | None:
        assert isinstance(record, BenchmarkItem)
        thoughts = self.asking.scored(said[0]).strip()
        if len(said) > 1 or not thoughts:
            return None
        room = max_model_len - self.answer_tokens
        what = f"the second step of record {record.id!r} of task {self.name!r}"
        text = self.fill_answer(record, thoughts)
        prompt = self.asking.cut(tokenizer, text, room=room, limit=self.prompt_tokens, what=what)
        return Turn(prompt, self._answering())

    def _answering(self) -> Sampling:
        return replace(self.sampling, max_tokens=self.answer_tokens)


@dataclass(frozen=True)
class LikeliestLetter(PromptedTask, LikelihoodTask):
    """Questions whose answer is the letter that the model finds likeliest after "The correct answer is (".

    The text is cut as for a generated answer. It is read once for each letter.
    """

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "answer": "log_likelihood"}

    def options(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Sequence[Prompt]:
        assert isinstance(record, BenchmarkItem)
        room = max_model_len - self.sampling.max_tokens
        what = f"record {record.id!r} of task {self.name!r}"
        text = self.fill(record)
        found: list[Prompt] = []
        for letter in LETTERS:
            prefix = ANSWER_START + letter
            found.append(
                self.asking.cut(tokenizer, text, room=room, limit=self.prompt_tokens, what=what, prefix=prefix)
            )
        return found

    def chosen(self, record: QARecord, number: int) -> str:
        return f"{ANSWER_START}{LETTERS[number]})"
