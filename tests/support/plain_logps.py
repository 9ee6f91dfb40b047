"""Log-probabilities from a model's own forward on plain sequences, without packing."""

from __future__ import annotations

import torch


def plain_token_logps(
    model: torch.nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...], mask: tuple[bool, ...] | None = None
) -> torch.Tensor:
    """Return the log-probability of each completion token that counts, from one Transformers call."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    logps = logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).squeeze(1)
    return logps if mask is None else logps[torch.tensor(mask)]


def gradients(policy: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients of all trained parameters by name."""
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def assert_same_gradients(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Assert that all gradients are there, not zero, and equal to 1e-5 of their size."""
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() / gradient.norm() < 1e-5, name
