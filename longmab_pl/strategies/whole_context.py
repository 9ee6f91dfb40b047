"""A record's whole context for a prompt, with its middle cut out where it leaves no room for the answer."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.errors import DataError
from longmab_pl.prompts import encoding
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import StrategyContext


@dataclass(frozen=True)
class WholeContext:
    """A context as a prompt shows it.

    Args:
        text: the context, or its beginning and its end.
        tokens: length of the uncut context in tokens.
        cut: number of its tokens that the prompt has no room for.
    """

    text: str
    tokens: int
    cut: int


def whole_context(record: QARecord, context: StrategyContext, new_tokens: int, most: int | None = None) -> WholeContext:
    """Return a record's context, cut to what question and answer leave of the engine's limit.

    Args:
        record: the record.
        context: tokenizer, prompt format and the engine's limit.
        new_tokens: most tokens of the answer.
        most: most tokens of the context; None: as many as fit.

    Raises:
        DataError: question and answer leave no room for the context.
    """
    tokenizer = context.tokenizer
    overhead = context.prompt_format.prompt_overhead(tokenizer, record.question)
    room = context.max_model_len - new_tokens - overhead
    if room < 1:
        raise DataError(
            f"record {quoted(record.id)}: the question alone takes {overhead} tokens, so that with {new_tokens} new "
            f"ones nothing of the context fits the engine's {context.max_model_len}; raise engine.max_model_len"
        )
    budget = min(room, most or room)
    reader = encoding.text_tokenizer(tokenizer, record.context)
    tokens = len(reader.encode(record.context, add_special_tokens=False))
    text = record.context if tokens <= budget else cut_middle(record.context, reader, budget)
    return WholeContext(text, tokens, max(tokens - budget, 0))
