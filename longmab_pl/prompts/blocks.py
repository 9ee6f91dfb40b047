"""Prompt text around the blocks of a stepwise search, in our own words."""

from __future__ import annotations

SUGGESTIONS_FOLLOW = "Please keep this advice in mind:"
"""Text between an instruction and the suggestions on a weak block."""
