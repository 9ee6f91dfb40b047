"""NoLiMa: metrics, needle sets, names and placement."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from parity import Adapter, Deviation

from adapters.ruler import recorded
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.nolima.needles import depths, drawn_characters, expanded
from longmab_pl.evaluation.nolima.placement import Book, distractor_depth
from longmab_pl.evaluation.nolima.scoring import METRICS

Given = dict[str, Any]

WHOLE = 800
"""Longest text that the vectors hold as it is."""


def metric(name: str) -> Adapter:
    return lambda given: METRICS[name](given["response"], given["gold_answers"])


def book_text(given: Given) -> str:
    n = given["n"]
    if "L%d" in given["book"]:
        return "\n".join(f"L{i}: " + " ".join(f"w{(i * 7 + k) % 50}" for k in range(3 + i % 5)) for i in range(n))
    if "row%d" in given["book"]:
        return "\n".join(f"row{i} " + "x" * (i % 9) for i in range(n)) + "\n"
    return " ".join(f"tok{i}" for i in range(n))


def encoder(given: Given) -> Callable[[str], Sequence[str]]:
    if given["tokenizer"].startswith("one code point"):
        return list
    return lambda text: re.findall(r"\n|[^\s]+ ?| +", text)


def placement(given: Given) -> Any:
    book = Book(book_text(given), encoder(given), "".join)
    static = given["static_depth"]
    try:
        placed = book.place(
            given["needle"],
            given["context_length"],
            given["depth"],
            shift=given["shift"],
            book_depth=None if static < 0 else static,
        )
    except (ConfigError, DataError):
        return {"exception": "AssertionError" if static < 0 else "ValueError"}
    return {
        "static_depth": placed.book_depth,
        "token_depth": placed.before,
        "depth": given["depth"],
        "context_length_wo_needle": given["context_length"],
        **recorded(placed.text, WHOLE),
    }


def distracted(given: Given) -> Any:
    book = Book(book_text(given), encoder(given), "".join)
    random = np.random.RandomState(given["np_random_seed"])
    depth, length = given["depth"], given["context_length"]
    other = distractor_depth(length, depth, random)
    try:
        placed = book.place_with_distractor(given["needle"], given["distractor"], length, depth, other)
    except DataError:
        return {"exception": "IndexError"}
    return {
        "static_depth": placed.book_depth,
        "token_depth": placed.before,
        "depth": depth,
        "context_length_wo_needle": length,
        "distractor_depth": other,
        **recorded(placed.text, WHOLE),
    }


def tests(given: Given) -> Any:
    files = given["haystack_files_in_listing_order"]
    made = expanded(given["needle_set"], len(files), given["base_seed"])
    return [
        {
            "test_name": test.name,
            "haystack_path": f"H/{files[test.book]}",
            "needle": test.needle,
            "retrieval_question": test.question,
            "gold_answers": json.dumps(list(test.golds)) if test.golds else "",
            "character_set": json.dumps(list(test.characters)) if test.characters else "",
            "system_prompt": test.system_prompt,
            "task_template": test.template or "<default>",
            "seed": test.seed,
            "distractor": test.distractor,
        }
        for test in made
    ]


def characters(given: Given) -> Any:
    names = drawn_characters(given["seed"], given["character_set"], given["intervals"])
    return {"depth_percent": depths(given["intervals"]), "characters": names}


ADAPTERS: dict[str, Adapter] = {
    **{f"nolima.evaluate_response.{name}": metric(name) for name in METRICS},
    "nolima.placement": placement,
    "nolima.placement_with_distractor": distracted,
    "nolima.run_tests.expand": tests,
    "nolima.character_sequence": characters,
}

DEVIATIONS: list[Deviation] = []
