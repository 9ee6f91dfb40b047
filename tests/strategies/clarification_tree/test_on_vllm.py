"""A clarification tree and agentic inference with the bundled model on vLLM: what is sampled is what is trained."""

from __future__ import annotations

import json

import pytest

from longmab_pl.data.readers import read_records
from longmab_pl.engines import VLLMEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.agentic.suite import AgenticSuite
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.pairs.clarification import ClarificationPairs
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.gold_agreement import GoldAgreement
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.strategies.clarification_tree.nodes import Node
from longmab_pl.strategies.clarification_tree.strategy import ClarificationTree
from longmab_pl.training.tokenization import tokenize

pytestmark = pytest.mark.slow

SHORT = Sampling(1.0, 0.95, 0.0, 32)
PLAN = RoundPlan(
    ClarificationTree(2, 1, 64, 256, 2, clarify=SHORT, verdict=SHORT, answer=SHORT),
    (GoldAgreement(),),
    DirectAnswer(),
    ClarificationPairs(max_prompt_length=1536, first_answer=False),
    Embedder(),
)


@pytest.fixture(scope="module")
def engine():
    engine = VLLMEngine(concurrency=16, max_model_len=2048, kv_cache_gb=1.0)
    engine.start(resolve_model("bundled:smollm2-135m-instruct"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_model("bundled:smollm2-135m-instruct"))


def test_labels_follow_the_schema_and_pairs_hold_the_sampled_tokens(engine, tokenizer, tmp_path):
    records = read_records("shipped:multihop_train", limit=4).records
    making = Round(PLAN, RoundFolder(tmp_path, 0, "f"), records, tokenizer, {})
    making.roll_out({"policy": engine})
    making.finish("base")
    rows = [json.loads(line) for line in making.store.rollouts.read_text().splitlines()]
    assert all(row["trace"]["verdicts"]["unreadable"] <= row["trace"]["paragraphs"] for row in rows)
    nodes = {row["record_id"]: [Node.from_json(node) for node in row["trace"]["nodes"]] for row in rows}
    pairs = list(read_round_pairs(making.store.pairs))
    assert pairs, "no record has two answers of different scores"
    for pair in pairs:
        example = tokenize(pair, tokenizer)
        learned = [t for t, counts in zip(example.chosen_ids, example.chosen_mask, strict=True) if counts]
        best = next(node for node in nodes[pair.id] if node.response == pair.origin.chosen_index)
        for turn in best.turns:
            own = list(turn.token_ids)
            assert own
            assert any(learned[i : i + len(own)] == own for i in range(len(learned)))
    journal = [json.loads(line) for line in making.store.journal.read_text().splitlines()[1:]]
    verdicts = [row for row in journal if "/0/verdict/" in row["request_id"]]
    assert sum(row["cached_tokens"] for row in verdicts) > 0.5 * sum(row["prompt_tokens"] for row in verdicts)


def test_five_turns_prefill_the_document_once(engine, tokenizer):
    suite = AgenticSuite(limit=4, sampling=Sampling(0.0, 1.0, 0.0, 32), styles=["agentic"], paragraph_tokens=64)
    result = evaluate(suite.tasks(tokenizer, SuiteContext()), engine, tokenizer, progress=False)
    assert result.tasks["agentic-agentic"].n == 4
    fresh = result.prompt_tokens - result.cached_tokens
    assert result.cached_tokens > 0.6 * result.prompt_tokens
    assert fresh < 1.5 * result.prompt_tokens / 5
