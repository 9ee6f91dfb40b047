"""The best answer against a random one of the lower half, and why a record has no pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.pairs import BestLowerHalf, PairContext
from longmab_pl.prompts import PlanAndSolve
from longmab_pl.rewards import Score
from longmab_pl.strategies import RecordRollout, Response

RECORD = QARecord("q1", "Which river?", ("Ombra",), "The town lies on the river Ombra. " * 20)


def build(tokenizer, answers, *, seed=0, record=RECORD, **rule):
    """Return the pair of answers given as (text, value or reason of exclusion), and the counted reasons."""
    responses = tuple(
        Response(text, True, 0, scores={"consistency": Score(0.0, excluded=v) if isinstance(v, str) else Score(v)})
        for text, v in answers
    )
    reasons: Counter[str] = Counter()
    context = PairContext(tokenizer, PlanAndSolve(), "consistency", seed, 0, lambda reason: reasons.update([reason]))
    rule = BestLowerHalf(max_prompt_length=600, **rule)
    return rule.pairs(record, RecordRollout(record.id, "ok", responses), context), dict(reasons)


FIVE = [(f"Answer: {name}", value) for name, value in zip("abcde", (0.3, 0.1, 0.9, 0.2, 0.5), strict=True)]


def test_the_best_is_chosen_and_the_rejected_is_uniform_in_the_lower_half(byte_tokenizer):
    drawn = Counter()
    for seed in range(200):
        (pair,), reasons = build(byte_tokenizer, FIVE, seed=seed)
        assert (pair.chosen, reasons) == ("Answer: c", {})
        drawn[pair.rejected] += 1
    assert set(drawn) == {"Answer: b", "Answer: d"}
    assert min(drawn.values()) > 70


def test_the_draw_depends_on_the_seed_and_the_record_alone(byte_tokenizer):
    def rejected(seed, record=RECORD):
        return build(byte_tokenizer, FIVE, seed=seed, record=record)[0][0].rejected

    assert [rejected(s) for s in range(8)] == [rejected(s) for s in range(8)]
    others = [replace(RECORD, id=f"q{i}") for i in range(20)]
    assert len({rejected(0, other) for other in others}) == 2


def test_a_rejected_answer_never_states_the_chosen_one(byte_tokenizer):
    answers = [("So. Answer: Ombra", 0.9), ("answer: the ombra.", 0.1), ("Answer: Tratim", 0.2), ("Answer: Po", 0.8)]
    for seed in range(20):
        (pair,), _ = build(byte_tokenizer, answers, seed=seed)
        assert pair.rejected == "Answer: Tratim"


def test_a_record_whose_lower_half_agrees_with_the_best_is_counted(byte_tokenizer):
    answers = [("It flows. Answer: Ombra", 0.9), ("Answer: ombra", 0.5)]
    assert build(byte_tokenizer, answers) == ([], {"same_answer": 1})
    (pair,), _ = build(byte_tokenizer, answers, same_answers=True)
    assert pair.rejected == "Answer: ombra"


def test_texts_that_state_no_answer_are_compared_by_their_words(byte_tokenizer):
    answers = [("The river Ombra", 0.9), ("river ombra, the", 0.5)]
    assert build(byte_tokenizer, answers) == ([], {"same_answer": 1})
    answers = [("the river is Ombra", 0.9), ("the river was Ombra", 0.5)]
    assert len(build(byte_tokenizer, answers)[0]) == 1
    assert build(byte_tokenizer, answers, max_similarity=0.6) == ([], {"same_answer": 1})


def test_answers_of_equal_score_make_no_pair(byte_tokenizer):
    assert build(byte_tokenizer, [("Answer: a", 0.5), ("Answer: b", 0.5)]) == ([], {"same_score": 1})


@pytest.mark.parametrize("answers", [[], [("a", 1.0)], [("a", 1.0), ("b", "no verdict"), (" ", 0.2)]])
def test_fewer_than_two_scored_answers_make_no_pair(byte_tokenizer, answers):
    assert build(byte_tokenizer, answers) == ([], {"few_responses": 1})


def test_an_excluded_answer_is_neither_chosen_nor_rejected(byte_tokenizer):
    (pair,), _ = build(byte_tokenizer, [("a", "no verdict"), ("b", 0.1), ("c", 0.4)])
    assert (pair.chosen, pair.rejected) == ("c", "b")
    assert (pair.origin.chosen_index, pair.origin.rejected_index) == (2, 1)


def test_a_reward_that_nobody_stored_is_named(byte_tokenizer):
    with pytest.raises(ConfigError, match="scored by: consistency"):
        build(byte_tokenizer, FIVE, by="judge")
    with pytest.raises(ConfigError, match="max_similarity"):
        BestLowerHalf(max_similarity=0)
