from __future__ import annotations

import pytest
from judging import WordEmbedder, drive

from longmab_pl.data.numbering import numbered
from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts import CiteThenAnswer, DirectAnswer
from longmab_pl.rewards import AnswerMatch, Grounding, RewardContext, Weighted, WeightedSum
from longmab_pl.rewards.grounding import UNKNOWN, grounding_scores, named_in_response
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.strategies.bandit.strategy import BanditRollout

CONTEXT = "Lima\nIn Peru.\n\nQuito\nIn Ecuador.\n\nPeru\nA country.\n\nNovember\nA month."
BOTH = WeightedSum((Weighted(AnswerMatch("lenient"), 0.75), Weighted(Grounding(), 0.25)))


def record(answer: str = "Peru", evidence: tuple[str, ...] | None = None) -> QARecord:
    places = None if evidence is None else tuple((CONTEXT.index(w), CONTEXT.index(w) + len(w)) for w in evidence)
    return numbered(QARecord("r", "Where?", (answer,), CONTEXT, evidence=places))


def score(tokenizer, reward, record, *responses):
    context = RewardContext(tokenizer, WordEmbedder(), 0, "r/0")
    scores, asked = drive(reward.score(record, responses, context), None, tokenizer)
    assert not asked
    return scores


@pytest.mark.parametrize(
    ("response", "f1", "precision", "recall"),
    [
        ("Evidence: [1] [2]\nAnswer: x", 1, 1, 1),
        ("Evidence: [1]", 2 / 3, 1, 1 / 2),
        ("Evidence: [1] [2] [3] [4]", 2 / 3, 1 / 2, 1),
        ("Evidence: [1] [99]", 1 / 2, 1 / 2, 1 / 2),
        ("Evidence: none\nAnswer: [1] [2]", 0, 0, 0),
        ("[3] says nothing.\n**Evidence**: [1, 2]", 1, 1, 1),
        ("<think>[1] [2]</think>Evidence: [4]", 0, 0, 0),
        ("By [1] and [2].\nAnswer: x", 1, 1, 1),
        ("", 0, 0, 0),
    ],
)
def test_f1_of_the_named_passages_against_those_with_evidence(response, f1, precision, recall):
    found = grounding_scores(response, record(evidence=("Lima", "Quito")))
    assert [found[name] for name in ("f1", "precision", "recall")] == pytest.approx([f1, precision, recall])


def test_without_known_evidence_the_gold_answers_words_decide(byte_tokenizer):
    (right, wrong) = score(byte_tokenizer, Grounding(), record("Peru"), "Evidence: [1] [3]", "Evidence: [2]")
    assert (right.value, wrong.value) == (1.0, 0.0)
    assert right.parts == {"precision": 1.0, "recall": 1.0, "named": 2.0}
    (excluded,) = score(byte_tokenizer, Grounding(), record("no"), "Evidence: [4]")
    assert excluded.excluded == UNKNOWN, "no is not in November"


def test_where_nothing_holds_the_answer_nothing_is_to_be_named(byte_tokenizer):
    none, one = score(byte_tokenizer, Grounding(), record("not stated", ()), "Answer: not stated", "Evidence: [1]")
    assert (none.value, one.value) == (1.0, 0.0)


def test_only_the_last_line_of_evidence_counts():
    assert named_in_response("Evidence: [1]\nNo: evidence: [2]\nEvidence: [3]\n") == {3}


def test_weighted_with_answer_match_where_names_are_no_words_of_the_answer(byte_tokenizer):
    cited, bare, wrong = score(
        byte_tokenizer,
        BOTH,
        record(evidence=("Lima",)),
        "Evidence: [1]\nAnswer: Peru [1]",
        "Answer: Peru",
        "Evidence: [1]\nAnswer: Chile [1]",
    )
    assert cited.value == pytest.approx(1.0)
    assert bare.value == pytest.approx(0.75)
    assert wrong.value == pytest.approx(0.25)
    assert cited.parts["answer_match"] == 1.0
    assert cited.parts["grounding/recall"] == 1.0


@pytest.mark.parametrize("style", ["paper", "lenient"])
def test_brackets_are_words_where_no_passage_has_a_number(byte_tokenizer, style):
    plain = QARecord("r", "Where?", ("Peru [1]",), CONTEXT)
    (found,) = score(byte_tokenizer, AnswerMatch(style), plain, "Answer: Peru [1]")
    assert found.value == 1.0
    (found,) = score(byte_tokenizer, AnswerMatch(style), plain, "Answer: Peru")
    assert found.value < 1.0


@pytest.mark.parametrize("reward", [Grounding(), BOTH])
def test_a_format_without_numbers_is_refused_before_anything_is_asked(reward):
    with pytest.raises(ConfigError, match=r"prompt_format DirectAnswer does not make.*CiteThenAnswer"):
        RoundPlan(BanditRollout(), (reward,), DirectAnswer(), BestWorst(), Embedder())
    RoundPlan(BanditRollout(), (reward,), CiteThenAnswer(), BestWorst(), Embedder())
