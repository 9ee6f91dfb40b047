"""Separate reference models, and log-probabilities of the reference that are computed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from longmab_pl.datamodules.loader import RoundLoader
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import completion_logps
from longmab_pl.training.losses import LDDPO, SimPO
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings, load_base
from longmab_pl.training.reference_store import pair_key, with_reference

TinyModel = Callable[..., str]


def pairs(n: int = 6) -> list[PreferenceExample]:
    draw = torch.Generator().manual_seed(2)

    def ids(low: int, high: int) -> tuple[int, ...]:
        length = int(torch.randint(low, high, (1,), generator=draw))
        return tuple(torch.randint(3, 200, (length,), generator=draw).tolist())

    prompts = [ids(5, 20) for _ in range(n // 2)]
    return [PreferenceExample(f"pair-{i}", prompts[i // 2], ids(2, 9), ids(2, 9)) for i in range(n)]


def module_for(model: str, **options: Any) -> DPOModule:
    seed_everything(3, verbose=False)
    module = DPOModule(model, **{"dtype": "fp32", "learning_rate": 1e-2, "lora": LoRASettings(r=2), **options})
    module.configure_model()
    return module


@torch.no_grad()
def train_a_little(module: DPOModule, std: float = 0.2) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * std)


@pytest.fixture
def models(tiny_model: TinyModel) -> tuple[str, str]:
    """Two models with the same vocabulary and other weights."""
    return tiny_model("llama"), tiny_model("llama", initializer_range=0.15, num_hidden_layers=1)


def test_a_separate_model_is_the_reference(models: tuple[str, str]) -> None:
    module = module_for(models[0], reference=models[1])
    batch = collate(pairs())
    expected = completion_logps(load_base(models[1], dtype="fp32"), batch)
    found = module.reference_logps(batch)
    torch.testing.assert_close(found.chosen, expected.chosen)
    torch.testing.assert_close(found.rejected, expected.rejected)
    step = module.step_loss(batch)
    assert float(step.metrics["rewards/margins"]) != 0
    step.mean().backward()
    # It is no part of the module: nothing trains, saves or moves it.
    assert not any(p is q for p in module._separate[0].parameters() for q in module.parameters())
    assert all(not p.requires_grad and p.grad is None for p in module._separate[0].parameters())
    assert not module._separate[0].training


def test_checkpoints_leave_the_separate_model_out_and_resume(models: tuple[str, str], tmp_path: Path) -> None:
    def data() -> RoundLoader:
        return RoundLoader(pairs(), 2, "epoch")

    def trainer(folder: str, epochs: int) -> Trainer:
        return Trainer(
            default_root_dir=tmp_path / folder,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=epochs,
            callbacks=[ModelCheckpoint(dirpath=tmp_path / folder, filename="{epoch}", save_top_k=-1)],
        )

    options = {"reference": models[1], "schedule": "constant", "warmup_fraction": 0.0}
    whole = trainer("whole", 2)
    whole.fit(module_for(models[0], **options), data())
    state = torch.load(tmp_path / "whole" / "epoch=0.ckpt", weights_only=True)["state_dict"]
    assert len(state) == 28
    assert all(".default." in name for name in state)
    resumed = trainer("resumed", 2)
    resumed.fit(module_for(models[0], **options), data(), ckpt_path=tmp_path / "whole" / "epoch=0.ckpt")
    assert resumed.callback_metrics["train/loss"] == whole.callback_metrics["train/loss"]
    first = torch.load(tmp_path / "whole" / "epoch=1.ckpt", weights_only=True)["state_dict"]
    second = torch.load(tmp_path / "resumed" / "epoch=1.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_loss_without_reference_loads_none(models: tuple[str, str]) -> None:
    assert module_for(models[0], reference=models[1], loss=SimPO())._separate == ()


def test_a_reference_that_is_nothing(models: tuple[str, str], tiny_model: TinyModel, byte_tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"'\./round-start', which is none of base, round_start, phase_start"):
        module_for(models[0], reference="./round-start")
    with pytest.raises(ConfigError, match="knows 100 tokens, the policy 211"):
        module_for(models[0], reference=tiny_model("llama", vocab_size=100))
    from tokenizers import Tokenizer
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    byte_tokenizer.save_pretrained(models[0])
    words = Tokenizer(tokenizer_models.WordLevel({"[UNK]": 0, "other": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(models[1])
    with pytest.raises(ConfigError, match="another tokenizer"):
        module_for(models[0], reference=models[1])


# Computed once


def count_passes(module: DPOModule) -> list[int]:
    """How many pairs each later call of the reference sees."""
    seen: list[int] = []
    inner = module.reference_logps

    def counted(batch: Any) -> Any:
        seen.append(len(batch))
        return inner(batch)

    module.reference_logps = counted
    return seen


@pytest.mark.parametrize("reference", ["base", "round_start", "separate"])
@pytest.mark.parametrize("loss", [None, LDDPO(alpha=0.3)])
def test_stored_values_are_those_computed_in_the_step(
    models: tuple[str, str], tmp_path: Path, reference: str, loss: Any
) -> None:
    kind = models[1] if reference == "separate" else reference
    # Dropout on the adapter: the reference must not see it.
    module = module_for(models[0], reference=kind, loss=loss, lora=LoRASettings(r=2, dropout=0.5))
    train_a_little(module)
    module.start_round()
    examples = with_reference(module, pairs(), tmp_path, epochs=2)
    train_a_little(module)
    for plain, stored in zip(pairs(), examples, strict=True):
        assert stored.id == plain.id
        logps = module.reference_logps(collate([plain]))
        assert stored.reference_chosen_logp == pytest.approx(float(logps.chosen), abs=1e-4)
        assert stored.reference_rejected_logp == pytest.approx(float(logps.rejected), abs=1e-4)
    module.policy.eval()
    expected = module.step_loss(collate(pairs())).mean()
    seen = count_passes(module)
    found = module.step_loss(collate(examples)).mean()
    assert seen == []
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_computed_once_and_read_by_a_later_run(models: tuple[str, str], tmp_path: Path) -> None:
    first = module_for(models[0])
    seen = count_passes(first)
    examples = with_reference(first, pairs(), tmp_path, epochs=2)
    # Pairs of one prompt share a pass.
    assert sum(seen) == 6
    assert len(seen) < 6
    later = module_for(models[0])
    # The policy has moved on; its reference has not.
    train_a_little(later)
    seen = count_passes(later)
    assert with_reference(later, pairs(), tmp_path, epochs=2) == examples
    assert seen == []
    # Pairs that bring their own keep it.
    assert with_reference(later, examples, tmp_path / "elsewhere", epochs=2) == examples
    assert seen == []


def test_an_interrupted_pass_goes_on(models: tuple[str, str], tmp_path: Path) -> None:
    module = module_for(models[0])
    examples = with_reference(module, pairs(), tmp_path, epochs=2)
    file = tmp_path / "reference_logps-0.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 7
    file.write_text("".join(lines[:3]) + lines[3][:25])
    seen = count_passes(module)
    again = with_reference(module, pairs(), tmp_path, epochs=2)
    assert sum(seen) == 4
    for a, b in zip(again, examples, strict=True):
        assert a.reference_chosen_logp == pytest.approx(b.reference_chosen_logp, abs=1e-4)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["pair"] for row in rows[1:]} == {pair_key(p) for p in pairs()}


def test_a_changed_reference_or_pair_is_computed_anew(models: tuple[str, str], tmp_path: Path) -> None:
    module = module_for(models[0], reference="round_start")
    before = with_reference(module, pairs(), tmp_path, epochs=2)
    # The policy trains: the reference stays what it was.
    train_a_little(module)
    seen = count_passes(module)
    assert with_reference(module, pairs(), tmp_path, epochs=2) == before
    assert seen == []
    # A new round: the adapter becomes the reference.
    module.start_round()
    after = with_reference(module, pairs(), tmp_path, epochs=2)
    assert sum(seen) == 6
    assert all(
        abs(a.reference_chosen_logp - b.reference_chosen_logp) > 1e-3 for a, b in zip(after, before, strict=True)
    )
    # A pair with other tokens, or other tokens compared, under an old name.
    old = pairs()[0]
    other = PreferenceExample(old.id, old.prompt_ids, (9, 9, 9), old.rejected_ids)
    masked = PreferenceExample("m", old.prompt_ids, (9, 9, 9), old.rejected_ids, chosen_mask=(False, True, True))
    changed = with_reference(module, [other, masked], tmp_path, epochs=2)
    assert sum(seen) == 8
    assert changed[0].reference_chosen_logp < changed[1].reference_chosen_logp


@pytest.mark.parametrize(("changed", "same"), [({"loss": LDDPO(alpha=0.2)}, False), ({"nll_weight": 0.5}, True)])
def test_only_what_the_reference_depends_on_invalidates(
    models: tuple[str, str], tmp_path: Path, changed: dict, same: bool
) -> None:
    with_reference(module_for(models[0]), pairs(), tmp_path, epochs=2)
    module = module_for(models[0], **changed)
    seen = count_passes(module)
    with_reference(module, pairs(), tmp_path, epochs=2)
    assert (seen == []) == same


def test_references_have_digests_of_their_own(models: tuple[str, str]) -> None:
    base = module_for(models[0])
    digests = {
        base.reference_digest(),
        module_for(models[0], reference=models[1]).reference_digest(),
        module_for(models[1]).reference_digest(),
        module_for(models[0], reference="round_start").reference_digest(),
    }
    # A separate reference is the same model whoever the policy is, and as a policy's base it has PEFT's names.
    assert len(digests) == 4
    assert module_for(models[0]).reference_digest() == base.reference_digest()


@pytest.mark.parametrize(
    ("setting", "epochs", "computed"),
    [("auto", 1, False), ("auto", 2, True), (True, 1, True), (False, 5, False)],
)
def test_when_it_is_computed(
    models: tuple[str, str], tmp_path: Path, setting: Any, epochs: int, computed: bool
) -> None:
    module = module_for(models[0], precompute_reference=setting)
    examples = with_reference(module, pairs(), tmp_path, epochs)
    assert (examples[0].reference_chosen_logp is not None) == computed
    assert (tmp_path / "reference_logps-0.jsonl").exists() == computed
    reference_free = module_for(models[0], precompute_reference=True, loss=SimPO())
    assert with_reference(reference_free, pairs(), tmp_path, 3) == pairs()


def test_a_place_that_cannot_be_written(models: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(LongMabError, match=r"cannot write .*precompute_reference to false"):
        with_reference(module_for(models[0]), pairs(), tmp_path / "taken", epochs=2)
