"""Phases: SFT, DPO and others, one after the other over a round's pairs."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer
from longmab_pl.training.batch import PreferenceExample, SFTExample, collate, sft_examples
from longmab_pl.training.losses import LDDPO, ORPO, SigmoidDPO
from longmab_pl.training.module import DPOModule
from longmab_pl.training.phases import Phase, PhasePlan, PreferencePhase, SFTPhase
from longmab_pl.training.policy import LoRASettings

TinyModel = Callable[..., str]


def make_pairs(n: int, seed: int = 0) -> list[PreferenceExample]:
    draw = random.Random(seed)

    def ids() -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(draw.randrange(3, 12)))

    return [PreferenceExample(f"pair-{i}", ids(), ids(), ids()) for i in range(n)]


class Pairs(PairDataModule):
    """Fixed pairs, the same in every round."""

    def __init__(self, rounds: int = 1, batch_size: int = 1, max_tokens_per_batch: int | None = None) -> None:
        super().__init__(batch_size, 0.0, 0, max_tokens_per_batch)
        self.rounds = rounds
        self.begun: list[int] = []

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        self.trainer.reload_dataloaders_every_n_epochs = 1
        self.trainer.limit_val_batches = 0
        self.adopt_phases(self.policy.phases)

    def ensure_pairs(self) -> None:
        if not self.training:
            self.training = make_pairs(6)

    def pairs_digest(self) -> str:
        return "pairs"

    def pairs_folder(self) -> Path:
        return self.run_folder

    def first_epoch_of_pairs(self) -> int:
        return 0

    def epochs_over_pairs(self) -> int:
        return self.rounds

    @property
    def prompt_format(self) -> PromptFormat:
        return ReasonThenAnswer()

    def stage_name(self) -> str:
        return ""

    def report_row(self) -> dict[str, Any]:
        return {}


class Recorder(Callback):
    """Phase, loss, learning rate and margin of every batch."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        seen = trainer.callback_metrics
        name = pl_module.phase.name
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        margin = 0.0 if name == "sft" else float(seen["train/rewards/margins"])  # SFT leaves the last one's there
        self.rows.append((name, float(seen["train/loss"]), rate, margin))

    def of(self, name: str) -> list[float]:
        return [loss for phase, loss, *_ in self.rows if phase == name]


def module_for(model: str, phases: list[Phase] | None, **options: Any) -> DPOModule:
    seed_everything(3, verbose=False)
    settings = {"dtype": "fp32", "learning_rate": 1e-2, "lora": LoRASettings(r=2), "gradient_checkpointing": False}
    return DPOModule(model, phases=phases, **{**settings, **options})


def fit(module: DPOModule, data: LightningDataModule, folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    path = options.pop("ckpt_path", None)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=path)
    return trainer


# SFT


def conversation() -> list[PreferenceExample]:
    """Two conversations of several turns each: the assistant's tokens count, the user's are read."""
    draw = random.Random(8)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(n))

    first = (True,) * 5 + (False,) * 4 + (True,) * 6
    second = (True,) * 3 + (False,) * 7 + (True,) * 2 + (False,) * 2 + (True,) * 4
    return [
        PreferenceExample("two turns", ids(7), ids(15), ids(4), chosen_mask=first),
        PreferenceExample("three turns", ids(11), ids(18), ids(3), chosen_mask=second),
        PreferenceExample("an answer", ids(5), ids(9), ids(6)),
    ]


