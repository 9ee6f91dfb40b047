"""Rounds, clock and resume of a whole fit: tiny random model, real DPO steps, scripted answers."""

from __future__ import annotations

import json

import pytest
import torch
from lightning import Callback, Trainer
from power_cut import PowerCut
from river_rounds import small_rounds, sometimes_right, write_rivers

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, RoundProgressBar, RoundReport
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


@pytest.fixture
def qa_file(tmp_path):
    return write_rivers(tmp_path / "qa.jsonl")


class Losses(Callback):
    """The loss of every batch by epoch and place."""

    def __init__(self):
        self.seen: dict[tuple[int, int], float] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen[trainer.current_epoch, batch_idx] = float(outputs["loss"])


def make(run, model, qa_file, *callbacks, engine=None, reference="base", lr=1e-2, accumulate=1, **data):
    engine = engine or ScriptedEngine(sometimes_right)
    module = DPOModule(
        model,
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=lr,
        reference=reference,
        gradient_checkpointing=False,
    )
    datamodule = small_rounds(engine, qa_file, **data)
    losses = Losses()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=datamodule.rounds * datamodule.epochs_per_round,
        accumulate_grad_batches=accumulate,
        callbacks=[losses, *callbacks],
        logger=False,
        enable_checkpointing=any(isinstance(c, AdapterCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    return trainer, module, datamodule, engine, losses


def adapter_state(module):
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("reference", ["base", "round_start"])
def test_every_round_is_rolled_out_once_by_the_policy_of_its_time(tmp_path, tiny_model, qa_file, reference):
    trainer, module, data, engine, _ = make(
        tmp_path / "run", tiny_model, qa_file, AdapterExport(), RoundReport(picture=False), reference=reference
    )
    trainer.fit(module, datamodule=data)
    assert len(engine.asked) == 3 * 8 * 4, "each round asks its own questions once"
    folders = sorted((tmp_path / "run" / "rounds").iterdir())
    assert [f.name[:3] for f in folders] == ["000", "001", "002"]
    summaries = [json.loads((f / "round.json").read_text()) for f in folders]
    assert len({s["policy"] for s in summaries}) == 3
    assert summaries[0]["policy"] == "step-000000"
    assert len(engine.synced) == 2, "the base model answers round 1, a new adapter each round after it"
    assert len(set(engine.synced)) == 2
    assert engine.closed
    assert engine.slept == 3
    assert sorted(p.name for p in (tmp_path / "run" / "adapter").iterdir())[:2] == ["README.md", "adapter_config.json"]
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["rounds"]
    assert [r["round"] for r in rows] == [1, 2, 3]
    assert all(r["rollout/records"] == 8 and r["pairs/chosen_reward"] == 1.0 for r in rows)


def test_rounds_walk_through_all_records(tmp_path, tiny_model, qa_file):
    trainer, module, data, engine, _ = make(tmp_path / "run", tiny_model, qa_file)
    trainer.fit(module, datamodule=data)
    asked = [request.id.split("/")[0] for request in engine.asked]
    assert set(asked) == {str(i) for i in range(12)}


@pytest.mark.parametrize(("reference", "epochs_per_round"), [("base", 1), ("base", 2), ("round_start", 2)])
def test_resumed_in_the_middle_of_a_round_equals_uninterrupted(
    tmp_path, tiny_model, qa_file, reference, epochs_per_round
):
    options = {"reference": reference, "epochs_per_round": epochs_per_round, "rounds": 2}
    trainer, module, data, engine, losses = make(tmp_path / "a", tiny_model, qa_file, **options)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    uninterrupted, steps = adapter_state(module), trainer.global_step
    assert steps >= 10

    for stop in (2, steps // 2, steps // 2 + 1, steps - 2):
        run = tmp_path / f"b{stop}"
        checkpoint = AdapterCheckpoint(every_n_train_steps=1)
        trainer, module, data, _, first = make(run, tiny_model, qa_file, checkpoint, PowerCut(stop), **options)
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.fit(module, datamodule=data)
        trainer, module, data, engine, second = make(
            run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), **options
        )
        torch.manual_seed(2)
        trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
        assert trainer.global_step == steps
        assert {**first.seen, **second.seen} == pytest.approx(losses.seen, rel=1e-5)
        asked = {request.id for request in engine.asked}
        assert len(engine.asked) == len(asked), "a resumed run asked the same thing twice"
        state = adapter_state(module)
        for name, tensor in uninterrupted.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("stop", [0, 3, 4, 5, 6, 7])
def test_resumed_between_accumulated_batches_equals_uninterrupted(tmp_path, tiny_model, qa_file, stop):
    """Also in an epoch's last step, which has fewer batches than the others."""
    options = {"rounds": 2, "accumulate": 3}
    trainer, module, data, _, losses = make(tmp_path / "a", tiny_model, qa_file, **options)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    batches = len([place for place in losses.seen if place[0] == 0])
    assert batches > 7
    assert batches % 3

    class StopAt(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, stop):
                raise RuntimeError("power cut")

    run = tmp_path / "b"
    interrupted = make(run, tiny_model, qa_file, AdapterCheckpoint(), StopAt(), **options)
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="power cut"):
        interrupted[0].fit(interrupted[1], datamodule=interrupted[2])
    resumed = make(run, tiny_model, qa_file, AdapterCheckpoint(), **options)
    resumed[0].fit(resumed[1], datamodule=resumed[2], ckpt_path=str(run / "checkpoints" / "last.ckpt"))
    assert resumed[0].global_step == trainer.global_step
    assert {**interrupted[4].seen, **resumed[4].seen} == pytest.approx(losses.seen, rel=1e-5)
    state = adapter_state(resumed[1])
    for name, tensor in adapter_state(module).items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_resume_at_the_end_of_an_epoch_begins_the_next_round_once(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"

    class StopAfterRound(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise RuntimeError("power cut")

    trainer, module, data, engine, _ = make(run, tiny_model, qa_file, AdapterCheckpoint(), StopAfterRound())
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(module, datamodule=data)
    assert len(engine.asked) == 64
    trainer, module, data, engine, _ = make(run, tiny_model, qa_file, AdapterCheckpoint())
    trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
    assert len(engine.asked) == 32, "round 2 was already on disk; only round 3 is asked"
    assert sorted(f.name[:3] for f in (run / "rounds").iterdir()) == ["000", "001", "002"]


def test_a_rollout_cut_off_by_its_engine_continues_from_the_journal(tmp_path, tiny_model, qa_file):
    dying = ScriptedEngine(sometimes_right, fail_after=20)
    trainer, module, data, _, _ = make(tmp_path / "run", tiny_model, qa_file, AdapterCheckpoint(), engine=dying)
    with pytest.raises(Exception, match="the engine died"):
        trainer.fit(module, datamodule=data)
    assert dying.closed, "an exception must not leave the engine running"
    (folder,) = (tmp_path / "run" / "rounds").iterdir()
    kept = len((folder / "completions.jsonl").read_text().splitlines()) - 1
    assert kept > 0
    trainer, module, data, engine, _ = make(tmp_path / "run", tiny_model, qa_file)
    trainer.fit(module, datamodule=data)
    assert len(engine.asked) == 3 * 32 - kept


def test_checkpoints_hold_the_adapter_only(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"
    trainer, module, data, _, _ = make(run, tiny_model, qa_file, AdapterCheckpoint())
    trainer.fit(module, datamodule=data)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == adapter_state(module).keys()
    assert "hyper_parameters" not in checkpoint
    clock = checkpoint["RolloutDataModule"]
    assert clock["epochs_done"] == 3
    assert clock["round"] == 2
    assert clock["seed"] == 0


def test_resuming_without_the_rounds_files_is_refused(tmp_path, tiny_model, qa_file):
    trainer, module, data, _, _ = make(
        tmp_path / "run", tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3)
    )
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(module, datamodule=data)
    trainer, module, data, _, _ = make(tmp_path / "elsewhere", tiny_model, qa_file)
    with pytest.raises(DataError, match=r"same trainer\.default_root_dir"):
        trainer.fit(module, datamodule=data, ckpt_path=str(tmp_path / "run" / "checkpoints" / "last.ckpt"))


def test_damaged_settings_do_not_stop_a_run_resumed_within_the_round(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"
    trainer, module, data, _, _ = make(
        run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3), rounds=1
    )
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(module, datamodule=data)
    (settings,) = run.glob("rounds/*/settings.json")
    whole = json.loads(settings.read_text())
    settings.write_text(settings.read_text()[:50])
    trainer, module, data, engine, _ = make(run, tiny_model, qa_file, rounds=1)
    trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
    assert engine.asked == []
    again = json.loads(settings.read_text())
    assert {name for name in whole if whole[name] != again.get(name)} <= {"policy", "checksum", "max_model_len"}


def test_pairs_beyond_the_models_positions_are_left_out_and_counted(tmp_path, tiny_model, qa_file):
    def longest(examples):
        return [len(e.prompt_ids) + max(len(e.chosen_ids), len(e.rejected_ids)) for e in examples]

    class Shorter(Callback):
        def on_fit_start(self, trainer, pl_module):
            trainer.datamodule.session.context_limit = limit

    options = {"rounds": 1, "records_per_round": 12}
    trainer, module, data, _, _ = make(tmp_path / "a", tiny_model, qa_file, **options)
    trainer.fit(module, datamodule=data)
    lengths = longest(data.training)
    limit = sorted(lengths)[len(lengths) // 2 - 1]
    beyond = sum(length > limit for length in lengths)
    assert beyond
    trainer, module, data, _, _ = make(tmp_path / "b", tiny_model, qa_file, Shorter(), **options)
    said = (
        rf"round 1: {beyond} pairs left out: {beyond} longer than {limit} tokens\n  the first .*: pair .* than {limit};"
    )
    with pytest.warns(UserWarning, match=said):
        trainer.fit(module, datamodule=data)
    assert len(data.training) == len(lengths) - beyond
    assert max(longest(data.training)) == limit


def test_held_out_pairs_are_validated_and_never_trained_on(tmp_path, tiny_model, qa_file):
    trainer, module, data, _, _ = make(
        tmp_path / "run", tiny_model, qa_file, val_fraction=0.4, records_per_round=12, rounds=1
    )
    trainer.fit(module, datamodule=data)
    assert "eval/rewards/accuracies" in trainer.callback_metrics
    held_out = {e.id for e in data.held_out}
    trained = {e.id for e in data.training}
    assert held_out
    assert trained
    assert not held_out & trained


def test_bad_records_are_skipped_and_said_if_asked(tmp_path, tiny_model, qa_file, capsys):
    with qa_file.open("a") as f:
        f.write('{"id": "broken", "input": "Which?"\n{"id": "none", "input": "Which?", "answer": "x", "context": ""}\n')
    trainer, module, data, engine, _ = make(tmp_path / "run", tiny_model, qa_file, on_bad_record="skip", rounds=1)
    trainer.fit(module, datamodule=data)
    said = capsys.readouterr().err
    assert "2 bad records skipped" in said
    assert "qa.jsonl:13" in said
    assert "qa.jsonl:14: context" in said
    assert len(data.records) == 12
    trainer, module, data, engine, _ = make(tmp_path / "strict", tiny_model, qa_file, rounds=1)
    with pytest.raises(DataError, match=r"qa\.jsonl:13"):
        trainer.fit(module, datamodule=data)
    assert not engine.started, "nothing expensive starts for a file with bad records"


def test_bars_are_named_and_end_in_turn(tmp_path, tiny_model, qa_file, capsys):
    trainer, module, data, _, _ = make(tmp_path / "run", tiny_model, qa_file, rounds=2)
    trainer.callbacks.append(RoundProgressBar())
    trainer.fit(module, datamodule=data)
    shown = capsys.readouterr()
    assert "round 1/2 rollout: 100%" in shown.err
    assert "round 2/2 rollout: 100%" in shown.err
    last = [line.partition("  ")[2] for line in shown.err.splitlines() if "training: 100%" in line]
    assert [line[:18] for line in last] == ["round 1/2 training", "round 2/2 training"]
    assert all(" batches in " in line and "accuracy " in line and "v_num" not in line for line in last)


@pytest.mark.parametrize("setting", [{"rounds": 0}, {"val_fraction": 1.0}, {"records_per_round": 0}, {"batch_size": 0}])
def test_settings_are_checked(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        RolloutDataModule(ScriptedEngine(sometimes_right), **setting)


@pytest.mark.parametrize("reference", ["base", "round_start"])
def test_two_epochs_over_a_round_ask_the_reference_once_a_pair(tmp_path, tiny_model, qa_file, reference):
    passes = []

    class Count(DPOModule):
        def reference_logps(self, batch):
            passes.append(len(batch))
            return super().reference_logps(batch)

    curves = []
    for precompute in ("auto", False):
        trainer, module, data, _, losses = make(
            tmp_path / str(precompute), tiny_model, qa_file, reference=reference, rounds=2, epochs_per_round=2
        )
        module.__class__ = Count
        module.precompute_reference = precompute
        passes.clear()
        torch.manual_seed(0)
        trainer.fit(module, datamodule=data)
        rounds = sorted((tmp_path / str(precompute) / "rounds").iterdir())
        pairs = sum(len((folder / "pairs.jsonl").read_text().splitlines()) for folder in rounds)
        assert sum(passes) == (pairs if precompute else 2 * pairs)
        stored = [folder / "reference_logps-0.jsonl" for folder in rounds]
        assert [file.exists() for file in stored] == [bool(precompute)] * 2
        curves.append(losses.seen)
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_batches_by_tokens_hold_every_pair_of_the_round(tmp_path, tiny_model, qa_file):
    trainer, module, data, _, _ = make(tmp_path / "run", tiny_model, qa_file, rounds=1, max_tokens_per_batch=900)
    seen = []

    class Batches(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append((batch.tokens, batch.ids))

    trainer.callbacks.append(Batches())
    trainer.fit(module, datamodule=data)
    assert sorted(name for _, names in seen for name in names) == sorted(e.id for e in data.training)
    assert max(tokens for tokens, _ in seen) <= 900
    assert max(len(names) for _, names in seen) > 1


def test_a_curriculum_resumed_in_any_round_asks_the_records_of_an_uninterrupted_run(tmp_path, tiny_model, qa_file):
    def asked(run):
        files = sorted((run / "rounds").glob("*/settings.json"))
        return [list(json.loads(file.read_text())["record_digests"]) for file in files]

    options = {"records": "curriculum", "records_per_round": 6}
    trainer, module, data, *_ = make(tmp_path / "a", tiny_model, qa_file, **options)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    whole, steps = asked(tmp_path / "a"), trainer.global_step
    shuffled = [record.id for record in data.plan.records_of(data.records, 1, 6)[0]]
    assert whole[0] == [record.id for record in data.plan.records_of(data.records, 0, 6)[0]]
    assert whole[1] != shuffled
    assert set(whole[1]) & set(whole[0]), "some are asked again before all have been asked"

    for stop in (steps // 3 + 1, steps - 1):  # within the second round and the third
        run = tmp_path / f"b{stop}"
        checkpoint = AdapterCheckpoint(every_n_train_steps=1)
        trainer, module, data, *_ = make(run, tiny_model, qa_file, checkpoint, PowerCut(stop), **options)
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.fit(module, datamodule=data)
        trainer, module, data, engine, _ = make(run, tiny_model, qa_file, AdapterCheckpoint(), **options)
        trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
        assert asked(run) == whole
        assert len(engine.asked) == (4 * 6 if stop < steps - 1 else 0), "only rounds that were not there"
