from __future__ import annotations

import copy
from collections import Counter

import pytest
from tokenizers import processors

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.best_worst import BestWorst, choose, choose_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer
from longmab_pl.rewards.answer_match import pair_reward
from longmab_pl.rewards.base import Score
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping
from longmab_pl.strategies.base import RecordRollout, Response

RECORD = QARecord("q1", "Which river?", ("Ombra",), "The town lies on the river Ombra. " * 200)


def rollout(*texts: str) -> RecordRollout:
    responses = tuple(
        Response(t, True, i // 2, (i, i + 1), scores={"answer_match": Score(pair_reward(t, RECORD.answers))})
        for i, t in enumerate(texts)
    )
    return RecordRollout("q1", "ok", responses)


def build(tokenizer, *texts, prompt_format=None, **rule):
    context = PairContext(tokenizer, prompt_format or DirectAnswer(), "answer_match", 0, 3)
    return BestWorst(**rule).pairs(RECORD, rollout(*texts), context)


def test_choose_draws_among_the_best_and_among_the_worst():
    rewards = [0.5, 1.0, 0.0, 1.0, 0.0, 0.25]
    drawn = Counter(choose(rewards, seed) for seed in range(400))
    assert set(drawn) == {(1, 2), (1, 4), (3, 2), (3, 4)}
    assert min(drawn.values()) > 60
    assert choose(rewards, 7) == choose(rewards, 7)


def test_a_margin_is_reached_by_what_equals_it():
    rewards = [0.7, 0.2]
    assert rewards[0] - rewards[1] < 0.5, "in floating point"
    assert choose(rewards, 1, min_margin=0.5) == (0, 1)
    rule = BestWorst(min_margin=0.5, max_length_ratio=2.0)
    assert choose_pairs(["a", "b"], rewards, [1, 1], rule, 1) == [(0, 1)]
    assert EarlyStopping(margin=0.5).reason(rewards, 2) == "separated"


def test_choose_needs_a_difference():
    assert choose([0.5, 0.5, 0.5], 0) is None
    assert choose([], 0) is None
    assert choose([0.6, 0.5], 0, min_margin=0.2) is None
    assert choose([None, 0.5], 0) is None
    assert choose([None, 0.5, 0.6], 0) == (2, 1)


def pick(texts, rewards, seed=0, lengths=None, **rule):
    return choose_pairs(texts, rewards, lengths or [len(t) for t in texts], BestWorst(**rule), seed)


def test_by_default_there_is_one_pair_and_it_is_the_papers():
    rewards = [0.5, 1.0, 0.0, 1.0, 0.0, 0.25]
    for seed in range(50):
        assert pick(list("abcdef"), rewards, seed) == [choose(rewards, seed)]
    assert pick(["x", "y"], [0.5, 0.5]) == []


def test_further_pairs_keep_the_papers_first_and_go_by_margin_then_by_fresh_answers():
    texts = ["right one", "right two", "wrong red", "wrong blue", "half green"]
    rewards = [1.0, 1.0, 0.0, 0.0, 0.5]
    for seed in range(30):
        pairs = pick(texts, rewards, seed, pairs_per_record=4)
        assert pairs[0] == choose(rewards, seed)
        assert sorted(pairs) == [(0, 2), (0, 3), (1, 2), (1, 3)], "all of margin 1 before any of margin 0.5"
        assert not set(pairs[0]) & set(pairs[1]), "the second pair has two answers of its own"
    assert len(pick(texts, rewards, pairs_per_record=99)) == 8
    assert len(pick(texts, rewards, pairs_per_record=99, min_margin=0.6)) == 4
    drawn = Counter(pick(texts, rewards, seed, pairs_per_record=2)[1] for seed in range(100))
    assert len(drawn) == 4, "equals are drawn"


def test_alike_texts_are_not_paired_twice():
    texts = ["The town is Ombra.", "the town is ombra", "wrong red", "Wrong, red!", "wrong blue"]
    rewards = [1.0, 1.0, 0.0, 0.0, 0.0]
    pairs = pick(texts, rewards, pairs_per_record=9)
    assert sorted(texts[j].lower().replace(",", "").strip("!") for _, j in pairs) == ["wrong blue", "wrong red"]
    near = ["w " * 19 + "right", "a b c d e f g h i j", "a b c d e f g h i k"]
    assert len(pick(near, [1.0, 0.0, 0.0], pairs_per_record=9, max_similarity=0.85)) == 1
    assert len(pick(near, [1.0, 0.0, 0.0], pairs_per_record=9, max_similarity=1.0)) == 2


def test_equal_answers_are_not_paired_twice_where_answers_are_what_counts():
    texts = [
        "long story. Answer: Ombra",
        "other words. Answer: the Ombra",
        "I guess so. Answer: Elbe",
        "No! Answer: elbe",
    ]
    rewards = [1.0, 1.0, 0.0, 0.0]
    assert len(pick(texts, rewards, pairs_per_record=9, distinct="answer")) == 1
    assert len(pick(texts, rewards, pairs_per_record=9, distinct="text")) == 4


def test_length_control_drops_and_prefers():
    texts = ["r", "wa", "wb", "wc"]
    rewards = [1.0, 0.0, 0.0, 0.2]
    lengths = [100, 10, 90, 101]
    for seed in range(20):
        assert pick(texts, rewards, seed, lengths, max_length_ratio=3.0) == [(0, 2)], "margin before length"
    assert pick(texts, rewards, 0, [100, 10, 40, 101], max_length_ratio=2.0) == [(0, 3)]
    assert pick(texts, rewards, 0, lengths, max_length_difference=9) == [(0, 3)]
    assert pick(texts, rewards, 0, lengths, max_length_difference=0) == []
    assert pick(texts, rewards, 0, [100, 95, 90, 101], max_length_ratio=9.0) == [(0, 1)], "alike in length comes first"


def test_all_pairs_of_a_record_share_one_prompt_and_say_where_they_come_from(byte_tokenizer):
    texts = ("Answer: Elbe", "Answer: Ombra", "Answer: " + "some other river " * 5, "Answer: river Ombra")
    pairs = build(byte_tokenizer, *texts, pairs_per_record=4, max_prompt_length=600)
    assert len(pairs) == 4
    assert [p.origin.pair for p in pairs] == [0, 1, 2, 3]
    assert [p.name for p in pairs] == ["q1", "q1#1", "q1#2", "q1#3"]
    assert len({str(p.prompt) for p in pairs}) == 1
    shown = 600 - 32 - len(RECORD.question) - len(texts[2])
    (message,) = pairs[0].prompt
    assert RECORD.context[: shown // 2] + RECORD.context[-(shown // 2) :] in message["content"], "cut for the longest"
    for p in pairs:
        assert (p.chosen, p.rejected) == (texts[p.origin.chosen_index], texts[p.origin.rejected_index])
        assert (p.origin.chosen_step, p.origin.rejected_step) == (
            p.origin.chosen_index // 2,
            p.origin.rejected_index // 2,
        )
        assert p.origin.chosen_read == (p.origin.chosen_index, p.origin.chosen_index + 1)
        assert p.chosen_reward > p.rejected_reward


def test_the_pair_shows_the_whole_context_cut_in_the_middle(byte_tokenizer):
    texts = ("Answer: Elbe", "Answer: Ombra", "")
    (pair,) = build(byte_tokenizer, *texts, prompt_format=ReasonThenAnswer(), max_prompt_length=600)
    assert (pair.chosen, pair.rejected) == ("Answer: Ombra", "Answer: Elbe")
    assert (pair.chosen_reward, pair.rejected_reward) == (1.0, 0.0)
    assert (pair.origin.chosen_index, pair.origin.rejected_index) == (1, 0)
    assert (pair.origin.chosen_read, pair.origin.rejected_read) == ((1, 2), (0, 1))
    assert pair.origin.round == 3
    (message,) = pair.prompt
    assert message["role"] == "user"
    assert "Which river?" in message["content"]
    assert message["content"].count("The town lies on the river Ombra.") in (14, 15, 16)
    shown = 600 - 32 - len(RECORD.question) - len("Answer: Ombra")
    assert RECORD.context[: shown // 2] + RECORD.context[-(shown // 2) :] in message["content"]


def test_the_budget_counts_what_the_tokenizer_adds(byte_tokenizer):
    texts = ("Answer: Elbe", "Answer: Ombra")
    (plain,) = build(byte_tokenizer, *texts, max_prompt_length=600)
    beginning = copy.deepcopy(byte_tokenizer)
    end = byte_tokenizer.eos_token
    beginning.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, byte_tokenizer.eos_token_id)]
    )
    (shorter,) = build(beginning, *texts, max_prompt_length=600)
    lost = len(plain.prompt[0]["content"]) - len(shorter.prompt[0]["content"])
    assert lost == 3, "one each for question, answer and context"


