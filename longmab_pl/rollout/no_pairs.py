"""What to change after a round without a pair to train on: settings by their names, with their present values."""

from __future__ import annotations

from collections.abc import Mapping

from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.strategies.bandit.strategy import BanditRollout
from longmab_pl.strategies.best_of_n import BestOfN

HIGH_TEMPERATURE = 1.0
"""Sampling temperature from which a higher one is no advice."""

SELDOM = 0.5
"""Share of responses that state an answer, below which the format is what to change."""

ALIKE = 0.05
"""Distance of the mean reward from 0 or 1 within which the questions are too hard or too easy."""


def no_pairs(plan: RoundPlan, number: int, statistics: Mapping[str, float], *, held_out: int = 0) -> str:
    """Return why a round has no pair to train on, and what to change.

    Args:
        plan: settings of the round.
        number: number of the round, from 0.
        statistics: the round's metrics (`RoundMetrics.result`).
        held_out: number of its pairs that are held out for validation.
    """
    made = int(statistics["pairs/count"])
    if held_out:
        return (
            f"round {number + 1} trains on nothing: all of its {held_out} pairs are held out for validation; lower "
            "data.val_fraction, or roll out more records"
        )
    if made:
        return (
            f"round {number + 1} trains on nothing: all of its {made} pairs are left out, for the reasons above; "
            "lower data.pairs.max_prompt_length if they are too long for the model"
        )
    records, failed = statistics["rollout/records"], statistics["rollout/failed_records"]
    if records and failed == records:
        return f"round {number + 1} trains on nothing: all of its {records:.0f} records failed, as said above"
    advice = "; ".join(_advice(plan, statistics))
    return (
        f"round {number + 1} trains on nothing: no record's responses differ enough in reward (mean "
        f"{statistics['rollout/reward']:.3f} over {statistics['rollout/responses']:.0f} responses). What may help: "
        f"{advice}"
    )


def _advice(plan: RoundPlan, statistics: Mapping[str, float]) -> list[str]:
    found = []
    answers = next((reward for reward in plan.rewards if isinstance(reward, AnswerMatch)), None)
    stated = statistics.get(f"reward/{AnswerMatch.name}/in_format", 1.0)
    if answers is not None and stated < SELDOM:
        share = f"{stated:.0%} of the responses state an answer"
        if not isinstance(plan.prompt_format, DirectAnswer):
            found.append(f"{share}: prompt_format DirectAnswer, for a model that does not keep to a format")
        elif answers.style == "paper":
            found.append(f"{share}: rewards AnswerMatch with style lenient, which reads more spellings")
    if isinstance(plan.pairs, BestWorst):
        if plan.pairs.min_margin > 0:
            found.append(f"a lower pairs.min_margin (now {plan.pairs.min_margin:g})")
        if plan.pairs.controls_length:
            found.append("wider or no limits of pairs.max_length_ratio and pairs.max_length_difference")
    strategy = plan.strategy
    if isinstance(strategy, BanditRollout | BestOfN) and strategy.sampling.temperature < HIGH_TEMPERATURE:
        found.append(f"a higher strategy.sampling.temperature (now {strategy.sampling.temperature:g})")
    if isinstance(strategy, BanditRollout):
        if strategy.init == "probe" and strategy.probe.on_reject == "drop":
            found.append("strategy.probe.on_reject query, if probes were rejected")
        found.append(f"more strategy.pulls (now {strategy.pulls})")
    elif isinstance(strategy, BestOfN):
        found.append(f"a larger strategy.n (now {strategy.n})")
    reward = statistics["rollout/reward"]
    if reward < ALIKE:
        found.append("easier questions or a larger model: hardly any answer is right")
    elif reward > 1 - ALIKE:
        found.append("harder questions: nearly all answers are right")
    else:
        found.append("more records in a round")
    return found