@pytest.mark.parametrize("layout", ["packed", "concatenated"])
def test_sft_is_the_cross_entropy_of_transformers_on_the_tokens_that_count(tiny_model: TinyModel, layout: str) -> None:
    module = module_for(tiny_model("llama"), [SFTPhase()])
    module.configure_model()
    assert module.policy is not None
    for parameter in module.policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    module.layout = layout
    examples = list(sft_examples(conversation()))
    rows, labels = [], []
    longest = max(len(e.prompt_ids) + len(e.completion_ids) for e in examples)
    for e in examples:
        mask = e.completion_mask or (True,) * len(e.completion_ids)
        kept = [token if keep else -100 for token, keep in zip(e.completion_ids, mask, strict=True)]
        padding = longest - len(e.prompt_ids) - len(kept)
        rows.append([*e.prompt_ids, *e.completion_ids, *[0] * padding])
        labels.append([*[-100] * len(e.prompt_ids), *kept, *[-100] * padding])
    padded = torch.tensor(rows)
    expected = module.policy(input_ids=padded, labels=torch.tensor(labels)).loss
    expected.backward()
    wanted = {n: p.grad.clone() for n, p in module.policy.named_parameters() if p.grad is not None}

    module.zero_grad()
    step = module.step_loss(collate(examples))
    assert float(step.mean().detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    assert float(step.metrics["loss"]) == pytest.approx(float(expected.detach()), abs=1e-5)
    step.mean().backward()
    for name, parameter in module.policy.named_parameters():
        if parameter.grad is not None:
            difference = (parameter.grad - wanted[name]).norm() / wanted[name].norm()
            assert difference < 1e-5, name


def test_sft_takes_each_chosen_completion_once_and_no_rejected_one() -> None:
    prompt, chosen = (1, 2, 3), (4, 5)
    pairs = [
        PreferenceExample("a", prompt, chosen, (6,)),
        PreferenceExample("b", prompt, chosen, (7, 8)),
        PreferenceExample("c", prompt, (9,), chosen),
        PreferenceExample("d", prompt, chosen, (6,), chosen_mask=(False, True)),
    ]
    examples = SFTPhase().examples(pairs)
    assert [e.id for e in examples] == ["a", "c", "d"]
    batch = collate(examples)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 9, 4, 5]]
    assert batch.chosen == (0, 1, 2)
    assert batch.rejected == ()
    assert batch.ids == ("a", "c", "d")
    assert PreferencePhase().examples(pairs) == pairs


def test_pairs_and_completions_do_not_mix_in_a_batch() -> None:
    with pytest.raises(DataError, match="a batch of each"):
        collate([PreferenceExample("a", (1,), (2,), (3,)), SFTExample("b", (1,), (2,))])


# The plan


def test_phases_follow_one_another_in_every_round() -> None:
    plan = PhasePlan([SFTPhase(epochs=2), PreferencePhase()])
    assert plan.epochs == 3
    assert [plan.at(epoch).name for epoch in range(6)] == ["sft", "sft", "dpo"] * 2
    assert [plan.first_epoch(epoch) for epoch in range(6)] == [0, 0, 2, 3, 3, 5]
    assert [plan.changes_at(epoch) for epoch in range(4)] == [True, False, True, True]
    # Over two rounds SFT has four epochs, DPO two.
    assert plan.progress(4, 0.5, 6) == pytest.approx(3.5 / 4)
    assert plan.progress(2, 0.5, 6) == pytest.approx(0.5 / 2)


def test_a_single_phase_takes_the_epochs_that_the_data_says() -> None:
    plan = PhasePlan([PreferencePhase()])
    assert plan.epochs is None
    assert not any(plan.changes_at(epoch) for epoch in range(4))
    assert plan.progress(1, 0.25, 4) == (1 + 0.25) / 4


def test_phases_take_from_the_module_what_they_leave_open() -> None:
    phases = [PreferencePhase(), PreferencePhase(ORPO(), name="second"), PreferencePhase(nll_weight=0.0, name="third")]
    module = DPOModule("not/looked-at", loss=LDDPO(alpha=0.3), nll_weight=0.4, phases=[SFTPhase(), *phases])
    assert [p.name for p in module.phases] == ["sft", "dpo", "second", "third"]
    _, first, second, third = module.phases
    assert isinstance(first, PreferencePhase)
    assert isinstance(second, PreferencePhase)
    assert isinstance(third, PreferencePhase)
    assert (first.ld_alpha, first.nll_weight, first.needs_reference) == (0.3, 0.4, True)
    assert (second.nll_weight, second.needs_reference) == (0.0, False)  # ORPO has its own likelihood term
    assert (third.ld_alpha, third.nll_weight) == (0.3, 0.0)
    assert not DPOModule("not/looked-at", phases=[SFTPhase()]).phases.needs_reference


