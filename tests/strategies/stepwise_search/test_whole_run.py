"""A stepwise search in whole runs: killed at random moments, and through `fit` to an adapter."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from block_writing import Judge
from killed import SlowEngine, kill_until_complete
from scripted_blocks import by_seed

from longmab_pl.cli.main import main
from longmab_pl.data.readers import read_records
from longmab_pl.engines.protocol import Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.pairs.step_pairs import StepPairs
from longmab_pl.prompts.instruction import Instruction
from longmab_pl.rewards.principles import PRINCIPLES
from longmab_pl.rewards.writing_quality import WritingQuality
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.strategies.stepwise_search.critics import Refinement
from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch
from longmab_pl.training.tokenization import tokenize

PLAN = RoundPlan(
    strategy=StepwiseSearch(
        blocks=3, candidates=3, sampling=Sampling(0.7, 1.0, 0.0, 60), refinement=Refinement(threshold=4.0)
    ),
    rewards=(WritingQuality(),),
    prompt_format=Instruction(),
    pairs=StepPairs(max_prompt_length=4096),
    embedder=Embedder(),
)
RECORDS = read_records("shipped:writing_train", limit=10).records
KILLS = 8


def rate(block):
    """Each principle by its own, so that no block is best by all."""
    return {name: 1 + sum(map(ord, block + name)) * int(name[-1]) % 9 / 2 for name in PRINCIPLES}


def rolled_out(folder, tokenizer, most=float("inf")):
    judge = Judge(rate, lambda block: "letter" in block, lambda block: [block])
    store = RoundFolder(folder, 0, "f")
    policy = SlowEngine(by_seed, store.journal, most, tokenizer=tokenizer)

    def verdict(request, i):
        return judge(request, tokenizer.decode(list(request.prompt_ids)))

    round = Round(PLAN, store, RECORDS, tokenizer, {})
    engines = {"policy": policy, "judge": SlowEngine(verdict, store.journal, most)}
    round.roll_out(engines)
    round.finish("base")
    return store


def files(store):
    return {path.name: path.read_text() for path in (store.pairs, store.rollouts)}


@pytest.mark.timeout(120)
def test_kills_at_random_moments_cost_and_change_nothing(tmp_path, byte_tokenizer):
    fresh = files(rolled_out(tmp_path / "fresh", byte_tokenizer))
    assert fresh["pairs.jsonl"].count("\n") > 15
    assert '"contradicts": true' in fresh["rollouts.jsonl"]
    assert '"kind": "refined"' in fresh["rollouts.jsonl"]
    rng = random.Random(3)
    store = RoundFolder(tmp_path / "killed", 0, "f")

    def work(most):
        rolled_out(tmp_path / "killed", byte_tokenizer, most)

    kill_until_complete(store, work, rng, kills=KILLS, apart=8000, beyond=4000)
    asked = [json.loads(line)["request_id"] for line in store.journal.read_text().splitlines()[1:]]
    assert len(asked) == len(set(asked)), "a finished completion was asked for again"
    assert files(store) == fresh


CONFIG = """
trainer: {{accelerator: cpu, default_root_dir: {run}, logger: false, enable_progress_bar: false}}
report: {{picture: false}}
model: {{model: {model}, dtype: fp32, gradient_checkpointing: false, learning_rate: 1.0e-2, lora: {{r: 2, alpha: 4}}}}
data:
  class_path: longmab_pl.RolloutDataModule
  init_args:
    train: shipped:writing_train
    limit: 4
    rounds: 1
    verify_sync: false
    max_tokens_per_batch: 2000
    engine: {{class_path: longmab_pl.engines.ScriptedEngine, init_args: {{answer: scripted_blocks.by_seed}}}}
    prompt_format: longmab_pl.prompts.Instruction
    strategy:
      class_path: longmab_pl.strategies.StepwiseSearch
      init_args: {{blocks: 4, candidates: 4, facts: null, refinement: null, sampling: {{max_tokens: 40}}}}
    rewards: [longmab_pl.rewards.RequiredLength]
    pairs: {{class_path: longmab_pl.pairs.StepPairs, init_args: {{max_prompt_length: 1000}}}}
"""


def test_fit_trains_an_adapter_on_blocks(tmp_path, tiny_model, byte_tokenizer):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(run=tmp_path / "run", model=tiny_model))
    main(["fit", "--config", str(path)])
    (folder,) = (tmp_path / "run" / "rounds").iterdir()
    pairs = list(read_round_pairs(folder / "pairs.jsonl"))
    assert pairs
    assert all(tokenize(pair, byte_tokenizer) for pair in pairs)
    statistics = json.loads((folder / "round.json").read_text())["statistics"]
    assert statistics["search/blocks"] > 0
    assert statistics["pairs/count"] == len(pairs)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


SMALLER = [
    "--data.init_args.records_per_round=3",
    "--data.init_args.epochs_per_round=1",
    "--data.init_args.strategy.init_args.blocks=2",
    "--data.init_args.strategy.init_args.candidates=3",
    "--data.init_args.strategy.init_args.sampling.max_tokens=32",
    "--trainer.callbacks.init_args.suite.init_args.limit=2",
    "--trainer.callbacks.init_args.suite.init_args.max_new_tokens=32",
]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_shipped_config_trains_on_blocks_that_the_real_model_wrote_and_judged(tmp_path):
    command = [sys.executable, "-m", "longmab_pl", "fit", "--config", "longdpo"]
    done = subprocess.run(
        [*command, f"--trainer.default_root_dir={tmp_path}", *SMALLER],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "rounds").iterdir()
    statistics = json.loads((folder / "round.json").read_text())["statistics"]
    assert statistics["search/no_verdict_rate"] == 0.0, "the schema keeps every reply to its form"
    assert statistics["search/blocks"] >= 1
    rollouts = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    blocks = [response for rollout in rollouts for response in rollout["responses"]]
    assert all(response["token_ids"] for response in blocks)
    priors = [node["parts"]["prior"] for rollout in rollouts for node in rollout["trace"]["nodes"][1:]]
    assert len(set(priors)) > len(priors) / 2, "the engine reports log-probabilities"
    assert list(read_round_pairs(folder / "pairs.jsonl"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
