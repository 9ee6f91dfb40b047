"""The studies of bandits run, and their intervals are what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bandits_real as real
import numpy as np
import pytest

STUDIES = Path(__file__).parents[2] / "studies"


def test_the_simulation_writes_every_policy_with_intervals_around_its_means(tmp_path):
    out = tmp_path / "bandits.json"
    command = [sys.executable, str(STUDIES / "bandits.py"), "--records", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    policies = json.loads(out.read_text())["all"]["policies"]
    assert {"ucb1", "thompson_beta, prior 30"} <= policies.keys()
    for row in policies.values():
        for quantity in row.values():
            assert quantity["low"] <= quantity["mean"] <= quantity["high"]
    rate = policies["ucb1"]["usable_30"]
    assert 0 <= rate["low"] < rate["high"] <= 1, "Wilson's interval of a share stays in 0..1"


def test_differences_of_the_real_study_are_paired():
    generator = np.random.default_rng(0)
    responses = generator.uniform(5, 30, 40)
    usable = generator.uniform(0, 1, 40)
    one, other = real.ratio(usable + 0.5 * responses, responses), real.ratio(usable, responses)
    alone, paired = real.interval(other, 40), real.interval(real.difference(one, other), 40)
    assert paired["mean"] == pytest.approx(0.5)
    assert paired["high"] - paired["low"] == pytest.approx(0, abs=1e-9), "the records' own variance cancels"
    assert alone["mean"] == pytest.approx(usable.sum() / responses.sum())
    assert alone["low"] < alone["mean"] < alone["high"]


def test_full_context_plays_everything_whatever_was_learned():
    policy = real.PLAYERS["full_context"]["bandit"].start([0.1, 0.9, 0.5], 1, 0)
    for _ in range(4):
        assert policy.select() == [0, 1, 2]
        policy.update([0, 1, 2], 0.5)
