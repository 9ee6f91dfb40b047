"""Sources of records: files, folders, shipped sets and hub data sets, each read as a stream of raw rows."""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from longmab_pl.errors import DataError
from longmab_pl.shown import first_line, shown

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_SHIPPED = Path(__file__).parent / "shipped"
_HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<config>[^:]*))?(?::(?P<split>[^:]+))?")
_FILE_LIKE = re.compile(r"\.(?:jsonl?|parquet|csv|tsv|txt|gz|zip|arrow|ya?ml)(?:$|\.)", re.IGNORECASE)


@dataclass(frozen=True)
class RawRow:
    """One row before its fields are read.

    Args:
        file: the file, or the data set's name.
        line: line number in JSON Lines, row number elsewhere; from 1.
        value: the parsed row; None if `problem` is set.
        problem: why the row cannot be parsed, or "".
    """

    file: str
    line: int
    value: Any
    problem: str = ""


def shipped_path(name: str) -> Path:
    """Return the JSON Lines file of a data set that comes with the package ("synthetic_train", "synthetic_eval").

    Raises:
        DataError: there is no such set.
    """
    path = _SHIPPED / f"{name}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.jsonl")))
        raise DataError(f"no shipped data set is called {name!r}; there are: {known}")
    return path


def open_source(source: str, split: str, *, streaming: bool = False) -> Iterator[RawRow]:
    """Return the rows of a file, a folder, `shipped:NAME` or a hub data set (see `read_records`).

    Args:
        source: as for `read_records`.
        split: split of a folder or data set whose name does not give one.
        streaming: read a hub data set row by row instead of downloading it first.

    Raises:
        DataError: nothing readable is there. A name that looks like a path is never looked up on a hub.
    """
    if source.startswith("shipped:"):
        return _rows(shipped_path(source.removeprefix("shipped:")))
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return _folder_rows(path, split)
        if path.exists():
            return _rows(path)
    except (OSError, ValueError, RuntimeError) as error:  # the name is too long or empty
        raise DataError(f"{shown(source)}: is no name of a file or folder: {_reason(error)}") from error
    hub = _HUB_NAME.fullmatch(source)
    if hub is None or _FILE_LIKE.search(source) or path.parent.is_dir():
        raise DataError(_no_such_file(source, path))
    return _hub_rows(source, hub["name"], hub["config"] or None, hub["split"] or split, streaming)


def _no_such_file(source: str, path: Path) -> str:
    message = f"{source}: no such file or folder"
    parent = path.parent
    if not parent.is_dir():
        return f"{message}; its folder {parent} does not exist either (a hub data set is written owner/name)"
    close = difflib.get_close_matches(path.name, [entry.name for entry in parent.iterdir()], n=3)
    if close:
        return f"{message}; did you mean {' or '.join(str(parent / name) for name in close)}?"
    return f"{message}; look at what is in {parent} (a hub data set is written owner/name)"


def _rows(path: Path) -> Iterator[RawRow]:
    name = path.name.lower().removesuffix(".gz")
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(f"{path}: unknown kind of file; use one of {', '.join(SUFFIXES)}")
    if name.endswith(".parquet"):
        return _with_read_errors(path, _parquet(path))
    return _with_read_errors(path, _opened_rows(path))


def _opened_rows(path: Path) -> Iterator[RawRow]:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with cast(IO[bytes], opener(path, "rb")) as file:
        yield from rows_of(str(path), file)


def rows_of(name: str, file: IO[bytes]) -> Iterator[RawRow]:
    """Yield the rows of an open file; the name's ending gives its format (`.jsonl`, `.json`, `.csv` or `.tsv`).

    Args:
        name: name of the file, also used in messages; a final `.gz` is ignored.
        file: the decompressed contents.

    Raises:
        DataError: a `.json` that is not a list of records.
    """
    kind = name.lower().removesuffix(".gz")
    if kind.endswith(".json"):
        return _json_list(name, file.read())
    if kind.endswith((".csv", ".tsv")):
        return _table(name, file, "\t" if kind.endswith(".tsv") else ",")
    return _json_lines(name, file)


def _with_read_errors(path: Path, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    try:
        yield from rows
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read to its end: {_reason(error)}; check the file and its permissions"
        ) from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else shown(str(error), 200)


