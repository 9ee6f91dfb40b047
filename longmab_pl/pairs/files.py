"""Preference pairs as JSON Lines or Parquet files, for `datasets.load_dataset` and TRL's DPOTrainer.

`longmab_pl.pairs.readers` reads them back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.types import PairFormat, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.transcript import Turn
from longmab_pl.storage.files import atomic_write_binary

Style = Literal["conversational", "plain"]

_ROWS_PER_GROUP = 64


class PairWriter:
    """Writer of pairs, one by one; the file gets its name when it is complete.

    Args:
        path: the file.
        format: `jsonl` or `parquet`.
        style: `conversational` has lists of messages in `prompt`, `chosen` and `rejected`. `plain` has strings: the
            prompt as the chat template renders it up to the assistant's turn, and the answers alone (a trainer adds the
            end-of-sequence token). A beginning-of-sequence token that the tokenizer adds is left out of the string,
            so that it is not added twice.
        tokenizer: the tokenizer, required for `plain`.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
        ConfigError: `plain` without a tokenizer.

    A pair of conversations has more than one message in `chosen` and `rejected`.
    """

    def __init__(
        self, path: Path, format: PairFormat = "jsonl", style: Style = "conversational", tokenizer: Any = None
    ) -> None:
        if style == "plain" and tokenizer is None:
            raise ConfigError("style plain renders the chat template; it needs the model's tokenizer")
        self.path = path
        self.format = format
        self.style = style
        self.tokenizer = tokenizer
        self.count = 0
        self._rows: list[dict[str, Any]] = []
        self._writing = ExitStack()
        self._parquet: Any = None
        self._repeated_start = _start_added_twice(tokenizer) if style == "plain" else ""

    def __enter__(self) -> PairWriter:
        self._file = self._writing.enter_context(atomic_write_binary(self.path))
        if self.format == "parquet":
            import pyarrow.parquet

            self._parquet = pyarrow.parquet.ParquetWriter(self._file, _schema(self.style), compression="zstd")
        self._writing.push(self._finish)
        return self

    def write(self, pair: PreferencePair) -> None:
        """Write one pair.

        Raises:
            DataError: the pair is not from a rollout.
        ConfigError: style `plain` for a pair of conversations.
        """
        row = pair_to_row(pair)
        if self.style == "plain" and pair.chosen_turns:
            raise ConfigError(
                f"pair {pair.name!r} compares conversations, and style plain holds one answer each; use style "
                "conversational"
            )
        if self.style == "plain":
            assert not isinstance(pair.prompt, str)
            prompt = encoding.written_out(self.tokenizer, pair.prompt)
            row["prompt"] = prompt.removeprefix(self._repeated_start)
            row["chosen"], row["rejected"] = pair.chosen, pair.rejected
            if pair.short_prompt is not None:
                assert not isinstance(pair.short_prompt, str)
                short = encoding.written_out(self.tokenizer, pair.short_prompt)
                row["short_prompt"] = short.removeprefix(self._repeated_start)
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        if self._parquet is not None:
            self._parquet.write_table(_table(lines, _schema(self.style)))
        else:
            self._file.write(lines)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        self._flush()
        if self._parquet is not None:
            self._parquet.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writing.__exit__(kind, error, trace)


def pair_to_row(pair: PreferencePair) -> dict[str, Any]:
    """Return a rollout's pair as a row of its file, in TRL's conversational form with its origin.

    Raises:
        DataError: the pair is not from a rollout.
    """
    if pair.origin is None or isinstance(pair.prompt, str):
        raise DataError(f"pair {pair.id!r} is none of a rollout, so it cannot be written into a round's file")
    origin = asdict(pair.origin)
    row = {
        "id": pair.id,
        **{name: origin[name] for name in ("pair", "input", "answer")},
        "prompt": [dict(message) for message in pair.prompt],
        "chosen": _answer(pair.chosen, pair.chosen_turns),
        "rejected": _answer(pair.rejected, pair.rejected_turns),
        "chosen_reward": pair.chosen_reward,
        "rejected_reward": pair.rejected_reward,
        **{f"{side}_{name}": origin[f"{side}_{name}"] for name in _ORIGIN_OF_A_SIDE for side in ("chosen", "rejected")},
        "chosen_ended": pair.chosen_ended,
        "rejected_ended": pair.rejected_ended,
        "round": pair.origin.round,
    }
    optional = {
        "chosen_mask": pair.chosen_mask,
        "rejected_mask": pair.rejected_mask,
        "chosen_token_ids": pair.chosen_ids,
        "rejected_token_ids": pair.rejected_ids,
    }
    row |= {name: list(value) for name, value in optional.items() if value is not None}
    row |= {"shared_token_ids": pair.shared_ids} if pair.shared_ids else {}
    if pair.short_prompt is not None and not isinstance(pair.short_prompt, str):
        row["short_prompt"] = [dict(message) for message in pair.short_prompt]
    if pair.group:
        row["group_texts"] = [response.text for response in pair.group]
        row["group_rewards"] = [response.reward for response in pair.group]
        row["group_ended"] = [response.ended for response in pair.group]
        row["group_token_ids"] = [list(response.ids or ()) for response in pair.group]
        row["group_on_prompt"] = [response.on_prompt for response in pair.group]
    return row | _conversation_columns(pair)


def _answer(text: str, turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [turn.message for turn in turns] or [{"role": "assistant", "content": text}]


def _conversation_columns(pair: PreferencePair) -> dict[str, Any]:
    """Return what the messages of conversations do not say: the sampled ids, and which turns are only context."""
    if not pair.chosen_turns:
        return {}
    columns: dict[str, Any] = {"shared_turns": pair.shared_turns, "imitated": pair.imitated}
    for side, turns in (("chosen", pair.chosen_turns), ("rejected", pair.rejected_turns)):
        columns[f"{side}_turn_ids"] = [list(turn.token_ids) for turn in turns]
        columns[f"{side}_turn_ended"] = [turn.ended for turn in turns]
    return columns


_ORIGIN_OF_A_SIDE = ("index", "step", "read")


def _start_added_twice(tokenizer: Any) -> str:
    """Return the beginning-of-sequence token if the tokenizer adds it before every text; otherwise ""."""
    start = tokenizer.bos_token_id
    return str(tokenizer.bos_token) if start is not None and tokenizer("x")["input_ids"][0] == start else ""


def _table(lines: bytes, schema: Any) -> Any:
    """Return rows, a line of JSON each, as a table; to convert Python lists PyArrow would import pandas."""
    from pyarrow import json as arrow_json

    return arrow_json.read_json(
        BytesIO(lines),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1),  # a row is in one block
        parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    ).select(schema.names)


def _schema(style: Style) -> Any:
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text = messages if style == "conversational" else pa.string()
    numbers = pa.list_(pa.int64())
    kinds = [
        (pa.string(), ("id", "input", "answer")),
        (text, ("prompt", "chosen", "rejected", "short_prompt")),
        (pa.float64(), ("chosen_reward", "rejected_reward")),
        (pa.bool_(), ("chosen_ended", "rejected_ended")),
        (pa.int64(), ("pair", "chosen_index", "rejected_index", "chosen_step", "rejected_step", "round")),
        (pa.int64(), ("shared_token_ids",)),
        (numbers, ("chosen_read", "rejected_read", "chosen_mask", "rejected_mask")),
        (numbers, ("chosen_token_ids", "rejected_token_ids")),
        (pa.list_(numbers), ("chosen_turn_ids", "rejected_turn_ids", "group_token_ids")),
        (pa.list_(pa.bool_()), ("chosen_turn_ended", "rejected_turn_ended", "group_ended", "group_on_prompt")),
        (pa.list_(pa.string()), ("group_texts",)),
        (pa.list_(pa.float64()), ("group_rewards",)),
        (pa.int64(), ("shared_turns",)),
        (pa.bool_(), ("imitated",)),
    ]
    return pa.schema([(name, kind) for kind, names in kinds for name in names])
