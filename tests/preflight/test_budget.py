"""The tokens of the largest batch, which the memory budget is made of."""

from __future__ import annotations

import re
from pathlib import Path

from transformers import AutoConfig

from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.pairs import BestWorst
from longmab_pl.preflight.budget import batch_tokens, gpu_budget
from longmab_pl.preflight.inputs import PUBLISHED
from longmab_pl.preflight.memory_model import GIB, model_size
from longmab_pl.strategies import BanditRollout, Chunking
from longmab_pl.training import DPOModule, LoRASettings
from longmab_pl.training.terms import GroupTerm, ShortToLong


def test_short_prompts_and_groups_are_counted_where_they_are_trained_on():
    strategy = BanditRollout(pulls=10, top_k=2, init="query", chunking=Chunking(500), sampling=Sampling(max_tokens=100))
    data = RolloutDataModule(ScriptedEngine(lambda request, i: ""), strategy=strategy, pairs=BestWorst(4000))

    def tokens(**settings):
        return batch_tokens(data, phases=DPOModule("somewhere", **settings).phases)

    pair = 4000 + 100
    assert tokens() == batch_tokens(data) == pair
    assert tokens(short_to_long=ShortToLong()) == pair + (2 * 500 + 100) + 100
    assert tokens(losses=[GroupTerm(clip=None)]) == pair + 8 * 100


def test_the_table_of_sequences_over_several_gpus_is_what_the_formulae_say():
    kind, dimensions = PUBLISHED["meta-llama/Llama-3.1-8B-Instruct"]
    size = model_size(AutoConfig.for_model(kind, **dimensions), LoRASettings())
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (1|4|8) \| ([^|]+), (bf16|NF4) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(rows) == 7
    for gpus, strategy, base, *said in rows:
        module = DPOModule("somewhere", quantization="nf4" if base == "NF4" else "none", sequence_parallel=int(gpus))
        shards = int(gpus) if strategy == "FSDP2" else 1
        budgets = [
            gpu_budget(module, None, size, tokens, 79.1 * GIB, 79.1 * GIB, shards=shards)
            for tokens in (65_536, 131_072)
        ]
        expected = [f"{budget.totals[2] / GIB:.1f}" for budget in budgets]
        assert said == [*expected, f"{budgets[0].longest_batch // 1000 * 1000:,}"], (gpus, strategy, base)
