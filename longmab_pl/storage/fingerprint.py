"""What stands for a component's settings: a description in JSON values, and its digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


def describe(component: Any) -> Any:
    """A component's settings as JSON values, with its class: what a fingerprint is made of."""
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        values = {f.name: describe(getattr(component, f.name)) for f in dataclasses.fields(component)}
        return {"class": f"{type(component).__module__}.{type(component).__qualname__}", **values}
    if hasattr(component, "describe"):
        return {"class": f"{type(component).__module__}.{type(component).__qualname__}", **component.describe()}
    if isinstance(component, dict):
        return {str(k): describe(v) for k, v in component.items()}
    if isinstance(component, list | tuple):
        return [describe(v) for v in component]
    if isinstance(component, str | int | float | bool) or component is None:
        return component
    return repr(component)


def digest(value: Any) -> str:
    """16 hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
