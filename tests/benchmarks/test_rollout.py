"""The lockstep scheduler that the rollout benchmark compares with."""

from __future__ import annotations

from rollout import LockstepScheduler

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling


def chain(key, steps):
    for t in range(steps):
        yield [Request(f"{key}/{t}", (1,), Sampling(max_tokens=8))]
    return key


def test_all_records_wait_for_the_slowest_answer():
    engine = ScriptedEngine(lambda request, i: request.id, concurrency=8, jitter=9)
    results = dict(LockstepScheduler(engine).run((f"r{i}", chain(f"r{i}", 6)) for i in range(64)))
    assert len(results) == 64
    assert len(engine.asked) == 64 * 6
    assert sum(engine.occupancy) / len(engine.occupancy) / 8 < 0.7
