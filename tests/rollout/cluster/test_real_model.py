"""The bundled model with an adapter, in the worker of a cluster."""

from __future__ import annotations

import json

import pytest
from small_config import write_config
from tiny_adapters import save_adapter

pytest.importorskip("ray", reason="Ray is not installed")

from longmab_pl.cli.main import main
from longmab_pl.models.hub import resolve_model

MODEL = "bundled:smollm2-135m-instruct"


def responses(run) -> list[list[str]]:
    """The texts of a run's first round, record by record."""
    (round_folder,) = (run / "rounds").iterdir()
    rows = (round_folder / "rollouts.jsonl").read_text().splitlines()
    return [[response["text"] for response in json.loads(row)["responses"]] for row in rows]


@pytest.mark.slow
def test_a_worker_answers_as_this_process_does_with_the_adapter(tmp_path):
    adapter = save_adapter(tmp_path / "adapter", resolve_model(MODEL))
    command = ["rollout", "--config", str(write_config(tmp_path, MODEL, records=2)), "--data.strategy.pulls", "2"]
    command += ["--data.engine", "TransformersEngine", "--data.engine.concurrency", "1"]
    main([*command, "--output", str(tmp_path / "base")])
    main([*command, "--output", str(tmp_path / "one"), "--adapter", str(adapter)])
    main([*command, "--output", str(tmp_path / "two"), "--adapter", str(adapter), "--ray", "--workers", "1"])
    assert responses(tmp_path / "two") == responses(tmp_path / "one")
    assert responses(tmp_path / "two") != responses(tmp_path / "base")
