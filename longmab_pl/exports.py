"""Public names: each class has one short import path, and its module is imported on first use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.shown import quoted

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
    "longmab_pl.training.terms",
    "longmab_pl.evaluation",
    "longmab_pl.callbacks",
)
"""Packages that export public names. Each has a table `HOMES`: name -> module."""

RENAMED: Mapping[str, str] = {
    "Direct": "longmab_pl.prompts.DirectAnswer",
    "EngineEvaluation": "longmab_pl.callbacks.Evaluation",
    "InfiniteBenchEvaluation": "longmab_pl.callbacks.Evaluation",
    "LengthNormalisedDPO": "longmab_pl.training.losses.LengthNormalizedDPO",
    "LongBenchEvaluation": "longmab_pl.callbacks.Evaluation",
    "NeedleProbe": "longmab_pl.callbacks.Evaluation",
    "QAEvaluation": "longmab_pl.callbacks.Evaluation",
    "ReadingProtocol": "longmab_pl.prompts.PromptFormat",
    "Stopping": "longmab_pl.strategies.EarlyStopping",
    "Tools": "longmab_pl.strategies.StrategyContext",
    "best_adapter": "keep_best",
    "opening": "prefill",
    "reading": "prompt_format",
    "rounds": "pulls",
    "stopping": "early_stopping",
}
"""Old name of a class or option -> current name. Used for suggestions in error messages only; old names cannot be
loaded. A class that only moved needs no row: it is found by its own name."""


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports a public name's module when the name is first used.

    This keeps help texts and answer scoring from importing torch, Lightning or vLLM.

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


def public_name(cls: type) -> str:
    """Return the one path by which configs, fingerprints and files name a class.

    Args:
        cls: any class. For a class that no package of `PACKAGES` exports, the path is its module and name.

    Example:
        >>> public_name(BanditRollout)
        'longmab_pl.strategies.BanditRollout'
    """
    for package in _packages_around(cls.__module__):
        if _homes(package).get(cls.__qualname__) == cls.__module__:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def find_class(name: str, kind: type) -> type:
    """Return the public class that a file names.

    The name is only looked up in the tables of `PACKAGES`; no other module is imported.

    Args:
        name: result of `public_name`, or the class's own module and name.
        kind: required base class, or a protocol that is exported by the same package.

    Raises:
        DataError: no public class has this name, or the class is not of this kind.
    """
    module, _, short = name.rpartition(".")
    for package in _packages_around(module):
        home = _homes(package).get(short)
        if home is None or module not in (package, home):
            continue
        found = getattr(import_module(home), short)
        if inspect.isclass(found) and _is_a(found, kind):
            return found
        raise DataError(f"{name} is not a {kind.__name__}")
    raise DataError(f"{quoted(name)} is none of the public classes of longmab_pl, and nothing else is loaded by name")


def public_names() -> Iterator[str]:
    """Yield every public path, such as `longmab_pl.strategies.BanditRollout`; imports all of `PACKAGES`."""
    for package in PACKAGES:
        for name in _homes(package):
            yield f"{package}.{name}"


def options_of(component: Any) -> set[str]:
    """Return the names of the settings that a class takes; an empty set if it takes none.

    Args:
        component: a class, or any other object with a public name.
    """
    try:
        return set(inspect.signature(component).parameters)
    except (TypeError, ValueError):
        return set()


def _packages_around(module: str) -> Iterator[str]:
    """Yield the packages that contain a module, the innermost first; imports no others."""
    for package in sorted(PACKAGES, key=len, reverse=True):
        if f"{module}.".startswith(f"{package}."):
            yield package


def _homes(package: str) -> Mapping[str, str]:
    homes: Mapping[str, str] = import_module(package).HOMES
    return homes


def _is_a(found: type, kind: type) -> bool:
    """Return whether a class is of a kind; for a protocol, whether the same public package exports both."""
    if _is_protocol(found):
        return False
    beside = public_name(kind).rpartition(".")[0] == public_name(found).rpartition(".")[0]
    return kind in found.__mro__ or (_is_protocol(kind) and beside)


def _is_protocol(cls: type) -> bool:
    return bool(cls.__dict__.get("_is_protocol", False))
