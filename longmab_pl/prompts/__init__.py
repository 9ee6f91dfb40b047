"""Prompt formats: how a context and a question become a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.prompts.formats import DirectAnswer, PromptFormat, ReasonThenAnswer

HOMES = {
    "DirectAnswer": "longmab_pl.prompts.formats",
    "PromptFormat": "longmab_pl.prompts.formats",
    "ReasonThenAnswer": "longmab_pl.prompts.formats",
}

__all__ = ["DirectAnswer", "PromptFormat", "ReasonThenAnswer"]

__getattr__ = lazy_exports(__name__, HOMES)
