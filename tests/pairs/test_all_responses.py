from __future__ import annotations

import json
from collections import Counter

import pytest
from tokenizers_like import chatml_like

from longmab_pl.data.records import QARecord
from longmab_pl.datamodules.tokenized import TokenizedPairs
from longmab_pl.errors import ConfigError
from longmab_pl.pairs import AllResponses, BestWorst
from longmab_pl.pairs.files import PairWriter, pair_to_row
from longmab_pl.pairs.readers import read_preferences, read_round_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.prompts.formats import ReasonThenAnswer
from longmab_pl.rewards.base import Score
from longmab_pl.strategies.base import RecordRollout, Response

RECORD = QARecord("q1", "Which river?", ("Ombra",), "The town lies on the river Ombra. " * 20)
REWARDS = (0.5, 1.0, None, 0.0, 0.5)
RESPONSES = tuple(
    Response(
        f"Answer: {i}",
        i != 3,
        i,
        (0,) if i == 4 else (),
        scores={"answer_match": Score(reward or 0.0, excluded="no verdict" if reward is None else None)},
    )
    for i, reward in enumerate(REWARDS)
)


def made(responses=RESPONSES, trace=None, **settings):
    skipped = Counter()
    context = PairContext(
        chatml_like(), ReasonThenAnswer(), "answer_match", 0, 0, lambda reason: skipped.update([reason])
    )
    rollout = RecordRollout("q1", "ok", responses, trace=trace or {}, chunks=((0, 34),))
    return AllResponses(**{"max_prompt_length": 4096, **settings}).pairs(RECORD, rollout, context), dict(skipped)


def test_one_pair_has_all_scored_responses_and_says_which_were_sampled_from_its_prompt():
    (pair,), _ = made()
    assert (pair.chosen, pair.rejected) == ("Answer: 1", "Answer: 3")
    assert [(r.text, r.reward, r.ended, r.on_prompt) for r in pair.group] == [
        ("Answer: 0", 0.5, True, True),
        ("Answer: 1", 1.0, True, True),
        ("Answer: 3", 0.0, False, True),
        ("Answer: 4", 0.5, True, False),
    ]


def test_a_cut_context_is_not_the_prompt_that_was_sampled_from():
    for (pair,), _ in (made(max_prompt_length=128), made(trace={"cut_tokens": 7})):
        assert not any(response.on_prompt for response in pair.group)


def test_records_without_a_difference_or_with_few_responses_are_counted():
    assert made(RESPONSES[4:]) == ([], {"few_scored": 1})
    assert made((RESPONSES[0], RESPONSES[4])) == ([], {"same_score": 1})
    with pytest.raises(ConfigError, match="whole answers"):
        made(trace={"nodes": []})


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_groups_are_read_back(tmp_path, format):
    (pair,), _ = made()
    path = tmp_path / f"pairs.{format}"
    with PairWriter(path, format) as writer:
        writer.write(pair)
    assert list(read_round_pairs(path)) == [pair]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("group_rewards", [1.0]),
        ("group_rewards", [1.0, "x", 2.0, 3.0]),
        ("group_texts", [1, 2, 3, 4]),
        ("group_texts", "abcd"),
        ("group_ended", None),
        ("group_token_ids", [[-1], [], [], []]),
        ("group_on_prompt", [0, 1, 0, 1]),
    ],
)
def test_a_bad_group_is_named(tmp_path, column, value):
    (pair,), _ = made()
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(pair_to_row(pair) | {column: value}) + "\n")
    (bad,) = read_preferences(str(path))
    assert "group_" in str(bad)


def test_all_responses_are_tokenized_behind_the_pairs_prompt():
    tokenizer = chatml_like()
    (pair,), _ = made()
    pairs = TokenizedPairs(tokenizer, None, groups=True)
    ((_, example),) = pairs.examples([pair])
    texts = [tokenizer.decode(response.ids) for response in example.group]
    assert texts == ["Answer: 0<|im_end|>", "Answer: 1<|im_end|>", "Answer: 3", "Answer: 4<|im_end|>"]
    assert example.group[1].ids == example.chosen_ids
    assert example.group[2].ids == example.rejected_ids


def test_pairs_without_a_group_are_left_out_and_counted():
    (pair,), _ = made()
    context = PairContext(chatml_like(), ReasonThenAnswer(), "answer_match", 0, 0)
    lone = BestWorst(max_prompt_length=4096).pairs(RECORD, RecordRollout("q1", "ok", RESPONSES), context)
    pairs = TokenizedPairs(chatml_like(), None, groups=True)
    assert len(list(pairs.examples([pair, *lone]))) == 1
    assert pairs.left_out == {"without a group of responses": 1}
    assert "AllResponses" in "\n".join(pairs.account("rows"))
