from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.errors import DataError

ASSETS = Path(__file__).parents[1] / "assets"


def vectors() -> list[dict]:
    with gzip.open(ASSETS / "truncation.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("row", vectors(), ids=lambda row: f"{row['context_id']}-{row['budget']}")
def test_budget_and_cut_of_the_reference(row: dict, tokenizer, contexts: dict[str, str]) -> None:
    question, chosen, rejected = (len(tokenizer(row[name]).input_ids) for name in ("question", "chosen", "rejected"))
    budget = pair_context_budget(row["max_prompt_length"], question, chosen, rejected)
    assert budget == row["budget"]
    assert cut_middle(contexts[row["context_id"]], tokenizer, budget) == row["truncated_context"]


def test_an_odd_budget_loses_a_token(tokenizer) -> None:
    text = " one two three four five six seven eight"
    assert len(tokenizer(text).input_ids) == 8
    assert cut_middle(text, tokenizer, 8) == text
    assert cut_middle(text, tokenizer, 7) == " one two three six seven eight"
    assert cut_middle(text, tokenizer, 4) == " one two seven eight"


def test_no_room(tokenizer) -> None:
    assert cut_middle("some text here", tokenizer, 1) == cut_middle("some text here", tokenizer, 0) == ""
    assert cut_middle("", tokenizer, 10) == ""
    assert pair_context_budget(100, 50, 10, 30) == -12
    with pytest.raises(DataError, match="-12 tokens"):
        cut_middle("some text here", tokenizer, -12)


def test_special_tokens_spelled_out_disappear_as_in_the_original(tokenizer) -> None:
    assert cut_middle("one<|im_end|> two", tokenizer, 100) == "one two"
