from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from longmab_pl.strategies.bandit.credit import EmbeddingSupport, LexicalSupport, credited, words

CHUNKS = [
    "The mayor of Dobasburg is Hogrun Grobu.",
    "The mayor of Mifulton is Batrerd Tremur.",
    "The river of Mifulton is wide.",
    "The tiles of Grobu are blue.",
]


def test_words_weigh_by_how_few_chunks_have_them():
    support = LexicalSupport(CHUNKS).of("Answer: Hogrun Grobu", [0, 1, 2, 3])
    assert support == pytest.approx([math.log(4) + math.log(2), 0, 0, math.log(2)])


def test_a_word_of_every_chunk_and_a_word_of_none_weigh_nothing():
    support = LexicalSupport(CHUNKS)
    assert support.of("the of nowhere", [0, 1, 2, 3]).tolist() == [0, 0, 0, 0]


def test_a_word_counts_once_however_often_it_is_said():
    support = LexicalSupport(CHUNKS)
    assert support.of("mayor, mayor, MAYOR!", [0, 2]).tolist() == support.of("mayor", [0, 2]).tolist()
    assert support.of("mayor", [0, 2]) == pytest.approx([math.log(2), 0])


def test_support_is_of_the_arms_asked_for_in_their_order():
    assert LexicalSupport(CHUNKS).of("Hogrun", [3, 0]).tolist() == [0, pytest.approx(math.log(4))]


def test_a_context_of_one_chunk_has_no_support_to_share():
    assert LexicalSupport(["only this"]).of("only this", [0]).tolist() == [0]


def test_chinese_and_japanese_are_compared_by_character():
    assert words("巴黎 ist Paris_2") == ["巴", "黎", "ist", "paris", "2"]
    support = LexicalSupport(["法国的首都是巴黎。", "德国的首都是柏林。"])
    assert support.of("答案是巴黎", [0, 1]) == pytest.approx([2 * math.log(2), 0])


def test_the_sum_does_not_depend_on_the_hash_seed():
    program = (
        "from longmab_pl.strategies.bandit.credit import LexicalSupport\n"
        "chunks = [' '.join(f'w{i}' for i in range(40) if (i * 7 + c) % 5 < 2 + c % 2) for c in range(7)]\n"
        "s = LexicalSupport(chunks).of(' '.join(f'w{i}' for i in range(40)), range(7))\n"
        "print([x.hex() for x in s.tolist()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


class Fixed:
    def encode(self, texts):
        assert list(texts) == ["the response"]
        return np.array([[1.0, 0.0]], np.float32)


def test_embedding_support_is_the_cosine_above_the_records_mean():
    angles = np.array([0.0, 0.5, 1.0, 1.5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    mean = np.cos(angles).mean()
    support = EmbeddingSupport(vectors, Fixed()).of("the response", [3, 0, 1])
    assert support == pytest.approx([0, 1 - mean, np.cos(0.5) - mean], abs=1e-6)


def test_the_chunk_with_most_support_gets_the_whole_reward():
    assert credited(0.8, np.array([2.0, 1.0, 0.0])).tolist() == pytest.approx([0.8, 0.4, 0.0])


@pytest.mark.parametrize("support", [np.zeros(4), np.full(4, 0.3)])
def test_without_a_difference_it_is_the_papers_rule(support):
    assert credited(0.7, support).tolist() == pytest.approx([0.7] * 4)


def test_credit_stays_within_0_and_the_reward():
    random = np.random.default_rng(0)
    for _ in range(100):
        reward = random.random()
        shares = credited(reward, random.exponential(size=4))
        assert shares.max() == pytest.approx(reward)
        assert (shares >= 0).all()
    assert credited(0.0, np.array([1.0, 0.2])).tolist() == [0, 0]
