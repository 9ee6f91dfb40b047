"""Public names: packages that hand out their classes by one short path and import them when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

PACKAGES = (
    "longmab_pl",
    "longmab_pl.strategies",
    "longmab_pl.bandits",
    "longmab_pl.rewards",
    "longmab_pl.pairs",
    "longmab_pl.prompts",
    "longmab_pl.engines",
    "longmab_pl.models",
    "longmab_pl.training",
    "longmab_pl.training.losses",
    "longmab_pl.evaluation",
    "longmab_pl.callbacks",
)
"""Where public names live. Each of these packages has a table `HOMES`: name -> module."""


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports a public name's module when the name is first used.

    Scoring an answer or printing a help text must not wait for torch, Lightning or vLLM.

    Args:
        package: `__name__` of the package.
        homes: the module that defines each public name.

    Example:
        >>> HOMES = {"UCB1": "longmab_pl.bandits.ucb1"}
        >>> __getattr__ = lazy_exports(__name__, HOMES)
    """

    def getter(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getter
