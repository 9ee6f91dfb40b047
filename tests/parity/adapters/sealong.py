"""SeaLong: minimum Bayes risk, context assembly, normal forms and the loss."""

from __future__ import annotations

from parity import Adapter, Deviation

from longmab_pl.rewards.answer_match import normalize_answer

ADAPTERS: dict[str, Adapter] = {
    "normalize_answer": lambda given: normalize_answer(given["text"]),
}

DEVIATIONS: list[Deviation] = []
