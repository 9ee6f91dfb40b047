"""Losses and their gradients against TRL's own trainers, on the same model and tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl

from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import completion_logps
from longmab_pl.training.losses import (
    IPO,
    LDDPO,
    ORPO,
    APOZero,
    HingeDPO,
    LengthNormalizedDPO,
    PairLogps,
    PreferenceLoss,
    RobustDPO,
    SigmoidDPO,
    SimPO,
)
from longmab_pl.training.policy import LoRASettings, load_policy

DPO_LOSSES: list[tuple[PreferenceLoss, float, dict[str, Any]]] = [
    (SigmoidDPO(0.3), 0.0, {"loss_types": ["sigmoid"], "beta": 0.3}),
    (SigmoidDPO(0.3), 0.2, {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2], "beta": 0.3}),
    # TRL has conservative DPO as the label smoothing of AOT, which on a single pair is DPO.
    (SigmoidDPO(0.3, label_smoothing=0.2), 0.0, {"loss_types": ["aot"], "beta": 0.3, "label_smoothing": 0.2}),
    (RobustDPO(0.3, flip_probability=0.2), 0.0, {"loss_types": ["robust"], "beta": 0.3, "label_smoothing": 0.2}),
    (HingeDPO(0.02), 0.0, {"loss_types": ["hinge"], "beta": 0.02}),
    (IPO(0.2), 0.0, {"loss_types": ["ipo"], "beta": 0.2}),
    (LengthNormalizedDPO(5.0), 0.0, {"loss_types": ["sigmoid_norm"], "beta": 5.0}),
    (APOZero(0.1), 0.0, {"loss_types": ["apo_zero"], "beta": 0.1}),
    (LDDPO(0.3, alpha=0.4), 0.0, {"loss_types": ["sigmoid"], "beta": 0.3, "ld_alpha": 0.4}),
]


def pairs() -> list[PreferenceExample]:
    draw = torch.Generator().manual_seed(6)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (n,), generator=draw).tolist())

    return [PreferenceExample("a", ids(11), ids(6), ids(9)), PreferenceExample("b", ids(5), ids(7), ids(2))]


def padded(examples: list[PreferenceExample]) -> dict[str, torch.Tensor]:
    """The same pairs as TRL takes them: chosen above rejected, each with its own prompt, padded on the right."""
    rows = [(e.prompt_ids, e.chosen_ids) for e in examples] + [(e.prompt_ids, e.rejected_ids) for e in examples]
    length = max(len(prompt) + len(answer) for prompt, answer in rows)

    def tensor(values: list[list[int]]) -> torch.Tensor:
        return torch.tensor([row + [0] * (length - len(row)) for row in values])

    return {
        "input_ids": tensor([[*prompt, *answer] for prompt, answer in rows]),
        "attention_mask": tensor([[1] * (len(prompt) + len(answer)) for prompt, answer in rows]),
        "completion_mask": tensor([[0] * len(prompt) + [1] * len(answer) for prompt, answer in rows]),
    }


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Any) -> Any:
    """TRL's DPOTrainer around our policy; its reference is the adapter as it was, called "ref"."""
    from datasets import Dataset
    from tiny_models import save_model

    folder = save_model(tmp_path_factory.mktemp("trl") / "model", byte_tokenizer)
    policy = load_policy(folder, LoRASettings(r=4), dtype="fp32", gradient_checkpointing=False)
    torch.manual_seed(0)
    move(policy)
    # TRL runs plain sequences; ours is told to by its masks.
    trainer = trl.DPOTrainer(
        model=policy,
        args=trl.DPOConfig(
            output_dir=str(tmp_path_factory.mktemp("out")),
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=2,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2),
        processing_class=byte_tokenizer,
    )
    move(policy)
    return trainer


@torch.no_grad()
def move(policy: Any) -> None:
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.2)


def gradients(policy: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("loss", "nll_weight", "settings"), DPO_LOSSES, ids=lambda v: type(v).__name__)
def test_loss_and_gradients_are_trls(
    trainer: Any,
    monkeypatch: pytest.MonkeyPatch,
    loss: PreferenceLoss,
    nll_weight: float,
    settings: dict[str, Any],
) -> None:
    # AOT sorts over the batch, the SFT term is a mean over the batch's tokens: one pair makes both plain.
    examples = pairs()[:1] if {"aot", "sft"} & set(settings["loss_types"]) else pairs()
    for name, value in {"loss_weights": [1.0], "label_smoothing": 0.0, "ld_alpha": None, **settings}.items():
        assert hasattr(trainer, name)
        monkeypatch.setattr(trainer, name, value)
    policy = trainer.model
    policy.eval()

    policy.zero_grad()
    expected = trainer.compute_loss(policy, padded(examples))
    expected.backward()
    expected_gradients = gradients(policy)

    batch = collate(examples)
    policy.zero_grad()
    policy.set_adapter("ref")
    with torch.no_grad():
        reference = completion_logps(policy, batch, ld_alpha=loss.ld_alpha)
    policy.set_adapter("default")
    logps = completion_logps(policy, batch, ld_alpha=loss.ld_alpha)
    losses, _, _ = loss(logps, reference)
    found = (losses + nll_weight * logps.chosen_nll).mean()
    found.backward()

    assert abs(float(expected.detach()) - 0.6931) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found_gradients = gradients(policy)
    assert found_gradients.keys() == expected_gradients.keys()
    assert any(g.abs().max() > 1e-4 for g in found_gradients.values())
    for name, gradient in found_gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-5, msg=name)


# Of trainers that TRL keeps under `experimental`, the functions that turn mean log-probabilities into losses.
CHOSEN, REJECTED = torch.tensor([-0.7, -2.0, -0.1]), torch.tensor([-1.1, -0.3, -4.0])
TOKENS = torch.tensor([3.0, 8.0, 5.0])


def reference_free(loss: PreferenceLoss) -> torch.Tensor:
    return loss(PairLogps(CHOSEN * TOKENS, REJECTED * TOKENS, TOKENS, TOKENS), None).losses


def test_simpo_is_trls() -> None:
    from trl.experimental.cpo import CPOTrainer

    settings = SimpleNamespace(
        alpha=0.0,
        beta=2.5,
        loss_type="simpo",
        simpo_gamma=1.2,
        label_smoothing=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    expected, _, _ = CPOTrainer.cpo_loss(settings, CHOSEN, REJECTED)
    torch.testing.assert_close(reference_free(SimPO(2.5, gamma=1.2)), expected)


def test_orpo_is_trls() -> None:
    from trl.experimental.orpo import ORPOTrainer

    settings = SimpleNamespace(beta=0.25, accelerator=SimpleNamespace(device="cpu"))
    odds, *_ = ORPOTrainer.odds_ratio_loss(settings, CHOSEN, REJECTED)
    # As its trainer puts them together: the likelihood of the chosen completion minus this term.
    torch.testing.assert_close(reference_free(ORPO(0.25)), -CHOSEN - odds)
