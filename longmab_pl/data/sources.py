"""Where records come from: files, folders, shipped sets and data sets on a hub, all as one stream of raw rows."""

from __future__ import annotations

import difflib
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from longmab_pl.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_SHIPPED = Path(__file__).parent / "shipped"
_HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<config>[^:]*))?(?::(?P<split>[^:]+))?")
_FILE_LIKE = re.compile(r"\.(?:jsonl?|parquet|csv|tsv|txt|gz|zip|arrow|ya?ml)(?:$|\.)", re.IGNORECASE)


@dataclass(frozen=True)
class RawRow:
    """One row before its fields are looked at.

    Args:
        file: the file, or the data set's name.
        line: line number in JSON Lines, row number elsewhere; from 1.
        value: the parsed row, None where `problem` is set.
        problem: why the row cannot be parsed, or "".
    """

    file: str
    line: int
    value: Any
    problem: str = ""


def shipped_path(name: str) -> Path:
    """The JSON Lines file of a data set that comes with the package ("synthetic_train", "synthetic_eval").

    Raises:
        DataError: there is no such set.
    """
    path = _SHIPPED / f"{name}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.jsonl")))
        raise DataError(f"no shipped data set is called {name!r}; there are: {known}")
    return path


def open_source(source: str, split: str) -> Iterator[RawRow]:
    """The rows of a file, a folder, `shipped:NAME` or a hub data set (see `read_records`).

    Raises:
        DataError: nothing readable is there. A name that looks like a path is never looked up on a hub.
    """
    if source.startswith("shipped:"):
        return _rows(shipped_path(source.removeprefix("shipped:")))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder_rows(path, split)
    if path.exists():
        return _rows(path)
    hub = _HUB_NAME.fullmatch(source)
    if hub is None or _FILE_LIKE.search(source) or path.parent.is_dir():
        raise DataError(_no_such_file(source, path))
    return _hub_rows(source, hub["name"], hub["config"] or None, hub["split"] or split)


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
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        rows = _json_lines(path)
    elif name.endswith(".json"):
        rows = _json_list(path)
    elif name.endswith(".parquet"):
        rows = _parquet(path)
    else:
        raise DataError(f"{path}: unknown kind of file; use one of {', '.join(SUFFIXES)}")
    return _with_read_errors(path, rows)


def _with_read_errors(path: Path, rows: Iterator[RawRow]) -> Iterator[RawRow]:
    try:
        yield from rows
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path}: cannot be read to its end: {reason}; check the file and its permissions") from error


def _json_lines(path: Path) -> Iterator[RawRow]:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with cast(IO[bytes], opener(path, "rb")) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _parse(str(path), number, line)


def _parse(file: str, number: int, line: bytes) -> RawRow:
    try:
        return RawRow(file, number, json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        byte = line[error.start]
        problem = f"invalid UTF-8 (byte 0x{byte:02x} at byte {error.start + 1} of the line); save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at column {error.colno}; each line must be one whole JSON object"
    except (ValueError, RecursionError) as error:
        problem = f"not usable JSON: {error}; each line must be one JSON object"
    return RawRow(file, number, None, problem)


def _json_list(path: Path) -> Iterator[RawRow]:
    try:
        rows = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}; "
            "a .json file holds one list of records (one record a line is .jsonl)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not usable JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: holds one {type(rows).__name__}; a .json file must hold a list of records")
    for number, row in enumerate(rows, start=1):
        yield RawRow(str(path), number, row)


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield RawRow(str(path), number, row)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


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
    except Exception as error:  # whatever an incomplete or foreign folder makes the library raise
        raise DataError(f"{folder}: not a readable saved data set: {error}") from error
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise DataError(f"{folder}: no split {split!r}; it has {', '.join(data)}")
        data = data[split]
    return _numbered(str(folder), data)


def _hub_rows(source: str, name: str, config: str | None, split: str) -> Iterator[RawRow]:
    import datasets

    try:
        data = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # network, missing repository, config or split: the library has a type for each
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{source}: data set {name!r} (config {config or 'default'}, split {split!r}) cannot be loaded: {reason}; "
            "check the name (owner/name:config:split) and the network, or give a downloaded .jsonl or .parquet file"
        ) from error
    return _numbered(source, data)


def _numbered(source: str, data: Any) -> Iterator[RawRow]:
    return (RawRow(source, number, row) for number, row in enumerate(data, start=1))
