"""A fit on preference pairs that are given: clock, resume, callbacks, bad rows. Tiny random model, real DPO steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from power_cut import PowerCut

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, Evaluation, RoundProgressBar, RoundReport
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import QASuite
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


def row(i, **changed):
    prompt = [{"role": "user", "content": f"Which number is {i}?"}]
    answers = {"chosen": [{"role": "assistant", "content": f"number {i}"}], "rejected": "no idea"}
    return {"id": f"r{i}", "prompt": prompt, **answers, **changed}


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def pairs_file(tmp_path):
    return write(tmp_path / "pairs.jsonl", [row(i) for i in range(8)])


class Losses(Callback):
    def __init__(self):
        self.seen: dict[int, float] = {}
        self.ids: list[str] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen[trainer.global_step] = float(outputs["loss"])
        self.ids += batch.ids


def make(run, model, source, *callbacks, bar=False, **data):
    module = DPOModule(
        model, lora=LoRASettings(r=2, alpha=4), dtype="fp32", learning_rate=1e-2, gradient_checkpointing=False
    )
    datamodule = PreferenceDataModule(str(source), **({"epochs": 2} | data))
    losses = Losses()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=datamodule.epochs,
        callbacks=[losses, *callbacks],
        logger=False,
        enable_checkpointing=any(isinstance(c, AdapterCheckpoint) for c in callbacks),
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    return trainer, module, datamodule, losses


def adapter_state(module):
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def test_every_epoch_goes_over_all_pairs_in_another_order(tmp_path, tiny_model, pairs_file):
    trainer, module, data, losses = make(tmp_path / "run", tiny_model, pairs_file, AdapterExport())
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 16
    first, second = losses.ids[:8], losses.ids[8:]
    assert sorted(first) == sorted(second) == [f"r{i}" for i in range(8)]
    assert first != second
    assert losses.seen[16] < losses.seen[1]
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").exists()


def test_resumed_in_the_middle_of_an_epoch_equals_uninterrupted(tmp_path, tiny_model, pairs_file):
    trainer, module, data, losses = make(tmp_path / "a", tiny_model, pairs_file)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    whole = adapter_state(module)
    for stop in (3, 8, 11):
        run = tmp_path / f"b{stop}"
        checkpoint = AdapterCheckpoint(every_n_train_steps=1)
        trainer, module, data, first = make(run, tiny_model, pairs_file, checkpoint, PowerCut(stop))
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.fit(module, datamodule=data)
        trainer, module, data, second = make(run, tiny_model, pairs_file, AdapterCheckpoint(every_n_train_steps=1))
        torch.manual_seed(2)
        trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
        assert trainer.global_step == 16
        assert {**first.seen, **second.seen} == pytest.approx(losses.seen, rel=1e-5)
        for name, tensor in whole.items():
            torch.testing.assert_close(adapter_state(module)[name], tensor, rtol=1e-4, atol=1e-6)


def test_report_bar_and_evaluation_work_as_in_rounds(tmp_path, tiny_model, pairs_file, capsys):
    questions = [
        {"id": i, "input": f"Which {i}?", "answer": f"number {i}", "context": f"Number {i}."} for i in range(2)
    ]
    evaluation = Evaluation(QASuite(str(write(tmp_path / "qa.jsonl", questions))))
    engine = ScriptedEngine(lambda request, i: " number 1")
    run = tmp_path / "run"
    trainer, module, data, _ = make(
        run,
        tiny_model,
        pairs_file,
        evaluation,
        RoundReport(),
        RoundProgressBar(),
        bar=True,
        engine=engine,
        prompt_format=DirectAnswer(),
    )
    trainer.fit(module, datamodule=data)
    assert [e.round for e in evaluation.history] == [0, 1, 2]
    assert engine.closed
    assert len(set(engine.synced)) == 2
    shown = capsys.readouterr()
    assert "epoch 2/2 training: 100%" in shown.err
    assert "epochs over given pairs" in shown.out
    report = json.loads((run / "report.json").read_text())
    assert [r["pairs/count"] for r in report["rounds"]] == [8, 8]
    assert all("train/rewards/accuracies" in r for r in report["rounds"])
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_cannot_be_trained_on_are_left_out_and_counted(tmp_path, tiny_model, capsys):
    rows = [
        *(row(i) for i in range(4)),
        row(4, chosen=" "),
        row(5, rejected="number 5"),
        row(6, prompt=[{"role": "user", "content": "long " * 1000}]),
        row(7, rejected=""),
    ]
    source = write(tmp_path / "pairs.jsonl", rows)
    trainer, module, data, losses = make(tmp_path / "run", tiny_model, source, epochs=1)
    trainer.fit(module, datamodule=data)
    assert sorted(losses.ids) == ["r0", "r1", "r2", "r3"]
    said = capsys.readouterr().err
    assert "4 pairs left out: 1 longer than 2048 tokens, 2 with an empty answer, 1 with equal answers" in said


def test_malformed_rows_are_refused_or_skipped_by_line(tmp_path, tiny_model, capsys):
    source = tmp_path / "pairs.jsonl"
    source.write_text(json.dumps(row(0)) + "\n{broken\n" + json.dumps(row(1, chosen=3)) + "\n" + json.dumps(row(2)))
    trainer, module, data, _ = make(tmp_path / "a", tiny_model, source)
    with pytest.raises(DataError, match=r"2 malformed rows(.|\n)*pairs\.jsonl:2(.|\n)*pairs\.jsonl:3: chosen: is 3"):
        trainer.fit(module, datamodule=data)
    trainer, module, data, losses = make(tmp_path / "b", tiny_model, source, on_bad_record="skip", epochs=1)
    trainer.fit(module, datamodule=data)
    assert sorted(losses.ids) == ["r0", "r2"]
    assert "2 malformed rows skipped" in capsys.readouterr().err
    source.write_text(json.dumps(row(0, chosen="")) + "\n")
    trainer, module, data, _ = make(tmp_path / "c", tiny_model, source)
    with pytest.raises(DataError, match="no pair is left"):
        trainer.fit(module, datamodule=data)


def test_plain_texts_several_pairs_of_one_record_and_validation(tmp_path, tiny_model, byte_tokenizer):
    plain = [{"id": "p", "prompt": "1 + 1 =", "chosen": " 2", "rejected": f" {n}"} for n in (3, 4)]
    source = write(tmp_path / "pairs.jsonl", plain)
    val = write(tmp_path / "val.jsonl", [row(1)])
    trainer, module, data, losses = make(tmp_path / "run", tiny_model, source, val=str(val), epochs=1, limit=2)
    trainer.fit(module, datamodule=data)
    assert sorted(losses.ids) == ["p", "p#1"]
    first, second = data.training
    assert first.prompt_ids is second.prompt_ids, "one prompt in memory"
    assert byte_tokenizer.decode(first.prompt_ids) == "1 + 1 ="
    assert first.chosen_ids[-1] == byte_tokenizer.eos_token_id
    assert "eval/rewards/accuracies" in trainer.callback_metrics
    assert [e.id for e in data.held_out] == ["r1"]


def test_validate_does_not_compute_the_reference_of_what_it_does_not_look_at(tmp_path, tiny_model):
    path = write(tmp_path / "pairs.jsonl", [row(i) for i in range(12)])
    trainer, module, data, _ = make(tmp_path / "run", tiny_model, path, epochs=2, val_fraction=0.3)
    trainer.validate(module, datamodule=data, verbose=False)
    assert "eval/loss" in trainer.callback_metrics
    assert not list((tmp_path / "run").glob("reference_logps-*.jsonl"))


def test_held_out_rows_are_never_trained_on(tmp_path, tiny_model):
    source = write(tmp_path / "pairs.jsonl", [row(i) for i in range(30)])
    trainer, module, data, losses = make(tmp_path / "run", tiny_model, source, val_fraction=0.3, epochs=1)
    trainer.fit(module, datamodule=data)
    held_out = {e.id for e in data.held_out}
    assert 3 < len(held_out) < 18
    assert not held_out & set(losses.ids)
    assert len(held_out | set(losses.ids)) == 30


@pytest.mark.parametrize(
    "setting",
    [{"epochs": 0}, {"limit": 0}, {"max_length": 1}, {"batch_size": 0}, {"val": "x.jsonl", "val_fraction": 0.1}],
)
def test_settings_are_checked(setting):
    with pytest.raises(ConfigError, match=f"data.{next(iter(setting))}"):
        PreferenceDataModule("pairs.jsonl", **setting)


def test_no_prompt_is_on_both_sides_of_the_validation_split(tmp_path, tiny_model):
    cases = Path(__file__).parents[1] / "assets" / "cases" / "many_per_prompt.jsonl"
    rows = [{"prompt": f"Question {i % 20}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(80)]
    source = write(tmp_path / "pairs.jsonl", rows)
    for path, fraction in ((source, 0.3), (cases, 0.2)):
        trainer, module, data, _ = make(tmp_path / "run", tiny_model, path, val_fraction=fraction, epochs=1)
        data.trainer = trainer
        trainer.strategy.connect(module)
        data.setup("fit")
        trained, held_out = ({e.prompt_ids for e in part} for part in (data.training, data.held_out))
        assert held_out
        assert not trained & held_out
        assert len(data.training) + len(data.held_out) == len(path.read_text().splitlines())


def test_a_resumed_run_has_the_checkpoints_seed_unless_another_is_set(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    follows, own = PreferenceDataModule("x.jsonl"), PreferenceDataModule("x.jsonl", seed=1)
    assert (follows.seed, own.seed) == (7, 1)
    follows.resume_seed(3)
    own.resume_seed(3)
    assert (follows.seed, own.seed) == (3, 1)
