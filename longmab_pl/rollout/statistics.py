"""The numbers of a round that a person watches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from longmab_pl.reward.answer_match import extract_answer
from longmab_pl.rollout.pairs import PreferencePair
from longmab_pl.rollout.strategy import RecordRollout


def pull_entropy(pulls: Sequence[int]) -> float:
    """Entropy of how the pulls were spread over the arms, as a share of its maximum: 1 is even, 0 a single arm."""
    total = sum(pulls)
    if total == 0 or len(pulls) < 2:
        return 0.0
    return -sum(n / total * math.log(n / total) for n in pulls if n) / math.log(len(pulls))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def rollout_statistics(
    rollouts: Sequence[RecordRollout], failed: int, pairs: Sequence[PreferencePair]
) -> dict[str, float]:
    """Round statistics under the names they are logged by (rates in 0..1, rewards in 0..1)."""
    used = [r for r in rollouts if r.status == "ok"]
    responses = [response for r in used for response in r.responses]
    return {
        "rollout/records": float(len(rollouts) + failed),
        "rollout/failed_records": float(failed),
        "rollout/probe_rejected_rate": _mean([float(r.status == "probe_rejected") for r in rollouts]),
        "rollout/responses": float(len(responses)),
        "rollout/reward": _mean([r.reward for r in responses]),
        "rollout/best_reward": _mean([max(x.reward for x in r.responses) for r in used if r.responses]),
        "rollout/usable_pair_rate": len(pairs) / max(len(rollouts) + failed, 1),
        "rollout/answer_format_rate": _mean([float(extract_answer(r.text) is not None) for r in responses]),
        "rollout/truncated_rate": _mean([float(not r.ended) for r in responses]),
        "bandit/pull_entropy": _mean([pull_entropy(r.pulls) for r in used]),
        "pairs/count": float(len(pairs)),
        "pairs/chosen_reward": _mean([p.chosen_reward for p in pairs]),
        "pairs/rejected_reward": _mean([p.rejected_reward for p in pairs]),
        "pairs/margin": _mean([p.chosen_reward - p.rejected_reward for p in pairs]),
    }


def trace(rollout: RecordRollout) -> dict[str, Any]:
    """One record's rollout without its texts, for reports: rewards and arms by pull, final pulls and values."""
    return {
        "record_id": rollout.record_id,
        "status": rollout.status,
        "probe": rollout.probe,
        "arms": rollout.arms,
        "evidence": list(rollout.evidence),
        "pulls": list(rollout.pulls),
        "values": [round(v, 4) for v in rollout.values],
        "responses": [{"pull": r.pull, "arms": list(r.arms), "reward": round(r.reward, 4)} for r in rollout.responses],
    }
