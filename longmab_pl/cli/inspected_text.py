"""Printing of inspected rows on a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from longmab_pl.cli.inspected_rows import Inspected, InspectedAnswer, InspectedPair, InspectedRecord, decoded
from longmab_pl.prompts.control_tokens import control_tokens
from longmab_pl.shown import printable, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN_OF_A_PROMPT = 400
"""Number of shown tokens of a prompt, half from each end."""

_SHOWN_TOKENS = 400
"""Number of shown tokens of an answer."""


def show(row: Inspected, tokenizer: PreTrainedTokenizerBase, console: Console) -> None:
    """Print a row: control tokens are highlighted, compared tokens are green and red, all others are dim.

    Args:
        row: the row to print.
        tokenizer: tokenizer of the row, for its control tokens.
        console: console to print on.
    """
    console.print(Text(f"line {row.line}  {row.kind}", style="bold"))
    if row.skipped is not None:
        console.print(Text(f"  left out: {printable(row.skipped)}", style="yellow"))
        console.print()
        return
    assert row.prompt_ids is not None
    console.print(Text(f"prompt  {len(row.prompt_ids):,} tokens", style="bold cyan"))
    console.print(_prompt(row.prompt_ids, tokenizer), soft_wrap=True)
    if isinstance(row, InspectedPair):
        for name, tokens, compared, color in (
            ("chosen", row.chosen_tokens or [], row.chosen_compared or [], "green"),
            ("rejected", row.rejected_tokens or [], row.rejected_compared or [], "red"),
        ):
            _show_answer(name, tokens, compared, "compared", color, console)
    elif isinstance(row, InspectedAnswer):
        _show_answer("answer", row.answer_tokens or [], row.answer_learned or [], "learned", "green", console)
    else:
        _show_record(row, console)
    console.print()


def _show_answer(
    name: str, tokens: Sequence[str], counts: Sequence[bool], verb: str, color: str, console: Console
) -> None:
    of = f"{sum(counts)} of {len(tokens)} tokens {verb}" if not all(counts) else f"{len(tokens)} tokens"
    console.print(Text(f"{name}  {of}", style=f"bold {color}"))
    console.print(_answer(tokens, counts, color), soft_wrap=True)


def _show_record(row: InspectedRecord, console: Console) -> None:
    golds = " | ".join(shown(answer, 200) for answer in (row.answers or [])[:20])
    console.print(Text.assemble(("answers  ", "bold green"), (golds, "green")), soft_wrap=True)
    console.print(
        Text(f"cut      {row.cut_tokens or 0:,} tokens from the middle", style="yellow" if row.cut_tokens else "")
    )
    console.print(Text(f"chunks   {len(row.chunks or [])}", style="bold cyan"))
    for chunk in row.chunks or []:
        start, end = shown(chunk["text"][:40]), shown(chunk["text"][-40:])
        console.print(Text(f"  {chunk['index']:>3}  {chunk['tokens']:>6,} tokens  {start} ... {end}"), soft_wrap=True)


def _prompt(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return both ends of a prompt, with real control tokens highlighted (not texts spelled like them)."""
    control = set(control_tokens(tokenizer).ids.values())
    half = _SHOWN_OF_A_PROMPT // 2
    parts = [ids] if len(ids) <= _SHOWN_OF_A_PROMPT else [ids[:half], ids[-half:]]
    text = Text()
    for place, part in enumerate(parts):
        if place:
            left = len(ids) - _SHOWN_OF_A_PROMPT
            text.append(f"\n... {left:,} tokens that are not shown here ...\n", style="yellow")
        for is_control, group in itertools.groupby(part, control.__contains__):
            words = printable(decoded(tokenizer, list(group)))
            text.append(words, style="bold magenta" if is_control else None)
    return text


def _answer(tokens: Sequence[str], compared: Sequence[bool], color: str) -> Text:
    """Return tokens with a thin bar between them; tokens that the loss does not compare are dim."""
    text = Text()
    for place, (token, counts) in enumerate(zip(tokens[:_SHOWN_TOKENS], compared, strict=False)):
        text.append("|" if place else "", style="dim")
        text.append(shown(token), style=color if counts else "dim")
    if len(tokens) > _SHOWN_TOKENS:
        text.append(f" ... {len(tokens) - _SHOWN_TOKENS:,} more", style="yellow")
    return text
