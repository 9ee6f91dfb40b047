"""Prompts with `$names`: which names a prompt has, and their replacement by texts."""

from __future__ import annotations

from collections.abc import Collection
from string import Template

from longmab_pl.errors import ConfigError


def check_names(setting: str, prompt: str, names: Collection[str]) -> None:
    """Raise an error unless a prompt holds exactly these `$names`.

    Args:
        setting: what the prompt is, for the message.
        prompt: the prompt.
        names: the names, without dollars.

    Raises:
        ConfigError: it holds others, lacks one, or has a single dollar.
    """
    template = Template(prompt)
    found = template.get_identifiers()
    if set(found) != set(names) or not template.is_valid():
        raise ConfigError(f"{setting} holds {_listed(found)}; it must hold {_listed(names)} (write $$ for a dollar)")


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "no $names"


def fill(prompt: str, **texts: str) -> str:
    """Return a prompt with its `$names` replaced in one pass; names inside the inserted texts are unchanged.

    Example:
        >>> fill("Q: $question A: $answer", question="$answer?", answer="yes")
        'Q: $answer? A: yes'
    """
    return Template(prompt).substitute(texts)
