"""Tokenized pairs of any source, with a count of those that cannot be trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments
from longmab_pl.shown import shown
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.left_out import LeftOut
from longmab_pl.training.template_facts import template_facts
from longmab_pl.training.tokenization import is_written_out, spells_out, tokenize, with_group, with_short_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizedPairs:
    """A tokenizer of pairs that counts those left out.

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
        self._first: dict[str, str] = {}
        self._names: set[str] = set()
        self._prompts: dict[bytes, str] = {}
        self._has_messages = False

    def examples(self, pairs: Iterable[PreferencePair]) -> Iterator[tuple[str, PreferenceExample]]:
        """Yield the tokens of every pair that can be trained on, with its prompt's name.

        Consecutive pairs of one prompt share it in memory.
        """
        prompt: tuple[int, ...] = ()
        ints: dict[int, int] = {}
        for pair in pairs:
            self.count += 1
            self._has_messages |= not isinstance(pair.prompt, str)
            self.written_out += is_written_out(pair, self.tokenizer, self.arguments)
            try:
                self.spelled_out += spells_out(pair, self.tokenizer, self.arguments)
                example = tokenize(pair, self.tokenizer, max_length=self.max_length, arguments=self.arguments)
                if self.short_prompts:
                    example = with_short_prompt(example, pair, self.tokenizer, self.arguments)
                if self.groups:
                    example = with_group(example, pair, self.tokenizer, self.max_length, self.arguments)
            except DataError as error:  # one pair never costs the others
                reason = error.reason if isinstance(error, LeftOut) else "that cannot be tokenized"
                self.left_out[reason] += 1
                self._first.setdefault(reason, f"{pair.where}: {error}" if pair.where else str(error))
                continue
            if example.prompt_ids != prompt:
                # One int object for equal tokens: 8 bytes per token.
                prompt = tuple(ints.setdefault(token, token) for token in example.prompt_ids)
            yield self._prompt_of(pair), replace(example, id=self._name(example.id), prompt_ids=prompt)

    def account(self, source: str) -> list[str]:
        """Return lines on the pairs left out, with the reason and the first of each kind, and on unusual ones."""
        lines = []
        if self.left_out:
            counts = ", ".join(f"{n} {reason}" for reason, n in sorted(self.left_out.items()))
            lines.append(f"{source}: {self.left_out.total()} pairs left out: {counts}")
            lines += [f"  the first {reason}: {shown(self._first[reason], 400)}" for reason in sorted(self._first)]
        if note := encoding.spelled_out_note(source, self.spelled_out, self.count, "pairs"):
            lines.append(note)
        if self.written_out:
            lines.append(
                f"{source}: {self.written_out} of {self.count} pairs have the chat template written out in their "
                "prompts; its control tokens count as such"
            )
        if self._has_messages and template_facts(self.tokenizer, self.arguments).ignores_generation:
            lines.append(
                f"{source}: the chat template ignores add_generation_prompt, so a prompt ends before the assistant's "
                "header; the model learns to answer without it"
            )
        return lines

    def _name(self, name: str) -> str:
        """Return a unique name for a pair."""
        unique, number = name, 0
        while unique in self._names:
            number += 1
            unique = f"{name}#{number}"
        self._names.add(unique)
        return unique

    def _prompt_of(self, pair: PreferencePair) -> str:
        """Return the key that all pairs of one prompt share: the record, the prompt's id, or the prompt itself."""
        if pair.origin is not None:
            return pair.id
        own = hashlib.blake2b(repr((pair.prompt, pair.tools)).encode(), digest_size=16)
        return self._prompts.setdefault(own.digest(), pair.prompt_id or own.hexdigest())
