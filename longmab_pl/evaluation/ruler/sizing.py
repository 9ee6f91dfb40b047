"""RULER's length budget: the largest haystack whose prompt and answer fit a number of tokens."""

from __future__ import annotations

from collections.abc import Callable

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Count, Example, Generator, Redraw


def search_size(
    make: Generator, count: Count, limit: int, low: int, *, beside: int = 0, high: int = 0, resolution: int = 1
) -> int:
    """Return the size for all examples of a task, by a binary search from `low` to three times what should fit.

    Each attempt draws an example anew, so the last of its sizes that fits is not always the largest.

    Args:
        make: draws an example of a size.
        count: tokens of an example with its answer.
        limit: tokens that are there.
        low: smallest size, and the result if none fits.
        beside: counted tokens that are not the task's own: of the answer and of a worked example.
        high: size to search up to at least.
        resolution: how exactly the largest size is found; 1 in the original.
    """
    per_unit = (count(_drawn(make, low)) - beside) / low
    return binary_search(make, count, limit, low, max(int(limit / per_unit * 3), low * 2, high), resolution)


def binary_search(make: Generator, count: Count, limit: int, low: int, high: int, resolution: int = 1) -> int:
    """Return the last size that fits, from `low` to `high`, or `low` if none does."""
    best = low
    while high - low >= resolution - 1:
        middle = (low + high) // 2
        if count(_drawn(make, middle)) <= limit:
            best, low = middle, middle + 1
        else:
            high = middle - 1
    return best


def fitting_example(
    make: Generator,
    count: Count,
    size: int,
    limit: int,
    step: int,
    finished: Callable[[Example], Example] | None = None,
    least: int | None = None,
) -> tuple[Example, int]:
    """Return an example within the limit and its tokens; one that is too long is drawn anew, smaller by `step`.

    Args:
        make: draws an example of a size.
        count: tokens of an example with its answer.
        size: where to begin.
        limit: tokens that are there.
        step: how much smaller the next attempt is.
        finished: what is still done to an example that fits; it is counted again.
        least: smallest size; None: one step.

    Raises:
        ConfigError: not even the smallest size fits.
    """
    least = step if least is None else least
    while True:
        try:
            example = make(size)
            taken = count(example)
            if finished is not None and taken <= limit:
                example = finished(example)
                taken = count(example)
        except Redraw:
            size = max(size - step, least)
            continue
        if taken <= limit:
            return example, taken
        if size <= least:
            raise ConfigError(
                f"a RULER example of the smallest size takes {taken} tokens with its answer and {limit} are there; "
                "use a longer length"
            )
        size = max(size - step, least)


def _drawn(make: Generator, size: int) -> Example:
    while True:
        try:
            return make(size)
        except Redraw:
            continue
