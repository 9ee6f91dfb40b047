"""Each loss against values worked out by hand from its paper's formula."""

from __future__ import annotations

import math

import pytest
import torch

from longmab_pl.errors import ConfigError
from longmab_pl.training.losses import (
    IPO,
    LDDPO,
    ORPO,
    APOZero,
    HingeDPO,
    KTOPair,
    LengthNormalizedDPO,
    PairLogps,
    PreferenceLoss,
    RobustDPO,
    SigmoidDPO,
    SimPO,
)

# Two pairs. Log-ratios: chosen +2 and -1, rejected -4 and +3; so h = 6 and h = -4.
POLICY_CHOSEN = [-10.0, -21.0]
REFERENCE_CHOSEN = [-12.0, -20.0]
POLICY_REJECTED = [-34.0, -7.0]
REFERENCE_REJECTED = [-30.0, -10.0]
CHOSEN_TOKENS = [5.0, 10.0]
REJECTED_TOKENS = [8.0, 6.0]


def logps(chosen: list[float], rejected: list[float]) -> PairLogps:
    """Two pairs with the lengths above."""
    return PairLogps(*map(torch.tensor, (chosen, rejected, CHOSEN_TOKENS, REJECTED_TOKENS)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def nls(x: float) -> float:
    """-log sigmoid(x)"""
    return -math.log(sigmoid(x))


def orpo_by_hand(chosen: float, rejected: float) -> float:
    def log_odds(logp: float) -> float:
        return math.log(math.exp(logp) / (1 - math.exp(logp)))

    return -chosen + 0.5 * nls(log_odds(chosen) - log_odds(rejected))


CASES: list[tuple[PreferenceLoss, list[float], list[float], list[float]]] = [
    (SigmoidDPO(0.1), [nls(0.6), nls(-0.4)], [0.2, -0.1], [-0.4, 0.3]),
    (
        SigmoidDPO(0.1, label_smoothing=0.2),
        [0.8 * nls(0.6) + 0.2 * nls(-0.6), 0.8 * nls(-0.4) + 0.2 * nls(0.4)],
        [0.2, -0.1],
        [-0.4, 0.3],
    ),
    (LDDPO(0.1, alpha=0.3), [nls(0.6), nls(-0.4)], [0.2, -0.1], [-0.4, 0.3]),
    (
        RobustDPO(0.1, flip_probability=0.2),
        [(0.8 * nls(0.6) - 0.2 * nls(-0.6)) / 0.6, (0.8 * nls(-0.4) - 0.2 * nls(0.4)) / 0.6],
        [0.2, -0.1],
        [-0.4, 0.3],
    ),
    (HingeDPO(0.1), [0.4, 1.4], [0.2, -0.1], [-0.4, 0.3]),
    (HingeDPO(0.5), [0.0, 3.0], [1.0, -0.5], [-2.0, 1.5]),
    (IPO(0.05, per_token=False), [(6.0 - 10) ** 2, (-4.0 - 10) ** 2], [0.1, -0.05], [-0.2, 0.15]),
    (IPO(0.1), [(0.4 + 0.5 - 5) ** 2, (-0.1 - 0.5 - 5) ** 2], [0.04, -0.01], [-0.05, 0.05]),
    (LengthNormalizedDPO(5.0), [nls(2 + 2.5), nls(-0.5 - 2.5)], [2.0, -0.5], [-2.5, 2.5]),
    (APOZero(0.1), [1 - sigmoid(0.2) + sigmoid(-0.4), 1 - sigmoid(-0.1) + sigmoid(0.3)], [0.2, -0.1], [-0.4, 0.3]),
    # The batch's mean log-ratios are +0.5 (chosen) and -0.5, taken as 0 (rejected).
    (
        KTOPair(0.1),
        [2 - sigmoid(0.1 * 2) - sigmoid(0.1 * (0.5 + 4)), 2 - sigmoid(-0.1 * 1) - sigmoid(0.1 * (0.5 - 3))],
        [0.2, -0.1],
        [-0.4, 0.3],
    ),
    (
        SimPO(2.0, gamma=0.5),
        [nls(-4 + 8.5 - 0.5), nls(-4.2 + 7 / 3 - 0.5)],
        [-4.0, -4.2],
        [-8.5, -7 / 3],
    ),
    (ORPO(0.5), [orpo_by_hand(-2.0, -4.25), orpo_by_hand(-2.1, -7 / 6)], [-1.0, -1.05], [-2.125, -7 / 12]),
]


@pytest.mark.parametrize(("loss", "losses", "chosen", "rejected"), CASES, ids=lambda v: type(v).__name__)
def test_hand_computed_values(
    loss: PreferenceLoss, losses: list[float], chosen: list[float], rejected: list[float]
) -> None:
    policy = logps(POLICY_CHOSEN, POLICY_REJECTED)
    policy.chosen.requires_grad_()
    policy.rejected.requires_grad_()
    found = loss(policy, logps(REFERENCE_CHOSEN, REFERENCE_REJECTED) if loss.needs_reference else None)
    for tensor, expected in zip(found, (losses, chosen, rejected), strict=True):
        torch.testing.assert_close(tensor.detach(), torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert not found[1].requires_grad
    assert not found[2].requires_grad
    found[0].sum().backward()
    # Every one of them wants the chosen completion up and the rejected one down, wherever it is not yet content.
    assert (policy.chosen.grad <= 0).all()
    assert (policy.rejected.grad >= 0).all()
    assert policy.chosen.grad.abs().sum() > 0


def test_the_gradient_of_dpo_is_the_papers() -> None:
    # Section 4: beta sigmoid(r_rejected - r_chosen) weighs the chosen completion's gradient.
    policy = logps(POLICY_CHOSEN, POLICY_REJECTED)
    policy.chosen.requires_grad_()
    SigmoidDPO(0.1)(policy, logps(REFERENCE_CHOSEN, REFERENCE_REJECTED)).losses.sum().backward()
    torch.testing.assert_close(policy.chosen.grad, torch.tensor([-0.1 * sigmoid(-0.6), -0.1 * sigmoid(0.4)]))


def test_orpo_is_finite_for_a_certain_completion() -> None:
    chosen = torch.zeros(1, requires_grad=True)
    one = torch.ones(1)
    losses, _, _ = ORPO()(PairLogps(chosen, -torch.full((1,), 400.0), one, one), None)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(chosen.grad).all()


def test_a_loss_that_needs_a_reference_refuses_to_run_without_one() -> None:
    with pytest.raises(ValueError, match="none was given"):
        SigmoidDPO()(logps(POLICY_CHOSEN, POLICY_REJECTED), None)


def test_which_losses_need_a_reference() -> None:
    assert SigmoidDPO().needs_reference
    assert not SimPO().needs_reference
    assert not ORPO().needs_reference
    assert LDDPO(alpha=0.3).ld_alpha == 0.3
    assert SigmoidDPO().ld_alpha == 1.0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: SigmoidDPO(beta=0), "beta"),
        (lambda: SigmoidDPO(label_smoothing=0.5), "label_smoothing"),
        (lambda: RobustDPO(flip_probability=-0.1), "flip_probability"),
        (lambda: IPO(tau=-1), "tau"),
        (lambda: LDDPO(alpha=1.5), "alpha"),
        (lambda: ORPO(weight=0), "weight"),
    ],
)
def test_bad_settings_are_named(make: object, field: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=f"loss.{field}"):
        make()
