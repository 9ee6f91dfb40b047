"""`longmab synthesize`: a question-answering data set to try things out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longmab_pl.cli.arguments import call
from longmab_pl.data.synthesis import write_dataset


def synthesize(folder: str, train: int = 240, eval: int = 100, passages: int = 6, seed: int = 0) -> None:
    """Write a synthetic multi-passage QA set (train.jsonl, eval.jsonl) whose answers are in invented documents.

    Args:
        folder: folder to write to.
        train: number of training records.
        eval: number of evaluation records (no entity of theirs occurs in training).
        passages: passages per context; about 50 tokens each, so 300 make 15k tokens.
        seed: the same seed gives the same files.
    """
    for path in write_dataset(Path(folder), seed=seed, n_train=train, n_eval=eval, passages=passages):
        print(path)


def run(args: Sequence[str]) -> None:
    """Run the command."""
    call(synthesize, args)
