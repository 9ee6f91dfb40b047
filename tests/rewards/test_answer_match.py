from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from longmab_pl.data.no_answer import PHRASES
from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError
from longmab_pl.rewards.answer_match import (
    AnswerMatch,
    answer_scores,
    extract_answer,
    normalize_answer,
    pair_reward,
    rollout_reward,
    token_f1,
)
from longmab_pl.rewards.base import RewardContext

ASSETS = Path(__file__).parents[1] / "assets"


def vectors() -> list[dict]:
    with gzip.open(ASSETS / "rewards.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_reference_row_is_reproduced_exactly() -> None:
    rows = vectors()
    assert len(rows) == 150
    for row in rows:
        text, answers = row["prediction"], row["answers"]
        assert extract_answer(text) == (row["extracted"] if row["found"] else None)
        assert rollout_reward(text, answers) == row["rollout_reward"]
        assert pair_reward(text, answers) == row["pair_reward"]
        assert answer_scores(text, answers) == row["eval"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: Paris", "paris"),
        ("answer: a\nthen ANSWER:  b \n", "b"),
        ("The answer is: x. Answer: y", "y"),
        # "answer:" comes first in the order, wherever it stands.
        ("Answer: y. The answer is: x", "y. the answer is: x"),
        ("final answer is: z", "z"),
        # The last occurrence has nothing behind it: none, and no other occurrence or prefix is tried.
        ("Answer: x\nThe answer is: y\nanswer:", None),
        ("the answer is: x\nfinal answer is:", "x\nfinal answer is:"),
        ("Answer:", None),
        # With white space behind it the original finds an empty answer.
        ("Answer: ", ""),
        ("Answer:\n\n", ""),
        ("answer : x", None),
        ("the answer is x", None),
        ("", None),
        # Lower-casing makes 'İ' two characters; positions must still be right.
        ("İİİİ Answer: İzmir", "i̇zmir"),
        ("The ANSWER: Straße", "straße"),
        ("Answer:\u3000東京\u3000", "東京"),
    ],
)
def test_extraction(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, and a dog!", "cat and dog"),
        ("U.S.A.", "usa"),
        ("an-the a", "anthe"),
        ("“quoted” – dash", "“quoted” – dash"),
        ("a\u00a0b\t\nc", "b c"),
        ("...", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


def test_f1_counts_each_token_as_often_as_both_have_it() -> None:
    assert token_f1("x x y", "x z") == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert token_f1("", "x") == token_f1("x", "") == token_f1("", "") == 0.0


def test_the_best_gold_counts() -> None:
    golds = ["Berlin", "New York City"]
    assert answer_scores("Answer: New York", golds) == {"em": 0.0, "f1": pytest.approx(0.8), "subem": 0.0}
    assert answer_scores("Answer: in Berlin", golds) == {"em": 0.0, "f1": pytest.approx(2 / 3), "subem": 1.0}
    assert answer_scores("Answer: BERLIN.", tuple(golds))["em"] == 1.0
    assert rollout_reward("Answer: x", []) == pair_reward("Answer: x", []) == 0.0


def test_rollout_reward_looks_at_the_whole_response_and_pair_reward_at_the_answer() -> None:
    text = "Ada wrote it. Answer: Bob"
    assert rollout_reward(text, "Ada") == 0.5
    assert pair_reward(text, "Ada") == 0.0
    assert rollout_reward("Ada", "Ada") == 0.5  # no answer stated, but the gold stands in the response
    assert pair_reward("Ada", "Ada") == 0.0


def test_a_gold_of_nothing_is_a_substring_of_everything() -> None:
    assert answer_scores("Answer: x", "The") == {"em": 0.0, "f1": 0.0, "subem": 1.0}
    assert answer_scores("Answer: the", "...") == {"em": 1.0, "f1": 0.0, "subem": 1.0}
    assert answer_scores("nothing stated", "...") == {"em": 0.0, "f1": 0.0, "subem": 0.0}
    assert rollout_reward("nothing stated", "") == 0.5


def test_golds_that_are_no_strings_are_refused() -> None:
    with pytest.raises(DataError, match="1912"):
        rollout_reward("Answer: 1912", [1912])  # type: ignore[list-item]


@pytest.mark.parametrize("style", ["paper", "lenient"])
def test_where_the_text_holds_no_answer_only_saying_so_is_right(style):
    record = QARecord("r", "Where?", PHRASES, "Lima is in Peru.", answerable=False)
    texts = ["So it is.\nAnswer: Not stated.", "Answer: Peru", "Answer: Peru, or not stated", "It is not stated."]
    stream = AnswerMatch(style).score(record, texts, RewardContext(None, None, 0, "r"))
    with pytest.raises(StopIteration) as ended:
        next(stream)
    assert [score.value for score in ended.value.value] == [1.0, 0.0, 0.0, 0.0]
    assert ended.value.value[0].parts == {"rollout": 1.0, "in_format": 1.0}
    assert ended.value.value[3].parts == {"rollout": 0.0, "in_format": 0.0}
