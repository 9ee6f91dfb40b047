from __future__ import annotations

from longmab_pl.rewards.base import Score
from longmab_pl.rollout.metrics import RoundMetrics
from longmab_pl.strategies.base import RecordRollout, Response


def rollout(name, rewards, stopped="", status="ok"):
    responses = tuple(
        Response(f"Answer: {r}", True, t, (0,), scores={"answer_match": Score(r)}) for t, r in enumerate(rewards)
    )
    return RecordRollout(name, status, responses, stopped=stopped, asked=len(rewards))


class Pair:
    chosen_reward, rejected_reward = 1.0, 0.25


def test_what_an_adaptive_budget_did_to_a_round():
    statistics = RoundMetrics("answer_match")
    statistics.add(rollout("a", [0.25, 1.0], "separated"), [Pair()])
    statistics.add(rollout("b", [0.0] * 5, "no_signal"), [])
    statistics.add(rollout("c", [0.0, 0.5, 0.0], ""), [Pair(), Pair()])
    statistics.add(rollout("d", [], "no_signal", "probe_rejected"), [])
    statistics.add_failures(1)
    found = statistics.result()
    assert found["rollout/records"] == 5
    assert found["rollout/responses"] == 10
    assert found["rollout/separated_rate"] == 0.25
    assert found["rollout/no_signal_rate"] == 0.5
    assert found["rollout/usable_per_1000_responses"] == 200, "records with a pair, however many pairs each has"
    assert found["pairs/count"] == 3
    assert found["pairs/margin"] == 0.75


def test_a_round_without_responses_has_rates_all_the_same():
    assert set(RoundMetrics("answer_match").result().values()) == {0.0}
