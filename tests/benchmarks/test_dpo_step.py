"""The DPO step's benchmark measures the same thing in every system."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import dpo_step
import pytest


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        # A model with random weights barely prefers anything; at log 2 any two systems would agree.
        patch.setattr(dpo_step, "BETA", 20.0)
        yield dpo_step


@pytest.fixture(scope="module")
def results(bench, tiny_model):
    """All systems on the tiny model, with completions of different lengths (TRL pads them)."""
    cases = [bench.Case(system, tiny_model, "fp32", "cpu", 40, 7, 5, 1, 2) for system in bench.SYSTEMS]
    return [bench.measure(case, tiny_model) for case in cases]


def test_all_systems_have_the_same_losses(bench, results, capsys):
    losses = {r["case"]["system"]: r["losses"] for r in results}
    assert len(losses["trl"]) == 3
    assert losses["packed"] == pytest.approx(losses["trl"], abs=2e-4)
    assert losses["concatenated"] == pytest.approx(losses["trl"], abs=2e-4)
    assert max(abs(loss - 0.693147) for loss in losses["trl"]) > 1e-3
    assert bench.show(results)
    table = capsys.readouterr().out
    assert "| 40+7,5 | packed |" in table
    assert "| 1.77 |" in table, "2 x 40 + 12 tokens over 40 + 12"


def test_different_losses_are_an_error(bench, results, capsys):
    wrong = json.loads(json.dumps(results))
    wrong[0]["losses"][1] += 5e-4
    assert not bench.show(wrong)
    assert "LOSSES DIFFER" in capsys.readouterr().out


def test_a_tiny_models_steps_may_need_no_new_memory(bench, results, capsys):
    assert bench.show([result | {"peak_bytes": 0} for result in results])
    assert "| 0.00 |  |" in capsys.readouterr().out


def test_steps_after_the_warm_up_are_timed(results):
    for result in results:
        assert len(result["seconds"]) == 3
        assert min(result["seconds"]) > 0
        assert result["seconds_per_pair"] == pytest.approx(sum(result["seconds"][1:]) / 2)


def test_cases_in_the_file_are_not_run_again(bench, results, tmp_path, tiny_model, monkeypatch, capsys):
    out = tmp_path / "out.json"
    out.write_text(json.dumps(results))
    monkeypatch.setattr(bench, "measure_apart", lambda *_: pytest.fail("a case was run again"))
    monkeypatch.setattr(sys, "argv", ["dpo_step", "--model", tiny_model, "--pairs", "40+7,5", "--out", str(out)])
    with pytest.raises(SystemExit) as done:
        bench.main()
    assert done.value.code == 0
    assert json.loads(out.read_text()) == results


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_peak_above_what_was_held(bench):
    held = bytearray(50_000_000)
    meter = bench.Meter("cpu")
    meter.begin()
    passing = bytearray(80_000_000)
    passing[::4096] = b"x" * len(passing[::4096])
    del passing
    assert 75e6 < meter.peak() < 120e6
    assert meter.held > len(held)


def test_lengths(bench):
    assert bench.parse_lengths("4096+200") == (4096, 200, 200)
    assert bench.parse_lengths("4096+200,150") == (4096, 200, 150)
    with pytest.raises(argparse.ArgumentTypeError, match="PROMPT"):
        bench.parse_lengths("4096")


def test_stored_references_and_several_pairs_a_step_have_the_same_losses(bench, results, tiny_model, capsys):
    case = replace(bench.Case("packed", tiny_model, "fp32", "cpu", 40, 7, 5, 1, 2), stored=True)
    stored = [bench.measure(replace(case, system=system), tiny_model) for system in ("packed", "trl")]
    for found in stored:
        assert found["losses"] == pytest.approx(results[0]["losses"], abs=2e-4)
    two = [bench.measure(replace(case, system=s, pairs=2), tiny_model) for s in ("packed", "trl")]
    assert two[0]["losses"] == pytest.approx(two[1]["losses"], abs=2e-4)
    assert len(two[0]["losses"]) == 3
    assert bench.show([*stored, *two])
    assert "| 40+7,5, 2 a step, reference stored | trl |" in capsys.readouterr().out
