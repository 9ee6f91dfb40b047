"""The gradient of an optimizer step is the mean over its pairs, however they are spread over batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from longmab_pl.datamodules.loader import RoundLoader
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings

TinyModel = Callable[..., str]
Gradients = dict[str, torch.Tensor]


def make_pairs(n: int) -> list[PreferenceExample]:
    draw = random.Random(4)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(draw.randrange(low, high)))

    return [PreferenceExample(f"pair-{i}", ids(5, 9), ids(3, 30), ids(3, 30)) for i in range(n)]


class GradientsOfSteps(Callback):
    def __init__(self) -> None:
        self.steps: list[Gradients] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.steps.append(gradients(pl_module))


def gradients(module: DPOModule) -> Gradients:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def module_for(model: str) -> DPOModule:
    """With an adapter that is not zero, and a learning rate that leaves it where it is."""
    seed_everything(3, verbose=False)
    module = DPOModule(model, dtype="fp32", learning_rate=1e-30, lora=LoRASettings(r=2), nll_weight=0.3)
    module.configure_model()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def steps_of(module: DPOModule, loader: RoundLoader, accumulate: int, folder: Path) -> list[Gradients]:
    seen = GradientsOfSteps()
    Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[seen],
    ).fit(module, loader)
    return seen.steps


def full_batch(module: DPOModule, pairs: list[PreferenceExample]) -> Gradients:
    module.zero_grad()
    module.step_loss(collate(pairs)).mean().backward()
    return gradients(module)


def assert_equal(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    norms = [torch.cat([g.flatten() for g in all_of.values()]).norm() for all_of in (found, expected)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=1e-6)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_last_incomplete_step_is_divided_by_the_batches_that_are_there(
    tiny_model: TinyModel, tmp_path: Path, accumulate: int
) -> None:
    module, pairs = module_for(tiny_model("llama")), make_pairs(5)
    steps = steps_of(module, RoundLoader(pairs, 1, "epoch"), accumulate, tmp_path)
    parts = [pairs[i : i + accumulate] for i in range(0, 5, accumulate)]
    assert len(steps) == len(parts)
    for step, part in zip(steps, parts, strict=True):
        assert_equal(step, full_batch(module, part))


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"batch_size": 1, "max_tokens": 90}], ids=["pairs", "tokens"])
def test_batches_with_different_numbers_of_pairs_count_by_their_pairs(
    tiny_model: TinyModel, tmp_path: Path, options: dict[str, Any]
) -> None:
    module, pairs = module_for(tiny_model("llama")), make_pairs(5)
    loader = RoundLoader(pairs, key="epoch", **options)
    sizes = [len(batch) for batch in loader.batches]
    assert len(set(sizes)) > 1
    (step,) = steps_of(module, loader, len(sizes), tmp_path)
    assert_equal(step, full_batch(module, [pair for batch in loader.batches for pair in batch]))
