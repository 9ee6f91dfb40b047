"""Supervised fine-tuning on given answers, with and without worse ones. Tiny random model, real steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from power_cut import PowerCut

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, RoundProgressBar, RoundReport
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.training.batch import PackedBatch, PreferenceExample, SFTExample
from longmab_pl.training.module import DPOModule
from longmab_pl.training.phases import Phase, PreferencePhase, SFTPhase
from longmab_pl.training.policy import LoRASettings
from longmab_pl.training.tokenization import tokenize


def answer(i: int, **changed: Any) -> dict[str, Any]:
    return {"id": f"a{i}", "query": f"Which number is {i}?", "response": f"number {i}", **changed}


def pair(i: int, **changed: Any) -> dict[str, Any]:
    return {"id": f"p{i}", "question": f"Which is {i}?", "chosen": f"it is {i}", "rejected": "no idea", **changed}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return write(tmp_path / "answers.jsonl", [answer(i) for i in range(8)])


class Batches(Callback):
    def __init__(self) -> None:
        self.losses: dict[int, float] = {}
        self.batches: list[PackedBatch] = []

    @property
    def ids(self) -> list[str]:
        return [name for batch in self.batches for name in batch.ids]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses[trainer.global_step] = float(outputs["loss"])
        self.batches.append(batch)


Made = tuple[Trainer, DPOModule, PreferenceDataModule, Batches]


def make(
    run: Path, model: str, source: Path, *callbacks: Callback, phases: list[Phase] | None = None, **data: Any
) -> Made:
    module = DPOModule(
        model,
        phases=phases or [SFTPhase()],
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=1e-2,
        gradient_checkpointing=False,
    )
    datamodule = PreferenceDataModule(str(source), **({"epochs": 2} | data))
    seen = Batches()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        callbacks=[seen, *callbacks],
        logger=False,
        enable_checkpointing=any(isinstance(c, AdapterCheckpoint) for c in callbacks),
        enable_progress_bar=any(isinstance(c, RoundProgressBar) for c in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    return trainer, module, datamodule, seen


def adapter_state(module: DPOModule) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def test_answers_are_learned_and_nothing_is_reported_of_preferences(
    tmp_path: Path, tiny_model: str, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    trainer, module, data, seen = make(
        run, tiny_model, answers, AdapterExport(), RoundReport(), RoundProgressBar(), epochs=3
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 24
    assert sorted(seen.ids) == sorted([f"a{i}" for i in range(8)] * 3)
    losses = list(seen.losses.values())
    assert sum(losses[-8:]) < sum(losses[:8])
    assert (run / "adapter" / "adapter_config.json").exists()
    rows = json.loads((run / "report.json").read_text())["rounds"]
    assert [row["answers/count"] for row in rows] == [8, 8, 8]
    assert not [name for row in rows for name in row if "rewards/" in name or name.startswith("pairs/")]
    shown = capsys.readouterr()
    assert "epochs over given answers" in shown.out
    assert "SFT loss" in shown.out
    assert "DPO" not in shown.out
    assert "epoch 3/3 training: 100%" in shown.err
    assert "accuracy" not in shown.err
    assert "DPO accuracy" not in (run / "report.html").read_text()


def test_an_answer_has_the_tokens_of_the_chosen_answer_of_a_pair(
    tmp_path: Path, tiny_model: str, byte_tokenizer: Any
) -> None:
    spelled = {"query": "Say <end>", "response": "It is <end>, they say", "id": "x"}
    source = write(tmp_path / "a.jsonl", [spelled, {**spelled, "id": "cut", "chosen_ended": False, "query": "Cut"}])
    trainer, module, data, _ = make(tmp_path / "run", tiny_model, source)
    data.trainer = trainer
    trainer.strategy.connect(module)
    data.setup("fit")
    whole, cut = data.training
    assert isinstance(whole, SFTExample)
    assert isinstance(cut, SFTExample)
    message = ({"role": "user", "content": "Say <end>"},)
    expected = tokenize(PreferencePair("x", message, "It is <end>, they say", "other"), byte_tokenizer)
    assert (whole.prompt_ids, whole.completion_ids) == (expected.prompt_ids, expected.chosen_ids)
    end = byte_tokenizer.convert_tokens_to_ids("<end>")
    assert whole.completion_ids.count(end) == 1 == whole.prompt_ids.count(end), "the spelled ones are text"
    assert cut.completion_ids == whole.completion_ids[:-1]


def test_of_a_mixed_file_the_better_or_only_answer_of_every_row_is_learned(tmp_path: Path, tiny_model: str) -> None:
    rows = [
        answer(0),
        pair(1),
        pair(2, rejected=None),
        pair(3, rejected="it is 3"),
        pair(4, rejected=""),
        pair(5, rejected="long " * 1000),
    ]
    trainer, module, data, seen = make(tmp_path / "run", tiny_model, write(tmp_path / "m.jsonl", rows), epochs=1)
    trainer.fit(module, datamodule=data)
    assert sorted(seen.ids) == ["a0", "p1", "p2", "p3", "p4", "p5"]


def test_rows_that_cannot_be_learned_are_left_out_and_counted(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*(answer(i) for i in range(4)), answer(4, response=" "), answer(5, query="long " * 1000), {"query": "Q"}]
    source = write(tmp_path / "a.jsonl", rows)
    trainer, module, data, _ = make(tmp_path / "a", tiny_model, source)
    with pytest.raises(DataError, match=r"1 malformed rows(.|\n)*a\.jsonl:7: answer: missing"):
        trainer.fit(module, datamodule=data)
    trainer, module, data, seen = make(tmp_path / "b", tiny_model, source, on_bad_record="skip", epochs=1)
    trainer.fit(module, datamodule=data)
    assert sorted(seen.ids) == ["a0", "a1", "a2", "a3"]
    said = capsys.readouterr().err
    assert "2 rows left out: 1 longer than 2048 tokens, 1 with an empty answer" in said
    assert "row 'a4': the answer is empty; leave the row out" in said
    trainer, module, data, _ = make(tmp_path / "c", tiny_model, write(source, [answer(0, response="")]))
    with pytest.raises(DataError, match="no answer is left"):
        trainer.fit(module, datamodule=data)


def test_resumed_in_the_middle_of_an_epoch_equals_uninterrupted(tmp_path: Path, tiny_model: str, answers: Path) -> None:
    trainer, module, data, seen = make(tmp_path / "a", tiny_model, answers)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    whole = adapter_state(module)
    for stop in (3, 8):
        run = tmp_path / f"b{stop}"
        checkpoint = AdapterCheckpoint(every_n_train_steps=1)
        trainer, module, data, first = make(run, tiny_model, answers, checkpoint, PowerCut(stop))
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.fit(module, datamodule=data)
        trainer, module, data, second = make(run, tiny_model, answers, AdapterCheckpoint(every_n_train_steps=1))
        torch.manual_seed(2)
        trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
        assert {**first.losses, **second.losses} == pytest.approx(seen.losses, rel=1e-5)
        for name, tensor in whole.items():
            torch.testing.assert_close(adapter_state(module)[name], tensor, rtol=1e-4, atol=1e-6)


def test_held_out_answers_validate_and_are_never_trained_on(tmp_path: Path, tiny_model: str) -> None:
    source = write(tmp_path / "a.jsonl", [answer(i) for i in range(20)])
    trainer, module, data, seen = make(tmp_path / "run", tiny_model, source, val_fraction=0.3, epochs=1)
    trainer.fit(module, datamodule=data)
    held_out = {e.id for e in data.held_out}
    assert held_out
    assert not held_out & set(seen.ids)
    assert len(held_out | set(seen.ids)) == 20
    assert "eval/loss" in trainer.callback_metrics
    assert "eval/rewards/accuracies" not in trainer.callback_metrics


def test_answers_of_one_prompt_share_it_in_a_packed_batch(tmp_path: Path, tiny_model: str) -> None:
    rows = [{"query": "Which of them? " * 10, "response": f"number {i}"} for i in range(4)]
    source = write(tmp_path / "a.jsonl", rows)
    trainer, module, data, seen = make(tmp_path / "run", tiny_model, source, max_tokens_per_batch=400, epochs=1)
    trainer.fit(module, datamodule=data)
    (batch,) = seen.batches
    example = data.training[0]
    assert isinstance(example, SFTExample)
    assert batch.tokens == len(example.prompt_ids) + 4 * len(example.completion_ids) < 400
    assert batch.rejected == ()


@pytest.mark.parametrize("phases", [[PreferencePhase()], [SFTPhase(), PreferencePhase()]])
def test_answers_alone_are_refused_before_anything_is_loaded_where_two_are_compared(
    tmp_path: Path, tiny_model: str, answers: Path, phases: list[Phase]
) -> None:
    trainer, module, data, _ = make(tmp_path / "run", tiny_model, answers, phases=phases)
    with pytest.raises(ConfigError) as caught:
        trainer.fit(module, datamodule=data)
    message = str(caught.value)
    assert f"data.train {answers}: its rows have one answer each and no worse one" in message
    assert "set model.phases: [longmab_pl.training.SFTPhase]" in message
    assert "data.columns: {rejected: NAME}" in message
    assert module.policy is None
    assert data.tokenizer is None


def test_pairs_still_train_all_phases(tmp_path: Path, tiny_model: str) -> None:
    source = write(tmp_path / "p.jsonl", [pair(i) for i in range(4)])
    phases = [SFTPhase(), PreferencePhase()]
    trainer, module, data, seen = make(tmp_path / "run", tiny_model, source, phases=phases, epochs=1)
    trainer.fit(module, datamodule=data)
    assert [bool(batch.rejected) for batch in seen.batches] == [False] * 4 + [True] * 4
    assert all(isinstance(example, PreferenceExample) for example in data.training)
