"""The evaluation that the GPU configs have on by default."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from longmab_pl.evaluation import RULERSuite

CONFIGS = Path(__file__).parents[2] / "configs"
GPU = [f"{model}-{gb}gb" for model in ("llama-3.1-8b", "qwen2.5-7b") for gb in (24, 48, 80)]


@pytest.mark.parametrize("name", [*GPU, "paper"])
def test_a_gpu_config_evaluates_at_lengths_that_its_engine_takes(name):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    (callback,) = config["trainer"]["callbacks"]
    assert callback["class_path"] == "longmab_pl.callbacks.Evaluation"
    suite = callback["init_args"]["suite"]
    assert suite["class_path"] == "longmab_pl.evaluation.RULERSuite"
    ruler = RULERSuite(**suite["init_args"])
    assert max(ruler.lengths) <= config["data"]["init_args"]["engine"]["init_args"]["max_model_len"]
    assert ruler.samples <= 20, "a sample: an evaluation is a matter of minutes"
