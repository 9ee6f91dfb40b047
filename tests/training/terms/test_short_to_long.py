"""The short-to-long term against plain Transformers calls, one per sequence."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import seed_everything
from plain_logps import assert_same_gradients, gradients, plain_token_logps

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.training import DPOModule, LoRASettings, PreferencePhase, SFTPhase, WeightedPhase
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.losses import IPO, LDDPO, PreferenceLoss, SigmoidDPO, SimPO
from longmab_pl.training.packing import pack_by_tokens, packed_tokens
from longmab_pl.training.terms import LikelihoodTerm, PreferenceTerm, ShortToLong, ShortToLongTerm

TinyModel = Callable[..., str]


def short_pairs() -> list[PreferenceExample]:
    """Ragged pairs with short prompts; two share both prompts, one has masks, one the same prompt twice."""
    draw = random.Random(4)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(n))

    long, short, best = ids(40), ids(13), ids(9)
    alone = ids(11)
    mask = (False, True, True, False, True)
    return [
        PreferenceExample("a", long, best, ids(4), short_prompt_ids=short),
        PreferenceExample("b", long, best, ids(6), short_prompt_ids=short),
        PreferenceExample("c", ids(33), ids(5), ids(3), chosen_mask=mask, short_prompt_ids=ids(7)),
        PreferenceExample("d", alone, ids(3), ids(8), short_prompt_ids=alone),
        PreferenceExample("e", alone + ids(20), ids(2), ids(2), short_prompt_ids=alone),
    ]


def module_for(model: str, **options: object) -> DPOModule:
    seed_everything(3, verbose=False)
    settings = {"dtype": "fp32", "lora": LoRASettings(r=2), "gradient_checkpointing": False}
    module = DPOModule(model, **{**settings, **options})
    module.configure_model()
    assert module.policy is not None
    for parameter in module.policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return module


def log_ratio(module: DPOModule, prompt: tuple[int, ...], completion: tuple[int, ...], mask: tuple[bool, ...] | None):
    policy = module.policy
    assert policy is not None
    with torch.no_grad(), policy.disable_adapter():
        reference = plain_token_logps(policy, prompt, completion, mask)
    return plain_token_logps(policy, prompt, completion, mask) - reference


@pytest.mark.parametrize("layout", ["packed", "concatenated"])
@pytest.mark.parametrize("preference", ["long", "short"])
def test_loss_and_gradients_are_those_of_plain_sequences(tiny_model: TinyModel, preference: str, layout: str) -> None:
    settings = ShortToLong(weight=3.0, preference=preference)
    module = module_for(tiny_model("llama"), beta=0.2, nll_weight=0.3, short_to_long=settings)
    module.layout = module._reference_layout = layout
    pairs = short_pairs()
    losses = []
    for p in pairs:
        assert p.short_prompt_ids is not None
        prompts = {"long": p.prompt_ids, "short": p.short_prompt_ids}
        chosen = {name: 0.2 * log_ratio(module, x, p.chosen_ids, p.chosen_mask).sum() for name, x in prompts.items()}
        rejected = 0.2 * log_ratio(module, prompts[preference], p.rejected_ids, p.rejected_mask).sum()
        dpo = -torch.nn.functional.logsigmoid(chosen[preference] - rejected)
        nll = -plain_token_logps(module.policy, p.prompt_ids, p.chosen_ids, p.chosen_mask).mean()
        losses.append(dpo + 0.3 * nll + 3.0 * (chosen["short"] - chosen["long"]).abs())
    expected = torch.stack(losses)
    expected.mean().backward()
    wanted = gradients(module.policy)

    module.zero_grad()
    batch = collate(module.phase.examples(pairs))
    step = module.step_loss(batch)
    torch.testing.assert_close(step.losses, expected, rtol=1e-5, atol=1e-5)
    assert float(step.losses[3].detach()) < float(step.losses[0].detach()), "equal prompts have no gap"
    step.mean().backward()
    assert_same_gradients(gradients(module.policy), wanted)
    parts = {name: float(value) for name, value in step.metrics.items() if name.startswith("loss/")}
    assert parts.keys() == {"loss/dpo", "loss/nll", "loss/short_to_long"}
    total = parts["loss/dpo"] + 0.3 * parts["loss/nll"] + 3 * parts["loss/short_to_long"]
    assert total == pytest.approx(float(step.metrics["loss"]), rel=1e-5)


def test_prompts_are_computed_once_and_the_decoupled_form_skips_the_long_rejected_answer() -> None:
    pairs = short_pairs()[:2]
    long, short = len(pairs[0].prompt_ids), len(pairs[0].short_prompt_ids or ())
    chosen, rejected = len(pairs[0].chosen_ids), sum(len(p.rejected_ids) for p in pairs)
    phase = PreferencePhase(SigmoidDPO())
    coupled = WeightedPhase.short_to_long(phase, ShortToLong()).examples(pairs)
    assert packed_tokens(coupled) == long + chosen + rejected + short + chosen
    decoupled = WeightedPhase.short_to_long(phase, ShortToLong(preference="short")).examples(pairs)
    assert packed_tokens(decoupled) == long + chosen + short + chosen + rejected
    batch = collate(decoupled)
    assert (batch.rejected, len(batch.chosen), len(set(batch.short_rejected))) == ((), 2, 2)


def test_a_budget_of_tokens_counts_the_short_prompts() -> None:
    examples = WeightedPhase([ShortToLongTerm()]).examples(short_pairs())
    batches = pack_by_tokens(examples, 100)
    assert [e.id for batch in batches for e in batch] == ["a", "b", "c", "d", "e"]
    assert max(collate(batch).tokens for batch in batches) <= 100


def test_a_phase_without_the_term_computes_no_short_prompt() -> None:
    pairs = short_pairs()
    assert collate(PreferencePhase().examples(pairs)).short_chosen == ()
    assert packed_tokens(PreferencePhase().examples(pairs[:1])) == pairs[0].tokens


def test_pairs_without_a_short_prompt_are_refused_by_name() -> None:
    pair = replace(short_pairs()[0], short_prompt_ids=None)
    with pytest.raises(DataError, match="'a' has no short prompt"):
        WeightedPhase([ShortToLongTerm()]).examples([pair])
    examples = [*short_pairs()[:1], *WeightedPhase([ShortToLongTerm()]).examples(short_pairs()[:1])]
    with pytest.raises(DataError, match="different roles"):
        collate(examples)


def test_the_term_joins_every_preference_phase_and_no_other() -> None:
    phases = [SFTPhase(), PreferencePhase(LDDPO(0.3), nll_weight=0.0, epochs=2, learning_rate=1e-3)]
    module = DPOModule("somewhere", phases=phases, short_to_long=ShortToLong(2.0))
    sft, weighted = module.phases
    assert isinstance(sft, SFTPhase)
    assert isinstance(weighted, WeightedPhase)
    assert (weighted.name, weighted.epochs, weighted.learning_rate) == ("dpo", 2, 1e-3)
    assert [(type(term).__name__, term.weight) for term in weighted.losses] == [
        ("PreferenceTerm", 1.0),
        ("ShortToLongTerm", 2.0),
    ]
    assert weighted.losses[1].beta == 0.3
    assert module.phases.needs_short_prompt
    assert not DPOModule("somewhere").phases.needs_short_prompt


@pytest.mark.parametrize("loss", [IPO(), SimPO()])
def test_a_loss_with_another_reward_needs_a_beta_of_the_terms_own(loss: PreferenceLoss) -> None:
    with pytest.raises(ConfigError, match=r"set model\.short_to_long\.beta"):
        DPOModule("somewhere", loss=loss, short_to_long=ShortToLong())
    (phase,) = DPOModule("somewhere", loss=loss, short_to_long=ShortToLong(beta=0.1)).phases
    assert phase.needs_reference


def test_settings_that_exclude_each_other_are_refused() -> None:
    terms = [PreferenceTerm(), LikelihoodTerm()]
    with pytest.raises(ConfigError, match=r"model\.losses and model\.short_to_long are both set"):
        DPOModule("somewhere", losses=terms, short_to_long=ShortToLong())
    with pytest.raises(ConfigError, match="2 terms named 'dpo'"):
        DPOModule("somewhere", losses=[PreferenceTerm(), PreferenceTerm(prompt="short")])
    with pytest.raises(ConfigError, match=r"precompute_reference is true"):
        DPOModule("somewhere", losses=terms, precompute_reference=True)
    with pytest.raises(ConfigError, match="empty"):
        DPOModule("somewhere", losses=[])


def test_beta_of_the_module_reaches_the_loss_and_the_term() -> None:
    given = SigmoidDPO(0.1)
    module = DPOModule("somewhere", loss=given, beta=0.4, short_to_long=ShortToLong())
    assert (module.loss.beta, given.beta) == (0.4, 0.1)
    (phase,) = module.phases
    assert isinstance(phase, WeightedPhase)
    assert phase.losses[-1].beta == 0.4
    with pytest.raises(ConfigError, match="IPO has no beta"):
        DPOModule("somewhere", loss=IPO(), beta=0.4)


def test_a_reference_free_loss_and_likelihood_run_no_reference_pass(tiny_model: TinyModel) -> None:
    module = module_for(tiny_model("llama"), losses=[PreferenceTerm(SimPO()), LikelihoodTerm(0.5)])
    plain = module_for(tiny_model("llama"), loss=SimPO(), nll_weight=0.5)
    module.reference_token_logps = None  # a reference pass would now fail
    pairs = short_pairs()
    found = module.step_loss(collate(module.phase.examples(pairs)))
    expected = plain.step_loss(collate(pairs))
    torch.testing.assert_close(found.losses, expected.losses)
    for name in expected.metrics:
        torch.testing.assert_close(found.metrics[name], expected.metrics[name])
