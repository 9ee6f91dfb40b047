"""A small count of what a clarification tree costs; its full size is 256 paragraphs of 512 tokens."""

from __future__ import annotations

import tree_cost
from tokenizers_like import chatml_like

from longmab_pl.strategies.clarification_tree.tree import joint_requests, separate_requests


def test_both_styles_are_counted_and_keep_the_same_paragraphs() -> None:
    found = tree_cost.run(branching=2, rounds=2, paragraphs=5, tokens=100, tokenizer=chatml_like())
    paragraphs, expansions = found["paragraphs"], 1 + 2
    assert found["original"]["requests"]["all"] == expansions * separate_requests(2, paragraphs).total + paragraphs + 2
    assert found["ours"]["requests"]["all"] == expansions * joint_requests(2, paragraphs).total + paragraphs + 1
    assert found["ours"]["prefill_tokens"]["verdict"] < found["original"]["prefill_tokens"]["verdict"]
    kept = found["kept"]
    assert kept["ours"] == kept["one by one, labels"] == kept["nodes"] == 7
    assert kept["one by one, letters"] < 7
    assert "| requests | ours |" in tree_cost.show(found)


def test_a_prefix_is_counted_once() -> None:
    cost = tree_cost.Cost()
    cost.add("verdict", range(100))
    cost.add("verdict", [*range(64), *range(200, 240)])
    cost.add("verdict", [7, *range(1, 64)])
    assert cost.prefill["verdict"] == 100 + 40 + 64
    assert cost.prompt["verdict"] == 100 + 104 + 64