def _json_lines(name: str, file: Iterable[bytes]) -> Iterator[RawRow]:
    for number, line in enumerate(file, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield _parse(name, number, line)


def _table(name: str, file: IO[bytes], delimiter: str) -> Iterator[RawRow]:
    """Yield the rows of a table with a header line, without empty cells. A cell may have line breaks."""
    lines = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))
    limit = csv.field_size_limit(_LONGEST_CELL)
    number = 0
    try:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        for row in reader:
            number = reader.line_num
            if None in row or None in row.values():
                yield RawRow(name, number, None, f"the row has not as many cells as there are column names; {_QUOTE}")
            else:
                yield RawRow(name, number, {column: cell for column, cell in row.items() if cell != ""})
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: invalid UTF-8 behind line {number}; save the file as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{name}: not a table behind line {number}: {shown(str(error))}; {_QUOTE}") from error
    finally:
        csv.field_size_limit(limit)


_LONGEST_CELL = 2**31 - 1
_QUOTE = "put cells with commas, quotes or line breaks in quotes"


def _parse(file: str, number: int, line: bytes) -> RawRow:
    try:
        return RawRow(file, number, json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        byte = line[error.start]
        problem = f"invalid UTF-8 (byte 0x{byte:02x} at byte {error.start + 1} of the line); save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at column {error.colno}; each line must be one whole JSON object"
    except (ValueError, RecursionError) as error:
        problem = f"not usable JSON: {shown(str(error), 200)}; each line must be one JSON object"
    return RawRow(file, number, None, problem)


def _json_list(path: str, data: bytes) -> Iterator[RawRow]:
    try:
        rows = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}; "
            "a .json file holds one list of records (one record a line is .jsonl)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not usable JSON: {error}") from error
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = list(_squad(rows["data"]))
    if not isinstance(rows, list):
        raise DataError(f"{path}: holds one {type(rows).__name__}; a .json file must hold a list of records")
    for number, row in enumerate(rows, start=1):
        yield RawRow(str(path), number, row)


def _squad(entries: list[Any]) -> Iterator[Any]:
    """Yield the questions of SQuAD's articles, each with its paragraph; other entries unchanged."""
    for entry in entries:
        paragraphs = entry.get("paragraphs") if isinstance(entry, dict) else None
        if not isinstance(paragraphs, list) or not all(isinstance(p, dict) and "qas" in p for p in paragraphs):
            yield entry
            continue
        for paragraph in paragraphs:
            for asked in paragraph["qas"] if isinstance(paragraph["qas"], list) else [paragraph["qas"]]:
                yield {**asked, "context": paragraph.get("context")} if isinstance(asked, dict) else asked


def _python_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; a value that Python cannot represent (a date after the year 9999) becomes null."""
    try:
        yield from batch.to_pylist()
    except (OverflowError, ValueError, LookupError):
        columns = [[_python_value(value) for value in column] for column in batch.columns]
        yield from (dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True))


def _python_value(value: Any) -> Any:
    try:
        return value.as_py()
    except (OverflowError, ValueError, LookupError):
        return None


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in _python_rows(batch):
                    number += 1
                    yield RawRow(str(path), number, row)
    except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {shown(str(error), 200)}") from error


def _folder_rows(folder: Path, split: str) -> Iterator[RawRow]:
    if (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file():
        return _saved_rows(folder, split)
    files = sorted(
        path
        for path in (*folder.iterdir(), *(folder / "data").glob("*"))
        if path.is_file() and path.name.lower().endswith(SUFFIXES)
    )
    chosen = [path for path in files if re.match(rf"{re.escape(split)}(?![A-Za-z0-9])", path.name)]
    if not chosen and len(files) == 1:
        chosen = files
    if not chosen:
        there = f"it has {', '.join(path.name for path in files[:8])}" if files else f"no {', '.join(SUFFIXES)} in it"
        raise DataError(f"{folder}: no file of split {split!r} ({there}); name the file itself, or set the split")
    return (row for path in chosen for row in _rows(path))


def _saved_rows(folder: Path, split: str) -> Iterator[RawRow]:
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # any error that the library raises for such a folder
        raise DataError(f"{folder}: not a readable saved data set: {error}") from error
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise DataError(f"{folder}: no split {split!r}; it has {', '.join(data)}")
        data = data[split]
    return _numbered(str(folder), data)


def _hub_rows(source: str, name: str, config: str | None, split: str, streaming: bool = False) -> Iterator[RawRow]:
    import datasets

    try:
        data = datasets.load_dataset(name, config, split=split, streaming=streaming)
    except Exception as error:  # network, repository, config or split: the library raises many types
        reason = first_line(error)
        raise DataError(
            f"{source}: data set {name!r} (config {config or 'default'}, split {split!r}) cannot be loaded: {reason}; "
            "check the name (owner/name:config:split) and the network, or give a downloaded .jsonl or .parquet file"
        ) from error
    return _numbered(source, data)


def _numbered(source: str, data: Any) -> Iterator[RawRow]:
    return (RawRow(source, number, row) for number, row in enumerate(data, start=1))
