"""The benchmark of nested pairs computes the same thing in every way."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "step_pairs.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("step_pairs_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_all_ways_have_the_same_loss_and_gradients_for_fewer_tokens(bench, tiny_model, capsys):
    results = bench.main(["--model", tiny_model, "--steps", "3", "--block", "16", "--prompt", "10", "--repeats", "1"])
    assert {name: r["tokens"] for name, r in results.items()} == {"tree": 106, "pairs": 174, "plain": 252}
    for result in results.values():
        assert result["loss"] == pytest.approx(results["plain"]["loss"], rel=1e-5)
        assert result["gradient_difference"] < 1e-5
    assert "| tree | 106 | 0.42 |" in capsys.readouterr().out
