"""Prompts: formats for a context with a question, prompts for judges, and encoding to token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.prompts.citing import CiteThenAnswer
    from longmab_pl.prompts.formats import DirectAnswer, PlanAndSolve, PromptFormat, ReasonThenAnswer
    from longmab_pl.prompts.instruction import Instruction
    from longmab_pl.prompts.judge import JudgePrompts

HOMES = {
    "CiteThenAnswer": "longmab_pl.prompts.citing",
    "DirectAnswer": "longmab_pl.prompts.formats",
    "Instruction": "longmab_pl.prompts.instruction",
    "JudgePrompts": "longmab_pl.prompts.judge",
    "PlanAndSolve": "longmab_pl.prompts.formats",
    "PromptFormat": "longmab_pl.prompts.formats",
    "ReasonThenAnswer": "longmab_pl.prompts.formats",
}

__all__ = [
    "CiteThenAnswer",
    "DirectAnswer",
    "Instruction",
    "JudgePrompts",
    "PlanAndSolve",
    "PromptFormat",
    "ReasonThenAnswer",
]

__getattr__ = lazy_exports(__name__, HOMES)
