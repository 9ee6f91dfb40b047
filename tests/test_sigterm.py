"""SIGTERM in the middle of a rollout: the command ends at once as on Ctrl-C, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from longmab_pl.sigterm import sigterm_interrupts

CONFIG = """
trainer: {{accelerator: cpu, default_root_dir: {run}, logger: false, enable_progress_bar: false}}
report: {{picture: false}}
model: {{model: {model}, dtype: fp32, gradient_checkpointing: false, lora: {{r: 2, alpha: 4}}}}
data:
  class_path: longmab_pl.RolloutDataModule
  init_args:
    train: {train}
    rounds: 1
    verify_sync: false
    engine: {{class_path: longmab_pl.engines.ScriptedEngine, init_args: {{answer: slow_answers.slow}}}}
    prompt_format: longmab_pl.prompts.DirectAnswer
    strategy:
      class_path: longmab_pl.strategies.BanditRollout
      init_args:
        pulls: 30
        top_k: 2
        init: uniform
        chunking: {{chunk_size: 60, overlap: 0, min_sentences: 1}}
        sampling: {{max_tokens: 16}}
    pairs: {{class_path: longmab_pl.pairs.BestWorst, init_args: {{max_prompt_length: 500}}}}
"""
SLOW = """
import random, time
def slow(request, i):
    time.sleep(0.02)
    return f" number {random.Random(request.id).randrange(2)}"
"""


def test_sigterm_interrupts_the_block_and_nothing_after_it():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_are_left_alone():
    done = []

    def work():
        with sigterm_interrupts():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", ["rollout", "fit"])
def test_a_rollout_ends_at_once_and_the_same_command_goes_on(tmp_path, tiny_model, command):
    rows = [
        {"id": i, "input": f"Which river at {i}?", "answer": "number 1", "context": f"River number {i}. " * 20}
        for i in range(20)
    ]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "slow_answers.py").write_text(SLOW)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(run=tmp_path / "run", model=tiny_model, train=tmp_path / "qa.jsonl"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    arguments = [sys.executable, "-m", "longmab_pl", command, "--config", str(config)]

    def journalled() -> int:
        return sum(path.read_bytes().count(b"\n") for path in (tmp_path / "run").glob("rounds/*/completions.jsonl"))

    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment)
        while journalled() < 20 and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=120)
    said = Path(tmp_path / "log").read_text()
    assert code in (1, 130), said
    assert "Traceback" not in said
    kept = journalled()
    assert 20 <= kept < 600, "it went on to the end"
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "continued from" in done.stderr
    assert journalled() >= 600
