from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.bandits import UCB1
from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer
from longmab_pl.rewards.answer_match import AnswerMatch, rollout_reward
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.bandit.credit import EmbeddingSupport, LexicalSupport, credited
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping
from longmab_pl.strategies.bandit.probe import Probe
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import StrategyContext

CONTEXT = " ".join(f"Sentence number {i} speaks of river {chr(65 + i)}. It is long." for i in range(12))
RECORD = QARecord("q7", "Which river?", ("river C",), CONTEXT)
SMALL = {"chunking": Chunking(60, 0, 1), "sampling": Sampling(max_tokens=8), "top_k": 2, "pulls": 9}


class Similarity:
    """Stands in for the embedder: a text's vector counts the rivers A to L in it, so that similarity is countable."""

    def encode(self, texts):
        rows = np.array([[t.count(f"river {chr(65 + i)}") + 0.01 for i in range(12)] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_query(self, text):
        return self.encode([text])[0]


def context(tokenizer, seed=0, max_model_len=4096):
    return StrategyContext(tokenizer, DirectAnswer(), Similarity(), max_model_len, seed, (AnswerMatch(),))


def learned(response):
    """The reward that the bandit learned from."""
    return response.scores["answer_match"].parts["rollout"]


def roll(strategy, tokenizer, answer, record=RECORD, seed=0, max_model_len=4096):
    engine = ScriptedEngine(answer, max_model_len=max_model_len)
    ((_, result),) = Scheduler({"policy": engine}).run(
        [(record.id, strategy.roll(record, context(tokenizer, seed, max_model_len)))]
    )
    return result, engine


def right_when_shown(tokenizer):
    def answer(request, i):
        shown = "river C" in tokenizer.decode(list(request.prompt_ids))
        return " river C" if shown else " no idea"

    return answer


def test_arms_and_values_are_those_of_ucb1_on_the_same_rewards(byte_tokenizer):
    strategy = BanditRollout(init="uniform", **SMALL)
    result, engine = roll(strategy, byte_tokenizer, right_when_shown(byte_tokenizer))
    chunks = chunk_spans(CONTEXT, byte_tokenizer, 60, 0, 1)
    assert result.trace["arms"] == len(chunks) > 6
    start = np.random.default_rng(derive_seed(0, "q7", "init")).random(len(chunks))
    reference = UCB1(start, 2)
    for t, response in enumerate(result.responses):
        arms = reference.select()
        assert response.read == tuple(arms)
        assert response.step == t
        shown = "\n".join(chunks[a].of(CONTEXT) for a in arms)
        assert f"Text:\n{shown}\n\nQuestion: Which river?" in byte_tokenizer.decode(list(engine.asked[t].prompt_ids))
        assert learned(response) == rollout_reward(response.text, ["river C"])
        reference.update(arms, learned(response))
    assert result.trace["values"] == pytest.approx(reference.values)
    assert sum(result.trace["pulls"]) == 9 * 2
    assert {learned(r) for r in result.responses} == {0.0, 1.0}
    assert [c for c, e in enumerate(result.trace["evidence"]) if e] == [
        c for c, k in enumerate(chunks) if "river C" in k.of(CONTEXT)
    ]


def test_the_probe_points_the_first_pull_at_the_evidence(byte_tokenizer):
    def answer(request, i):
        if request.id.endswith("/probe"):
            return "The text speaks of river C. The answer is river C."
        return right_when_shown(byte_tokenizer)(request, i)

    result, engine = roll(BanditRollout(init="probe", **SMALL), byte_tokenizer, answer)
    assert result.trace["init"] == "probe"
    assert engine.asked[0].id == "q7/probe"
    assert learned(result.responses[0]) == 1.0
    assert any(result.trace["evidence"][a] for a in result.responses[0].read)
    assert len(engine.asked) == 10


@pytest.mark.parametrize(("on_reject", "status", "asked"), [("drop", "probe_rejected", 1), ("query", "ok", 10)])
def test_a_rejected_probe_drops_the_record_or_starts_from_the_question(byte_tokenizer, on_reject, status, asked):
    strategy = BanditRollout(init="probe", probe=Probe(on_reject=on_reject, sampling=Sampling(max_tokens=8)), **SMALL)
    result, engine = roll(strategy, byte_tokenizer, lambda request, i: "I cannot say.")
    assert result.status == status
    assert len(engine.asked) == asked
    if status == "ok":
        assert result.trace["init"] == "query"


def test_several_samples_of_a_pull_share_its_prompt_and_update_by_their_mean(byte_tokenizer):
    strategy = BanditRollout(init="uniform", samples_per_pull=2, **SMALL)
    result, engine = roll(strategy, byte_tokenizer, lambda request, i: " river C" if i == 0 else " none")
    assert len(engine.asked) == 9
    assert len(result.responses) == 18
    assert [learned(r) for r in result.responses[:2]] == [1.0, 0.0]
    played = [v for v, n in zip(result.trace["values"], result.trace["pulls"], strict=True) if n > 1]
    assert all(0.3 < v < 0.8 for v in played), "the mean of 1 and 0 pulls every value toward a half"


def test_same_seed_same_requests_other_seed_other_requests(byte_tokenizer):
    strategy = BanditRollout(init="uniform", **SMALL)
    answer = right_when_shown(byte_tokenizer)
    first = roll(strategy, byte_tokenizer, answer)[1].asked
    assert first == roll(strategy, byte_tokenizer, answer)[1].asked
    assert len({request.seed for request in first}) == 9
    assert first != roll(strategy, byte_tokenizer, answer, seed=1)[1].asked


def test_fewer_chunks_than_top_k_are_all_read(byte_tokenizer):
    record = QARecord("s", "Which?", ("A",), "A short text.")
    result, _ = roll(BanditRollout(init="uniform", **{**SMALL, "top_k": 4}), byte_tokenizer, lambda r, i: " A", record)
    assert all(r.read == (0,) for r in result.responses)


def test_a_document_too_long_for_the_probe_is_cut_in_its_middle(byte_tokenizer):
    strategy = BanditRollout(init="probe", probe=Probe(sampling=Sampling(max_tokens=8), on_reject="query"), **SMALL)
    result, engine = roll(strategy, byte_tokenizer, lambda r, i: " x", max_model_len=800)
    probe = engine.asked[0]
    assert 700 < len(probe.prompt_ids) <= 800 - 8
    text = byte_tokenizer.decode(list(probe.prompt_ids))
    assert "Sentence number 0" in text
    assert "river L" in text
    assert result.status == "ok"


def test_a_context_without_text_is_that_records_error(byte_tokenizer):
    result, _ = roll(
        BanditRollout(init="uniform", **SMALL), byte_tokenizer, lambda r, i: "", QARecord("e", "q", ("a",), "")
    )
    assert isinstance(result, DataError)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="pulls is 0"):
        BanditRollout(pulls=0)
    with pytest.raises(ConfigError, match="top_k is 0"):
        BanditRollout(top_k=0)


def play_with_credit(strategy, tokenizer, answer):
    """The policy's values after the rollout, and those of a UCB1 that is given `credited` rewards by hand."""
    result, _ = roll(strategy, tokenizer, answer)
    chunks = [chunk.of(CONTEXT) for chunk in chunk_spans(CONTEXT, tokenizer, 60, 0, 1)]
    if strategy.credit == "lexical":
        support = LexicalSupport(chunks)
    else:
        support = EmbeddingSupport(Similarity().encode(chunks), Similarity())
    reference = UCB1(np.random.default_rng(derive_seed(0, "q7", "init")).random(len(chunks)), 2)
    for response in result.responses:
        arms = reference.select()
        assert response.read == tuple(arms)
        reference.update(arms, credited(learned(response), support.of(response.text, arms)))
    return result, reference


@pytest.mark.parametrize("credit", ["lexical", "embedding"])
def test_credit_by_arm_pays_the_chunk_that_holds_the_answer_and_not_its_neighbor(byte_tokenizer, credit):
    strategy = BanditRollout(init="uniform", credit=credit, **SMALL)
    result, reference = play_with_credit(strategy, byte_tokenizer, right_when_shown(byte_tokenizer))
    assert result.trace["values"] == pytest.approx(reference.values)
    shared, _ = roll(BanditRollout(init="uniform", **SMALL), byte_tokenizer, right_when_shown(byte_tokenizer))
    gold = result.trace["evidence"].index(1)
    paid = next(r for r in result.responses if learned(r) == 1.0)
    (neighbor,) = set(paid.read) - {gold}
    first = next(r for r in shared.responses if learned(r) == 1.0)
    assert first.read == paid.read, "until the first reward credit changes nothing"
    assert result.trace["values"][gold] >= 0.5
    assert result.trace["values"][neighbor] < shared.trace["values"][neighbor]


def test_several_samples_of_a_pull_are_credited_one_by_one(byte_tokenizer):
    strategy = BanditRollout(init="uniform", credit="lexical", samples_per_pull=2, **{**SMALL, "pulls": 1, "top_k": 12})
    result, _ = roll(strategy, byte_tokenizer, lambda request, i: " river C" if i == 0 else " river D")
    chunks = [chunk.of(CONTEXT) for chunk in chunk_spans(CONTEXT, byte_tokenizer, 60, 0, 1)]
    support = LexicalSupport(chunks)
    arms = range(len(chunks))
    right, wrong = (learned(r) for r in result.responses)
    expected = (
        credited(right, support.of("Answer: river C", arms)) + credited(wrong, support.of("Answer: river D", arms))
    ) / 2
    start = np.random.default_rng(derive_seed(0, "q7", "init")).random(len(chunks))
    assert result.trace["values"] == pytest.approx(start + (expected - start) / 2)


def test_an_adaptive_record_stops_at_its_first_perfect_pair(byte_tokenizer):
    answer = right_when_shown(byte_tokenizer)
    fixed, _ = roll(BanditRollout(init="uniform", **SMALL), byte_tokenizer, answer)
    adaptive, engine = roll(BanditRollout(init="uniform", budget="adaptive", **SMALL), byte_tokenizer, answer)
    n = len(adaptive.responses)
    assert adaptive.stopped == "separated"
    assert 1 < n < 9
    assert adaptive.responses == fixed.responses[:n], "what is asked is what a fixed budget asks, only less of it"
    assert len(engine.asked) == n
    rewards = [learned(r) for r in adaptive.responses]
    assert max(rewards) - min(rewards) == 1.0
    assert max(rewards[:-1]) - min(rewards[:-1]) < 1.0


def test_the_pair_reward_decides_and_not_the_reward_that_the_bandit_learns_from(byte_tokenizer):
    # "river C" in the reasoning pays the bandit; the stated answer is wrong both times, so there is no pair.
    def answer(request, i):
        return " I cannot say. Answer: none" if request.id == "q7/0" else " maybe river C. Answer: none"

    strategy = BanditRollout(
        init="uniform", budget="adaptive", early_stopping=EarlyStopping(margin=0.5, patience=4), **SMALL
    )
    result, _ = roll(strategy, byte_tokenizer, answer)
    assert [learned(r) for r in result.responses] == [0.0, 0.5, 0.5, 0.5]
    assert result.stopped == "no_signal"


def test_empty_answers_settle_nothing(byte_tokenizer):
    strategy = BanditRollout(
        init="uniform", budget="adaptive", early_stopping=EarlyStopping(patience=3), **{**SMALL, "pulls": 5}
    )
    engine = ScriptedEngine(lambda request, i: "" if request.id == "q7/0" else "Answer: river C")
    plain = StrategyContext(byte_tokenizer, ReasonThenAnswer(), Similarity(), 4096, 0, (AnswerMatch(),))
    ((_, result),) = Scheduler({"policy": engine}).run([("q7", strategy.roll(RECORD, plain))])
    assert result.responses[0].text == ""
    assert result.stopped == "no_signal", "one empty and two right answers make no pair"


def test_a_stopped_record_is_replayed_from_the_journal_for_nothing(byte_tokenizer, tmp_path):
    strategy = BanditRollout(init="uniform", budget="adaptive", **SMALL)
    results = []
    for _ in range(2):
        engine = ScriptedEngine(right_when_shown(byte_tokenizer))
        journal = Journal(tmp_path / "completions.jsonl", "f" * 16)
        ((_, result),) = Scheduler({"policy": engine}, journal).run(
            [("q7", strategy.roll(RECORD, context(byte_tokenizer)))]
        )
        journal.close()
        results.append((result, len(engine.asked)))
    (first, asked), (second, asked_again) = results
    assert first == second
    assert asked > 0
    assert asked_again == 0


def test_settings_of_credit_and_budget_are_checked():
    with pytest.raises(ConfigError, match="credit is 'lexcial'"):
        BanditRollout(credit="lexcial")
    with pytest.raises(ConfigError, match="budget is 'free'"):
        BanditRollout(budget="free")
    assert BanditRollout().credit == "shared"
    assert BanditRollout().budget == "fixed"
