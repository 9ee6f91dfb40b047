"""The small job of whole-run tests: questions about rivers, answers that are sometimes right, short rounds."""

from __future__ import annotations

import json

from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking


def write_rivers(path):
    with path.open("w") as f:
        for i in range(12):
            context = " ".join(f"The town of place {j} lies on river number {i * 10 + j}. It is old." for j in range(4))
            row = {
                "id": i,
                "input": f"Which river at place {i % 4}?",
                "answer": f"number {i * 10 + i % 4}",
                "context": context,
            }
            f.write(json.dumps(row) + "\n")
    return path


def sometimes_right(request: Request, i: int) -> str:
    record, pull = request.id.split("/")
    number = int(record) * 10 + int(record) % 4
    return f" number {number}" if (int(record) + int(pull)) % 3 == 0 else f" number {number + 1} or so"


def small_rounds(engine, qa_file, **settings) -> RolloutDataModule:
    strategy = BanditRollout(
        pulls=4,
        top_k=2,
        init="uniform",
        chunking=Chunking(60, 0, 1),
        sampling=Sampling(max_tokens=16, presence_penalty=0.0),
    )
    settings = {"rounds": 3, "records_per_round": 8, "verify_sync": False} | settings
    return RolloutDataModule(
        engine,
        str(qa_file),
        strategy=strategy,
        prompt_format=DirectAnswer(),
        pairs=BestWorst(max_prompt_length=1500),
        **settings,
    )
