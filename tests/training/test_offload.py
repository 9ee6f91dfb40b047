from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import completion_logps
from longmab_pl.training.offload import offloaded_activations
from longmab_pl.training.policy import LoRASettings, load_policy

TinyModel = Callable[..., str]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_same_and_weights_stay(
    tiny_model: TinyModel, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(tiny_model("llama"), LoRASettings(r=4), dtype="fp32", gradient_checkpointing=checkpointing)
    torch.manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    batch = collate([PreferenceExample("p", tuple(range(3, 203)) * 2, tuple(range(5, 105)), tuple(range(90, 160)))])

    def gradients(offload: bool) -> list[torch.Tensor]:
        policy.zero_grad()
        if offload:
            with offloaded_activations(policy):
                logps = completion_logps(policy, batch)
        else:
            logps = completion_logps(policy, batch)
        (logps.rejected - logps.chosen).sum().backward()
        return [p.grad.clone() for p in policy.parameters() if p.requires_grad]

    expected = gradients(offload=False)
    moved: list[tuple[int, ...]] = []
    empty_like = torch.empty_like

    def spy(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if "pin_memory" in kwargs:
            moved.append(tuple(tensor.shape))
        return empty_like(tensor, *args, **kwargs)

    monkeypatch.setattr(torch, "empty_like", spy)
    found = gradients(offload=True)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    # 570 tokens, hidden size 64: the inputs of both layers are moved, and under checkpointing little else.
    assert moved.count((1, 570, 64)) >= 2
    assert len(moved) < 12 if checkpointing else len(moved) > 12
    # No weight is: the frozen ones have 64 or 128 rows and columns.
    weights = {tuple(p.shape) for p in policy.parameters()}
    assert not weights & set(moved)
    assert not {shape[::-1] for shape in weights} & set(moved)
