"""MRCR: the grade and the length bins."""

from __future__ import annotations

from parity import Adapter, Deviation

from longmab_pl.evaluation.mrcr.scoring import grade, length_bin

ADAPTERS: dict[str, Adapter] = {
    "mrcr.grade": lambda given: grade(given["response"], given["answer"], given["random_string_to_prepend"]),
    "mrcr.bin_of_tokens (rule of the card, not original code)": lambda given: length_bin(
        given["n_tokens_prompt_plus_answer"]
    ),
}

DEVIATIONS: list[Deviation] = []
