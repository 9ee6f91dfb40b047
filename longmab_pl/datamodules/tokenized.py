"""Tokenized pairs and demonstrations of any source, with a count of those that cannot be trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments
from longmab_pl.shown import shown
from longmab_pl.training.batch import PreferenceExample, SFTExample
from longmab_pl.training.left_out import LeftOut, Row
from longmab_pl.training.template_facts import template_facts
from longmab_pl.training.tokenization import (
    is_written_out,
    spells_out,
    tokenize,
    tokenize_demonstration,
    with_group,
    with_short_prompt,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


E = TypeVar("E", PreferenceExample, SFTExample)


class TokenizedPairs:
    """A tokenizer of pairs, or of demonstrations, that counts those left out.

    Args:
        tokenizer: the policy's tokenizer.
        max_length: maximum tokens of prompt and longer answer together; None: no limit.
        arguments: further variables of the chat template (`prompts.encoding.chat`).
        short_prompts: tokenize the pairs' short prompts too; pairs without one are left out.
        groups: tokenize all responses of the pairs' records too; pairs without them are left out.

    Attributes:
        count: number of pairs read.
        left_out: number of pairs that cannot be trained on, by reason.
        spelled_out: number of pairs whose texts spell out control tokens, which are read as text.
        written_out: number of pairs whose prompt is a text with the chat template written out.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None,
        arguments: Arguments | None = None,
        *,
        short_prompts: bool = False,
        groups: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.arguments = arguments
        self.short_prompts = short_prompts
        self.groups = groups
        self.count = 0
        self.left_out: Counter[str] = Counter()
        self.spelled_out = 0
        self.written_out = 0
        self._noun = "pairs"
        self._first: dict[str, str] = {}
        self._names: set[str] = set()
        self._prompts: dict[bytes, str] = {}
        self._has_messages = False

    def examples(self, pairs: Iterable[PreferencePair]) -> Iterator[tuple[str, PreferenceExample]]:
        """Yield the tokens of every pair that can be trained on, with its prompt's name.

        Consecutive pairs of one prompt share it in memory.
        """
        return self._examples(pairs, self._tokens_of_pair)

    def demonstrations(self, rows: Iterable[Demonstration]) -> Iterator[tuple[str, SFTExample]]:
        """Yield the tokens of every answer that can be imitated, with its prompt's name."""
        self._noun = "rows"
        tokens = partial(
            tokenize_demonstration, tokenizer=self.tokenizer, max_length=self.max_length, arguments=self.arguments
        )
        return self._examples(rows, tokens)

    def _tokens_of_pair(self, pair: PreferencePair) -> PreferenceExample:
        example = tokenize(pair, self.tokenizer, max_length=self.max_length, arguments=self.arguments)
        if self.short_prompts:
            example = with_short_prompt(example, pair, self.tokenizer, self.arguments)
        if self.groups:
            example = with_group(example, pair, self.tokenizer, self.max_length, self.arguments)
        return example

    def _examples(self, rows: Iterable[Row], tokens: Callable[[Row], E]) -> Iterator[tuple[str, E]]:
        prompt: tuple[int, ...] = ()
        ints: dict[int, int] = {}
        for row in rows:
            self.count += 1
            self._has_messages |= not isinstance(row.prompt, str)
            self.written_out += is_written_out(row, self.tokenizer, self.arguments)
            try:
                self.spelled_out += spells_out(row, self.tokenizer, self.arguments)
                example = tokens(row)
            except DataError as error:  # one row never costs the others
                reason = error.reason if isinstance(error, LeftOut) else "that cannot be tokenized"
                self.left_out[reason] += 1
                self._first.setdefault(reason, f"{row.where}: {error}" if row.where else str(error))
                continue
            if example.prompt_ids != prompt:
                # One int object for equal tokens: 8 bytes per token.
                prompt = tuple(ints.setdefault(token, token) for token in example.prompt_ids)
            yield self._prompt_of(row), replace(example, id=self._name(example.id), prompt_ids=prompt)

    def account(self, source: str) -> list[str]:
        """Return lines on the pairs left out, with the reason and the first of each kind, and on unusual ones."""
        lines = []
        if self.left_out:
            counts = ", ".join(f"{n} {reason}" for reason, n in sorted(self.left_out.items()))
            lines.append(f"{source}: {self.left_out.total()} {self._noun} left out: {counts}")
            lines += [f"  the first {reason}: {shown(self._first[reason], 400)}" for reason in sorted(self._first)]
        if note := encoding.spelled_out_note(source, self.spelled_out, self.count, self._noun):
            lines.append(note)
        if self.written_out:
            lines.append(
                f"{source}: {self.written_out} of {self.count} {self._noun} have the chat template written out in "
                "their prompts; its control tokens count as such"
            )
        if self._has_messages and template_facts(self.tokenizer, self.arguments).ignores_generation:
            lines.append(
                f"{source}: the chat template ignores add_generation_prompt, so a prompt ends before the assistant's "
                "header; the model learns to answer without it"
            )
        return lines

    def _name(self, name: str) -> str:
        """Return a unique name for a pair or demonstration."""
        unique, number = name, 0
        while unique in self._names:
            number += 1
            unique = f"{name}#{number}"
        self._names.add(unique)
        return unique

    def _prompt_of(self, row: PreferencePair | Demonstration) -> str:
        """Return the key that all rows of one prompt share: the record, the prompt's id, or the prompt itself."""
        if row.origin is not None:
            return row.id
        own = hashlib.blake2b(repr((row.prompt, row.tools)).encode(), digest_size=16)
        return self._prompts.setdefault(own.digest(), row.prompt_id or own.hexdigest())
