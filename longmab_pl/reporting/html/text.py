"""Text of models and data made fit for a page; the templates escape it besides."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

from markupsafe import Markup

SHOWN_CHARACTERS = 12_000
"""Longest text of an answer on the page, in characters; a longer one loses its middle, and says so."""


def clean(text: object, limit: int = SHOWN_CHARACTERS) -> str:
    """Return a text without what a page cannot show or what would show it otherwise than it is.

    Control characters, marks that change the writing direction and unpaired surrogates become escapes (`\\u202e`); a
    text longer than the limit keeps its beginning and end.

    Args:
        text: a text, or a value that is shown by `str`.
        limit: number of characters kept.
    """
    whole = str(text)
    if len(whole) > limit:
        half = limit // 2
        left_out = f"\n[… {len(whole) - 2 * half:,} characters left out …]\n"
        whole = whole[:half] + left_out + whole[-half:]
    return "".join(map(_shown, whole))


def line(text: object, limit: int = 200) -> str:
    """Return a text in one line, cut to a number of characters."""
    whole = " ".join(str(text)[: 4 * limit].split())
    return "".join(map(_shown, whole[:limit])) + ("…" if len(whole) > limit else "")


def script_json(value: Any) -> Markup:
    """Return a value as JSON that can stand in a `<script>` element: nothing in it ends the element.

    Numbers that JSON does not have (NaN, infinity) become null.
    """
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(character: str) -> str:
    if character in "\n\t" or character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
