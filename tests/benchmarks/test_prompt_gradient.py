"""The benchmark of the detached prompt computes the same loss, and another gradient."""

from __future__ import annotations

import prompt_gradient
import pytest


def test_both_ways_have_the_same_loss(tiny_model, capsys):
    found = prompt_gradient.main(["--model", tiny_model, "--prompts", "120", "--repeats", "1"])["120"]
    assert found["detached"]["loss"] == pytest.approx(found["exact"]["loss"], rel=1e-5)
    assert 0 < found["cosine"] < 1
    assert "| 120 | detached |" in capsys.readouterr().out
