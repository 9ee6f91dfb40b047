"""Trees that are killed (SIGKILL) at random moments and continued by the same call."""

from __future__ import annotations

import json
import random

import pytest
from clarifying_model import ClarifyingModel
from killed import SlowEngine, kill_until_complete

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.clarification import ClarificationPairs
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.gold_agreement import GoldAgreement
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.strategies.clarification_tree.strategy import ClarificationTree

SHORT = Sampling(1.0, 0.95, 0.0, 48)
CONTEXT = "".join(f"Place {i} lies on a {'river' if i % 3 == 0 else 'hill'}. " for i in range(8))
RECORDS = [QARecord(f"r{i}", f"Where does it rise in {i}?", ("Lima",), CONTEXT + f"It is {i}.") for i in range(4)]
PLAN = RoundPlan(
    strategy=ClarificationTree(2, 2, 50, 200, 4, clarify=SHORT, verdict=SHORT, answer=SHORT),
    rewards=(GoldAgreement(judge="judge"),),
    prompt_format=DirectAnswer(),
    pairs=ClarificationPairs(),
    embedder=Embedder(),
)
KILLS = 6


def judged(request, i):
    return random.Random(request.id).choice(["Yes.", "No, it does not.", "Perhaps."])


def roll_out(folder, tokenizer, most=float("inf")):
    making = Round(PLAN, RoundFolder(folder, 0, "f"), RECORDS, tokenizer, {})
    journal = making.store.journal
    engines = {
        "policy": SlowEngine(ClarifyingModel(tokenizer), journal, most),
        "judge": SlowEngine(judged, journal, most),
    }
    making.roll_out(engines)
    making.finish("base")
    return making.store, engines


def files(store):
    return {path.name: path.read_text() for path in (store.pairs, store.rollouts)}


@pytest.mark.timeout(120)
def test_kills_at_random_moments_cost_and_change_nothing(tmp_path, byte_tokenizer):
    fresh, engines = roll_out(tmp_path / "fresh", byte_tokenizer)
    assert files(fresh)["pairs.jsonl"].count("\n") >= 4
    asked_once = sum(len(engine.asked) for engine in engines.values())
    store = RoundFolder(tmp_path / "killed", 0, "f")

    def work(most):
        roll_out(tmp_path / "killed", byte_tokenizer, most)

    kill_until_complete(store, work, random.Random(5), kills=KILLS, apart=8000, beyond=4000)
    ids = [json.loads(line)["request_id"] for line in store.journal.read_text().splitlines()[1:]]
    assert len(ids) == len(set(ids)) == asked_once, "a finished completion was asked for again"
    assert files(store) == files(fresh)
