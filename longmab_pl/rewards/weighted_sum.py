"""A weighted sum of rewards, such as half answer match and half judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from longmab_pl.checks import positive
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.errors import ConfigError
from longmab_pl.rewards.base import ComparingReward, GroundedReward, Reward, RewardContext, Score


@dataclass(frozen=True)
class Weighted:
    """A reward with its weight in a sum.

    Args:
        reward: the reward.
        weight: its weight; the weights of a sum should add up to 1, so that it stays in [0, 1].
    """

    reward: Reward
    weight: float

    def __post_init__(self) -> None:
        positive("reward.weight", self.weight)


@dataclass(frozen=True)
class WeightedSum:
    """The weighted sum of the values of several rewards.

    Parts are the values of all rewards by name, and their own parts as `<name>/<part>`. A response that one of the
    rewards excludes is excluded, with that reward's reason.

    Args:
        terms: rewards of different names, with their weights.

    Raises:
        ConfigError: there is no term, or two have the same name.

    Example:
        >>> WeightedSum((Weighted(AnswerMatch(), 0.5), Weighted(LLMJudge(), 0.5))).engines
        ('judge',)
    """

    name: ClassVar[str] = "weighted_sum"

    terms: tuple[Weighted, ...]

    def __post_init__(self) -> None:
        names = [term.reward.name for term in self.terms]
        if not names:
            raise ConfigError("reward.terms is empty; give at least one reward with its weight")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"reward.terms has two rewards of the name {twice[0]!r}; names must be unique")

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(sorted({name for term in self.terms for name in term.reward.engines}))

    @property
    def needs_embedder(self) -> bool:
        return any(term.reward.needs_embedder for term in self.terms)

    @property
    def fewest_together(self) -> int:
        """Minimum number of responses that the rewards compare in one call of `score`."""
        return max((t.reward.fewest_together for t in self.terms if isinstance(t.reward, ComparingReward)), default=1)

    @property
    def needs_numbered_passages(self) -> bool:
        """Whether one of the rewards needs prompts with numbered passages."""
        return any(t.reward.needs_numbered_passages for t in self.terms if isinstance(t.reward, GroundedReward))

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        found: list[list[Score]] = []
        for term in self.terms:
            found.append((yield from term.reward.score(record, responses, context.under(term.reward.name))))
        return [self._sum(scores) for scores in zip(*found, strict=True)]

    def _sum(self, scores: Sequence[Score]) -> Score:
        parts: dict[str, float] = {}
        notes: dict[str, str] = {}
        reasons = []
        for term, score in zip(self.terms, scores, strict=True):
            name = term.reward.name
            if score.excluded is None:
                parts[name] = score.value
            else:
                reasons.append(f"{name}: {score.excluded}")
            parts |= {f"{name}/{part}": value for part, value in score.parts.items()}
            notes |= {f"{name}/{about}": text for about, text in score.notes.items()}
        total = sum(term.weight * score.value for term, score in zip(self.terms, scores, strict=True))
        return Score(0.0, parts, "; ".join(reasons), notes) if reasons else Score(total, parts, None, notes)
