"""NoLiMa's needle sets and scores by hand."""

from __future__ import annotations

import pytest

from longmab_pl.evaluation.nolima.needles import depths, drawn_characters, expanded
from longmab_pl.evaluation.nolima.scoring import METRICS, base_score, effective_length

ENTRY = {
    "id": "0012Inv",
    "reasoning_type": "r",
    "system_prompt": "",
    "needle": "{CHAR} lives by {1}.",
    "questions": {"onehop": "Who was in {2}?"},
    "character_set": ["Ann", "Bob"],
    "tests": {"T1": {"input_args": ["the mill", "Rome"]}},
}


def test_an_entry_becomes_one_test_for_each_book():
    first, second = expanded([ENTRY], books=2)
    assert (first.name, first.needle, first.question) == (
        "0012Inv_T1_onehop",
        "{CHAR} lives by the mill.",
        "Who was in Rome?",
    )
    assert (first.seed, second.seed) == (54, 55)


def test_names_are_drawn_from_the_set_and_repeat_for_a_seed():
    names = drawn_characters(54, ["Ann", "Bob"], 26)
    assert names == drawn_characters(54, ["Ann", "Bob"], 26)
    assert set(names) == {"Ann", "Bob"}
    assert depths()[0] == 0
    assert depths()[-1] == 100
    assert len(depths()) == 26


def test_metrics_compare_case_and_last_lines():
    response = "It may be Bob.\nAnn"
    scores = {name: score(response, ["Ann"]) for name, score in METRICS.items()}
    assert scores == {"contains": 1.0, "EM": 0.0, "lastline_EM": 1.0, "lastline_contains": 1.0}
    assert METRICS["contains"]("ann", ["Ann"]) == 0.0


def test_base_score_takes_the_best_short_length_of_each_pair():
    pairs = {"p": {250: 0.5, 500: 1.0, 1000: 0.8}, "q": {250: 0.6, 500: 0.2, 1000: 0.4}}
    assert base_score(pairs) == pytest.approx(0.8)
    assert effective_length({1000: 0.8, 2000: 0.68, 4000: 0.5}, 0.8) == 2000
