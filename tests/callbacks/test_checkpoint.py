"""The best and the last checkpoint of a whole fit: tiny random model, real DPO steps, scripted answers."""

from __future__ import annotations

import errno
import logging
import warnings
import zipfile
from datetime import timedelta

import pytest
import torch
from lightning import Callback, Trainer
from river_rounds import small_rounds, sometimes_right, write_rivers

from longmab_pl.callbacks import AdapterCheckpoint, RoundReport
from longmab_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.errors import ConfigError, DataError, LongMabError, NonFiniteLoss
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


@pytest.fixture
def qa_file(tmp_path):
    return write_rivers(tmp_path / "qa.jsonl")


class Scores(Callback):
    """Logs given scores as an evaluation does, one per epoch; None logs nothing. Keeps the adapter of each epoch."""

    def __init__(self, *scores: float | None):
        self.scores = scores
        self.adapters: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.adapters.append({n: p.detach().clone() for n, p in pl_module.named_parameters() if p.requires_grad})
        score = self.scores[trainer.current_epoch]
        if score is not None:
            pl_module.log_dict({"eval/f1": score}, on_step=False, on_epoch=True, logger=False)


def fit(run, model, qa_file, *callbacks, epochs=4, ckpt_path=None, **data):
    module = DPOModule(model, lora=LoRASettings(r=2, alpha=4), dtype="fp32", learning_rate=1e-2)
    engine = ScriptedEngine(sometimes_right)
    datamodule = small_rounds(engine, qa_file, rounds=1, epochs_per_round=epochs, **data)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
    return trainer


