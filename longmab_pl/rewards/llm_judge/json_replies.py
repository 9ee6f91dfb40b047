"""JSON objects as replies: the schema of one, how a prompt shows it, and reading a reply that is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly these properties, given the schema of each."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def shown_object(values: Mapping[str, str]) -> str:
    """Return an object as a prompt shows it; the values are written as they are.

    Example:
        >>> shown_object({"analysis": '"..."', "verdict": "n"})
        '{"analysis": "...", "verdict": n}'
    """
    return "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}"


def read_object(reply: str) -> dict[str, Any] | None:
    """Return a reply that is one JSON object and nothing else; None for any other.

    Example:
        >>> read_object('{"agrees": "yes"}'), read_object('Yes: {"agrees": "yes"}')
        ({'agrees': 'yes'}, None)
    """
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
