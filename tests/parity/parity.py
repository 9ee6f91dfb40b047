"""Vectors of the original programs: how they are read, compared, and where ours differ on purpose."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Adapter = Callable[[Any], Any]
"""Calls the package's own code on a vector's `input` and gives its result in the form of the vector's `output`."""


@dataclass(frozen=True)
class WithDraws:
    """An adapter of a function that draws at random, to which the recorded draws are given.

    Args:
        adapter: finds the draws in its input, under "draws".
        names: the fields of the output that were drawn.
    """

    adapter: Adapter
    names: tuple[str, ...]


TOLERANCE = 1e-6
"""Largest difference between two numbers that are the same, relative above 1 and absolute below."""


@dataclass(frozen=True)
class Vector:
    """One recorded call of an original program.

    Args:
        function: name of the original function.
        input: its arguments, as JSON.
        output: what it gave, as JSON.
        where: file and line.
    """

    function: str
    input: Any
    output: Any
    where: str


@dataclass(frozen=True)
class Deviation:
    """A kind of input on which the original is wrong and the package gives another value.

    Args:
        function: name of the original function.
        condition: the inputs in words.
        why: what is wrong about the original's value.
        when: whether an input is one of them.
        ours: our value, from the input and the original's output.
        example: an input, so that the deviation is tested whatever the vectors hold.
        original: the original's output for the example.
        value: our output for the example.
    """

    function: str
    condition: str
    why: str
    when: Callable[[Any], bool]
    ours: Callable[[Any, Any], Any]
    example: Any
    original: Any
    value: Any


class BadVector(Exception):
    """A vector file that cannot be read."""


def call(adapter: Adapter | WithDraws, given: Any, output: Any) -> Any:
    """Return an adapter's result; one `WithDraws` is told what the original drew."""
    if isinstance(adapter, WithDraws):
        return adapter.adapter({**given, "draws": {name: output[name] for name in adapter.names}})
    return adapter(given)


def vector_files(folder: Path) -> list[Path]:
    """Return the vector files of a folder (or the one file), sorted by name.

    Raises:
        BadVector: there is none.
    """
    if folder.is_file():
        return [folder]
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not files:
        raise BadVector(f"{folder} holds no .jsonl or .jsonl.gz file; give the folder of the vectors: --vectors DIR")
    return files


def read_vectors(path: Path) -> list[Vector]:
    """Return the vectors of a file.

    Raises:
        BadVector: a line that is not a JSON object with `function`, `input` and `output`.
    """
    vectors = []
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        # Not splitlines(): the texts hold characters (U+2028, ...) that it takes for line ends.
        for number, line in enumerate(file, 1):
            where = f"{path.name}:{number}"
            try:
                row = json.loads(line)
                vectors.append(Vector(row["function"], row["input"], row["output"], where))
            except (ValueError, KeyError, TypeError) as error:
                raise BadVector(f"{where} is not an object with function, input and output: {error!r}") from error
    return vectors


def difference(ours: Any, expected: Any, path: str = "output") -> str | None:
    """Return where two JSON values differ first, or None: numbers are the same within `TOLERANCE`."""
    if isinstance(expected, dict) and isinstance(ours, dict):
        if set(ours) != set(expected):
            return f"{path} has the keys {sorted(ours)}, expected {sorted(expected)}"
        found = (difference(ours[key], expected[key], f"{path}.{key}") for key in expected)
        return next((text for text in found if text), None)
    if isinstance(expected, list) and isinstance(ours, list | tuple):
        if len(ours) != len(expected):
            return f"{path} has {len(ours)} items, expected {len(expected)}: {_short(ours)} for {_short(expected)}"
        found = (difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(ours, expected, strict=True)))
        return next((text for text in found if text), None)
    if _is_number(expected) and _is_number(ours):
        same = math.isnan(ours) if math.isnan(expected) else _close(ours, expected)
    else:
        same = type(ours) is type(expected) and ours == expected
    return None if same else f"{path} is {_short(ours)}, expected {_short(expected)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _close(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= TOLERANCE * max(1.0, abs(b))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text):,} characters)"
