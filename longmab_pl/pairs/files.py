"""Preference pairs as files that `datasets.load_dataset` reads and TRL's DPOTrainer takes: JSON Lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from longmab_pl.data.sources import open_source
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.types import PairFormat, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.storage.files import atomic_write_binary

Style = Literal["conversational", "plain"]

_ROWS_PER_GROUP = 64
_LISTS = ("prompt", "chosen", "rejected", "chosen_arms", "rejected_arms")


class PairWriter:
    """Writes pairs one by one; the file appears under its name when it is whole.

    Args:
        path: the file.
        format: `jsonl` or `parquet`.
        style: `conversational` has lists of messages in `prompt`, `chosen` and `rejected`. `plain` has strings: the
            prompt as the chat template renders it up to where the assistant speaks, and the bare answers (a trainer
            puts the end-of-sequence token behind them). A beginning-of-sequence token that the tokenizer adds by
            itself is left out of the string, so that it does not stand there twice.
        tokenizer: for `plain`.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
        ConfigError: `plain` without a tokenizer.
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
        row = asdict(pair)
        if self.style == "plain":
            prompt = encoding.written_out(self.tokenizer, pair.prompt)
            row["prompt"] = prompt.removeprefix(self._repeated_start)
            row["chosen"], row["rejected"] = pair.chosen_text, pair.rejected_text
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        if self._parquet is not None:
            import pyarrow

            self._parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_schema(self.style)))
        else:
            self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())

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


def read_pairs(path: Path) -> Iterator[PreferencePair]:
    """Read conversational pairs as `PairWriter` writes them, one by one.

    Raises:
        DataError: naming the line and field that is wrong.
    """
    names = [f.name for f in fields(PreferencePair)]
    for row in open_source(str(path), "train"):
        where = f"{row.file}:{row.line}"
        if row.problem or not isinstance(row.value, dict):
            raise DataError(f"{where}: {row.problem or 'not a JSON object'}")
        try:
            values = {name: row.value[name] for name in names}
        except KeyError as error:
            raise DataError(f"{where}: the field {error} is missing; is this a pairs file of a round?") from error
        for name in _LISTS:
            if not isinstance(values[name], list):
                raise DataError(f"{where}: {name} is not a list; a round's pairs are in conversational style")
            values[name] = tuple(values[name])
        yield PreferencePair(**values)


def _start_added_twice(tokenizer: Any) -> str:
    """The beginning-of-sequence token, if the tokenizer puts it before every text; otherwise nothing."""
    start = tokenizer.bos_token_id
    return str(tokenizer.bos_token) if start is not None and tokenizer("x")["input_ids"][0] == start else ""


def _schema(style: Style) -> Any:
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text = messages if style == "conversational" else pa.string()
    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    kinds |= {"tuple[Message, ...]": text, "tuple[int, ...]": pa.list_(pa.int64())}
    return pa.schema([(f.name, kinds[str(f.type)]) for f in fields(PreferencePair)])
