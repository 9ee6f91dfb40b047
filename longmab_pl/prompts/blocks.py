"""Prompts about the blocks of a long text (LongDPO), in our own words; `$reply` is the form of the reply."""

from __future__ import annotations

SUGGESTIONS_FOLLOW = "Please keep this advice in mind:"
"""Text between an instruction and the suggestions on a weak block."""

_PRINCIPLES = """principle1: no factual errors
principle2: serves the purpose of the instruction and what its author needs
principle3: harmless and polite
principle4: sound form: the format that was asked for, an order that makes sense, no contradiction with what was written
principle5: varied and comprehensive, with little repetition
principle6: pleasant to read
principle7: insight: new and fruitful ideas"""

RATE = (
    "A long text is being written to an instruction, part by part. You rate candidates for its next part, each by "
    "itself, on seven principles from 1 (inadequate) to 5 (perfect):\n"
    f"{_PRINCIPLES}\n"
    "A part may stop in the middle of a sentence: it will be continued. Length is not rated.\n$rule\n\n"
    "Instruction:\n$instruction\n\nWritten so far:\n$written\n\nCandidates:\n$candidates\n\n$reply"
)
"""Rates the candidates for the next part of a text."""

FACTS = (
    "List the facts that a part of a long text states and that later parts must not contradict: names, numbers, dates, "
    "places, relations, events. Leave out transitions, opinions and summaries. Replace pronouns by what they stand "
    "for, so that each fact can be understood by itself, and put the most important ones first.\n$rule\n\n"
    "Instruction of the text:\n$instruction\n\nPart:\n$block\n\n$reply"
)
"""Lists the facts of a part that was accepted."""

CONTRADICTIONS = (
    "A long text has stated some facts. Say for each candidate for its next part whether it contradicts one of them: "
    "contradicts only if both cannot be true at once, otherwise consistent (also if it is about something else).\n"
    "$rule\n\nFacts:\n$facts\n\nCandidates:\n$candidates\n\n$reply"
)
"""Compares candidates with the facts of earlier parts."""

SUGGEST = (
    "A part of a long text is to be improved. For each principle below, another part was rated higher. Say for each in "
    "one or two sentences what the weak part should do better, as advice to its author that names no other part, and "
    "how sure you are, from 1 to 5.\n$rule\n\nInstruction of the text:\n$instruction\n\nWeak part:\n$block\n\n"
    "$comparisons\n\n$reply"
)
"""Advises how to improve a weak part, by principle."""

PRINCIPLE_TEXTS = dict(line.split(": ", 1) for line in _PRINCIPLES.splitlines())
"""What each principle asks for, by name."""
