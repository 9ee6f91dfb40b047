"""A conversation whose text the model reads once: later turns only read what is new."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel

from longmab_pl.engines.protocol import Sampling
from longmab_pl.engines.request_checks import check_prompt
from longmab_pl.engines.text import whole_characters
from longmab_pl.engines.transformers.batch import RowSampler, response_text

READ_AT_ONCE = 2_048
"""Tokens of a prompt that are read in one pass, which bounds the memory of long documents."""


class Conversation:
    """A growing text and the key-value cache of all of it that has been read.

    The text is only ever continued, by token ids, so the cache is never cut: that also holds for models whose caches
    cannot be (sliding windows, linear attention).

    Args:
        model: a Transformers causal language model, or a PEFT model around one.
        tokenizer: the model's tokenizer.
        ends: token ids that end an answer.
        limit: longest text, in tokens.
        adapter: whether the model's adapter answers; False: the base model.

    Attributes:
        ids: token ids of the whole text, answers included.
        newly_read: number of tokens that the last answer's prompt added.
        finished: whether the model ended its last answer by itself.
    """

    def __init__(self, model: Any, tokenizer: Any, ends: Collection[int], limit: int, adapter: bool = True) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._ends = ends
        self._limit = limit
        self._adapter = adapter
        self._cache: Any = None
        self._cached = 0
        self.ids: list[int] = []
        self.newly_read = 0
        self.finished = True

    @property
    def room(self) -> int:
        """Number of tokens that the text may still grow by."""
        return self._limit - len(self.ids)

    def answer(self, new: Sequence[int], sampling: Sampling, seed: int = 0) -> Iterator[str]:
        """Continue the text by a prompt and yield the answer piece by piece, whole characters only.

        Args:
            new: token ids of the prompt after all that is there; at least one.
            sampling: how to sample; stop strings are not used.
            seed: seed of the answer.

        Raises:
            PromptTooLong: prompt and answer together exceed the limit; nothing was added.
            EngineError: the prompt is empty or holds a token outside the vocabulary.
        """
        vocabulary = self._model.get_input_embeddings().num_embeddings
        check_prompt("conversation", [*self.ids, *new], sampling.max_tokens, self._limit, vocabulary)
        return self._answered(list(new), sampling, seed)

    def _answered(self, new: list[int], sampling: Sampling, seed: int) -> Iterator[str]:
        self.ids += new
        self.newly_read = len(self.ids) - self._cached
        prompt = list(self.ids)
        tokens: list[int] = []
        told = ""
        sampler = RowSampler([sampling], [seed], 0, self._model.device)
        self.finished = False
        while len(tokens) < sampling.max_tokens:
            logits = self._read()
            so_far = torch.tensor([tokens], dtype=torch.long, device=logits.device)  # [1, T]
            token = int(sampler(so_far, logits).argmax())  # type: ignore[arg-type]
            tokens.append(token)
            self.ids.append(token)
            if token in self._ends:
                self.finished = True
                break
            text = response_text(self._tokenizer, prompt, tokens)
            if text.startswith(told) and not text.endswith("\ufffd"):  # half a character waits for its other half
                yield text[len(told) :]
                told = text
        rest = whole_characters(response_text(self._tokenizer, prompt, tokens))
        if rest.startswith(told) and len(rest) > len(told):
            yield rest[len(told) :]

    @torch.no_grad()
    def _read(self) -> Any:
        """Read what is not in the cache yet, and return the logits of the next token [1, V]."""
        logits: Any = None
        with self._active():
            while self._cached < len(self.ids):
                piece = self.ids[self._cached : self._cached + READ_AT_ONCE]
                output = self._model(
                    input_ids=torch.tensor([piece], device=self._model.device),
                    past_key_values=self._cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                self._cache, logits = output.past_key_values, output.logits[:, -1]
                self._cached += len(piece)
        return logits

    def _active(self) -> AbstractContextManager[None]:
        """Return a context in which the chosen weights answer."""
        if not self._adapter and isinstance(self._model, PeftModel):
            return self._model.disable_adapter()  # type: ignore[no-any-return,operator]
        return nullcontext()
