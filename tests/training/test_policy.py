from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from longmab_pl.errors import ConfigError
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import check_packing, completion_logps
from longmab_pl.training.policy import LoRASettings, load_policy

TinyModel = Callable[..., str]


def test_only_the_adapter_learns_and_it_is_float32(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), LoRASettings(r=4, alpha=6, rslora=True))
    trained = {n: p for n, p in policy.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    # 2 layers x 7 linear layers x (A, B); the output head is left out.
    assert len(trained) == 28
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert policy.training
    layer = policy.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == pytest.approx(6 / 4**0.5)


def test_chosen_modules(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), LoRASettings(target_modules=["q_proj", "v_proj"], dora=True))
    names = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n, p in policy.named_parameters() if p.requires_grad}
    assert names == {"q_proj", "v_proj"}
    assert any("magnitude" in n for n, p in policy.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"r": 0}, "r"),
        ({"alpha": 0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"target_modules": []}, "target_modules"),
    ],
)
def test_bad_lora_settings_are_named(settings: dict, field: str) -> None:
    with pytest.raises(ConfigError, match=f"lora.{field}"):
        LoRASettings(**settings)


def test_modules_that_are_not_there(tiny_model: TinyModel) -> None:
    with pytest.raises(ConfigError, match=r"lora\.target_modules"):
        load_policy(tiny_model("llama"), LoRASettings(target_modules=["query_key_value"]))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_policy(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="does not exist"):
        load_tokenizer("./nowhere")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load_policy(str(tmp_path))


def test_a_hub_name_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"cannot load model 'nobody/no-such-model'.*this machine can reach"):
        load_policy("nobody/no-such-model")


def test_missing_weights_are_refused_not_made_up(tiny_model: TinyModel) -> None:
    folder = tiny_model("llama")
    config = json.loads((Path(folder) / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (Path(folder) / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"lacks or misshapes 9 weights.*layers\.2"):
        load_policy(folder)


def test_tokenizer_needs_a_chat_template_and_gets_a_pad_token(tiny_model: TinyModel) -> None:
    folder = tiny_model("llama")
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0, "<eos>": 1}, unk_token="[UNK]")), eos_token="<eos>"
    )
    made.save_pretrained(folder)
    with pytest.raises(ConfigError, match="no chat template"):
        load_tokenizer(folder)
    made.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    made.save_pretrained(folder)
    assert load_tokenizer(folder).pad_token_id == 1


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_nf4_trains_on_this_machine(tiny_model: TinyModel, checkpointing: bool) -> None:
    from bitsandbytes.nn import Params4bit

    folder = tiny_model("llama", hidden_size=128, intermediate_size=256, head_dim=32, initializer_range=0.05)
    policy = load_policy(folder, quantization="nf4", dtype="bf16", gradient_checkpointing=checkpointing)
    linear = policy.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    assert isinstance(linear, Params4bit)
    assert linear.quant_state.nested
    assert check_packing(policy) == "packed"
    batch = collate([PreferenceExample("p", tuple(range(3, 60)), tuple(range(60, 80)), tuple(range(90, 99)))])
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    margins = []
    for _ in range(6):
        logps = completion_logps(policy, batch)
        margins.append(float((logps.chosen - logps.rejected).detach()))
        optimizer.zero_grad()
        torch.nn.functional.softplus(logps.rejected - logps.chosen).sum().backward()
        assert all(p.grad is not None for p in policy.parameters() if p.requires_grad)
        optimizer.step()
    assert margins[-1] > margins[0] + 1


def test_gradients_under_nf4_are_the_same_after_a_pass_in_eval_mode(tiny_model: TinyModel) -> None:
    """bitsandbytes packs weights in eval mode on CPUs with bf16 instructions, for a kernel without a backward pass."""
    from longmab_pl.training.batch import PreferenceExample, collate
    from longmab_pl.training.logprobs import check_packing, completion_logps

    folder = tiny_model("llama", num_hidden_layers=2)
    batch = collate([PreferenceExample("a", tuple(range(10, 40)), tuple(range(40, 50)), tuple(range(50, 60)))])
    found = []
    for evaluated in (False, True):
        policy = load_policy(folder, LoRASettings(r=2), "nf4", "bf16", gradient_checkpointing=False)
        torch.manual_seed(0)
        for parameter in policy.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.05)
        if evaluated:
            check_packing(policy)
        logps = completion_logps(policy, batch)
        (logps.chosen - logps.rejected).sum().backward()
        found.append([p.grad for p in policy.parameters() if p.requires_grad])
    for first, second in zip(*found, strict=True):
        assert first is not None
        assert second is not None
        torch.testing.assert_close(first, second)
