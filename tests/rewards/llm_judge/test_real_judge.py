"""The bundled model as policy and, with its adapter off, as judge: one engine, replies under JSON schemas."""

from __future__ import annotations

import json

import pytest

from longmab_pl.engines import VLLMEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards import AnswerMatch, LLMJudge
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS
from longmab_pl.rewards.llm_judge.replies import ReplyLimits
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.session import NamedEngine, RecordSelection, RolloutSession
from longmab_pl.strategies.best_of_n import BestOfN

MODEL = "bundled:smollm2-135m-instruct"


@pytest.mark.slow
def test_the_bundled_model_judges_with_its_adapter_off(tmp_path):
    sampling = Sampling(temperature=1.0, top_p=1.0, presence_penalty=0.0, max_tokens=16)
    judge = LLMJudge(evidence_chunks=2, reply_tokens=ReplyLimits(verdict=64, notes=64, statements=64))
    plan = RoundPlan(BestOfN(3, sampling), (judge, AnswerMatch()), DirectAnswer(), BestWorst(700), Embedder())
    engine = VLLMEngine(concurrency=8, max_model_len=2048, kv_cache_gb=0.5)
    selection = RecordSelection("shipped:synthetic_train", limit=1)
    session = RolloutSession(plan, selection, engine, {"judge": NamedEngine()})
    session.load(MODEL)
    expected = {(cost.engine, cost.purpose): cost.calls for cost in session.expected_costs(0)}
    making = session.new_round(tmp_path, 0, MODEL, "base")
    try:
        engine.start(resolve_model(MODEL))
        session.roll_out(making, "round 1", adapter=None)
    finally:
        session.close()
    summary = making.finish("base")
    assert summary["failures"] == []
    (rollout,) = [json.loads(line) for line in making.store.rollouts.read_text().splitlines()]
    scores = [response["scores"]["llm_judge"] for response in rollout["responses"]]
    assert len(scores) == 3
    unparsable = [score["excluded"] for score in scores if score["excluded"]]
    assert len(unparsable) <= 1, "under a schema, replies that cannot be parsed are rare"
    for score in scores:
        if score["excluded"] is None:
            assert all(0 <= score["parts"][name] <= 10 for name in DIMENSIONS)
            assert 0 <= score["value"] <= 1
    rows = [json.loads(line) for path in tmp_path.glob("engines/judge-*.jsonl") for line in path.open()][1:]
    assert 0 < len(rows) <= 2 * expected["judge", "llm_judge"]
    replies = [row["texts"][0] for row in rows]
    assert sum(reply.lstrip().startswith("{") for reply in replies) == len(replies)
