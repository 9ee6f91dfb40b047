"""When a record has what it can give: the rest of its pulls are of more use elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.rewards.answer_match import ROUNDING

StopReason = Literal["", "separated", "no_signal"]


@dataclass(frozen=True)
class EarlyStopping:
    """When a record of `budget: adaptive` stops before its `pulls` are over.

    Pairs are decided by the pair reward (`longmab_pl.rewards.pair_reward`), so that is what is looked at, never the
    reward that the bandit learns from. The rule is the marginal value theorem's (Charnov 1976): leave a patch when
    another one gives more per unit of time. After t equal rewards the next differs with probability at most about
    1 / (t + 2) (Laplace's rule of succession), and then a fresh record is the better use of a response.

    Args:
        margin: a record is separated when its best and worst answers differ by this much; 1 is the most there is.
        pairs: how many pairs of different answers must differ so; ask for as many as the pair rule makes of a record.
        patience: a record has no signal when all its answers have the same reward after this many pulls; None: never.
    """

    margin: float = 1.0
    pairs: int = 1
    patience: int | None = 10

    def __post_init__(self) -> None:
        unit_interval("strategy.early_stopping.margin", self.margin, zero=False)
        at_least("strategy.early_stopping.pairs", self.pairs, 1)
        at_least("strategy.early_stopping.patience", self.patience, 1, or_null=True)

    def reason(self, rewards: Iterable[float], pulls: int) -> StopReason:
        """Why a record should stop now, or "".

        Args:
            rewards: pair rewards of its different responses so far, in any order; without empty responses, of which
                no pair is made.
            pulls: how many pulls they came from.
        """
        ranked = sorted(rewards)
        if len(ranked) >= 2 * self.pairs and ranked[-self.pairs] - ranked[self.pairs - 1] >= self.margin - ROUNDING:
            return "separated"
        if self.patience is not None and pulls >= self.patience and (not ranked or ranked[0] == ranked[-1]):
            return "no_signal"
        return ""
