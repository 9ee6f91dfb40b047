"""Early stopping of a record, which frees its remaining pulls for other records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.rewards.answer_match import ROUNDING

StopReason = Literal["", "separated", "no_signal"]


@dataclass(frozen=True)
class EarlyStopping:
    """The rule that stops a record of `budget: adaptive` before its `pulls` are used up.

    The decision uses the pair reward (`longmab_pl.rewards.pair_reward`), which pairs are chosen by, not the reward that
    the bandit learns from. It follows the marginal value theorem (Charnov 1976): leave a patch when another one yields
    more per unit of time. After t equal rewards the next differs with probability at most about 1 / (t + 2) (Laplace's
    rule of succession), and a response for a new record is then more useful.

    Args:
        margin: a record is separated if its best and worst answers differ by this much; the maximum is 1.
        pairs: number of pairs of different answers that must differ so; use the pair rule's pairs per record.
        patience: a record has no signal if all its answers have the same reward after this many pulls; None: never.
    """

    margin: float = 1.0
    pairs: int = 1
    patience: int | None = 10

    def __post_init__(self) -> None:
        unit_interval("strategy.early_stopping.margin", self.margin, zero=False)
        at_least("strategy.early_stopping.pairs", self.pairs, 1)
        at_least("strategy.early_stopping.patience", self.patience, 1, or_null=True)

    def reason(self, rewards: Iterable[float], pulls: int) -> StopReason:
        """Return why a record should stop now, or "".

        Args:
            rewards: pair rewards of its different responses so far, in any order, without empty responses, which are
                not used in pairs.
            pulls: number of pulls so far.
        """
        ranked = sorted(rewards)
        if len(ranked) >= 2 * self.pairs and ranked[-self.pairs] - ranked[self.pairs - 1] >= self.margin - ROUNDING:
            return "separated"
        if self.patience is not None and pulls >= self.patience and (not ranked or ranked[0] == ranked[-1]):
            return "no_signal"
        return ""
