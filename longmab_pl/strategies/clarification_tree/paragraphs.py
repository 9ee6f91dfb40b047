"""The marked paragraphs of a document, and the selection of those relevant to a question."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longmab_pl.data.chunking import token_starts
from longmab_pl.data.token_chunks import token_chunks
from longmab_pl.prompts.encoding import text_tokenizer
from longmab_pl.rewards.llm_judge.json_replies import object_schema, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARAGRAPH_TOKENS = 512
"""Length of a paragraph in tokens."""

SEPARATOR_TOKENS = 8
"""Tokens at most of what stands between two kept paragraphs."""

Label = Literal["yes", "maybe", "no", "unreadable"]
"""A verdict on a paragraph; all but `no` keep it."""

_LINE = re.compile(r"^\W*(\d{1,9})\W(.*)$", re.MULTILINE)
_VERDICT = re.compile(r"(?<![^\W_])(yes|maybe|no|not|none)(?![^\W_])")


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a document.

    Args:
        number: its number, from 0.
        text: its characters.
        tokens: its length in tokens.
    """

    number: int
    text: str
    tokens: int


def cut_paragraphs(text: str, tokenizer: PreTrainedTokenizerBase, size: int) -> list[Paragraph]:
    """Return the paragraphs of a document, `size` tokens each, the last one shorter.

    They are cut at the first character of a token, so that together they are the document, character by character
    (with a fast tokenizer).

    Args:
        text: the document.
        tokenizer: the policy's tokenizer; control tokens that the document spells out count as text.
        size: paragraph length in tokens.

    Source: AgenticLU, `qa_tree_datagen.py` (which decodes the tokens of each piece, so that a character that a cut
    splits is lost, and whose first piece is a token shorter).
    """
    reader = text_tokenizer(tokenizer, text)
    if not reader.is_fast:  # no character offsets: the tokens of each piece are decoded
        return [Paragraph(i, c.text, c.end - c.start) for i, c in enumerate(token_chunks(text, reader, size))]
    starts = token_starts(text, reader)
    count = len(starts)
    cuts = [0, *(int(starts[i]) for i in range(size, count, size)), len(text)]
    spans = [(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]
    return [Paragraph(i, text[start:stop], min(size, count - i * size)) for i, (start, stop) in enumerate(spans)]


def mark_paragraphs(pieces: Sequence[str], numbers: Sequence[int] | None = None) -> str:
    """Return the pieces of a document, each between tags with its number, without separators.

    Args:
        pieces: texts of the paragraphs.
        numbers: their numbers; None: from 0.

    Example:
        >>> mark_paragraphs(["First.", "Second."])
        '<para 0> First. </para 0><para 1> Second. </para 1>'

    Source: AgenticLU, `long_context_llm/qa_tree_datagen.py`.
    """
    given = range(len(pieces)) if numbers is None else numbers
    return "".join(f"<para {i}> {piece} </para {i}>" for i, piece in zip(given, pieces, strict=True))


def paragraph_marks(kept: Sequence[int]) -> str:
    """Return the opening tags of the kept paragraphs, joined by spaces.

    Example:
        >>> paragraph_marks([1, 5])
        '<para 1> <para 5>'
    """
    return " ".join(f"<para {i}>" for i in kept)


def join_paragraphs(pieces: Sequence[str], kept: Sequence[int]) -> str:
    """Return the text of the kept paragraphs, with an ellipsis and a blank line between them.

    Example:
        >>> join_paragraphs(["a", "b", "c"], [0, 2])
        'a...\\n\\n...c'
    """
    return "...\n\n...".join(pieces[i] for i in kept)


def verdict_label(reply: str) -> Label:
    """Return the label in a verdict on a paragraph.

    It is the first of the words yes, maybe, no, not and none after the last `Answer:`, or in the whole reply without
    it; `unreadable` if there is none.

    Example:
        >>> verdict_label("It dates the event. Answer: maybe, I know little"), verdict_label("Answer: none")
        ('maybe', 'no')

    Source: AgenticLU, section 3.2 (the program drops a paragraph for the letters "no" anywhere, as in "know").
    """
    found = _VERDICT.search(reply.lower().rpartition("answer:")[2])
    return _label(None if found is None else found[1])


def verdict_labels(reply: str, questions: int) -> list[Label]:
    """Return the labels in a joint verdict, one for each question.

    A line is a question's number, then words of which the first label counts. A question without a line, or with lines
    that disagree, is `unreadable`. A reply to one question may lack the number.

    Args:
        reply: the model's reply.
        questions: number of the questions.

    Example:
        >>> verdict_labels("1: yes\\n2. I know nothing of it: no\\n4: yes", questions=3)
        ['yes', 'no', 'unreadable']
    """
    found: dict[int, set[Label]] = {}
    for line in _LINE.finditer(reply.lower()):
        label = _VERDICT.search(line[2])
        if label is not None:
            found.setdefault(int(line[1]), set()).add(_label(label[1]))
    if questions == 1 and not found:
        return [verdict_label(reply)]
    single = {number: labels.pop() for number, labels in found.items() if len(labels) == 1}
    return [single.get(number, "unreadable") for number in range(1, questions + 1)]


def labels_schema(questions: int) -> str:
    """Return the JSON schema of a joint verdict on a number of questions, as text."""
    names = [str(number) for number in range(1, questions + 1)]
    return json.dumps(object_schema({name: {"enum": ["yes", "maybe", "no"]} for name in names}))


def structured_labels(reply: str, questions: int) -> list[Label]:
    """Return the labels in a joint verdict under `labels_schema`; a reply that breaks the schema is `unreadable`.

    Example:
        >>> structured_labels('{"1": "yes", "2": "no"}', questions=2), structured_labels('{"1": "y', questions=1)
        (['yes', 'no'], ['unreadable'])
    """
    given = read_object(reply) or {}
    words = [given.get(str(number)) for number in range(1, questions + 1)]
    return [_label(word) if word in ("yes", "maybe", "no") else "unreadable" for word in words]


def is_relevant(reply: str) -> bool:
    """Return whether a verdict keeps a paragraph: all but a no do, because losing one costs more than an extra one.

    Example:
        >>> is_relevant("It dates the event. Answer: maybe, I know little"), is_relevant("Answer: no")
        (True, False)
    """
    return verdict_label(reply) != "no"


def within_budget(labels: Sequence[Label], tokens: Sequence[int], budget: int) -> list[int]:
    """Return the numbers of the kept paragraphs that fit a budget, in document order.

    A `yes` goes before a `maybe`, and both before an unreadable verdict; among equals, the earlier one first.

    Args:
        labels: label of each paragraph.
        tokens: length of each paragraph in tokens.
        budget: tokens for all of them and the separators between them.

    Example:
        >>> within_budget(["maybe", "no", "yes", "yes"], tokens=[40, 40, 40, 40], budget=100)
        [2, 3]
    """
    kept: list[int] = []
    for label in ("yes", "maybe", "unreadable"):
        for i in (i for i, found in enumerate(labels) if found == label):
            if tokens[i] + SEPARATOR_TOKENS <= budget:
                kept.append(i)
                budget -= tokens[i] + SEPARATOR_TOKENS
    return sorted(kept)


def kept_paragraphs(replies: Sequence[str]) -> list[int]:
    """Return the numbers of the paragraphs that the verdicts keep, given one reply per paragraph."""
    return [i for i, reply in enumerate(replies) if is_relevant(reply)]


def _label(word: str | None) -> Label:
    if word is None:
        return "unreadable"
    return "yes" if word == "yes" else "maybe" if word == "maybe" else "no"
