"""The benchmark of nested pairs computes the same thing in every way."""

from __future__ import annotations

import pytest
import step_pairs


def test_all_ways_have_the_same_loss_and_gradients_for_fewer_tokens(tiny_model, capsys):
    results = step_pairs.main(
        ["--model", tiny_model, "--steps", "3", "--block", "16", "--prompt", "10", "--repeats", "1"]
    )
    assert {name: r["tokens"] for name, r in results.items()} == {"tree": 106, "pairs": 174, "plain": 252}
    for result in results.values():
        assert result["loss"] == pytest.approx(results["plain"]["loss"], rel=1e-5)
        assert result["gradient_difference"] < 1e-5
    assert "| tree | 106 | 0.42 |" in capsys.readouterr().out
