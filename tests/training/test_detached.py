"""The detached prompt gradient against plain Transformers calls with a cache that has no graph."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
from plain_logps import assert_same_gradients, gradients

from longmab_pl.errors import ConfigError
from longmab_pl.training import DPOModule, LoRASettings
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.detached import check_detached, detached_token_logps
from longmab_pl.training.logprobs import causal_model, token_logps
from longmab_pl.training.policy import load_policy

TinyModel = Callable[..., str]


def pairs() -> list[PreferenceExample]:
    """Two pairs of one prompt, one of another, one of a prompt of one token, and one that continues a completion."""
    draw = random.Random(2)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(n))

    prompt, best = ids(23), ids(5)
    return [
        PreferenceExample("a", prompt, best, ids(7)),
        PreferenceExample("b", prompt, best, ids(3)),
        PreferenceExample("c", ids(11), ids(4), ids(1)),
        PreferenceExample("d", ids(1), ids(2), ids(6)),
        PreferenceExample("e", prompt + best, ids(4), ids(2)),
    ]


def policy_of(folder: str, checkpointing: bool, attention: str = "sdpa") -> torch.nn.Module:
    policy = load_policy(
        folder, LoRASettings(r=4), dtype="fp32", attention=attention, gradient_checkpointing=checkpointing
    )
    torch.manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return policy.train()


def plain(policy: torch.nn.Module, root: tuple[int, ...], rest: tuple[int, ...], scored: int) -> torch.Tensor:
    """Log-probabilities of the last `scored` tokens of `root + rest`, all but root's last token without a graph."""
    cache = None
    if len(root) > 1:
        with torch.no_grad():
            cache = policy(input_ids=torch.tensor([root[:-1]]), use_cache=True).past_key_values
    tokens = torch.tensor([[root[-1], *rest]])
    logits = policy(input_ids=tokens, past_key_values=copy.deepcopy(cache), use_cache=True).logits[0]
    logps = logits.log_softmax(-1)[:-1].gather(1, tokens[0, 1:, None]).squeeze(1)
    return logps[-scored:]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_are_exact_and_gradients_are_those_of_a_prompt_without_a_graph(
    tiny_model: TinyModel, checkpointing: bool, attention: str
) -> None:
    folder = tiny_model("llama")
    examples = pairs()
    unpacked = policy_of(folder, checkpointing=False)
    expected = []
    for example in examples:
        root = examples[0].prompt_ids if example.id == "e" else example.prompt_ids
        for ids in (example.chosen_ids, example.rejected_ids):
            rest = (*example.prompt_ids[len(root) :], *ids)
            expected.append(plain(unpacked, root, rest, len(ids)).sum() * len(expected))
    torch.stack(expected).sum().backward()
    wanted = gradients(unpacked)

    policy = policy_of(folder, checkpointing, attention)
    check_detached(causal_model(policy))
    batch = collate(examples)
    logps = detached_token_logps(policy, batch, chunk=4, piece=5)
    torch.testing.assert_close(logps, token_logps(policy, batch), rtol=1e-5, atol=1e-5)
    sums = torch.stack([part.sum() for part in logps.split(list(batch.completion_lengths))])
    order = [i for both in zip(batch.chosen, batch.rejected, strict=True) for i in both]
    found = sums[order] * torch.arange(len(order))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-4)
    found.sum().backward()
    assert_same_gradients(gradients(policy), wanted)
    assert causal_model(policy).training

    policy.zero_grad()
    exact = torch.stack([part.sum() for part in token_logps(policy, batch).split(list(batch.completion_lengths))])
    (exact[order] * torch.arange(len(order))).sum().backward()
    a, b = (torch.cat([g.flatten() for g in found.values()]) for found in (gradients(policy), wanted))
    assert 0.1 < float(torch.cosine_similarity(a, b, dim=0)) < 0.999, "the exact gradient also goes through the prompt"


def test_the_module_trains_with_a_detached_prompt(tiny_model: TinyModel) -> None:
    settings = {"dtype": "fp32", "lora": LoRASettings(r=2), "nll_weight": 1.0}
    module = DPOModule(tiny_model("llama"), prompt_gradient="detached", **settings)
    module.configure_model()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    batch = collate(pairs())
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = module.step_loss(batch).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    exact = DPOModule(tiny_model("llama"), **settings)
    exact.configure_model()
    assert float(exact.step_loss(batch).mean().detach()) == pytest.approx(losses[0], rel=1e-5)


def test_models_and_settings_that_cannot_be_detached_are_refused(tiny_model: TinyModel) -> None:
    module = DPOModule(tiny_model("mistral", sliding_window=8), dtype="fp32", prompt_gradient="detached")
    with pytest.raises(ConfigError, match="full attention in all layers"):
        module.configure_model()
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    module = DPOModule(tiny_model("llama", rope_parameters=rope), dtype="fp32", prompt_gradient="detached")
    with pytest.raises(ConfigError, match=r"rotary embeddings \(dynamic\) depend on the whole length"):
        module.configure_model()
    module = DPOModule(tiny_model("bloom"), dtype="fp32", prompt_gradient="detached")
    with pytest.raises(ConfigError, match="prompt_gradient is detached"):
        module.configure_model()
    with pytest.raises(ConfigError, match=r"model\.attention is flex"):
        DPOModule("somewhere", attention="flex", prompt_gradient="detached")
    with pytest.raises(ConfigError, match=r"model\.prompt_gradient is 'none'"):
        DPOModule("somewhere", prompt_gradient="none")
