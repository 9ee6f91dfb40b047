"""A preference loss and the likelihood of the chosen completion, as terms of a list."""

from __future__ import annotations

from longmab_pl.checks import one_of
from longmab_pl.training.batch import PAIR, Role
from longmab_pl.training.logprobs import PromptKind, chosen_logps
from longmab_pl.training.losses import PreferenceLoss, SigmoidDPO
from longmab_pl.training.terms.base import StepLogps, Term, TermLoss

SHORT_PAIR: tuple[Role, ...] = ("short_chosen", "short_rejected")


class PreferenceTerm(Term):
    """A preference loss on the pairs, as one of several losses.

    Args:
        loss: any class of `longmab_pl.training.losses`; None: `SigmoidDPO()`.
        weight: see `Term`.
        prompt: whether both completions follow the training prompt (`long`) or the pair's short one, which the
            chosen completion was sampled from (`short`, the preference part of SoLoPO, arXiv:2505.11166).

    Example:
        >>> PreferenceTerm(SigmoidDPO(beta=0.1), prompt="short").roles
        ('short_chosen', 'short_rejected')
    """

    def __init__(self, loss: PreferenceLoss | None = None, weight: float = 1.0, prompt: PromptKind = "long") -> None:
        one_of("losses.prompt", prompt, ("long", "short"))
        self.loss = loss or SigmoidDPO()
        super().__init__(self.loss.name, weight)
        self.prompt: PromptKind = prompt
        self.roles = SHORT_PAIR if prompt == "short" else PAIR
        self.needs_reference = self.loss.needs_reference

    def __call__(self, step: StepLogps) -> TermLoss:
        alpha = self.loss.ld_alpha
        policy = step.pairs(self.prompt, alpha)
        reference = step.reference_pairs(self.prompt, alpha) if self.needs_reference else None
        losses, chosen, rejected = self.loss(policy, reference)
        metrics = {
            "rewards/chosen": chosen.mean(),
            "rewards/rejected": rejected.mean(),
            "rewards/accuracies": (chosen > rejected).float().mean(),
            "rewards/margins": (chosen - rejected).mean(),
            "logps/chosen": policy.chosen.detach().mean(),
            "logps/rejected": policy.rejected.detach().mean(),
        }
        return TermLoss(losses, metrics)


class LikelihoodTerm(Term):
    """The mean negative log-likelihood of the chosen completion's tokens, after the training prompt.

    It is the term of `model.nll_weight` (LongMab-PO, arXiv:2508.13993: 0.1 or 0.2 beside DPO).

    Args:
        weight: see `Term`.

    Example:
        >>> LikelihoodTerm(weight=0.2).needs_reference
        False
    """

    roles = ("chosen",)

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__("nll", weight)

    def __call__(self, step: StepLogps) -> TermLoss:
        sums, lengths = chosen_logps(step.batch, step.policy)
        losses = -sums / lengths
        return TermLoss(losses, {"nll_loss": losses.detach().mean()})