@pytest.mark.parametrize(
    ("phases", "match"),
    [
        (list, "model.phases is empty"),
        (lambda: [SFTPhase(), SFTPhase()], "2 phases named 'sft'"),
        (lambda: [SFTPhase(epochs=0)], "phase.epochs is 0"),
        (lambda: [PreferencePhase(learning_rate=0)], "phase.learning_rate is 0"),
        (lambda: [PreferencePhase(ORPO(), nll_weight=0.1)], "set model.nll_weight to 0"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: Callable[[], list[Phase]], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DPOModule("not/looked-at", phases=phases())


def test_epochs_said_twice_are_refused() -> None:
    data = Pairs()
    data.epochs_per_round = 2
    with pytest.raises(ConfigError, match=r"epochs_per_round is 2, but model\.phases take 3"):
        data.adopt_phases(PhasePlan([SFTPhase(), PreferencePhase(epochs=2)]))
    data.adopt_phases(PhasePlan([PreferencePhase()]))
    assert data.epochs_per_round == 2


# A run


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"max_tokens_per_batch": 60}], ids=["pairs", "tokens"])
def test_sft_then_dpo_learns(tiny_model: TinyModel, tmp_path: Path, options: dict[str, Any]) -> None:
    seen = Recorder()
    phases: list[Phase] = [SFTPhase(epochs=3, learning_rate=2e-2), PreferencePhase(SigmoidDPO(0.1), 0.0, epochs=3)]
    module = module_for(tiny_model("llama"), phases, reference="phase_start", schedule="constant")
    trainer = fit(module, Pairs(**options), tmp_path, seen, max_epochs=6, accumulate_grad_batches=2)
    names = [name for name, *_ in seen.rows]
    assert names == sorted(names, reverse=True)  # all of SFT, then all of DPO
    sft, dpo = seen.of("sft"), seen.of("dpo")
    assert sum(sft[-2:]) < sum(sft[:2]) - 0.5
    # With the SFT model as reference DPO begins at a margin of zero, and at log 2.
    first = next(row for row in seen.rows if row[0] == "dpo")
    assert first[1] == pytest.approx(0.6931, abs=1e-4)
    assert first[3] == pytest.approx(0.0, abs=1e-5)
    assert dpo[-1] < 0.6
    metrics = trainer.callback_metrics
    assert {
        f"train/{name}" for name in ("loss", "sft/loss", "dpo/loss", "rewards/margins", "rewards/accuracies")
    } <= set(metrics)
    assert float(metrics["train/dpo/loss"]) == pytest.approx(float(metrics["train/loss"]))


