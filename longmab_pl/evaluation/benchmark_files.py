"""Rows of a benchmark's own files: JSON lists, JSON Lines and Parquet, with errors that name the expected file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from longmab_pl.data.qa_fields import half_character
from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError
from longmab_pl.shown import quoted

T = TypeVar("T")


class Row:
    """A row and its place, which errors name.

    Args:
        values: the row.
        where: file and number.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def text(self, name: str) -> str:
        """Return a field that must be a text. Raises `DataError` if it is not."""
        value = self.present(name)
        if not isinstance(value, str):
            raise DataError(f"{self.where}: field {name!r} is {quoted(str(value))}; it must be a text")
        return value

    def filled(self, name: str) -> str:
        """Return a field that must be a text with more than white space. Raises `DataError` if it is not."""
        value = self.text(name)
        if not value.strip():
            raise DataError(f"{self.where}: field {name!r} is empty; give its text, or leave the row out")
        return value

    def present(self, name: str) -> Any:
        """Return a field of any kind. Raises `DataError` if there is none."""
        if name not in self.values:
            there = ", ".join(quoted(str(field)) for field in list(self.values)[:12]) or "none"
            raise DataError(f"{self.where}: there is no field {name!r}; the row has {there}")
        return self.values[name]

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        """Return a field that must be one of the allowed texts. Raises `DataError` if it is not."""
        value = self.text(name)
        if value not in allowed:
            raise DataError(f"{self.where}: field {name!r} is {quoted(value)}; it must be one of {', '.join(allowed)}")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a field that must be a list of texts. Raises `DataError` if it is not."""
        value = self.present(name)
        if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
            raise DataError(f"{self.where}: field {name!r} is {quoted(str(value))}; it must be a list of texts")
        return value


def json_file(path: str | Path, wanted: str) -> Any:
    """Return what a `.json` file holds, or the list of a `.jsonl` file's lines.

    Args:
        path: the file.
        wanted: the expected file and its source, for errors.

    Raises:
        DataError: it cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); it must be {wanted}") from error
    try:
        # Not splitlines(): texts hold characters (U+2028, ...) that it takes for line ends.
        lines = [line for line in text.split("\n") if line.strip()]
        return [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); it must be {wanted}") from error


def json_rows(path: str | Path, wanted: str) -> list[Row]:
    """Return the rows of a `.json` list or a `.jsonl` file. Arguments and errors as for `json_file`; every row must be
    an object, whose texts can be written as UTF-8."""
    rows = json_file(path, wanted)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is not a list of objects; it must be {wanted}")
    found = [Row(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]
    for row in found:
        for name, value in row.values.items():
            for problem in filter(None, map(half_character, _texts(value))):
                raise DataError(f"{row.where}: field {quoted(name)} {problem}")
    return found


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in (*value, *value.values()):
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def check_ids(items: Iterable[QARecord], rows: Iterable[Row]) -> None:
    """Check that no two rows have the same id, under which predictions and scores are kept.

    Args:
        items: the records of the rows.
        rows: the rows, in the same order.

    Raises:
        DataError: two have; the message names both.
    """
    places: dict[str, str] = {}
    for item, row in zip(items, rows, strict=True):
        if item.id in places:
            raise DataError(f"{row.where}: id {quoted(item.id)} is also that of {places[item.id]}; give each its own")
        places[item.id] = row.where


def parquet_rows(paths: Sequence[Path], wanted: str) -> Iterator[Row]:
    """Return the rows of Parquet files. Raises `DataError` if one cannot be read."""
    import pyarrow
    import pyarrow.parquet

    for path in paths:
        try:
            table = pyarrow.parquet.read_table(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path} cannot be read ({error}); it must be {wanted}") from error
        for number, row in enumerate(table.to_pylist(), 1):
            yield Row(row, f"{path}, row {number}")


def sample(items: Sequence[T], limit: int | None, seed: int | None) -> list[T]:
    """Return at most `limit` of the items in their order: a random sample with this seed, or the first (None)."""
    if limit is None or limit >= len(items):
        return list(items)
    if seed is None:
        return list(items[: max(limit, 0)])
    chosen = sorted(random.Random(seed).sample(range(len(items)), max(limit, 0)))
    return [items[i] for i in chosen]
