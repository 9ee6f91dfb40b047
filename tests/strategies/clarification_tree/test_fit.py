"""`fit` over a clarification tree with a tiny model: supervised fine-tuning, then DPO, in one run."""

from __future__ import annotations

import json

import pair_cost
import pytest
from small_config import write_config
from tiny_models import save_model

from longmab_pl.cli.main import main
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.training.batch import sft_examples
from longmab_pl.training.tokenization import tokenize

FRAGMENT = """
model:
  phases:
    - class_path: longmab_pl.training.SFTPhase
    - class_path: longmab_pl.training.PreferencePhase
data:
  init_args:
    engine: {class_path: longmab_pl.engines.ScriptedEngine, init_args: {answer: clarifying_model.clarified}}
    max_tokens_per_batch: 8192
    strategy:
      class_path: longmab_pl.strategies.ClarificationTree
      init_args:
        branching: 2
        rounds: 2
        paragraph_tokens: 150
        max_read_tokens: 400
        questions_per_request: 3
        clarify: {temperature: 1.0, max_tokens: 48}
        verdict: {temperature: 0.2, max_tokens: 48}
        answer: {temperature: 0.7, max_tokens: 48}
    rewards: [longmab_pl.rewards.GoldAgreement]
    pairs: {class_path: longmab_pl.pairs.ClarificationPairs, init_args: {max_prompt_length: 6000}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, byte_tokenizer):
    folder = tmp_path_factory.mktemp("tree")
    model = save_model(folder / "model", byte_tokenizer, positions=8192)
    config = write_config(folder, model, records=2)
    (folder / "tree.yaml").write_text(FRAGMENT)
    main(["fit", "--config", str(config), "--config", str(folder / "tree.yaml")])
    return folder


def test_one_run_has_two_phases_and_ends_in_an_adapter(run):
    assert (run / "run" / "adapter" / "adapter_model.safetensors").is_file()
    (summary,) = (run / "run" / "rounds").glob("*/round.json")
    statistics = json.loads(summary.read_text())["statistics"]
    assert statistics["tree/nodes"] == 7
    assert statistics["pairs/count"] > 2
    assert statistics["tree/best_score"] > statistics["tree/worst_score"]


def test_the_best_conversation_of_each_record_is_imitated_and_siblings_are_only_compared(run):
    (path,) = (run / "run" / "rounds").glob("*/pairs.jsonl")
    pairs = list(read_round_pairs(path))
    tokenizer = load_tokenizer(str(run / "model"))
    examples = [tokenize(pair, tokenizer) for pair in pairs]
    assert len(list(sft_examples(examples))) == len({pair.id for pair in pairs}) == 2
    assert sum(pair.imitated for pair in pairs) == 2 < len(pairs)


def test_pairs_are_made_again_without_an_engine(run):
    (path,) = (run / "run" / "rounds").glob("*/pairs.jsonl")
    out = run / "again.jsonl"
    main(["pairs", str(run / "run"), "--output", str(out)])
    assert out.read_bytes() == path.read_bytes()
    strict = run / "strict.jsonl"
    main(["pairs", str(run / "run"), "--output", str(strict), "--min_margin", "1.99"])
    margins = [json.loads(line) for line in strict.read_text().splitlines()]
    assert all(row["chosen_reward"] - row["rejected_reward"] > 1.99 for row in margins)


def test_the_cost_of_a_usable_pair_is_read_from_the_run(run):
    (cost,) = pair_cost.costs(run / "run")
    assert (cost.strategy, cost.records, cost.usable) == ("ClarificationTree", 2, 2)
    assert cost.calls > 2 * 7
    assert cost.prefilled == cost.prompt_tokens > 1000
    assert cost.chosen > cost.rejected
    assert "ClarificationTree" in pair_cost.show([cost])