def test_every_phase_has_its_own_learning_rate_warm_up_and_moments(tiny_model: TinyModel, tmp_path: Path) -> None:
    seen = Recorder()
    phases: list[Phase] = [SFTPhase(learning_rate=1e-3), PreferencePhase(learning_rate=4e-4)]
    ages: list[float] = []

    class Ages(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            state = trainer.optimizers[0].state
            ages.append(max(float(s["step"]) for s in state.values()))

    module = module_for(tiny_model("llama"), phases, schedule="linear", warmup_fraction=0.25)
    fit(module, Pairs(batch_size=3), tmp_path, seen, Ages(), max_epochs=2)
    # Two steps a phase, at 1/4 and 3/4 of it: the peak, then a third of it.
    assert [row[2] for row in seen.rows] == pytest.approx([1e-3, 1e-3 / 3, 4e-4, 4e-4 / 3])
    assert ages == [1, 2, 1, 2]


@pytest.mark.parametrize("reference", ["base", "phase_start"])
@pytest.mark.parametrize("precompute", [False, True])
def test_a_run_resumed_anywhere_is_the_uninterrupted_one(
    tiny_model: TinyModel, tmp_path: Path, reference: str, precompute: bool
) -> None:
    model = tiny_model("llama")

    def module() -> DPOModule:
        phases: list[Phase] = [SFTPhase(epochs=1, learning_rate=2e-2), PreferencePhase(epochs=2)]
        return module_for(model, phases, reference=reference, precompute_reference=precompute)

    def run(folder: str, *callbacks: Callback, **options: Any) -> DPOModule:
        trained = module()
        data = Pairs(rounds=2, batch_size=1)
        fit(trained, data, tmp_path / folder, *callbacks, max_epochs=6, accumulate_grad_batches=2, **options)
        return trained

    saver = ModelCheckpoint(dirpath=tmp_path / "ckpt", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = Recorder()
    expected = run("whole", whole, saver).state_dict()
    assert len(whole.rows) == 36  # 6 epochs of 6 batches, 3 optimizer steps each
    # In SFT, at its end, in DPO's first and second epoch, in the second round.
    for step in (1, 3, 4, 7, 10, 14):
        seen = Recorder()
        found = run(f"from-{step}", seen, ckpt_path=tmp_path / "ckpt" / f"step={step}.ckpt").state_dict()
        assert seen.rows == whole.rows[2 * step :], step
        for name, tensor in found.items():
            assert torch.equal(tensor, expected[name]), (step, name)


@pytest.mark.parametrize("layout", ["packed", "concatenated"])
def test_orpo_on_a_shared_prompt_is_orpo_on_separate_sequences(tiny_model: TinyModel, layout: str) -> None:
    """Plain: every completion in a sequence of its own, the formula of SeaLong's trainer on mean log-probabilities."""
    module = module_for(tiny_model("llama"), [PreferencePhase(ORPO(0.1))])
    module.configure_model()
    assert module.policy is not None
    for parameter in module.policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    module.layout = layout
    shared = make_pairs(4, seed=1)
    pairs = [*shared, PreferenceExample("again", shared[0].prompt_ids, shared[0].chosen_ids, shared[1].rejected_ids)]

    def mean_logp(prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
        assert module.policy is not None
        logits = module.policy(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).mean()

    losses = []
    for pair in pairs:
        chosen, rejected = (mean_logp(pair.prompt_ids, ids) for ids in (pair.chosen_ids, pair.rejected_ids))
        odds = (chosen - rejected) - (torch.log(1 - chosen.exp()) - torch.log(1 - rejected.exp()))
        losses.append(-chosen - 0.1 * torch.nn.functional.logsigmoid(odds))
    expected = torch.stack(losses).mean()
    expected.backward()
    wanted = {n: p.grad.clone() for n, p in module.policy.named_parameters() if p.grad is not None}

    module.zero_grad()
    batch = collate(pairs)
    # The fifth pair shares the first one's prompt.
    assert batch.input_ids.shape[1] <= sum(pair.tokens for pair in pairs) - len(pairs[0].prompt_ids)
    step = module.step_loss(batch)
    assert float(step.mean().detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    step.mean().backward()
    for name, parameter in module.policy.named_parameters():
        if parameter.grad is not None:
            difference = (parameter.grad - wanted[name]).norm() / wanted[name].norm()
            assert difference < 1e-4, name


def test_orpo_is_a_phase_without_a_reference(tiny_model: TinyModel, tmp_path: Path) -> None:
    seen = Recorder()
    module = module_for(tiny_model("llama"), [PreferencePhase(ORPO())], schedule="constant")
    fit(module, Pairs(batch_size=2), tmp_path, seen, max_epochs=4)
    losses = seen.of("orpo")
    assert len(losses) == 12
    assert all(later < earlier for earlier, later in pairwise([sum(losses[i : i + 3]) for i in range(0, 12, 3)]))
    assert not list(tmp_path.glob("reference_logps-*"))
