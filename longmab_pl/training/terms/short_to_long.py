"""The short-to-long term of SoLoPO: the chosen answer is as good after the whole context as after its own chunks."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.checks import one_of, positive
from longmab_pl.errors import ConfigError
from longmab_pl.training.logprobs import PromptKind
from longmab_pl.training.losses import APOZero, HingeDPO, KTOPair, PreferenceLoss, RobustDPO, SigmoidDPO
from longmab_pl.training.terms.base import StepLogps, Term, TermLoss

_Summed = SigmoidDPO | HingeDPO | RobustDPO | APOZero | KTOPair
"""Losses whose implicit reward is `beta` x the summed log-ratio."""


class ShortToLongTerm(Term):
    """The short-to-long reward alignment of SoLoPO, for the chosen completion.

    The loss is |r(x_short, y_w) - r(x_long, y_w)| with r(x, y) = beta log(policy(y | x) / reference(y | x)). x_long is
    the training prompt, and x_short the prompt that the chosen completion was sampled from: the chunks that the bandit
    chose. Gradients flow through both. Pairs without a short prompt are left out and counted.

    Args:
        weight: see `Term`.
        beta: the factor of r; use the preference loss's.

    Example:
        >>> losses = [PreferenceTerm(SigmoidDPO()), LikelihoodTerm(0.1), ShortToLongTerm(weight=3)]
        >>> [term.name for term in losses]
        ['dpo', 'nll', 'short_to_long']

    Source: SoLoPO (arXiv:2505.11166), section 3, the term on the chosen response alone; there it stands beside a
    preference loss on the short prompt (`PreferenceTerm(prompt="short")`).
    """

    roles = ("chosen", "short_chosen")
    needs_reference = True

    def __init__(self, weight: float = 3.0, beta: float = 0.1) -> None:
        super().__init__("short_to_long", weight)
        positive("losses.beta", beta)
        self.beta = beta

    def __call__(self, step: StepLogps) -> TermLoss:
        short, long = (self.beta * step.chosen_log_ratios(prompt) for prompt in _PROMPTS)
        metrics = {
            "short_to_long/short_reward": short.detach().mean(),
            "short_to_long/long_reward": long.detach().mean(),
        }
        return TermLoss((short - long).abs(), metrics)


_PROMPTS: tuple[PromptKind, PromptKind] = ("short", "long")


@dataclass(frozen=True)
class ShortToLong:
    """Settings of `model.short_to_long`: SoLoPO's term beside the preference loss (arXiv:2505.11166).

    Args:
        weight: weight of |r(x_short, y_w) - r(x_long, y_w)|, see `ShortToLongTerm`.
        beta: the factor of r; None: the preference loss's, where its reward is beta x the summed log-ratio.
        preference: the prompt of the preference loss: the training prompt (`long`), or the short one (`short`, the
            decoupled form of the paper: no rejected completion is computed after the long prompt). The likelihood
            term stays on the long prompt.

    Example:
        >>> ShortToLong(weight=3).term(SigmoidDPO(beta=0.2)).beta
        0.2
    """

    weight: float = 3.0
    beta: float | None = None
    preference: PromptKind = "long"

    def __post_init__(self) -> None:
        positive("model.short_to_long.weight", self.weight)
        positive("model.short_to_long.beta", self.beta, or_null=True)
        one_of("model.short_to_long.preference", self.preference, ("long", "short"))

    def term(self, loss: PreferenceLoss) -> ShortToLongTerm:
        """Return the term beside a preference loss.

        Raises:
            ConfigError: `beta` is None and the loss has none that fits.
        """
        if self.beta is not None:
            return ShortToLongTerm(self.weight, self.beta)
        if not isinstance(loss, _Summed):
            raise ConfigError(
                f"model.short_to_long.beta is null, and the reward of {type(loss).__name__} is not beta x the summed "
                "log-ratio; set model.short_to_long.beta (0.1 as for DPO)"
            )
        return ShortToLongTerm(self.weight, loss.beta)
