"""Range checks of settings: each raises `ConfigError` with the setting, its value, and the accepted range.

NaN, infinities and values that are not numbers are refused. None is accepted with `or_null=True`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from numbers import Real
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted


def at_least(name: str, value: float | None, least: float, rule: str = "", *, or_null: bool = False) -> None:
    """Refuse a value below `least`.

    Args:
        name: the setting as a config names it, with its section: `data.batch_size`.
        value: its value.
        least: the smallest value that is accepted.
        rule: text of the message after the value. Default: "it must be at least LEAST".
        or_null: whether None is accepted.

    Raises:
        ConfigError: "NAME is VALUE; RULE".

    Example:
        >>> at_least("engine.concurrency", 0, 1)
        Traceback (most recent call last):
        longmab_pl.errors.ConfigError: engine.concurrency is 0; it must be at least 1
    """
    _require(name, value, lambda v: v >= least, f"at least {least}", rule, or_null)


def positive(name: str, value: float | None, rule: str = "", *, or_null: bool = False) -> None:
    """Refuse a value that is not above 0. Parameters as for `at_least`."""
    _require(name, value, lambda v: v > 0, "positive", rule, or_null)


def not_negative(name: str, value: float | None, rule: str = "", *, or_null: bool = False) -> None:
    """Refuse a value below 0. Parameters as for `at_least`."""
    _require(name, value, lambda v: v >= 0, "0 or more", rule, or_null)


def between(
    name: str,
    value: float | None,
    low: float,
    high: float,
    rule: str = "",
    *,
    open_end: bool = False,
    or_null: bool = False,
) -> None:
    """Refuse a value outside of [low, high].

    Args:
        name, value, rule, or_null: as for `at_least`.
        low: the smallest value that is accepted.
        high: the largest value that is accepted.
        open_end: whether `high` itself is refused.
    """
    interval = f"[{low}, {high}{')' if open_end else ']'}"
    _require(name, value, lambda v: low <= v and (v < high if open_end else v <= high), f"in {interval}", rule, or_null)


def unit_interval(
    name: str,
    value: float | None,
    rule: str = "",
    *,
    zero: bool = True,
    one: bool = True,
    or_null: bool = False,
) -> None:
    """Refuse a value outside of [0, 1].

    Args:
        name, value, rule, or_null: as for `at_least`.
        zero: whether 0 is accepted.
        one: whether 1 is accepted.
    """
    interval = f"{'[' if zero else '('}0, 1{']' if one else ')'}"

    def inside(v: float) -> bool:
        return (v >= 0 if zero else v > 0) and (v <= 1 if one else v < 1)

    _require(name, value, inside, f"in {interval}", rule, or_null)


def one_of(name: str, value: Any, choices: Collection[Any], rule: str = "") -> None:
    """Refuse a value that is not one of `choices`.

    Args:
        name, value, rule: as for `at_least`. Default rule: "use a, b or c".
        choices: the accepted values, in the order in which the message names them; None is written "null".
    """
    if value in choices:
        return
    words = ["null" if choice is None else str(choice) for choice in choices]
    listed = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    raise ConfigError(f"{name} is {quoted(value)}; {rule or f'use {listed}'}")


def _require(
    name: str, value: float | None, holds: Callable[[float], bool], must_be: str, rule: str, or_null: bool
) -> None:
    if value is None and or_null:
        return
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or not holds(value):
        rule = rule or f"it must be {must_be}{', or null' if or_null else ''}"
        raise ConfigError(f"{name} is {'null' if value is None else quoted(value)}; {rule}")
