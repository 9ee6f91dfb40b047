"""The module in a real Trainer on CPU: losses, metrics, checkpoints, resume, export."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.losses import LDDPO, ORPO, SimPO
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings

TinyModel = Callable[..., str]


def make_pairs(n: int, seed: int = 0) -> list[PreferenceExample]:
    rng = random.Random(seed)

    def ids() -> tuple[int, ...]:
        return tuple(rng.randrange(3, 200) for _ in range(rng.randrange(3, 12)))

    return [PreferenceExample(f"pair-{i}", ids(), ids(), ids()) for i in range(n)]


class Batches:
    """Batches in a fixed order, with a position that a checkpoint keeps (Lightning restarts plain loaders).

    Lightning stops at the known length without exhausting the iterator, so only a loaded state may move the start.
    """

    def __init__(self, batches: list[PackedBatch]) -> None:
        self.batches = batches
        self.position = 0
        self.start = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[PackedBatch]:
        start, self.start = self.start, 0
        for i in range(start, len(self.batches)):
            self.position = i + 1
            yield self.batches[i]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["position"] % len(self.batches)


class Recorder(Callback):
    """Loss, margin and learning rate of every step; each epoch is a round."""

    def __init__(self, rounds: bool = False) -> None:
        self.rounds = rounds
        self.rows: list[tuple[float, float, float]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: PackedBatch, batch_idx: int
    ) -> None:
        # A run that resumes within the epoch goes on with a later batch_idx.
        if self.rounds and batch_idx == 0:
            assert isinstance(pl_module, DPOModule)
            pl_module.start_round()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        seen = trainer.callback_metrics
        self.rows.append(
            (
                float(seen["train/loss"]),
                float(seen["train/rewards/margins"]),
                trainer.optimizers[0].param_groups[0]["lr"],
            )
        )


def trainer_for(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        **{"max_epochs": 2, **options},
    )


def module_for(model: str, **options: Any) -> DPOModule:
    seed_everything(3, verbose=False)
    return DPOModule(model, **{"dtype": "fp32", "learning_rate": 1e-2, "lora": LoRASettings(r=2), **options})


def batches(n: int = 4) -> Batches:
    pairs = make_pairs(2 * n)
    return Batches([collate(pairs[i : i + 2]) for i in range(0, 2 * n, 2)])


@pytest.mark.parametrize("reference", ["base", "round_start"])
def test_fit_then_resume_within_a_round_is_exact(tiny_model: TinyModel, tmp_path: Path, reference: str) -> None:
    folder = tiny_model("llama")
    saver = ModelCheckpoint(dirpath=tmp_path / "ckpt", filename="{step}", every_n_train_steps=2, save_top_k=-1)
    whole = Recorder(rounds=True)
    trainer_for(tmp_path, whole, saver).fit(module_for(folder, reference=reference), batches())
    assert len(whole.rows) == 8
    assert whole.rows[-1][0] < whole.rows[0][0]
    # With the round's own reference, the first step of the second round stands at a margin of zero again.
    assert whole.rows[0][1] == 0
    assert (whole.rows[4][1] == 0) == (reference == "round_start")

    # Step 6 is in the middle of the second epoch.
    path = tmp_path / "ckpt" / "step=6.ckpt"
    resumed = Recorder(rounds=True)
    torch.manual_seed(99)
    fresh = DPOModule(folder, dtype="fp32", learning_rate=1e-2, lora=LoRASettings(r=2), reference=reference)
    trainer_for(tmp_path, resumed).fit(fresh, batches(), ckpt_path=path)
    assert resumed.rows == whole.rows[6:]

    state = torch.load(path, weights_only=True)["state_dict"]
    adapters = 2 if reference == "round_start" else 1
    # 2 layers x 7 linear layers x (A, B) for each adapter, and nothing of the base.
    assert len(state) == 28 * adapters
    assert all("lora_" in name for name in state)
    assert sum(".reference." in name for name in state) == 28 * (adapters - 1)


def test_learning_rate_follows_the_fraction_of_the_run(tiny_model: TinyModel, tmp_path: Path) -> None:
    recorder = Recorder()
    module = module_for(tiny_model("llama"), schedule="linear", warmup_fraction=0.25, learning_rate=1.0e-3)
    trainer_for(tmp_path, recorder).fit(module, batches())
    rates = [row[2] for row in recorder.rows]
    # 8 steps, measured at their middles: 1/16, 3/16 | 5/16, ...
    expected = [1e-3 * f for f in [0.25, 0.75] + [1 - ((2 * i + 1) / 16 - 0.25) / 0.75 for i in range(2, 8)]]
    assert rates == pytest.approx(expected)


def test_metrics_are_those_of_a_hand_made_step(tiny_model: TinyModel, tmp_path: Path) -> None:
    module = module_for(tiny_model("llama"), nll_weight=0.5)
    data = batches(2)
    trainer = trainer_for(tmp_path, max_epochs=1)
    trainer.fit(module, data, val_dataloaders=data)
    seen = trainer.callback_metrics
    for name in ("loss", "nll_loss", "tokens", "logps/chosen", "logps/rejected", "learning_rate"):
        assert f"train/{name}" in seen
    found = {name: float(value) for name, value in trainer.validate(module, data, verbose=False)[0].items()}

    batch_values: dict[str, list[float]] = {name: [] for name in found}
    for batch in data.batches:
        with torch.no_grad():
            policy = module.eval().pair_logps(batch)
        reference = module.reference_logps(batch)
        chosen, rejected = 0.1 * (policy.chosen - reference.chosen), 0.1 * (policy.rejected - reference.rejected)
        assert float((chosen - rejected).abs().max()) > 0
        nll = (-policy.chosen / policy.chosen_tokens).mean()
        for name, value in {
            "loss": torch.nn.functional.softplus(rejected - chosen).mean() + 0.5 * nll,
            "nll_loss": nll,
            "rewards/chosen": chosen.mean(),
            "rewards/rejected": rejected.mean(),
            "rewards/margins": (chosen - rejected).mean(),
            "rewards/accuracies": (chosen > rejected).float().mean(),
            "logps/chosen": policy.chosen.mean(),
            "logps/rejected": policy.rejected.mean(),
            "tokens": float(batch.tokens),
        }.items():
            batch_values[f"eval/{name}"].append(float(value))
    assert found == pytest.approx({name: sum(v) / len(v) for name, v in batch_values.items()}, rel=1e-4, abs=1e-5)


def test_stored_reference_log_probabilities_replace_the_reference_pass(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"))
    module.configure_model()
    plain = make_pairs(2)
    logps = module.reference_logps(collate(plain))
    stored = collate(
        [
            PreferenceExample(
                p.id, p.prompt_ids, p.chosen_ids, p.rejected_ids, 0, 0, float(logps.chosen[i]), float(logps.rejected[i])
            )
            for i, p in enumerate(plain)
        ]
    )
    expected = module.step_loss(collate(plain)).mean()
    module.reference_logps = None  # A second pass would now fail.
    found = module.step_loss(stored).mean()
    torch.testing.assert_close(found, expected)


def test_a_loss_without_reference_runs_none(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), loss=SimPO())
    module.configure_model()
    module.reference_logps = None
    loss = module.step_loss(collate(make_pairs(2))).mean()
    assert torch.isfinite(loss)


def test_the_reference_sees_no_adapter_and_no_dropout(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), lora=LoRASettings(r=2, dropout=0.5), reference="round_start")
    module.configure_model()
    policy = module.policy
    for p in policy.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.2)
    batch = collate(make_pairs(2))
    before = module.reference_logps(batch)
    again = module.reference_logps(batch)
    assert torch.equal(before.chosen, again.chosen)
    assert torch.equal(before.rejected, again.rejected)
    module.start_round()
    after = module.reference_logps(batch)
    assert not torch.allclose(before.chosen, after.chosen)
    policy.eval()
    with torch.no_grad():
        own = module.pair_logps(batch)
    torch.testing.assert_close(after.chosen, own.chosen)
    # The reference pass leaves the policy as it was: trainable, and alone so.
    assert sum(p.requires_grad for p in policy.parameters()) == 28
    assert not any(p.requires_grad for n, p in policy.named_parameters() if ".reference." in n)
    assert policy.active_adapters == ["default"]


def test_excess_weight_reaches_policy_and_reference(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), loss=LDDPO(alpha=0.0))
    module.configure_model()
    batch = collate([PreferenceExample("p", (5, 6, 7), (8, 9), (10, 11, 12, 13, 14))])
    cut = collate([PreferenceExample("p", (5, 6, 7), (8, 9), (10, 11))])
    torch.testing.assert_close(module.reference_logps(batch).rejected, module.reference_logps(cut).rejected)
    torch.testing.assert_close(module.pair_logps(batch).rejected, module.pair_logps(cut).rejected)


def test_token_logps_are_the_models_own(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), logprob_chunk=4)
    module.configure_model()
    for p in module.policy.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.2)
    ids = list(range(20, 31))
    with torch.no_grad():
        own = module.policy(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        with module.policy.disable_adapter():
            base = module.policy(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    rows = torch.arange(10)
    assert module.token_logps(ids) == pytest.approx(own[rows, ids[1:]].tolist(), abs=1e-5)
    assert module.token_logps(ids, adapter=False) == pytest.approx(base[rows, ids[1:]].tolist(), abs=1e-5)
    assert module.policy.training
    with pytest.raises(ConfigError, match="at least 2"):
        module.token_logps([5])


def test_saved_adapter_is_a_plain_peft_folder(tiny_model: TinyModel, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tiny_model("llama")
    module = module_for(folder, reference="round_start")
    module.configure_model()
    target = tmp_path / "out" / "adapter"
    module.save_adapter(target)
    for p in module.policy.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.2)
    assert module.save_adapter(target) == target
    files = {"adapter_config.json", "adapter_model.safetensors", "README.md", "checksums.json"}
    assert {p.name for p in target.iterdir()} == files
    assert [p.name for p in target.parent.iterdir()] == ["adapter"]

    ids = list(range(20, 31))
    expected = module.token_logps(ids)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), target)
    by_transformers = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    for model in (loaded.eval(), by_transformers.eval()):
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        assert logps[torch.arange(10), ids[1:]].tolist() == pytest.approx(expected, abs=1e-5)


def test_an_adapter_is_not_written_over_a_file(tiny_model: TinyModel, tmp_path: Path) -> None:
    module = module_for(tiny_model("llama"))
    module.configure_model()
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ConfigError, match="it is a file"):
        module.save_adapter(tmp_path / "taken")
    with pytest.raises(LongMabError, match=r"cannot write .*below: .*fix the permissions"):
        module.save_adapter(tmp_path / "taken" / "below")


@pytest.mark.parametrize(
    ("written", "resumed", "match"),
    [
        ({}, {"lora": LoRASettings(r=4)}, r"shape \(2, 64\), expected \(4, 64\)"),
        ({}, {"lora": LoRASettings(r=2, target_modules=["q_proj"])}, "24 are unknown"),
        ({"lora": LoRASettings(r=2, target_modules=["q_proj"])}, {}, "24 tensors are missing"),
        ({}, {"reference": "round_start"}, "no reference adapter"),
        ({"reference": "round_start"}, {}, "holds the reference adapter"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tiny_model: TinyModel, tmp_path: Path, written: dict, resumed: dict, match: str
) -> None:
    folder = tiny_model("llama")
    trainer = trainer_for(tmp_path, max_epochs=1)
    trainer.fit(module_for(folder, **written), batches(1))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(LongMabError, match=match):
        trainer_for(tmp_path).fit(module_for(folder, **resumed), batches(1), ckpt_path=tmp_path / "run.ckpt")


def test_a_loss_that_is_not_finite_names_its_pairs(tiny_model: TinyModel, tmp_path: Path) -> None:
    good, bad = make_pairs(2)
    bad = PreferenceExample(bad.id, bad.prompt_ids, bad.chosen_ids, bad.rejected_ids, 0, 0, float("nan"), 0.0)
    good = PreferenceExample(good.id, good.prompt_ids, good.chosen_ids, good.rejected_ids, 0, 0, -20.0, -20.0)
    with pytest.raises(LongMabError, match=r"not finite for pairs 'pair-1' \(epoch 0, step 0\)"):
        trainer_for(tmp_path).fit(module_for(tiny_model("llama")), Batches([collate([good, bad])]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nll_weight": -1}, "model.nll_weight"),
        ({"loss": ORPO()}, "set model.nll_weight to 0"),
        ({"learning_rate": 0}, "model.learning_rate"),
        ({"warmup_fraction": 1.0}, "model.warmup_fraction"),
        ({"logprob_chunk": 0}, "model.logprob_chunk"),
    ],
)
def test_bad_settings_are_named_before_anything_is_loaded(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DPOModule("not/looked-at", **options)


def test_settings_that_need_another_machine_or_trainer(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("llama")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        trainer_for(tmp_path).fit(module_for(folder, optimizer="paged_adamw_8bit"), batches(1))
    with pytest.raises(ConfigError, match="precision"):
        trainer_for(tmp_path, precision="bf16-true").fit(module_for(folder), batches(1))
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs"):
        trainer_for(tmp_path, max_epochs=-1, max_steps=-1).fit(module_for(folder), batches(1))


@pytest.mark.slow
def test_the_bundled_model_learns_in_bf16_on_packed_pairs() -> None:
    from longmab_pl.models.hub import resolve_model
    from longmab_pl.models.tokenizer import load_tokenizer
    from longmab_pl.pairs.types import PreferencePair
    from longmab_pl.training.tokenization import tokenize

    name = "bundled:smollm2-135m-instruct"
    tokenizer = load_tokenizer(resolve_model(name))
    pairs = [
        tokenize(
            PreferencePair(
                town,
                ({"role": "user", "content": f"The lighthouse of {town} is red. What color is it?"},),
                chosen="Answer: red",
                rejected="I cannot say which color it has.",
            ),
            tokenizer,
        )
        for town in ("Arvell", "Brontis")
    ]
    assert tokenizer.decode([pairs[0].chosen_ids[-1]]) == "<|im_end|>"
    module = module_for(name, dtype="bf16", learning_rate=2e-3, gradient_checkpointing=False)
    module.configure_model()
    assert module.layout == "packed"
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(3):
        step = module.step_loss(collate(pairs))
        loss = step.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert float(step.metrics["rewards/accuracies"]) == 1.0
