"""The benchmark of the short-to-long term computes the same thing in both ways."""

from __future__ import annotations

import pytest
import short_to_long


def test_both_ways_have_the_same_loss_for_fewer_tokens(tiny_model, capsys):
    sizes = ["--long", "60", "--short", "20", "--answer", "5", "--repeats", "1"]
    results = short_to_long.main(["--model", tiny_model, *sizes])
    tokens = {name: r["tokens"] for name, r in results.items()}
    # Two pairs share both prompts and the chosen answer; the group has eight responses, two groups share one.
    assert tokens["dpo, packed"] == 60 + 3 * 5
    assert tokens["dpo, plain"] == 3 * (60 + 5)
    assert tokens["short_to_long, packed"] == 60 + 3 * 5 + 20 + 5
    assert tokens["decoupled, packed"] == 60 + 5 + 20 + 3 * 5
    assert tokens["decoupled, plain"] == 60 + 5 + 3 * (20 + 5)
    assert tokens["group, packed"] == 60 + 15 * 5
    for name in short_to_long.LOSSES:
        assert results[f"{name}, packed"]["loss"] == pytest.approx(results[f"{name}, plain"]["loss"], rel=1e-4)
    assert "| decoupled, packed |" in capsys.readouterr().out
