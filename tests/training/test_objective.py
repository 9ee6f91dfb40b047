"""The loss of a step and its metrics."""

from __future__ import annotations

import pytest
import torch

from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import PolicyLogps
from longmab_pl.training.losses import PairLogps, SigmoidDPO
from longmab_pl.training.objective import preference_objective

BATCH = collate([PreferenceExample("a", (1, 2, 3), (4, 5), (6,)), PreferenceExample("b", (1, 2), (4,), (6, 7))])


def logps(device: str) -> PolicyLogps:
    def tensor(*values: float) -> torch.Tensor:
        return torch.tensor(values, device=device)

    return PolicyLogps(tensor(-4.0, -6.0), tensor(-8.0, -3.0), tensor(2.0, 1.0), tensor(1.0, 2.0), tensor(2.0, 6.0))


def test_preference_loss_and_weighted_likelihood() -> None:
    zeros = PairLogps(*torch.zeros(2, 2), *torch.ones(2, 2))
    step = preference_objective(SigmoidDPO(beta=0.5), 0.1, logps("cpu"), zeros, BATCH)
    metrics = step.metrics
    by_hand = -torch.nn.functional.logsigmoid(torch.tensor([2.0, -1.5])) + torch.tensor([0.2, 0.6])
    torch.testing.assert_close(step.losses, by_hand)
    torch.testing.assert_close(step.mean(), by_hand.mean())
    assert metrics["loss"] == pytest.approx(float(by_hand.mean()))
    assert metrics["rewards/accuracies"] == 0.5
    assert metrics["rewards/margins"] == pytest.approx(0.25)
    assert metrics["tokens"] == 6 + 3, "the second prompt begins the first: it is computed once"


def test_metrics_are_where_the_log_probabilities_are() -> None:
    """Processes on GPUs average them with NCCL, which takes nothing from a CPU."""
    zeros = PairLogps(*torch.zeros(2, 2, device="meta"), *torch.ones(2, 2, device="meta"))
    step = preference_objective(SigmoidDPO(), 0.1, logps("meta"), zeros, BATCH)
    assert {name for name, value in step.metrics.items() if value.device.type != "meta"} == set()
