"""Prompts by which a model writes a question with a short answer about a text, and answers it without the text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.prompts import encoding
from longmab_pl.prompts.thoughts import without_thought

WITHOUT_TEXT = """Answer the question in a few words.

Question: {question}"""
"""Template of `DirectAnswer` for a question alone."""

_INSTRUCTION = """Choose a few words of this text as an answer: a name, a date, a number or a thing. Then write the \
question that they answer. The question names whom or what it is about, so that somebody who has not seen the text \
understands it."""

_LABEL = r"{}[ \t*_\d.]*[:：][ \t*_]*(?P<{}>[^\n]+?)[*_]*[ \t]*(?:$|\n)"
_ANSWER = re.compile(_LABEL.format("answer", "text"), re.IGNORECASE)
_QUESTION = re.compile(_LABEL.format("question", "text"), re.IGNORECASE)
_QUOTES = "\"'“”‘’`"


@dataclass(frozen=True)
class WrittenQuestion:
    """A question and its short answer.

    Args:
        question: the question.
        answer: the answer.
    """

    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A text with a question about it, shown to the model before its own text.

    Args:
        text: the text.
        written: question and answer.
    """

    text: str
    written: WrittenQuestion


EXAMPLES = (
    Example(
        "The harbor of Corvo was built in 1871 by the engineer Ana Reis. It closed in 1950, when the sardine catch had "
        "fallen to 40 tons a year.",
        WrittenQuestion("Who built the harbor of Corvo?", "Ana Reis"),
    ),
    Example(
        "The Tamar violet grows on limestone above 1,200 meters. Its seeds are spread by ants, and it flowers only "
        "every third spring.",
        WrittenQuestion("What spreads the seeds of the Tamar violet?", "ants"),
    ),
    Example(
        "In 1994 the city of Velden replaced its trams with buses. Ridership fell by a third within two years, and the "
        "trams came back in 2003.",
        WrittenQuestion("In which year did the trams of Velden come back?", "2003"),
    ),
)
"""Examples about invented things, so that nothing of them is true of a text."""


@dataclass(frozen=True)
class QuestionPrompt:
    """The prompt for a short answer and its question, as two labelled lines or as a JSON object.

    The answer comes first: small models copy words of a text better than they answer their own questions.

    Args:
        instruction: text after the document's.
        examples: earlier turns of the conversation.
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`.

    Example:
        >>> QuestionPrompt().read(" Ana Reis\\nQuestion: Who built it?")
        WrittenQuestion(question='Who built it?', answer='Ana Reis')
    """

    instruction: str = _INSTRUCTION
    examples: tuple[Example, ...] = EXAMPLES
    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    PREFILL = "Answer:"
    """Beginning of a reply in lines, which the model continues."""

    SCHEMA = json.dumps(
        {
            "type": "object",
            "properties": {"answer": {"type": "string"}, "question": {"type": "string"}},
            "required": ["answer", "question"],
            "additionalProperties": False,
        }
    )
    """JSON schema of a reply as an object."""

    def prompt_ids(self, tokenizer: Any, text: str, *, as_json: bool = False) -> tuple[int, ...]:
        """Return the prompt's token ids.

        Args:
            tokenizer: the model's tokenizer, with a chat template.
            text: what the question is about.
            as_json: whether the engine makes the reply follow `SCHEMA`.
        """
        messages = []
        for example in self.examples:
            messages += [self._asked(example.text), {"role": "assistant", "content": _shown(example.written, as_json)}]
        prefill = "" if as_json else self.PREFILL
        asked = [*messages, self._asked(text)]
        return encoding.chat(tokenizer, asked, prefill=prefill, arguments=self.template_arguments).ids

    def read(self, reply: str) -> WrittenQuestion | None:
        """Return what a reply says, in either form, or None if it holds no question with an answer.

        Args:
            reply: the generated text, without the prefill.
        """
        text = without_thought(reply)
        found = _of_object(text)
        if found is None:
            found = _of_lines(text)
        if found is None:
            return None
        question, answer = " ".join(found[0].split()).strip(_QUOTES), _bare(found[1])
        return WrittenQuestion(question, answer) if question and answer else None

    def _asked(self, text: str) -> dict[str, str]:
        return {"role": "user", "content": f"Text:\n{text}\n\n{self.instruction}"}


def _shown(written: WrittenQuestion, as_json: bool) -> str:
    if as_json:
        return json.dumps({"answer": written.answer, "question": written.question}, ensure_ascii=False)
    return f"{QuestionPrompt.PREFILL} {written.answer}\nQuestion: {written.question}"


def _of_lines(text: str) -> tuple[str, str] | None:
    """Return question and answer of labelled lines; without a label the answer is what the reply begins with."""
    asked, answered = _QUESTION.search(text), _ANSWER.search(text)
    if asked is None:
        return None
    before = text[: asked.start()].strip(" \t\n*_#-")
    if answered is not None and (answered.start() < asked.start() or not before):
        return asked["text"], answered["text"]
    return (asked["text"], before.partition("\n")[0]) if before else None


def _of_object(text: str) -> tuple[str, str] | None:
    """Return question and answer of the JSON object in a text."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return None
    try:
        found = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    question, answer = (found.get(name) for name in ("question", "answer"))
    answer = str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer
    return (question, answer) if isinstance(question, str) and isinstance(answer, str) else None


def _bare(answer: str) -> str:
    """Return an answer on one line without quotes and markup around it, and without the full stop of a sentence."""
    text = " ".join(answer.split()).strip("*_" + _QUOTES).strip()
    ends = text.endswith(".") and not re.search(r"(?:\b[A-Za-z]\.|\b(?:Inc|Ltd|Jr|Sr|St|Co)\.)$", text)
    return text.rstrip(".").strip(_QUOTES) if ends else text
