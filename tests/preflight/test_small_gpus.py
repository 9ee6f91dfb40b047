"""The configs for small GPUs fit the models that they name, on the smallest card of their class."""

from __future__ import annotations

from functools import cache

import pytest
from transformers import AutoConfig

from longmab_pl import DPOModule, RolloutDataModule
from longmab_pl.cli.config_files import config_folder
from longmab_pl.cli.settings.merged import merged_config
from longmab_pl.engines import VLLMEngine
from longmab_pl.pairs import BestWorst
from longmab_pl.preflight.advice import judge
from longmab_pl.preflight.budget import batch_tokens, gpu_budget
from longmab_pl.preflight.inputs import PUBLISHED
from longmab_pl.preflight.memory_model import GIB, ModelSize, model_size
from longmab_pl.training import LoRASettings

PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
}
"""Published numbers of parameters."""

USABLE = {"gpu-8gb": 7.6, "gpu-12gb": 11.6, "gpu-16gb": 14.6}
"""GiB that the smallest card of each class shows (the last: T4 with error correction)."""

EMBEDDER = 0.05 * GIB


@cache
def size_of(name: str) -> ModelSize:
    kind, dimensions = PUBLISHED[name]
    return model_size(AutoConfig.for_model(kind, **dimensions), LoRASettings())


def named_models(config: str) -> list[str]:
    text = (config_folder() / f"{config}.yaml").read_text()
    return [name for name in PARAMETERS if name in text]


@pytest.mark.parametrize("name", PARAMETERS)
def test_dimensions_are_the_published_ones(name):
    assert size_of(name).parameters == PARAMETERS[name]


@pytest.mark.parametrize(("config", "model"), [(config, model) for config in USABLE for model in named_models(config)])
def test_every_model_that_a_config_names_fits(config, model):
    given = merged_config(["--config", str(config_folder() / f"{config}.yaml")])
    size = size_of(model)
    longest = given.value("data", "pairs", "max_prompt_length")
    served = given.value("data", "engine", "max_model_len")
    assert size.context is not None
    assert max(longest, served) <= size.context
    module = DPOModule(model, quantization="nf4", optimizer="paged_adamw_8bit")
    engine = VLLMEngine(**given.value("data", "engine").inner)
    data = RolloutDataModule(engine, pairs=BestWorst(max_prompt_length=longest))
    total = USABLE[config] * GIB
    tokens = batch_tokens(data)
    assert tokens is not None
    budget = gpu_budget(module, engine, size, tokens, total, total, EMBEDDER)
    assert [finding.text for finding in judge(budget, module, data) if finding.level != "ok"] == []


def test_the_configs_name_every_small_model():
    assert set(PARAMETERS) == {model for config in USABLE for model in named_models(config)}
