"""Public names: packages that hand out their classes by one short path and import them when they are asked for."""

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
    "longmab_pl.evaluation",
    "longmab_pl.callbacks",
)
"""Where public names live. Each of these packages has a table `HOMES`: name -> module."""

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
"""Earlier name of a class or option -> its name now. Error messages suggest from it; nothing is loaded by an old name.
A class that only moved needs no row: it is found by its own name."""


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


def public_name(cls: type) -> str:
    """Return the one path by which configs, fingerprints and files name a class.

    Args:
        cls: any class; for one that no package of `PACKAGES` exports it is module and name.

    Example:
        >>> public_name(BanditRollout)
        'longmab_pl.strategies.BanditRollout'
    """
    for package in _packages_around(cls.__module__):
        if _homes(package).get(cls.__qualname__) == cls.__module__:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def find_class(name: str, kind: type) -> type:
    """Return one of the package's own classes by the name that a file gives.

    Nothing is imported because a file says so: the name is looked up in the tables of `PACKAGES`.

    Args:
        name: as `public_name` gives it, or with the class's own module.
        kind: a class, of which it is a subclass, or a protocol, beside which it is exported.

    Raises:
        DataError: no public class has this name, or it is of another kind.
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
    """Yield every public path, `longmab_pl.strategies.BanditRollout` and so on; imports all of `PACKAGES`."""
    for package in PACKAGES:
        for name in _homes(package):
            yield f"{package}.{name}"


def options_of(component: Any) -> set[str]:
    """Return the names of the settings that a class takes; of what takes none, nothing.

    Args:
        component: a class, or anything else that a public name leads to.
    """
    try:
        return set(inspect.signature(component).parameters)
    except (TypeError, ValueError):
        return set()


def _packages_around(module: str) -> Iterator[str]:
    """Yield the packages that hold a module, the innermost first; no other is imported to look something up."""
    for package in sorted(PACKAGES, key=len, reverse=True):
        if f"{module}.".startswith(f"{package}."):
            yield package


def _homes(package: str) -> Mapping[str, str]:
    homes: Mapping[str, str] = import_module(package).HOMES
    return homes


def _is_a(found: type, kind: type) -> bool:
    """Protocols cannot be asked for their subclasses: there, a class of the same public package counts."""
    if _is_protocol(found):
        return False
    beside = public_name(kind).rpartition(".")[0] == public_name(found).rpartition(".")[0]
    return kind in found.__mro__ or (_is_protocol(kind) and beside)


def _is_protocol(cls: type) -> bool:
    return bool(cls.__dict__.get("_is_protocol", False))
