"""Documents about towns, and a model that writes and answers questions about them by rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import decoders, pre_tokenizers

from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.engines import Request, ScriptedEngine
from longmab_pl.engines.protocol import Engine
from longmab_pl.synthesis.question_set import AskedModel, DocumentSource, QuestionSet
from longmab_pl.synthesis.settings import QuestionSettings

FACT = re.compile(r"The bridge of (\w+) was built by (\w+)\.")
ASKED = re.compile(r"Who built the bridge of (\w+)\?")


def write_documents(folder: Path, documents: int = 6, facts: int = 3) -> Path:
    """Write documents of a few sentences, each of which is a chunk of about 60 bytes, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(documents):
        lines = (f"The bridge of Town{n}x{i} was built by Mason{n}x{i}. Boats pass it." for i in range(facts))
        (folder / f"{n}.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


class Writer:
    """A model that writes a question about the bridge in a text, and answers it from the text only.

    Args:
        tokenizer: decodes prompts.
        written: reply to the i-th sample about a text, given town and mason; None: the question of the bridge.
        known: towns whose question it also answers without the text.
        lost: towns whose question it does not answer from the text.
    """

    def __init__(
        self,
        tokenizer: Any,
        written: Callable[[int, str, str], str] | None = None,
        known: tuple[str, ...] = (),
        lost: tuple[str, ...] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._written = written or (lambda i, town, mason: question(town, mason))
        self._known, self._lost = known, lost

    def __call__(self, request: Request, i: int) -> str:
        prompt = self._tokenizer.decode(list(request.prompt_ids))
        last = prompt.rpartition("[user]")[2]
        if "Choose a few words" in last:
            fact = FACT.search(last)
            return self._written(i, *fact.groups()) if fact else "I cannot say."
        asked = ASKED.search(last)
        town = asked[1] if asked else ""
        reads = "Text:" in last
        if (reads and town not in self._lost) or (not reads and town in self._known):
            return f" It was {town.replace('Town', 'Mason')}."
        return " Nobody knows."


class Bytes:
    """Decodes the ids of the tests' byte tokenizer."""

    def decode(self, ids: list[int]) -> str:
        alphabet = ["", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        return decoders.ByteLevel().decode([alphabet[i] for i in ids])


def towns(request: Request, i: int) -> str:
    """Answer of a `ScriptedEngine` that a config names: questions are written and checked, other answers differ."""
    right = Writer(Bytes())(request, i)
    is_rollout = request.id.rpartition("/")[2].isdecimal()
    return " Nobody." if is_rollout and int(request.id.rpartition("/")[2]) % 2 else right


def question(town: str, mason: str) -> str:
    return f" {mason}\nQuestion: Who built the bridge of {town}?"


def scripted(writer: Writer, tokenizer: Any, **settings: Any) -> ScriptedEngine:
    return ScriptedEngine(writer, tokenizer=tokenizer, **settings)


def question_set(
    folder: Path, documents: Path, engine: Engine, tokenizer: Any, source: dict[str, Any] | None = None, **settings: Any
) -> QuestionSet:
    """Return a set with small chunks and contexts."""
    given = {"chunk_size": 60, "samples": 2, "answers": 2} | settings
    return QuestionSet(
        folder,
        DocumentSource(str(documents), **(source or {"held_out": 0.2})),
        QuestionSettings(**given),
        ContextSettings(200, 400),
        AskedModel("scripted", tokenizer, "scripted"),
        engine,
        progress=False,
    )
