"""RULER's length budget: the largest haystack whose prompt and answer fit a number of tokens."""

from __future__ import annotations

from collections.abc import Callable

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Count, Example, Generator, Redraw


def search_size(make: Generator, count: Count, limit: int, low: int, *, beside: int = 0, high: int = 0) -> int:
    """Return the size for all examples of a task, by a binary search from `low` to three times the estimate.

    This is the original's search. Where a haystack of `low` units is short compared with the rest of the prompt, three
    times the estimate is too little, and examples do not fill their length.

    Each attempt draws a new example, so the last of its sizes that fits is not always the largest.

    Args:
        make: generator of an example of a size.
        count: tokens of an example with its answer.
        limit: available tokens.
        low: smallest size, and the result if none fits.
        beside: counted tokens that are not the task's own: those of the answer and of a worked example.
        high: size to search up to at least.
    """
    per_unit = (count(_drawn(make, low)) - beside) / low
    return binary_search(make, count, limit, low, max(int(limit / per_unit * 3), low * 2, high))


def binary_search(make: Generator, count: Count, limit: int, low: int, high: int) -> int:
    """Return the last size that fits, from `low` to `high`, or `low` if none does."""
    best = low
    while low <= high:
        middle = (low + high) // 2
        if count(_drawn(make, middle)) <= limit:
            best, low = middle, middle + 1
        else:
            high = middle - 1
    return best


def filling_size(make: Generator, count: Count, limit: int, least: int, slack: int, most: int | None = None) -> int:
    """Return a size that leaves at most `slack` tokens free, or the largest that fits: by doubling, then interpolation.

    The search takes about five examples of the full length.

    Args:
        make: generator of an example of a size.
        count: tokens of an example with its answer.
        limit: available tokens.
        least: smallest size, and the result if none fits.
        slack: tokens that may stay free.
        most: largest size there is; None: no limit.
    """
    low, below = least, count(_drawn(make, least))
    high, above = low, below
    while above <= limit:
        low, below = high, above
        if most is not None and low >= most:
            return most
        high = low * 2 if most is None else min(low * 2, most)
        above = count(_drawn(make, high))
    while high - low > 1 and limit - below > slack:
        per_unit = max((above - below) / (high - low), 1e-9)
        middle = low + int((limit - below - slack / 2) / per_unit)
        middle = min(max(middle, low + 1), high - 1)
        taken = count(_drawn(make, middle))
        if taken <= limit:
            low, below = middle, taken
        else:
            high, above = middle, taken
    return low


def fitting_example(
    make: Generator,
    count: Count,
    size: int,
    limit: int,
    step: int,
    finished: Callable[[Example], Example] | None = None,
    least: int | None = None,
) -> tuple[Example, int]:
    """Return an example within the limit and its tokens; one that is too long is drawn again, smaller by `step`.

    Args:
        make: generator of an example of a size.
        count: tokens of an example with its answer.
        size: first size to try.
        limit: available tokens.
        step: difference between sizes of two attempts.
        finished: last change of an example that fits; its result is counted again.
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
