"""What is refused before vLLM is started in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.engines.vllm.launch import LaunchSettings, checkpoint_quantization
from longmab_pl.engines.vllm.merge import merged_weights
from longmab_pl.errors import ConfigError, EngineError


@pytest.fixture(scope="module")
def nf4_model(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose weights are stored in 4 bits."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, quantization_config=settings, device_map={"": "cpu"})
    folder = tmp_path_factory.mktemp("nf4")
    model.save_pretrained(folder)
    return str(folder)


def settings_of(engine: VLLMEngine) -> LaunchSettings:
    return engine.settings


def test_quantized_weights_are_never_merged(nf4_model: str, tiny_model: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    assert checkpoint_quantization(nf4_model) == "bitsandbytes"
    assert checkpoint_quantization(tiny_model) is None
    assert checkpoint_quantization(str(tmp_path / "nothing")) is None

    assert settings_of(VLLMEngine()).merges(on_cpu=True)
    assert not settings_of(VLLMEngine()).merges(on_cpu=False)
    assert not settings_of(VLLMEngine()).merges(on_cpu=True, quantized="bitsandbytes")
    assert not settings_of(VLLMEngine(quantization="bitsandbytes")).merges(on_cpu=True)
    with pytest.raises(ConfigError, match="adapter_sync: lora"):
        VLLMEngine(adapter_sync="merge", quantization="bitsandbytes")
    with pytest.raises(ConfigError, match=r"quantized \(bitsandbytes\).*adapter_sync: lora"):
        VLLMEngine(adapter_sync="merge").start(nf4_model)

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "adapter")
    assert merged_weights(tiny_model, tmp_path / "adapter", "float32")
    with pytest.raises(EngineError, match="never merged"):
        merged_weights(nf4_model, tmp_path / "adapter", "float32")


def test_one_of_several_training_processes_is_sent_to_the_server_engine(tiny_model: str) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    engine = VLLMEngine()
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        with pytest.raises(EngineError, match=r"one of 2 training processes.*ServerEngine.*docs/engines\.md"):
            engine.start(tiny_model)
        assert not engine.started
    finally:
        torch.distributed.destroy_process_group()


def test_training_on_another_gpu_is_sent_to_the_first(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_available", True), ("is_initialized", True), ("current_device", 1)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    with pytest.raises(EngineError, match=r"on GPU 1.*put CUDA_VISIBLE_DEVICES=1 in front of the command"):
        VLLMEngine().start(tiny_model)


def test_a_config_that_cannot_be_read_is_left_to_vllm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobody-knows"}))
    assert checkpoint_quantization(str(tmp_path)) is None
