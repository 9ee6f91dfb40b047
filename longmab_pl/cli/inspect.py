"""`longmab inspect`: the tokens of a data set that will be trained or asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.cli.arguments import call
from longmab_pl.cli.inspected_rows import (
    InspectedPair,
    InspectedRecord,
    as_json,
    inspected_pairs,
    inspected_records,
    kind_of,
)
from longmab_pl.cli.inspected_text import show
from longmab_pl.cli.quiet import quiet_transformers
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer
from longmab_pl.reporting.console import wide_console

_FORMATS: dict[str, type[DirectAnswer | ReasonThenAnswer]] = {"reason": ReasonThenAnswer, "direct": DirectAnswer}


def inspect(
    source: str,
    *,
    model: str,
    rows: int | None = 3,
    json: bool = False,
    split: str = "train",
    columns: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    template_arguments: dict[str, Any] | None = None,
    max_length: int | None = None,
    chunk_size: int = 1500,
    max_tokens: int = 1024,
    prompt_format: Literal["reason", "direct"] = "reason",
) -> None:
    """Print exactly what of a data set will be trained or asked, token by token, and why a row is left out.

    Args:
        source: preference pairs or question-answering records: a file, a folder or a hub data set.
        model: the model whose tokenizer and chat template are used.
        rows: number of rows; null: all.
        json: print one JSON object per row in place of colored text.
        split: split of a folder or a data set.
        columns: of preference pairs, the data's names: {question: ask, chosen: good, rejected: bad}.
        fields: of records, the data's names: {question: ask, context: body}.
        template_arguments: further variables of the chat template: {enable_thinking: false}.
        max_length: maximum tokens of a pair's prompt and longer answer. Default: the model's limit.
        chunk_size: tokens in a chunk of a record.
        max_tokens: tokens reserved for the answer to a record.
        prompt_format: prompt format of records, reason (then answer) or direct.

    Raises:
        ConfigError, DataError: there is no such model or source.
    """
    at_least("--rows", rows, 1, "give at least 1, or null for all rows", or_null=True)
    folder = resolve_model(model)
    tokenizer = load_tokenizer(folder, needs_chat=False)
    limit = context_limit(folder)
    arguments = template_arguments or {}
    if kind_of(source, split, columns) == "preference":
        found: Iterator[InspectedPair | InspectedRecord] = inspected_pairs(
            source, tokenizer, max_length or limit, arguments, split, columns
        )
    else:
        found = inspected_records(
            source,
            tokenizer,
            limit,
            prompt_format=_FORMATS[prompt_format](template_arguments=arguments),
            max_tokens=max_tokens,
            chunk_size=chunk_size,
            split=split,
            fields=fields,
        )
    console = wide_console()
    for row in itertools.islice(found, rows):
        if json:
            print(as_json(row))
        else:
            show(row, tokenizer, console)


def run(args: Sequence[str]) -> None:
    """Run the command."""
    quiet_transformers()
    call(inspect, args)
