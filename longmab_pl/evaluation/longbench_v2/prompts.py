"""LongBench v2's prompts in our own words; the official ones are read from the program's `prompts` folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longmab_pl.errors import ConfigError

_QUESTION = """Question: $Q$

(A) $C_A$
(B) $C_B$
(C) $C_C$
(D) $C_D$"""

_FORM = 'End with one sentence of exactly this form: "The correct answer is (X)", where X is one of A, B, C and D.'

ZERO_SHOT = f"""Read the text, then choose the right option of the question below it.

<text>
$DOC$
</text>

{_QUESTION}

{_FORM}"""

COT = f"""Read the text, then think about the question below it.

<text>
$DOC$
</text>

{_QUESTION}

Think it through step by step before you choose."""

COT_ANSWER = f"""The question below is about a long text, which is left out here.

{_QUESTION}

These are thoughts about it:
$COT$

Choose the option that is most likely right. {_FORM}"""

NO_CONTEXT = f"""Choose the right option of this question.

{_QUESTION}

{_FORM}"""

RAG = f"""Read these passages, retrieved from a longer text, then choose the right option of the question below.

<passages>
$DOC$
</passages>

{_QUESTION}

{_FORM}"""


@dataclass(frozen=True)
class Prompts:
    """The templates, with the placeholders `$DOC$ $Q$ $C_A$ $C_B$ $C_C$ $C_D$ $COT$`.

    Args:
        zero_shot, no_context, rag: ask for the answer at once.
        cot: asks for the thoughts first.
        cot_answer: asks for the answer, with the thoughts in place of the text.
    """

    zero_shot: str = ZERO_SHOT
    cot: str = COT
    cot_answer: str = COT_ANSWER
    no_context: str = NO_CONTEXT
    rag: str = RAG

    @classmethod
    def official(cls, folder: str | Path) -> Prompts:
        """Return the templates of the original program.

        Args:
            folder: `prompts/` of the LongBench repository, with `0shot.txt`, `0shot_cot.txt` and the others.

        Raises:
            ConfigError: a file is missing.
        """
        names = {
            "zero_shot": "0shot",
            "cot": "0shot_cot",
            "cot_answer": "0shot_cot_ans",
            "no_context": "0shot_no_context",
            "rag": "0shot_rag",
        }
        found = {}
        for name, stem in names.items():
            path = Path(folder) / f"{stem}.txt"
            try:
                found[name] = path.read_text(encoding="utf-8")
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be read ({error.strerror}); give the folder prompts/ of the LongBench repository"
                ) from error
        return cls(**found)


def values(document: str, question: str, choices: Sequence[str]) -> dict[str, str]:
    """Return the placeholders and their values, stripped, in the original's order."""
    named = {f"$C_{letter}$": choice for letter, choice in zip("ABCD", choices, strict=True)}
    return {name: value.strip() for name, value in {"$DOC$": document, "$Q$": question, **named}.items()}


def filled(template: str, given: Mapping[str, str]) -> str:
    """Return the template with all placeholders filled in one pass; those inside a document are kept."""
    pattern = "|".join(re.escape(name) for name in given)
    return re.sub(pattern, lambda found: given[found[0]], template)


def filled_in_turn(template: str, given: Mapping[str, str]) -> str:
    """Return the template filled as the original does, one placeholder after the other.

    A document that contains "$Q$" gets the question in its place.
    """
    for name, value in given.items():
        template = template.replace(name, value)
    return template


@dataclass(frozen=True)
class Chunk:
    """A retrieved passage.

    Args:
        index: its place in the text (`c_idx`).
        content: its text.
    """

    index: int
    content: str


def retrieved(chunks: Sequence[Chunk], count: int) -> str:
    """Return the first `count` chunks in the order of the text, numbered from 1."""
    chosen = sorted(chunks[:count], key=lambda chunk: chunk.index)
    return "\n\n".join(f"Retrieved chunk {i}: {chunk.content}" for i, chunk in enumerate(chosen, 1))
