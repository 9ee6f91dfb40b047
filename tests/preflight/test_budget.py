"""The tokens of the largest batch, which the memory budget is made of."""

from __future__ import annotations

from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.pairs import BestWorst
from longmab_pl.preflight.budget import batch_tokens
from longmab_pl.strategies import BanditRollout, Chunking
from longmab_pl.training import DPOModule
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
