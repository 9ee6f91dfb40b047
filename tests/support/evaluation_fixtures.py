"""A tokenizer with one id per character, and an engine that answers from the prompt's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from longmab_pl.engines import ScriptedEngine, answer_from_prompt


class CharacterTokenizer:
    """Reversible: token id = code point. With a chat template that wraps the user's turn in <u>...</u><a>."""

    chat_template = "<u>{{content}}</u><a>"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self.encode(text)}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<u>{message['content']}</u>" for message in messages) + "<a>"


@pytest.fixture
def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer()


@pytest.fixture
def scripted_engine(tokenizer: CharacterTokenizer) -> Callable[..., ScriptedEngine]:
    def make(answer: Callable[[str], str], **settings: Any) -> ScriptedEngine:
        return ScriptedEngine(
            answer_from_prompt(answer, tokenizer), tokenizer=tokenizer, **{"concurrency": 4} | settings
        )

    return make
