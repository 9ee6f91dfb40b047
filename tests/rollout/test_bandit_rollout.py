from __future__ import annotations

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from longmab_pl.bandit import UCB1
from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.records import QARecord
from longmab_pl.engine.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.reward.answer_match import rollout_reward
from longmab_pl.rollout.bandit_rollout import BanditRollout, Chunking
from longmab_pl.rollout.probe import Probe
from longmab_pl.rollout.reading import Direct
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.rollout.strategy import Tools, derive_seed

CONTEXT = " ".join(f"Sentence number {i} speaks of river {chr(65 + i)}. It is long." for i in range(12))
RECORD = QARecord("q7", "Which river?", ("river C",), CONTEXT)
SMALL = {"chunking": Chunking(60, 0, 1), "sampling": Sampling(max_tokens=8), "top_k": 2, "rounds": 9}


class Likeness:
    """Stands in for the embedder: a text's vector counts the rivers A to L in it, so that likeness is countable."""

    def encode(self, texts):
        rows = np.array([[t.count(f"river {chr(65 + i)}") + 0.01 for i in range(12)] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_query(self, text):
        return self.encode([text])[0]


def tools(tokenizer, seed=0, max_model_len=4096):
    return Tools(tokenizer, Direct(), Likeness(), max_model_len, seed)


def roll(strategy, tokenizer, answer, record=RECORD, seed=0, max_model_len=4096):
    engine = ScriptedEngine(answer, max_model_len=max_model_len)
    ((_, result),) = Scheduler(engine).run([(record.id, strategy.roll(record, tools(tokenizer, seed, max_model_len)))])
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
    assert result.arms == len(chunks) > 6
    start = np.random.default_rng(derive_seed(0, "q7", "init")).random(len(chunks))
    reference = UCB1(start, 2)
    for t, response in enumerate(result.responses):
        arms = reference.select()
        assert response.arms == tuple(arms)
        assert response.pull == t
        shown = "\n".join(chunks[a].of(CONTEXT) for a in arms)
        assert f"Text:\n{shown}\n\nQuestion: Which river?" in byte_tokenizer.decode(list(engine.asked[t].prompt_ids))
        assert response.reward == rollout_reward(response.text, ["river C"])
        reference.update(arms, response.reward)
    assert result.values == pytest.approx(reference.values)
    assert sum(result.pulls) == 9 * 2
    assert {r.reward for r in result.responses} == {0.0, 1.0}
    assert [c for c, e in enumerate(result.evidence) if e] == [
        c for c, k in enumerate(chunks) if "river C" in k.of(CONTEXT)
    ]


def test_the_probe_points_the_first_pull_at_the_evidence(byte_tokenizer):
    def answer(request, i):
        if request.id.endswith("/probe"):
            return "The text speaks of river C. The answer is river C."
        return right_when_shown(byte_tokenizer)(request, i)

    result, engine = roll(BanditRollout(init="probe", **SMALL), byte_tokenizer, answer)
    assert result.probe == "probe"
    assert engine.asked[0].id == "q7/probe"
    assert result.responses[0].reward == 1.0
    assert any(result.evidence[a] for a in result.responses[0].arms)
    assert len(engine.asked) == 10


@pytest.mark.parametrize(("on_reject", "status", "asked"), [("drop", "probe_rejected", 1), ("query", "ok", 10)])
def test_a_rejected_probe_drops_the_record_or_starts_from_the_question(byte_tokenizer, on_reject, status, asked):
    strategy = BanditRollout(init="probe", probe=Probe(on_reject=on_reject, sampling=Sampling(max_tokens=8)), **SMALL)
    result, engine = roll(strategy, byte_tokenizer, lambda request, i: "I cannot say.")
    assert result.status == status
    assert len(engine.asked) == asked
    if status == "ok":
        assert result.probe == "query"


def test_several_samples_of_a_pull_share_its_prompt_and_update_by_their_mean(byte_tokenizer):
    strategy = BanditRollout(init="uniform", samples_per_pull=2, **SMALL)
    result, engine = roll(strategy, byte_tokenizer, lambda request, i: " river C" if i == 0 else " none")
    assert len(engine.asked) == 9
    assert len(result.responses) == 18
    assert [r.reward for r in result.responses[:2]] == [1.0, 0.0]
    played = [v for v, n in zip(result.values, result.pulls, strict=True) if n > 1]
    assert all(0.3 < v < 0.8 for v in played), "the mean of 1 and 0 pulls every value towards a half"


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
    assert all(r.arms == (0,) for r in result.responses)


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
    with pytest.raises(ConfigError, match="rounds is 0"):
        BanditRollout(rounds=0)
    with pytest.raises(ConfigError, match="top_k is 0"):
        BanditRollout(top_k=0)