class Diverges(Callback):
    """Spoils the adapter after a step, as a far too large step does."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            for parameter in pl_module.parameters():
                if parameter.requires_grad:
                    parameter.data.fill_(float("nan"))


def load(run, name):
    return torch.load(run / "checkpoints" / name, weights_only=True)


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("every_n_train_steps", [None, 1])
def test_best_is_the_epoch_that_scored_best_and_last_the_last(tmp_path, tiny_model, qa_file, every_n_train_steps):
    # The third epoch is not evaluated: its stale score must not stand for it.
    scores = Scores(20.0, 50.0, None, 30.0)
    checkpoint = AdapterCheckpoint(monitor="eval/f1", every_n_train_steps=every_n_train_steps)
    trainer = fit(tmp_path / "run", tiny_model, qa_file, scores, checkpoint)
    best, last = load(tmp_path / "run", "best.ckpt"), load(tmp_path / "run", "last.ckpt")
    assert same(best["state_dict"], scores.adapters[1])
    assert same(last["state_dict"], scores.adapters[3])
    assert not same(best["state_dict"], last["state_dict"])
    assert checkpoint.best == {
        "path": str(tmp_path / "run" / "checkpoints" / "best.ckpt"),
        "monitor": "eval/f1",
        "value": 50.0,
        "step": trainer.global_step // 2,
        "epoch": 1,
    }
    (kept,) = [state["best"] for key, state in last["callbacks"].items() if key.startswith("AdapterCheckpoint")]
    assert kept == checkpoint.best
    assert best["optimizer_states"], "the best one can be resumed from, too"


def test_lower_is_better_for_losses(tmp_path, tiny_model, qa_file):
    losses: list[float] = []

    class ValidationLosses(Callback):
        def on_validation_end(self, trainer, pl_module):
            losses.append(float(trainer.callback_metrics["eval/loss"]))

    checkpoint = AdapterCheckpoint(monitor="eval/loss")
    fit(tmp_path / "run", tiny_model, qa_file, ValidationLosses(), checkpoint, val_fraction=0.4)
    assert len(losses) == 4
    assert len(set(losses)) == 4
    assert checkpoint.best["value"] == pytest.approx(min(losses))
    assert checkpoint.best["epoch"] == losses.index(min(losses))


def test_accuracies_are_better_higher(tmp_path):
    assert AdapterCheckpoint(monitor="eval/rewards/accuracies").best_mode == "max"
    assert AdapterCheckpoint(monitor="eval/f1", mode="min").best_mode == "min"


def test_a_resumed_run_keeps_the_best_of_its_first_part(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"

    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    scores = (20.0, 50.0, 40.0, 30.0)
    first = Scores(*scores)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, first, AdapterCheckpoint(monitor="eval/f1"), Stop())
    checkpoint = AdapterCheckpoint(monitor="eval/f1")
    fit(run, tiny_model, qa_file, Scores(*scores), checkpoint, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
    assert checkpoint.best["value"] == 50.0
    assert same(load(run, "best.ckpt")["state_dict"], first.adapters[1])


def test_without_a_monitor_there_is_no_best(tmp_path, tiny_model, qa_file):
    fit(tmp_path / "run", tiny_model, qa_file, AdapterCheckpoint(), epochs=1)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_a_metric_that_nobody_logs_is_named_with_the_nearest_that_is(tmp_path, tiny_model, qa_file, caplog):
    with caplog.at_level(logging.WARNING):
        fit(tmp_path / "run", tiny_model, qa_file, Scores(1.0, 2.0), AdapterCheckpoint(monitor="eval/f2"), epochs=2)
    (message,) = [r.getMessage() for r in caplog.records if "checkpoint.monitor" in r.getMessage()]
    assert "eval/f2" in message
    assert "did you mean eval/f1?" in message


def test_monitoring_validation_without_held_out_pairs_is_refused_before_the_rollout(tmp_path, tiny_model, qa_file):
    with pytest.raises(ConfigError, match=r"val_fraction is 0"):
        fit(tmp_path / "run", tiny_model, qa_file, AdapterCheckpoint(monitor="eval/loss"))
    assert not (tmp_path / "run" / "rounds").exists()


def test_pairs_to_validate_on_may_come_from_a_file_of_their_own(tmp_path):
    trainer = Trainer(default_root_dir=str(tmp_path), logger=False, accelerator="cpu")
    trainer.datamodule = PreferenceDataModule("pairs.jsonl", val="held_out.jsonl")
    AdapterCheckpoint(monitor="eval/loss").setup(trainer, None, "fit")
    trainer.datamodule = PreferenceDataModule("pairs.jsonl", val_fraction=0.1)
    AdapterCheckpoint(monitor="eval/loss").setup(trainer, None, "fit")
    trainer.datamodule = PreferenceDataModule("pairs.jsonl")
    with pytest.raises(ConfigError, match="val_fraction is 0"):
        AdapterCheckpoint(monitor="eval/loss").setup(trainer, None, "fit")


@pytest.mark.parametrize("within", [{"every_n_train_steps": 1000}, {"train_time_interval": timedelta(hours=1)}])
def test_a_round_that_ends_between_two_checkpoints_has_one_all_the_same(tmp_path, tiny_model, qa_file, within):
    run = tmp_path / "run"
    trainer = fit(run, tiny_model, qa_file, AdapterCheckpoint(**within), epochs=2)
    last = load(run, "last.ckpt")
    assert last["global_step"] == trainer.global_step
    assert last["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 2


def test_a_run_that_begins_anew_says_whose_checkpoint_it_replaces(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"
    with warnings.catch_warnings(record=True) as said:
        fit(run, tiny_model, qa_file, AdapterCheckpoint(), epochs=1)
    assert not any("earlier run's" in str(w.message) for w in said)
    with pytest.warns(UserWarning, match=r"last.ckpt is an earlier run's.*give --ckpt_path"):
        fit(run, tiny_model, qa_file, AdapterCheckpoint(), epochs=1)


def test_weights_whose_loss_is_not_finite_do_not_replace_the_last_checkpoint(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"
    with pytest.raises(NonFiniteLoss, match="Go on from the last one"):
        fit(run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=2), Diverges(5))
    last = load(run, "last.ckpt")
    assert last["global_step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in last["state_dict"].values())


@pytest.mark.parametrize("every_n_train_steps", [None, 1, 3])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epochs_end_that_was_cut_off_is_made_up_for(tmp_path, tiny_model, qa_file, every_n_train_steps, stop, epoch):
    """Killed in the evaluation after an epoch: the epoch is not trained again, and its evaluation is not lost."""

    class Evaluation(Callback):
        def __init__(self, dies: bool):
            self.dies, self.history = dies, []

        def on_train_epoch_end(self, trainer, pl_module):
            if self.dies and trainer.current_epoch == epoch:
                raise stop("cut off")
            self.history.append((trainer.current_epoch, trainer.global_step, trainer.datamodule.epochs_done))
            pl_module.log_dict({"eval/f1": float(trainer.current_epoch)}, on_step=False, on_epoch=True, logger=False)

        def state_dict(self):
            return {"history": self.history}

        def load_state_dict(self, state_dict):
            self.history = state_dict["history"]

    class Steps(Callback):
        def __init__(self):
            self.taken = 0

        def on_train_batch_end(self, *_):
            self.taken += 1

    def run(folder, dies, ckpt_path=None):
        evaluation, steps = Evaluation(dies), Steps()
        report = RoundReport(picture=False)
        checkpoint = AdapterCheckpoint(monitor="eval/f1", every_n_train_steps=every_n_train_steps)
        callbacks = (report, evaluation, steps, checkpoint)
        torch.manual_seed(0)
        if dies:
            with pytest.raises((RuntimeError, SystemExit)):
                fit(folder, tiny_model, qa_file, *callbacks, epochs=2)
        else:
            fit(folder, tiny_model, qa_file, *callbacks, epochs=2, ckpt_path=ckpt_path)
        return evaluation.history, report.rows, steps.taken, checkpoint.best.get("value")

    history, rows, taken, best = run(tmp_path / "whole", dies=False)
    assert len(history) == 2
    _, _, before, _ = run(tmp_path / "cut", dies=True)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    for _ in range(2):  # once more on a finished run: nothing is lost or made twice
        again = run(tmp_path / "cut", dies=False, ckpt_path=str(last))
        assert again[0] == history
        assert [row["round"] for row in again[1]] == [row["round"] for row in rows]
        assert again[1][0]["train/loss"] == pytest.approx(rows[0]["train/loss"], rel=1e-4)
        assert again[3] == best
        assert before + again[2] == taken
        before = taken


def test_a_resumed_run_is_not_told_that_its_checkpoint_will_be_replaced(tmp_path, tiny_model, qa_file):
    run = tmp_path / "run"
    fit(run, tiny_model, qa_file, AdapterCheckpoint(), epochs=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        last = str(run / "checkpoints" / "last.ckpt")
        fit(run, tiny_model, qa_file, AdapterCheckpoint(), epochs=2, ckpt_path=last)
    assert not any("earlier run's" in str(w.message) for w in said)


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "missing"])
def test_a_damaged_checkpoint_is_named_with_those_that_can_be_taken(tmp_path, tiny_model, qa_file, damage):
    run = tmp_path / "run"
    fit(run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=2), epochs=1)
    last = run / "checkpoints" / "last.ckpt"
    with zipfile.ZipFile(last) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(last.read_bytes())
    content[largest.header_offset + largest.file_size // 2 + 100] ^= 1
    last.write_bytes({"bit": content, "cut": content[:-100]}.get(damage, b""))
    if damage == "missing":
        last.unlink()
    (step,) = (run / "checkpoints").glob("step-*.ckpt")
    with pytest.raises(DataError, match=rf"checkpoint .*last\.ckpt (is damaged|does not exist).*{step.name}"):
        fit(run, tiny_model, qa_file, AdapterCheckpoint(), epochs=1, ckpt_path=str(last))


def test_a_checkpoint_stays_until_its_successor_is_whole_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    files = AtomicCheckpointIO()
    files.save_checkpoint({"step": 1}, path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("longmab_pl.storage.files.fsync_file", full)
    with pytest.raises(LongMabError, match=r"cannot write .*last\.ckpt: No space left on device"):
        files.save_checkpoint({"step": 2}, path)
    assert files.load_checkpoint(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