def test_alike_responses_make_no_pair(byte_tokenizer):
    assert build(byte_tokenizer, "a", "b") == []


def test_answers_that_leave_no_room_are_an_error(byte_tokenizer):
    with pytest.raises(DataError, match="max_prompt_length = 64"):
        build(byte_tokenizer, "Answer: " + "word " * 20, "Answer: Ombra", max_prompt_length=64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_prompt_length": 3},
        {"min_margin": 2.0},
        {"pairs_per_record": 0},
        {"max_length_ratio": 0.5},
        {"max_length_difference": -1},
        {"distinct": "words"},
        {"max_similarity": 0.0},
    ],
)
def test_rule_is_checked(wrong):
    with pytest.raises(ConfigError, match=f"pairs.{next(iter(wrong))}"):
        BestWorst(**wrong)


def test_a_score_that_no_response_has_is_refused(byte_tokenizer):
    with pytest.raises(ConfigError, match="by is 'judge'; the responses are scored by: answer_match"):
        build(byte_tokenizer, "Answer: Ombra", "Answer: no", by="judge")


def test_too_few_scored_responses_make_no_pair_and_are_counted(byte_tokenizer):
    skipped: list[str] = []
    context = PairContext(byte_tokenizer, DirectAnswer(), "judge", 0, 0, skipped.append)

    def made(scored: int) -> int:
        responses = tuple(
            Response(f"answer {i}", True, 0, scores={"judge": Score(i / 10, excluded=None if i < scored else "none")})
            for i in range(10)
        )
        return len(BestWorst(min_scored=5).pairs(RECORD, RecordRollout("q1", "ok", responses), context))

    assert [made(scored) for scored in (4, 5, 10)] == [0, 1, 1]
    assert skipped == ["few_scored"]
    with pytest.raises(ConfigError, match=r"pairs\.min_scored is 1"):
        BestWorst(min_scored=1)
