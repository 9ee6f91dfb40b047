"""Group losses against plain Transformers calls, one per response."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import seed_everything
from plain_logps import assert_same_gradients, gradients, plain_token_logps

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.training import DPOModule, LoRASettings, WeightedPhase
from longmab_pl.training.adapter import copy_to_reference
from longmab_pl.training.batch import GroupResponse, PreferenceExample, collate
from longmab_pl.training.packing import packed_tokens
from longmab_pl.training.terms import GroupTerm, LikelihoodTerm, PreferenceTerm, ShortToLongTerm

TinyModel = Callable[..., str]


def groups() -> list[PreferenceExample]:
    """Two groups: one with equal responses and mixed origins, one of two responses sampled from the prompt."""
    draw = random.Random(11)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(n))

    best, worst, other, again = ids(7), ids(4), ids(1), ids(12)
    first = [(best, 1.0, True), (worst, 0.0, True), (other, 0.4, False), (again, 0.4, True), (worst, 0.0, False)]
    second = [(ids(3), 0.2, True), (ids(9), 0.9, True)]
    return [
        PreferenceExample(
            name,
            ids(n),
            group[chosen][0],
            group[rejected][0],
            short_prompt_ids=ids(6),
            group=tuple(GroupResponse(*member) for member in group),
        )
        for name, n, group, chosen, rejected in (("one", 25, first, 0, 1), ("two", 9, second, 1, 0))
    ]


def module_for(model: str, *losses: object, reference: str = "round_start") -> DPOModule:
    """A module whose adapter has moved a little from that which sampled."""
    seed_everything(3, verbose=False)
    module = DPOModule(
        model,
        dtype="fp32",
        lora=LoRASettings(r=2),
        gradient_checkpointing=False,
        losses=list(losses),
        reference=reference,
    )
    module.configure_model()
    assert module.policy is not None
    trained = [p for p in module.policy.parameters() if p.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.2)
    if reference == "round_start":
        copy_to_reference(module.policy)
    for parameter in trained:
        parameter.data += 0.01 * torch.randn_like(parameter)
    return module


def sampling_logps(module: DPOModule, prompt: tuple[int, ...], ids: tuple[int, ...]) -> torch.Tensor:
    policy = module.policy
    assert policy is not None
    policy.set_adapter("reference")
    with torch.no_grad():
        logps = plain_token_logps(policy, prompt, ids)
    policy.set_adapter("default")
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_("lora_" in name and ".default." in name)
    return logps


@pytest.mark.parametrize("layout", ["packed", "concatenated"])
@pytest.mark.parametrize(
    ("term", "advantage", "mean"),
    [
        (
            GroupTerm(baseline="others", length="sum", clip=0.05),
            lambda rewards, i: rewards[i] - sum(rewards[:i] + rewards[i + 1 :]) / (len(rewards) - 1),
            lambda parts: sum(part.sum() for part in parts) / len(parts),
        ),
        (
            GroupTerm(baseline="group", divide_by_spread=True, length="responses", clip=0.05),
            lambda rewards, i: (rewards[i] - sum(rewards) / len(rewards)) / float(torch.tensor(rewards).std()),
            lambda parts: sum(part.sum() / len(part) for part in parts) / len(parts),
        ),
        (
            GroupTerm(weight=0.5, baseline="group", length="tokens", clip=None, negative_weight=0.3),
            lambda rewards, i: rewards[i] - sum(rewards) / len(rewards),
            lambda parts: sum(part.sum() for part in parts) / sum(len(part) for part in parts),
        ),
    ],
    ids=["rloo", "grpo", "likelihood"],
)
def test_loss_and_gradients_are_those_of_plain_sequences(
    tiny_model: TinyModel, term: GroupTerm, advantage: Callable, mean: Callable, layout: str
) -> None:
    module = module_for(tiny_model("llama"), term)
    module.layout = module._reference_layout = layout
    losses, moved = [], []
    for example in groups():
        rewards = [response.reward for response in example.group]
        parts = []
        for i, response in enumerate(example.group):
            logps = plain_token_logps(module.policy, example.prompt_ids, response.ids)
            a = advantage(rewards, i)
            if term.clip is not None and response.on_prompt:
                ratio = (logps - sampling_logps(module, example.prompt_ids, response.ids)).exp()
                moved.append(ratio.detach())
                parts.append(torch.minimum(ratio * a, ratio.clamp(1 - term.clip, 1 + term.clip) * a))
            else:
                parts.append((term.negative_weight if a < 0 else 1.0) * a * logps)
        losses.append(-mean(parts))
    expected = term.weight * torch.stack(losses)
    module.zero_grad()
    expected.mean().backward()
    wanted = gradients(module.policy)

    module.zero_grad()
    batch = collate(module.phase.examples(groups()))
    step = module.step_loss(batch)
    torch.testing.assert_close(step.losses, expected, rtol=1e-5, atol=1e-5)
    step.mean().backward()
    assert_same_gradients(gradients(module.policy), wanted)
    if term.clip is not None:
        ratios = torch.cat(moved)
        outside = ((ratios - 1).abs() > term.clip).float().mean()
        assert 0 < float(outside) < 1, "the test has tokens on both sides of the clip"
        torch.testing.assert_close(step.metrics["group/out_of_clip_rate"], outside)
        torch.testing.assert_close(step.metrics["group/ratio"], ratios.mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(step.metrics["group/on_prompt_rate"], torch.tensor(5 / 7))


def test_a_list_of_losses_is_the_weighted_sum_of_each_alone_on_one_packed_sequence(tiny_model: TinyModel) -> None:
    folder = tiny_model("llama")
    terms = [PreferenceTerm(), LikelihoodTerm(0.2), ShortToLongTerm(3.0), GroupTerm(0.5)]
    module = module_for(folder, *terms)
    found = module.step_loss(collate(module.phase.examples(groups())))
    alone = []
    for term in terms:
        phase = WeightedPhase([term])
        module.phases.phases = (phase,)
        alone.append(module.step_loss(collate(phase.examples(groups()))).losses)
    torch.testing.assert_close(found.losses, torch.stack(alone).sum(0), rtol=1e-5, atol=1e-5)


def test_the_prompt_and_equal_responses_are_computed_once() -> None:
    one, two = groups()
    examples = WeightedPhase([PreferenceTerm(), GroupTerm()]).examples([one])
    distinct = {response.ids for response in one.group}
    assert len(distinct) == 4
    assert packed_tokens(examples) == len(one.prompt_ids) + sum(map(len, distinct))
    batch = collate(WeightedPhase([PreferenceTerm(), GroupTerm()]).examples([one, two]))
    assert [len(group) for group in batch.groups] == [5, 2]
    assert batch.groups[0][1] == batch.groups[0][4] == batch.rejected[0]
    moved = batch.to("cpu")
    torch.testing.assert_close(moved.group_rewards, torch.tensor([1.0, 0.0, 0.4, 0.4, 0.0, 0.2, 0.9]))


def test_advantages_of_equal_rewards_are_zero() -> None:
    rewards = torch.tensor([0.3, 0.3, 0.3])
    for baseline in ("others", "group"):
        for spread in (False, True):
            advantages = GroupTerm(baseline=baseline, divide_by_spread=spread).advantages(rewards)
            torch.testing.assert_close(advantages, torch.zeros(3), rtol=0, atol=1e-6)


def test_rounding_is_no_spread() -> None:
    term = GroupTerm(divide_by_spread=True)
    rewards = torch.full((16,), 0.2)
    assert rewards.std() > 0, "float32 cannot hold the mean"
    assert term.advantages(rewards).abs().max() == 0
    assert term.advantages(torch.tensor([0.2, 0.2001])).abs().min() > 0.5


def test_the_ratio_needs_the_sampling_policy_as_reference() -> None:
    with pytest.raises(ConfigError, match="reference: round_start, or clip: null"):
        DPOModule("somewhere", losses=[GroupTerm()])
    (phase,) = DPOModule("somewhere", losses=[GroupTerm(clip=None)]).phases
    assert not phase.needs_reference
    with pytest.raises(DataError, match="no group"):
        phase.examples([PreferenceExample("x", (1,), (2,), (3,))])


@pytest.mark.parametrize(
    "options", [{"clip": 0.0}, {"clip": 1.0}, {"weight": 0.0}, {"baseline": "mean"}, {"length": "x"}]
)
def test_settings_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"losses\."):
        GroupTerm(**options)


def test_training_raises_the_likelihood_of_better_responses_and_lowers_that_of_worse(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), GroupTerm(clip=0.2))
    batch = collate(module.phase.examples(groups()))
    optimizer = torch.optim.AdamW([p for p in module.policy.parameters() if p.requires_grad], lr=3e-3)

    def likelihoods() -> list[float]:
        with torch.no_grad():
            return [
                float(plain_token_logps(module.policy, e.prompt_ids, r.ids).mean()) for e in groups() for r in e.group
            ]

    before = likelihoods()
    for _ in range(8):
        optimizer.zero_grad()
        module.step_loss(batch).mean().backward()
        optimizer.step()
    after = likelihoods()
    assert after[0] > before[0], "the first group's best response"
    assert after[1] < before[1], "its worst"
    assert after[6] - before[6] > after[5] - before[5], "the second group"
