from __future__ import annotations

import numpy as np
import pytest
from judging import WordEmbedder, drive

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.rewards.base import RewardContext
from longmab_pl.rewards.consistency import Consistency, consistency_scores, sibling_means


def test_an_answer_is_compared_with_its_siblings_only():
    assert consistency_scores([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).tolist() == [0.5, 0.5, 0.0]


def test_the_length_of_a_vector_does_not_count():
    short, long = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[9.0, 0.0], [0.1, 0.1], [0.0, 5.0]]
    assert consistency_scores(short) == pytest.approx(consistency_scores(long))


def test_the_original_counts_the_answer_itself_and_the_length():
    assert consistency_scores([[2.0, 0.0], [1.0, 0.0]], style="original").tolist() == [3.0, 1.5]


def test_a_single_answer_agrees_with_nobody():
    assert consistency_scores([[3.0, 4.0]]).tolist() == [0.0]


def test_any_similarity_can_be_averaged_and_is_left_as_it_was():
    similarities = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.0], [0.4, 0.0, 1.0]])
    assert sibling_means(similarities) == pytest.approx([0.3, 0.1, 0.2])
    assert similarities[0, 0] == 1.0


def test_an_unknown_style_is_named():
    with pytest.raises(ConfigError, match=r"mean.*use siblings or original"):
        consistency_scores([[1.0]], style="mean")


RECORD = QARecord("r", "Where is Lima?", (), "")


def score(reward, texts):
    context = RewardContext(None, WordEmbedder(), seed=0, key="r/0/consistency")
    scores, asked = drive(reward.score(RECORD, texts, context), None, None)
    assert asked == []
    return scores


@pytest.mark.parametrize("similarity", ["embedding", "rouge"])
def test_the_answer_that_most_others_agree_with_wins_without_a_gold_answer(similarity):
    texts = ["Lima is in Peru.", "lima is in peru.", "Quito lies elsewhere"]
    scores = score(Consistency(similarity=similarity), texts)
    assert [each.value for each in scores] == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)
    assert scores[0].parts == {"similarity": scores[0].value}


def test_the_original_adds_each_answers_similarity_to_itself():
    scores = score(Consistency(similarity="rouge", style="original"), ["a b", "a b", "c d"])
    assert [each.value for each in scores] == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_an_empty_answer_is_excluded_and_counts_for_nobody():
    scores = score(Consistency(), ["a b", "", "a b", "<think>never ends"])
    assert [each.excluded for each in scores] == [None, "an empty answer", None, "an empty answer"]
    assert scores[0].value == pytest.approx(1.0)


@pytest.mark.parametrize("texts", [["alone"], ["alone", ""], []])
def test_an_answer_alone_is_excluded(texts):
    assert [each.excluded for each in score(Consistency(), texts)] == ["no other answer to agree with"] * len(texts)


def test_only_embeddings_need_an_embedder():
    assert Consistency().needs_embedder
    assert not Consistency(similarity="rouge").needs_embedder
    with pytest.raises(ConfigError, match="similarity"):
        Consistency(similarity="bleu")
