"""Steps of two processes that share every sequence against the steps of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import environment, free_port

TinyModel = Callable[..., str]

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[1] / "support" / "split_steps.py"


def test_losses_and_gradients_are_those_of_one_process(tiny_model: TinyModel, tmp_path: Path) -> None:
    """One start of two processes (gloo) for all cases; packed groups throughout."""
    models = {
        "llama": tiny_model("llama"),
        "one key head": tiny_model("qwen2", num_key_value_heads=1),
        "odd group": tiny_model("llama", hidden_size=96, num_attention_heads=6, num_key_value_heads=2),
        "window": tiny_model("mistral", sliding_window=20),
        "some windows": tiny_model("qwen2", use_sliding_window=True, sliding_window=20, max_window_layers=1),
        "bloom": tiny_model("bloom"),
    }
    out, port = tmp_path / "found.json", free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(rank), "2", port, json.dumps(models), str(out)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    found: dict[str, Any] = json.loads(out.read_text())
    refused = {case: found.pop(case) for case in list(found) if case.startswith("refused")}
    assert len(found) == 12
    for case, differences in found.items():
        assert differences["losses"] < 1e-5, case
        assert differences["gradients"] < 1e-5, case
        block = 128 if case == "FlexAttention" else 2
        padded = -(-differences["all"] // block) * block
        assert differences["tokens"] == padded / 2, f"{case}: each process computes half of the tokens"
    assert "'eager'; set model.attention to auto or sdpa" in refused["refused: llama"]
    assert "BloomForCausalLM cannot take packed pairs exactly" in refused["refused: bloom"]
