"""What loggers get: prefixed metrics, speed, and a table of samples for every round."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from river_rounds import small_rounds, sometimes_right, write_rivers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from longmab_pl import DPOModule
from longmab_pl.callbacks import RunLogging
from longmab_pl.callbacks.run_logging import log_table, sequences_at_once, versions
from longmab_pl.engines import ScriptedEngine


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("logged")
    data = small_rounds(ScriptedEngine(sometimes_right), write_rivers(folder / "qa.jsonl"), rounds=2, val_fraction=0.2)
    loggers = [CSVLogger(folder, name="csv", version=""), TensorBoardLogger(folder, name="tb", version="")]
    trainer = Trainer(
        accelerator="cpu", default_root_dir=folder, logger=loggers, callbacks=[RunLogging(samples=3)],
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(DPOModule(tiny_model, dtype="fp32", gradient_checkpointing=False), datamodule=data)
    return folder


def test_every_metric_is_below_train_eval_or_rollout(run):
    with (run / "csv" / "metrics.csv").open() as file:
        names = set(csv.DictReader(file).fieldnames or ()) - {"step", "epoch"}
    assert {name.partition("/")[0] for name in names} == {"train", "eval", "rollout"}
    for name in (
        "train/loss", "train/rewards/margins", "train/logps/chosen", "train/learning_rate", "train/tokens_per_second",
        "train/seconds_per_batch", "eval/loss", "eval/rewards/accuracies", "rollout/reward", "rollout/pairs/count",
    ):  # fmt: skip
        assert name in names


def test_the_step_of_a_round_without_a_pair_has_no_speed(tmp_path, tiny_model):
    engine = ScriptedEngine(lambda request, i: " no idea")
    data = small_rounds(engine, write_rivers(tmp_path / "qa.jsonl"), rounds=1)
    logger = CSVLogger(tmp_path, name="csv", version="")
    trainer = Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=logger, callbacks=[RunLogging()],
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(DPOModule(tiny_model, dtype="fp32", gradient_checkpointing=False), datamodule=data)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        names = csv.DictReader(file).fieldnames or ()
    assert "rollout/pairs/count" in names
    assert not {"train/seconds_per_batch", "train/tokens_per_second"} & {*names, *trainer.callback_metrics}


def test_processes_of_one_sequence_count_its_tokens_once(monkeypatch):
    module = DPOModule("somewhere", sequence_parallel=2)
    monkeypatch.setattr(DPOModule, "trainer", SimpleNamespace(world_size=6, global_rank=3))
    assert sequences_at_once(module) == 3


def test_a_round_has_a_table_of_samples_in_tensorboard(run):
    events = EventAccumulator(str(run / "tb"), size_guidance={"tensors": 0}).Reload()
    tables = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("rollout/samples/text_summary")]
    assert len(tables) == 2
    rows = tables[0].splitlines()
    assert rows[0].startswith("| record | question | gold answer | chosen | reward |")
    assert len(rows) == 2 + 3
    assert "Which river at place" in rows[2]


def test_texts_cannot_break_the_table(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="")
    log_table(logger, [["1", "a|b", "<script>", "c", "1.0", "d", "0.0"]], 0)
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    (event,) = events.Tensors("rollout/samples/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert "a\\|b" in text
    assert "<script>" not in text


def test_versions_are_named():
    assert {"version/torch", "version/lightning"} <= versions().keys()
