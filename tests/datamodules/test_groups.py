"""Group losses from the rollout to the trained adapter: groups on their own prompt, and groups read from chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning import Callback, Trainer
from river_rounds import small_rounds, sometimes_right, write_rivers

from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.pairs import AllResponses, BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.strategies import BestOfN
from longmab_pl.training import DPOModule, LoRASettings
from longmab_pl.training.terms import GroupTerm, LikelihoodTerm, PreferenceTerm

RIGHT = [" number {}", " number {} or so", " none", " number {}1"]


def several(request, i):
    record = int(request.id.split("/")[0])
    return RIGHT[i % 4].format(record * 10 + record % 4)


class Likelihoods(Callback):
    """Mean log-probability of the best and of the worst responses, before and after training."""

    def __init__(self):
        self.before: tuple[float, float] | None = None

    def on_train_start(self, trainer, pl_module):
        self.before = self.measure(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        self.after = self.measure(trainer, pl_module)

    def measure(self, trainer, module):
        best, worst = [], []
        for example in trainer.datamodule.training:
            rewards = [response.reward for response in example.group]
            for response in example.group:
                logps = module.token_logps([*example.prompt_ids, *response.ids])[-len(response.ids) :]
                {max(rewards): best, min(rewards): worst}.get(response.reward, []).append(sum(logps) / len(logps))
        return sum(best) / len(best), sum(worst) / len(worst)


def fit(run, model, data, losses, reference):
    module = DPOModule(
        model,
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=1e-2,
        gradient_checkpointing=False,
        losses=losses,
        reference=reference,
    )
    seen = Likelihoods()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        callbacks=[seen],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, seen


def test_responses_to_the_whole_context_have_a_ratio_and_training_raises_the_better_ones(tmp_path, tiny_model):
    data = RolloutDataModule(
        ScriptedEngine(several),
        str(write_rivers(tmp_path / "qa.jsonl")),
        strategy=BestOfN(4, Sampling(max_tokens=16)),
        prompt_format=DirectAnswer(),
        pairs=AllResponses(max_prompt_length=2000),
        rounds=1,
        verify_sync=False,
    )
    metrics, seen = fit(tmp_path / "run", tiny_model, data, [GroupTerm(), LikelihoodTerm(0.01)], "round_start")
    assert metrics["train/group/on_prompt_rate"] == 1
    assert metrics["train/group/size"] == 4
    assert metrics["train/group/ratio"] != 1, "the policy has moved from that which sampled"
    gains = [after - before for before, after in zip(seen.before, seen.after, strict=True)]
    assert gains[0] > gains[1]


def test_responses_to_chunks_are_weighted_likelihood(tmp_path, tiny_model):
    data = small_rounds(ScriptedEngine(sometimes_right), write_rivers(tmp_path / "qa.jsonl"), rounds=1)
    data.session.plan = replace(data.plan, pairs=AllResponses(max_prompt_length=1500))
    losses = [PreferenceTerm(), GroupTerm(0.5, clip=None)]
    metrics, seen = fit(tmp_path / "run", tiny_model, data, losses, "base")
    assert metrics["train/group/on_prompt_rate"] == 0
    assert "train/group/ratio" not in metrics
    assert seen.after[0] - seen.before[0] > seen.after[1] - seen.before[1]


def test_a_rule_without_groups_is_refused(tmp_path, tiny_model):
    data = small_rounds(ScriptedEngine(sometimes_right), write_rivers(tmp_path / "qa.jsonl"), rounds=1)
    assert isinstance(data.plan.pairs, BestWorst)
    with pytest.raises(ConfigError, match=r"set data\.pairs: longmab_pl\.pairs\.AllResponses"):
        fit(tmp_path / "run", tiny_model, data, [GroupTerm(clip=None)], "base")
