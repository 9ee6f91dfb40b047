"""One module a method or suite: `ADAPTERS` (original function -> our code) and `DEVIATIONS` (where ours differs)."""

from __future__ import annotations

import importlib
import pkgutil

from parity import Adapter, Deviation, WithDraws


def _collect() -> tuple[dict[str, Adapter | WithDraws], list[Deviation]]:
    adapters: dict[str, Adapter | WithDraws] = {}
    deviations: list[Deviation] = []
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        loaded = importlib.import_module(f"{__name__}.{module}")
        twice = adapters.keys() & loaded.ADAPTERS.keys()
        if twice:
            raise ValueError(f"adapters/{module}.py: {', '.join(sorted(twice))} has an adapter in another module too")
        adapters |= loaded.ADAPTERS
        deviations += loaded.DEVIATIONS
    return adapters, deviations


ADAPTERS, DEVIATIONS = _collect()
