"""RULER's words: instructions, needle, noise and word lists, ours or those of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler import texts
from longmab_pl.evaluation.ruler.example import Template
from longmab_pl.evaluation.ruler.words import common_words, key_words, many_words
from longmab_pl.shown import quoted

FIELDS = {
    "niah": ("type_needle_v", "context", "query"),
    "vt": ("context", "query", "num_v"),
    "cwe": ("context",),
    "fwe": ("context",),
    "qa": ("context", "query"),
}
"""Fields of the instructions, as in the official `data/synthetic/constants.py`."""


@dataclass(frozen=True)
class Wording:
    """The words of all tasks.

    Args:
        niah, vt, cwe, fwe, qa: instructions around the context, and the start of the answer.
        needle: a needle's sentence, with `{type_needle_v}`, `{key}` and `{value}`.
        noise: the line that is repeated.
        document: a document of `qa`, with `{i}` and `{document}`.
        keys: words of needles.
        common: words of short lists of `cwe`.
        many: words of longer lists.
    """

    niah: Template = texts.NEEDLE_TEMPLATE
    vt: Template = texts.TRACKING_TEMPLATE
    cwe: Template = texts.COMMON_TEMPLATE
    fwe: Template = texts.FREQUENT_TEMPLATE
    qa: Template = texts.QUESTION_TEMPLATE
    needle: str = texts.NEEDLE
    noise: str = texts.NOISE
    document: str = texts.DOCUMENT
    keys: Sequence[str] = field(default_factory=key_words)
    common: Sequence[str] = field(default_factory=common_words)
    many: Sequence[str] = field(default_factory=many_words)


def wording_of(path: str | Path) -> Wording:
    """Return the words of a JSON file; what it leaves out is ours.

    The file is an object: `niah`, `vt`, `cwe`, `fwe` and `qa` are objects of `text` and `prefix`, `needle`, `noise` and
    `document` texts, `keys`, `common` and `many` lists of words.

    Raises:
        ConfigError: it cannot be read, has another entry, or an instruction lacks `{context}` or has an unknown field.
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the wording {path} cannot be read: {error}; give a JSON object") from error
    known = [entry.name for entry in fields(Wording)]
    unknown = sorted(set(given) - set(known)) if isinstance(given, dict) else ["no object"]
    if unknown:
        raise ConfigError(
            f"{path}: {quoted(', '.join(unknown))} is no part of RULER's wording; parts are {', '.join(known)}"
        )
    found: dict[str, Any] = {}
    for name, value in given.items():
        read: Callable[[str, Any], Any] = _template if name in FIELDS else _text if name in _TEXTS else _words
        found[name] = read(f"{path}: {name}", value)
    return Wording(**found)


_TEXTS = ("needle", "noise", "document")


def _template(where: str, value: Any) -> Template:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or set(value) - {"text", "prefix"}:
        raise ConfigError(f'{where} must be an object {{"text": ..., "prefix": ...}}')
    text, prefix = value["text"], str(value.get("prefix", ""))
    fields_there = dict.fromkeys(FIELDS[where.rpartition(" ")[2]], "")
    try:
        (text + prefix).format(**fields_there)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"{where} has a field {error} that is not there; fields are {', '.join(fields_there)}"
        ) from error
    if "{context}" not in text:
        raise ConfigError(f"{where} has no {{context}}, the place of the text; add it")
    return Template(text, prefix)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a text")
    return value


def _words(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 20 or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{where} must be a list of at least 20 words")
    return tuple(sorted(set(value)))
