"""A small run as a config file: questions about rivers, scripted answers, a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = """
trainer: {{accelerator: cpu, default_root_dir: {run}, logger: false, enable_progress_bar: false}}
report: {{picture: false, page: false}}
model: {{model: {model}, dtype: fp32, gradient_checkpointing: false, learning_rate: 1.0e-2, lora: {{r: 2, alpha: 4}}}}
data:
  class_path: longmab_pl.RolloutDataModule
  init_args:
    train: {train}
    rounds: 1
    verify_sync: false
    engine: {{class_path: longmab_pl.engines.ScriptedEngine, init_args: {{answer: scripted_answers.numbered}}}}
    prompt_format: longmab_pl.prompts.DirectAnswer
    strategy:
      class_path: longmab_pl.strategies.BanditRollout
      init_args:
        pulls: 4
        top_k: 2
        init: uniform
        chunking: {{chunk_size: 60, overlap: 0, min_sentences: 1}}
        sampling: {{max_tokens: 16, presence_penalty: 0.0}}
    pairs: {{class_path: longmab_pl.pairs.BestWorst, init_args: {{max_prompt_length: 500}}}}
"""


def write_config(folder: Path, model: str, records: int = 6) -> Path:
    """Write records and the config of a one-round run in `folder / "run"`, and return the config's path."""
    train = folder / "qa.jsonl"
    with train.open("w") as f:
        for i in range(records):
            context = " ".join(f"Place {j} lies on river number {i * 10 + j}." for j in range(8))
            row = {"id": i, "input": f"Which river at {i}?", "answer": f"number {i * 10}", "context": context}
            f.write(json.dumps(row) + "\n")
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(run=folder / "run", model=model, train=train))
    return path
