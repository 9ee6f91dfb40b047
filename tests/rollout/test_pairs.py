from __future__ import annotations

import json
from collections import Counter

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.rollout.pairs import PairRule, build_pair, choose, read_pairs, write_pairs
from longmab_pl.rollout.reading import Direct, ReasonThenAnswer
from longmab_pl.rollout.strategy import RecordRollout, Response

RECORD = QARecord("q1", "Which river?", ("Ombra",), "The town lies on the river Ombra. " * 200)


def rollout(*texts: str) -> RecordRollout:
    return RecordRollout("q1", "ok", tuple(Response(t, True, i, (i, i + 1), 0.0) for i, t in enumerate(texts)), arms=9)


def test_choose_draws_among_the_best_and_among_the_worst():
    rewards = [0.5, 1.0, 0.0, 1.0, 0.0, 0.25]
    drawn = Counter(choose(rewards, seed) for seed in range(400))
    assert set(drawn) == {(1, 2), (1, 4), (3, 2), (3, 4)}
    assert min(drawn.values()) > 60
    assert choose(rewards, 7) == choose(rewards, 7)


def test_choose_needs_a_difference():
    assert choose([0.5, 0.5, 0.5], 0) is None
    assert choose([], 0) is None
    assert choose([0.6, 0.5], 0, min_margin=0.2) is None
    assert choose([None, 0.5], 0) is None
    assert choose([None, 0.5, 0.6], 0) == (2, 1)


def test_the_pair_shows_the_whole_context_cut_in_the_middle(byte_tokenizer):
    rule = PairRule(max_prompt_length=600)
    pair = build_pair(
        RECORD, rollout("Answer: Elbe", "Answer: Ombra", ""), rule, ReasonThenAnswer(), byte_tokenizer, seed=0, round=3
    )
    assert pair is not None
    assert (pair.chosen_text, pair.rejected_text) == ("Answer: Ombra", "Answer: Elbe")
    assert (pair.chosen_reward, pair.rejected_reward) == (1.0, 0.0)
    assert (pair.chosen_index, pair.rejected_index) == (1, 0)
    assert (pair.chosen_arms, pair.rejected_arms) == ((1, 2), (0, 1))
    assert pair.round == 3
    (message,) = pair.prompt
    assert message["role"] == "user"
    assert "Which river?" in message["content"]
    assert message["content"].count("The town lies on the river Ombra.") in (14, 15, 16)
    shown = 600 - 32 - len(RECORD.question) - len("Answer: Ombra")
    assert RECORD.context[: shown // 2] + RECORD.context[-(shown // 2) :] in message["content"]


def test_alike_responses_make_no_pair(byte_tokenizer):
    assert build_pair(RECORD, rollout("a", "b"), PairRule(), Direct(), byte_tokenizer, seed=0, round=0) is None


def test_answers_that_leave_no_room_are_an_error(byte_tokenizer):
    long = "Answer: " + "word " * 20
    with pytest.raises(DataError, match="max_prompt_length = 64"):
        build_pair(
            RECORD,
            rollout(long, "Answer: Ombra"),
            PairRule(max_prompt_length=64),
            Direct(),
            byte_tokenizer,
            seed=0,
            round=0,
        )


def test_written_pairs_are_read_back_and_are_in_trls_conversational_form(byte_tokenizer, tmp_path):
    pair = build_pair(
        RECORD, rollout("Answer: x", "Answer: Ombra"), PairRule(), Direct(), byte_tokenizer, seed=0, round=0
    )
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [pair, pair])
    assert read_pairs(path) == [pair, pair]

    from datasets import load_dataset

    row = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))[0]
    assert row["prompt"] == [dict(m) for m in pair.prompt]
    assert row["chosen"] == [{"role": "assistant", "content": "Answer: Ombra"}]
    assert row["rejected"] == [{"role": "assistant", "content": "Answer: x"}]


def test_a_damaged_pairs_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"id": "a"}) + "\n")
    with pytest.raises(DataError, match=r"line 1: the field 'input' is missing"):
        read_pairs(path)
    path.write_text("{\n")
    with pytest.raises(DataError, match="line 1: not a JSON object"):
        read_pairs(path)


def test_rule_is_checked():
    with pytest.raises(ConfigError, match="max_prompt_length"):
        PairRule(max_prompt_length=3)
    with pytest.raises(ConfigError, match="min_margin"):
        PairRule(min_margin=2.0)
