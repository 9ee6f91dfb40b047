"""`longmab export` on what real fits left: tiny random model, real DPO steps, scripted answers."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from evaluated_fit import fit, rows, write
from safetensors.torch import load_file

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, Evaluation, RoundReport
from longmab_pl.cli.main import main
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.evaluation import QASuite
from longmab_pl.export.export import DESCRIPTION, describe_adapter, export, find_origin, load_adapter
from longmab_pl.export.merge import MergeFidelity, load_plain, merge
from longmab_pl.training import adapter as adapters
from longmab_pl.training.policy import LoRASettings, load_base, load_policy

STRATEGY = "longmab_pl.strategies.BanditRollout"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    """A run of three rounds, best after the first, with a configuration as the command saves it."""
    folder = tmp_path_factory.mktemp("export") / "run"
    questions = [{**row, "answer": f"river {i}"} for i, row in enumerate(rows(8))]
    suite = QASuite(
        str(write(folder.parent / "eval.jsonl", questions)), sampling=Sampling(temperature=0.0, max_tokens=16)
    )
    fit(
        folder,
        tiny_model,
        write(folder.parent / "train.jsonl", rows(12)),
        Evaluation(suite),
        RoundReport(picture=False),
        AdapterCheckpoint(monitor="eval/qa/f1"),
        AdapterExport(),
    )
    config = {
        "seed_everything": 0,
        "trainer": {"max_epochs": 3, "accumulate_grad_batches": 2, "default_root_dir": str(folder)},
        "model": {"model": tiny_model, "loss": None, "quantization": "none", "learning_rate": 1e-2},
        "data": {
            "class_path": "longmab_pl.RolloutDataModule",
            "init_args": {
                "train": "someone/some_questions:train",
                "strategy": {"class_path": STRATEGY, "init_args": {"rounds": 4, "bandit": {"policy": "ucb1"}}},
                "engine": {
                    "class_path": "longmab_pl.engines.ServerEngine",
                    "init_args": {"api_key": "s3cret"},
                },
                "max_tokens": 24,
            },
        },
    }
    saved = folder / "lightning_logs" / "version_0" / "config.yaml"
    saved.parent.mkdir(parents=True)
    saved.write_text(yaml.safe_dump(config))
    return folder


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(model, text=(5, 9, 33, 70, 8, 120)):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([list(text)])).logits[0]


def read_card(folder):
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_last_adapter_is_the_one_that_training_ended_with(run, tmp_path):
    export(str(run), str(tmp_path), which="last")
    assert same(weights(tmp_path / "adapter"), weights(run / "adapter"))


def test_a_run_is_exported_by_its_best_adapter(run, tmp_path, capsys):
    export(str(run), str(tmp_path))
    assert "best.ckpt (best by checkpoint.monitor)" in capsys.readouterr().out
    found = weights(tmp_path / "adapter")
    assert not same(found, weights(run / "adapter"))
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert same(found, {name.removeprefix("policy.").replace(".default", ""): t for name, t in state.items()})


@pytest.mark.parametrize("source", ["adapter", "checkpoints/last.ckpt"])
def test_parts_of_a_run_are_exported_too(run, tmp_path, source):
    export(str(run / source), str(tmp_path))
    assert same(weights(tmp_path / "adapter"), weights(run / "adapter"))
    assert "on-policy rounds" in read_card(tmp_path / "adapter")[1], "the run around it is found"


def test_adapter_and_merged_model_compute_the_same(run, tmp_path, tiny_model):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(str(run), str(tmp_path), merge=True, dtype="float32")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain = logits(base)
    adapted = logits(PeftModel.from_pretrained(base, str(tmp_path / "adapter")))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    torch.testing.assert_close(logits(merged), adapted, rtol=1e-5, atol=1e-6)
    assert (adapted - plain).abs().max() > 1e-3
    for folder in ("adapter", "merged"):
        assert AutoTokenizer.from_pretrained(tmp_path / folder).chat_template
    assert not (tmp_path / "merged" / "adapter_config.json").exists(), "it would be put on top of itself"


def test_the_command_prints_what_it_wrote_and_what_the_merge_kept(run, tmp_path, capsys):
    main(["export", str(run), str(tmp_path), "--merge", "true"])
    out = capsys.readouterr().out
    assert f"adapter    {tmp_path}/adapter" in out
    assert f"merged     {tmp_path}/merged    bfloat16" in out
    assert "of the adapter's change" in out
    saved = load_file(tmp_path / "merged" / "model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.bfloat16}


def test_the_card_says_data_method_rounds_settings_and_scores(run, tmp_path):
    export(str(run), str(tmp_path), base_model="someone/tiny-chat")
    front, body = read_card(tmp_path / "adapter")
    assert front["base_model"] == "someone/tiny-chat"
    assert front["base_model_relation"] == "adapter"
    assert front["library_name"] == "peft"
    assert front["datasets"] == ["someone/some_questions"]
    assert {"dpo", "lora"} <= set(front["tags"])
    (results,) = front["model-index"]
    scores = {metric["type"]: metric["value"] for result in results["results"] for metric in result["metrics"]}
    result = json.loads((run / "evaluations" / "after-round-1" / "qa" / "result.json").read_text())["tasks"]["qa"]
    assert scores == result["scores"], "the scores of this adapter, not of another"
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/tiny-chat"

    (own,) = [line for line in body.splitlines() if "**this one**" in line]
    assert own.startswith("| after round 1 ")
    assert f"{result['scores']['f1']:.1f} [" in own
    assert "| before training |" in body
    summary = json.loads(next((run / "rounds").glob("000-*/round.json")).read_text())["statistics"]
    assert f"| 1 | {summary['rollout/records']:.0f} | {summary['rollout/responses']:.0f} |" in body
    assert f"{summary['pairs/count']:.0f} pairs" in body
    assert "1 on-policy round " in body, "later rounds had no part in the best adapter"
    assert "`BanditRollout`" in body
    assert "`ucb1`" in body
    assert "`SigmoidDPO`: Direct preference optimization (https://arxiv.org/abs/2305.18290" in body
    assert "learning_rate: 0.01" in body
    assert "max_tokens: 24" in body


def test_the_card_names_no_secret_and_no_folder_of_the_training_machine(run, tmp_path):
    export(str(run), str(tmp_path), merge=True)
    for folder in ("adapter", "merged"):
        text = (tmp_path / folder / "README.md").read_text()
        assert "s3cret" not in text
        assert str(run.parent.parent) not in text


def test_the_card_of_a_finished_run_has_scores_and_rounds(run):
    front, body = read_card(run / "adapter")
    assert front["library_name"] == "peft"
    assert "3 on-policy rounds" in body
    assert "More Information Needed" not in body
    (own,) = [line for line in body.splitlines() if "**this one**" in line]
    assert own.startswith("| after round 3 ")


@pytest.fixture
def policy(tiny_model):
    """A policy with a random adapter in the tiny model."""

    def make(scale=0.05, **lora):
        policy = load_policy(tiny_model, LoRASettings(r=2, alpha=4, **lora), dtype="fp32")
        torch.manual_seed(0)
        for name, parameter in policy.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=scale)
        return policy.eval()

    return make


TEXTS = [[5, 9, 33, 70, 8, 120, 77], [100, 3, 3, 60, 200]]


@pytest.mark.parametrize("lora", [{}, {"rslora": True}, {"dora": True}])
def test_kinds_of_lora_merge_exactly(policy, tiny_model, tmp_path, lora):
    trained = policy(**lora)
    expected = logits(trained)
    adapters.save_adapter(trained, tmp_path / "adapter", tiny_model)
    merged, kept = merge(load_plain(tiny_model, tmp_path / "adapter"), "float32", TEXTS)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-5)
    assert kept.share == pytest.approx(1, abs=1e-3)
    assert kept.error < 1e-3
    assert kept.tokens == 12


def test_what_rounding_takes_from_a_young_adapter_is_measured(policy, tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    # Only where the base's own weights are bf16 is rounding all that the merge changes.
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")

    def kept(scale):
        adapters.save_adapter(policy(scale), tmp_path / f"{scale}", tiny_model)
        merged, kept = merge(load_plain(str(tmp_path / "base"), tmp_path / f"{scale}"), "bfloat16", TEXTS)
        assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
        return kept

    young, grown = kept(1e-6), kept(0.5)
    assert young.share < 0.5
    assert grown.share == pytest.approx(1, abs=0.05)
    assert grown.error < 0.1
    assert young.change < grown.change


def test_a_lossy_merge_says_what_to_do_instead():
    from longmab_pl.export.export import rounding_advice

    assert rounding_advice(MergeFidelity(0.99, 0.1, 0.5, 4, 100), "bfloat16") == ""
    advice = rounding_advice(MergeFidelity(0.33, 0.8, 0.01, 4, 100), "bfloat16")
    assert "33% of the adapter's change" in advice
    assert "--dtype float32" in advice


def test_the_frozen_reference_is_left_out(policy, tiny_model, tmp_path):
    trained = policy()
    wanted = {n: p.detach().clone() for n, p in trained.named_parameters() if ".default." in n}
    adapters.add_reference(trained)
    state = {f"policy.{n}": p for n, p in trained.named_parameters() if ".lora_" in n}
    assert any(".reference." in name for name in state)
    path = tmp_path / "some.ckpt"
    torch.save({"state_dict": state, "global_step": 7, DESCRIPTION: describe_adapter(trained, tiny_model)}, path)
    found = load_adapter(find_origin(path))
    assert found.step == 7
    assert same({n: p.detach() for n, p in found.policy.named_parameters() if ".lora_" in n}, wanted)


def test_a_checkpoint_with_a_tensor_missing_is_refused(policy, tiny_model, tmp_path):
    trained = policy()
    state = {f"policy.{n}": p for n, p in trained.named_parameters() if ".lora_" in n}
    state.pop(next(iter(state)))
    path = tmp_path / "some.ckpt"
    torch.save({"state_dict": state, "global_step": 7, DESCRIPTION: describe_adapter(trained, tiny_model)}, path)
    with pytest.raises(LongMabError, match="1 tensors are missing"):
        export(str(path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_shared_weight_is_never_merged_into(tiny_model, tmp_path):
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tied")
    config = LoRASettings(target_modules=["lm_head"]).to_peft()
    policy = get_peft_model(load_base(str(tmp_path / "tied"), dtype="fp32"), config)
    adapters.save_adapter(policy, tmp_path / "adapter", str(tmp_path / "tied"))
    with pytest.raises(ConfigError, match="tied embeddings"):
        merge(load_plain(str(tmp_path / "tied"), tmp_path / "adapter"), "float32", TEXTS)


def test_a_quantized_base_is_never_merged_into(tiny_model, policy, tmp_path):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantized = AutoModelForCausalLM.from_pretrained(
        tiny_model, quantization_config=BitsAndBytesConfig(load_in_4bit=True), device_map={"": "cpu"}
    )
    quantized.save_pretrained(tmp_path / "nf4")
    adapters.save_adapter(policy(), tmp_path / "adapter", tiny_model)
    with pytest.raises(ConfigError, match=r"quantized.*--base_model"):
        load_plain(str(tmp_path / "nf4"), tmp_path / "adapter")


@pytest.mark.parametrize(
    ("make", "which", "message"),
    [
        (lambda p: p / "nowhere", "auto", "does not exist"),
        (lambda p: p, "auto", "is it a run folder"),
        (lambda p: p, "best", "set checkpoint.monitor"),
    ],
)
def test_places_without_an_adapter_say_what_is_wanted(tmp_path, make, which, message):
    with pytest.raises(ConfigError, match=message):
        export(str(make(tmp_path)), str(tmp_path / "out"), which=which)


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged"):
        export(str(path), str(tmp_path / "out"))
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ConfigError, match="does not say what its adapter is"):
        export(str(path), str(tmp_path / "out"))


@pytest.mark.slow
def test_the_bundled_model_exported_loads_in_transformers_peft_and_vllm(tmp_path):
    """A random adapter on the real model: the merged folder answers in vLLM as adapter and base do in Transformers."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from longmab_pl.engines.protocol import Request
    from longmab_pl.engines.vllm.engine import VLLMEngine
    from longmab_pl.models.hub import resolve_model

    base = resolve_model("bundled:smollm2-135m-instruct")
    trained = load_policy(base, LoRASettings(), dtype="fp32", gradient_checkpointing=False)
    torch.manual_seed(0)
    for name, parameter in trained.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.01)
    adapters.save_adapter(trained, tmp_path / "trained", base)
    export(str(tmp_path / "trained"), str(tmp_path / "out"), merge=True, dtype="float32")

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "merged")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Name a river in Europe."}], add_generation_prompt=True, return_dict=False
    )
    unchanged = logits(plain, prompt)
    adapted = PeftModel.from_pretrained(plain, str(tmp_path / "out" / "adapter")).eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "merged", dtype=torch.float32).eval()
    torch.testing.assert_close(logits(merged, prompt), logits(adapted, prompt), rtol=1e-4, atol=1e-3)
    assert (logits(adapted, prompt) - unchanged).abs().max() > 0.1
    ids = torch.tensor([prompt])
    answer = adapted.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0, len(prompt) :]

    engine = VLLMEngine(concurrency=1, max_model_len=256, kv_cache_gb=0.25, dtype="float32")
    engine.start(str(tmp_path / "out" / "merged"))
    try:
        engine.submit(Request("one", tuple(prompt), Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=12)))
        found = []
        while not found:
            found = engine.poll()
    finally:
        engine.close()
    assert found[0].texts[0].strip() == tokenizer.decode(answer, skip_special_tokens=True).strip()
