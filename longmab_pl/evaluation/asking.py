"""Prompts from texts: chat template, thinking mode, a cut in the middle; and answers without their reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from longmab_pl.errors import PromptTooLong
from longmab_pl.evaluation.middle_cut import cut_text, surely_longer
from longmab_pl.evaluation.task import Prompt
from longmab_pl.prompts import encoding

THINKING_TOKENS = 4096
"""Longest answer, thoughts included, of suites that know only short official limits (as NeMo Skills' RULER)."""

SETTING = "enable_thinking"
"""Variable of chat templates that turns reasoning on or off (Qwen3)."""

_OPEN, _CLOSED = "<think>", "</think>"


@dataclass(frozen=True)
class Asking:
    """How a benchmark's text becomes a prompt.

    Args:
        chat: use the tokenizer's chat template where it has one; otherwise the text is continued.
        enable_thinking: passed to chat templates that have this variable (Qwen3); None: the template's default.
        system: a system turn before the text; empty: none.
        score_reasoning: score the reasoning too, as programs do that do not separate it.
    """

    chat: bool = True
    enable_thinking: bool | None = None
    system: str = ""
    score_reasoning: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the settings that a prediction depends on, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "score_reasoning"}

    @property
    def template_arguments(self) -> Mapping[str, Any]:
        """The further variables of the chat template."""
        return {} if self.enable_thinking is None else {SETTING: self.enable_thinking}

    def ids(self, tokenizer: Any, text: str, prefix: str = "") -> tuple[int, ...]:
        """Return the prompt's token ids.

        Args:
            tokenizer: a Hugging Face tokenizer.
            text: the user's turn.
            prefix: start of the answer.
        """
        if not self.chat or not tokenizer.chat_template:
            return encoding.plain(tokenizer, text + prefix).ids
        before = [{"role": "system", "content": self.system}] if self.system else []
        return self.messages_ids(tokenizer, [*before, {"role": "user", "content": text}], prefix)

    def messages_ids(self, tokenizer: Any, messages: list[dict[str, str]], prefix: str = "") -> tuple[int, ...]:
        """Return the token ids of a conversation up to the assistant's next words."""
        return encoding.chat(tokenizer, messages, prefill=prefix.lstrip(), arguments=self.template_arguments).ids

    def cut(self, tokenizer: Any, text: str, *, room: int, limit: int | None, what: str, prefix: str = "") -> Prompt:
        """Return the prompt of a text, with the middle cut out if it is too long.

        A text that fits is tokenized once.

        Args:
            tokenizer: a Hugging Face tokenizer.
            text: the filled prompt.
            room: tokens available for the whole prompt.
            limit: tokens of the text alone that are kept at most, before the chat template; None: only `room` cuts.
            what: name of the record in the error.
            prefix: start of the answer.

        Raises:
            PromptTooLong: the chat template leaves no room.
        """
        template = len(self.ids(tokenizer, "", prefix))
        budget = room - template if limit is None else min(limit, room - template)
        reader = encoding.text_tokenizer(tokenizer, text)
        if not surely_longer(text, reader, budget):
            ids = self.ids(tokenizer, text, prefix)
            if len(ids) <= min(room, budget):
                return Prompt(ids, cut=False)
        while budget >= 2:
            kept, was_cut = cut_text(text, reader, budget)
            ids = self.ids(tokenizer, kept, prefix)
            if len(ids) <= room:
                return Prompt(ids, was_cut)
            budget -= len(ids) - room  # decoding and encoding again may give a few tokens more than were kept
        raise PromptTooLong(
            f"{what}: the chat template takes {template} tokens and the model {room} beside its answer; raise the "
            "engine's max_model_len"
        )

    def scored(self, response: str) -> str:
        """Return the part of a response that is scored: what follows the reasoning.

        If the reasoning never ends, the part is empty.
        """
        if self.score_reasoning:
            return response
        if _CLOSED in response:
            return response.rpartition(_CLOSED)[2].lstrip()
        if _OPEN in response:
            return response.partition(_OPEN)[0]
        return "" if self.enable_thinking else response
