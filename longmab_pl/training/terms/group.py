"""Group losses on all responses of a record: RLOO and GRPO-type advantages."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from longmab_pl.checks import one_of, unit_interval
from longmab_pl.training.terms.base import StepLogps, Term, TermLoss

Baseline = Literal["others", "group"]
Length = Literal["tokens", "responses", "sum"]


class GroupTerm(Term):
    """A policy-gradient loss on all responses of each record, weighted by their advantages.

    The advantage A_i of a response is its reward less a baseline. A response that was sampled from the training prompt
    itself has, in each token, the clipped surrogate of PPO, -min(q A_i, clip(q, 1 - clip, 1 + clip) A_i), where q is
    the token's probability under the policy over that under the policy that sampled it. Any other response (sampled
    from chunks, and trained on the whole context) is not on-policy for the prompt, and no ratio is defined: it has
    -A_i log p, the plain weighted likelihood. Both have the gradient -A_i grad log p where the policy has not moved.

    The sampling policy is the module's `reference: round_start` (at temperature 1, without top-p). The pairs need the
    group of all responses: `data.pairs: longmab_pl.pairs.AllResponses`.

    Args:
        weight: see `Term`.
        baseline: `others`: the mean reward of the group's other responses (RLOO, arXiv:2402.14740, eq. 8), or `group`:
            the mean of all (GRPO, arXiv:2402.03300).
        divide_by_spread: divide advantages by the group's standard deviation, as GRPO does. False keeps questions
            whose responses hardly differ from weighing as much as the others (Dr. GRPO, arXiv:2503.20783).
        length: what a group's sum over tokens is divided by. `tokens`: the group's number of tokens, so that every
            token counts alike and length brings no advantage (DAPO, arXiv:2503.14476); `responses`: each response's
            own tokens, then the number of responses (GRPO's, which favors short right and long wrong answers); `sum`:
            the number of responses (RLOO's, the gradient of the expected reward).
        clip: how far the ratio counts, in (0, 1); null: no ratio, plain weighted likelihood for all responses, without
            a reference.
        negative_weight: factor in [0, 1] of the negative advantages of responses without a ratio: nothing bounds how
            far the likelihood of such a response falls; 0 learns from those better than the baseline alone.

    Example:
        >>> GroupTerm(baseline="others", length="sum", clip=None).needs_reference
        False
    """

    roles = ("group",)

    def __init__(
        self,
        weight: float = 1.0,
        baseline: Baseline = "group",
        divide_by_spread: bool = False,
        length: Length = "tokens",
        clip: float | None = 0.2,
        negative_weight: float = 1.0,
    ) -> None:
        super().__init__("group", weight)
        one_of("losses.baseline", baseline, get_args(Baseline))
        one_of("losses.length", length, get_args(Length))
        unit_interval("losses.clip", clip, zero=False, one=False, or_null=True)
        unit_interval("losses.negative_weight", negative_weight)
        self.baseline: Baseline = baseline
        self.divide_by_spread = divide_by_spread
        self.length: Length = length
        self.clip = clip
        self.negative_weight = negative_weight
        self.needs_reference = self.reference_samples = clip is not None

    def __call__(self, step: StepLogps) -> TermLoss:
        batch = step.batch
        sizes = [len(group) for group in batch.groups]
        rewards, on_prompt = batch.group_rewards.split(sizes), batch.group_on_prompt.split(sizes)
        spans = list(batch.completion_lengths)
        policy = step.policy.split(spans)
        reference = step.reference_tokens.split(spans) if self.clip is not None else policy
        losses, ratios = [], []
        for group, own_rewards, sampled_here in zip(batch.groups, rewards, on_prompt, strict=True):
            objectives = []
            for completion, advantage, here in zip(group, self.advantages(own_rewards), sampled_here, strict=True):
                if self.clip is not None and here:
                    ratio = (policy[completion] - reference[completion]).exp()
                    clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
                    objectives.append(torch.minimum(ratio * advantage, clipped * advantage))
                    ratios.append(ratio.detach())
                else:
                    factor = torch.where(advantage < 0, self.negative_weight, 1.0)
                    objectives.append(factor * advantage * policy[completion])
            losses.append(-self._mean(objectives))
        metrics = {"group/size": batch.group_rewards.new_tensor(sum(sizes) / len(sizes))}
        metrics["group/on_prompt_rate"] = batch.group_on_prompt.mean()
        metrics["group/reward_spread"] = torch.stack([own.std(unbiased=True) for own in rewards]).mean()
        if ratios and self.clip is not None:
            all_ratios = torch.cat(ratios)
            metrics["group/ratio"] = all_ratios.mean()
            metrics["group/out_of_clip_rate"] = ((all_ratios - 1).abs() > self.clip).float().mean()
        return TermLoss(torch.stack(losses), metrics)

    def advantages(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return the advantages of a group's responses, [G].

        Args:
            rewards: float [G], G of at least 2.

        Example:
            >>> import torch
            >>> GroupTerm(baseline="others").advantages(torch.tensor([1.0, 0.0, 0.5])).tolist()
            [0.75, -0.75, 0.0]
        """
        advantages = rewards - rewards.mean()
        if self.baseline == "others":
            advantages = advantages * (len(rewards) / (len(rewards) - 1))
        if self.divide_by_spread:
            spread = rewards.std(unbiased=True)
            rounding = 1e-6 * rewards.abs().max()  # equal rewards have a mean that is off in the last digit
            advantages = torch.where(spread > rounding, advantages / spread.clamp(min=1e-8), 0.0)
        return advantages

    def _mean(self, objectives: list[torch.Tensor]) -> torch.Tensor:
        """Return a group's mean objective of its tokens' objectives (float [tokens] for each response)."""
        if self.length == "tokens":
            return torch.cat(objectives).mean()
        each = [own.mean() if self.length == "responses" else own.sum() for own in objectives]
        return torch.stack(each).mean()
