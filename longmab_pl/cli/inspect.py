"""`longmab inspect`: the tokens of a data set that will be trained or asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.cli.arguments import call, switches_on
from longmab_pl.cli.command_line import option_value, positionals
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.cli.inputs_check import refuse_missing_model
from longmab_pl.cli.run_log import start_log
from longmab_pl.errors import ConfigError
from longmab_pl.live import step
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.pairs.kinds import kind_of
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer
from longmab_pl.reporting.console import wide_console
from longmab_pl.shown import shown

if TYPE_CHECKING:
    from longmab_pl.cli.inspected_rows import Inspected

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
        source: preference pairs, answers without worse ones, or question-answering records: a file, a folder or a hub
            data set.
        model: the model whose tokenizer and chat template are used.
        rows: number of rows; null: all.
        json: print one JSON object per row in place of colored text.
        split: split of a folder or a data set.
        columns: of pairs and answers, the data's names: {question: ask, chosen: good, rejected: bad}.
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
    with step("loading the libraries"):
        from longmab_pl.cli.inspected_rows import as_json, inspected_answered, inspected_records
        from longmab_pl.cli.inspected_text import show
    folder = resolve_model(model)
    tokenizer = load_tokenizer(folder, needs_chat=False)
    limit = context_limit(folder)
    arguments = template_arguments or {}
    kind = "record" if fields else kind_of(source, split, columns)
    found: Iterator[Inspected]
    if kind != "record":
        found = inspected_answered(source, kind, tokenizer, max_length or limit, arguments, split, columns)
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
    _refuse_missing(switches_on(inspect, args[1:]))
    found = refuse_wrong_options(__name__, "inspect", args)
    start_log()
    if "model" in found:
        refuse_missing_model(found["model"])
    call(inspect, args)


def _refuse_missing(args: Sequence[str]) -> None:
    """Refuse a command line without its two necessary parts; the parser's own message names neither as it is typed."""
    if any(arg in ("-h", "--help", "--config") or arg.startswith("--config=") for arg in args):
        return
    sources = [*positionals(args), *filter(None, [option_value(args, "--source")])]
    missing = [
        *(["the data, a file, folder or hub name"] if not sources else []),
        *(["the model whose tokenizer reads it, --model NAME"] if not option_value(args, "--model") else []),
    ]
    if missing:
        source = shown(sources[0], 200) if sources else "FILE"
        raise ConfigError(
            f"longmab inspect needs {' and '.join(missing)}: longmab inspect {source} --model "
            f"{option_value(args, '--model') or 'NAME'} (a folder, a hub name or bundled:smollm2-135m-instruct)"
        )
