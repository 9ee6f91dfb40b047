"""Short prompts from the rollout to the loss: what the bandit showed, stored with the pair, trained and resumed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from lightning import Trainer
from power_cut import PowerCut
from river_rounds import small_rounds, sometimes_right, write_rivers
from tokenizers_like import chatml_like

from longmab_pl.callbacks import AdapterCheckpoint
from longmab_pl.data.records import QARecord
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.datamodules.tokenized import TokenizedPairs
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.pairs.files import PairWriter
from longmab_pl.pairs.readers import read_preferences, read_round_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies import BestOfN, RecordRollout, StrategyContext
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.training import DPOModule, LoRASettings
from longmab_pl.training.terms import ShortToLong

CONTEXT = " ".join(f"Sentence number {i} speaks of river {chr(65 + i)}. It is long." for i in range(12))
RECORD = QARecord("q7", "Which river?", ("river C",), CONTEXT)


def rolled(tokenizer, style="linear"):
    strategy = BanditRollout(
        pulls=6, top_k=2, init="uniform", chunking=Chunking(60, 0, 1, style), sampling=Sampling(max_tokens=8)
    )
    engine = ScriptedEngine(lambda request, i: " river C" if request.id.endswith(("2", "5")) else " no idea")
    context = StrategyContext(tokenizer, DirectAnswer(), None, 4096, 0, RolloutDataModule(engine).plan.rewards)
    ((_, rollout),) = Scheduler({"policy": engine}).run([(RECORD.id, strategy.roll(RECORD, context))])
    return rollout, engine


def pairs_of(rollout, tokenizer, **settings):
    context = PairContext(tokenizer, DirectAnswer(), "answer_match", 0, 0)
    return BestWorst(max_prompt_length=1500, **settings).pairs(RECORD, rollout, context)


@pytest.mark.parametrize("style", ["linear", "paper"])
def test_the_short_prompt_is_the_request_that_the_chosen_answer_was_sampled_from(byte_tokenizer, style):
    rollout, engine = rolled(byte_tokenizer, style)
    assert RecordRollout.from_json(json.loads(json.dumps(rollout.to_json()))) == rollout
    asked = {int(request.id.split("/")[1]): request.prompt_ids for request in engine.asked}
    pairs = TokenizedPairs(byte_tokenizer, None, short_prompts=True)
    made = pairs_of(rollout, byte_tokenizer, pairs_per_record=3)
    examples = [example for _, example in pairs.examples(made)]
    assert examples
    for pair, example in zip(made, examples, strict=True):
        # The prefill of the assistant's turn is part of the answer in a pair.
        prefill = len(asked[pair.origin.chosen_step]) - len(example.short_prompt_ids)
        assert prefill > 0
        assert asked[pair.origin.chosen_step][:-prefill] == example.short_prompt_ids
        assert example.chosen_ids[:prefill] == asked[pair.origin.chosen_step][-prefill:]
        assert len(example.short_prompt_ids) < len(example.prompt_ids)


def test_a_rollout_of_older_files_has_no_short_prompt(byte_tokenizer):
    rollout, _ = rolled(byte_tokenizer)
    row = json.loads(json.dumps(rollout.to_json()))
    del row["chunks"]
    older = RecordRollout.from_json(row)
    assert older == replace(rollout, chunks=())
    (pair,) = pairs_of(older, byte_tokenizer)
    assert pair == replace(pairs_of(rollout, byte_tokenizer)[0], short_prompt=None)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_short_prompts_are_read_back(tmp_path, byte_tokenizer, format):
    rollout, _ = rolled(byte_tokenizer)
    pairs = pairs_of(rollout, byte_tokenizer)
    mixed = [*pairs, replace(pairs[0], id="without", short_prompt=None)]
    path = tmp_path / f"pairs.{format}"
    with PairWriter(path, format) as writer:
        for pair in mixed:
            writer.write(pair)
    assert list(read_round_pairs(path)) == mixed

    plain = tmp_path / f"plain.{format}"
    with PairWriter(plain, format, "plain", byte_tokenizer) as writer:
        writer.write(pairs[0])
    (row,) = read_preferences(str(plain))
    assert row.short_prompt == f"[user]{pairs[0].short_prompt[0]['content']}<end>[assistant]"


@pytest.mark.parametrize(
    ("short", "problem"),
    [([], "empty list"), (3, "list of messages"), ([{"role": "nobody", "content": "?"}], "role"), ("\ud800", "")],
)
def test_a_bad_short_prompt_is_named(tmp_path, short, problem):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": "Q ", "chosen": "a", "rejected": "b", "short_prompt": short}) + "\n")
    (bad,) = read_preferences(str(path))
    assert problem in str(bad)
    assert "short_prompt" in str(bad) or "role" in problem


def test_pairs_without_one_are_left_out_and_counted():
    message = ({"role": "user", "content": "Long text. Q?"},)
    rows = [
        PreferencePair("has", message, "a", "b", short_prompt=({"role": "user", "content": "Q?"},)),
        PreferencePair("lacks", message, "a", "b"),
    ]
    pairs = TokenizedPairs(chatml_like(), None, short_prompts=True)
    ((_, example),) = pairs.examples(rows)
    assert example.id == "has"
    assert example.short_prompt_ids
    assert pairs.left_out == {"without a short prompt": 1}
    assert "BanditRollout" in "\n".join(pairs.account("rows"))
    ((_, same), _) = TokenizedPairs(chatml_like(), None).examples(rows)
    assert same.short_prompt_ids is None


def make(run, model, qa_file, *callbacks, **data):
    module = DPOModule(
        model,
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=1e-2,
        gradient_checkpointing=False,
        short_to_long=ShortToLong(weight=3.0, preference="short"),
    )
    datamodule = small_rounds(ScriptedEngine(sometimes_right), qa_file, **{"rounds": 1, **data})
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=datamodule.rounds * datamodule.epochs_per_round,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(c, AdapterCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    return trainer, module, datamodule


def test_a_fit_with_the_term_trains_and_resumes_exactly(tmp_path, tiny_model):
    qa_file = write_rivers(tmp_path / "qa.jsonl")
    options = {"epochs_per_round": 3}
    trainer, module, data = make(tmp_path / "a", tiny_model, qa_file, **options)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    assert "train/short_to_long/short_reward" in trainer.callback_metrics
    assert float(trainer.callback_metrics["train/loss/short_to_long"]) > 0
    whole, steps = {n: p for n, p in module.named_parameters() if p.requires_grad}, trainer.global_step
    assert any(float(p.detach().abs().max()) > 0 for n, p in whole.items() if "lora_B" in n)

    run = tmp_path / "b"
    trainer, module, data = make(
        run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), PowerCut(steps // 2), **options
    )
    torch.manual_seed(1)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(module, datamodule=data)
    trainer, module, data = make(run, tiny_model, qa_file, **options)
    trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
    assert trainer.global_step == steps
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter, whole[name], rtol=1e-4, atol=1e-6)


def test_a_strategy_without_chunks_is_refused_and_its_round_is_kept(tmp_path, tiny_model):
    qa_file = write_rivers(tmp_path / "qa.jsonl")
    engine = ScriptedEngine(lambda request, i: [" number 0", " number 1", " x"][i % 3])
    trainer, module, _ = make(tmp_path / "run", tiny_model, qa_file)
    data = RolloutDataModule(
        engine,
        str(qa_file),
        strategy=BestOfN(3, Sampling(max_tokens=16)),
        prompt_format=DirectAnswer(),
        pairs=BestWorst(max_prompt_length=1500),
        rounds=1,
        verify_sync=False,
    )
    with pytest.raises(ConfigError, match="has a short prompt, which the short-to-long term"):
        trainer.fit(module, datamodule=data)
    (folder,) = (tmp_path / "run" / "rounds").iterdir()
    assert (folder / "round.json").exists()
