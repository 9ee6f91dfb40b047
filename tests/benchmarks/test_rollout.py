"""The lockstep scheduler that the rollout benchmark compares with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def lockstep():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("rollout_benchmark", FOLDER / "rollout.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module.LockstepScheduler


def chain(key, steps):
    for t in range(steps):
        yield [Request(f"{key}/{t}", (1,), Sampling(max_tokens=8))]
    return key


def test_all_records_wait_for_the_slowest_answer(lockstep):
    engine = ScriptedEngine(lambda request, i: request.id, concurrency=8, jitter=9)
    results = dict(lockstep(engine).run((f"r{i}", chain(f"r{i}", 6)) for i in range(64)))
    assert len(results) == 64
    assert len(engine.asked) == 64 * 6
    assert sum(engine.occupancy) / len(engine.occupancy) / 8 < 0.7
