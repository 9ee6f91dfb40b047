"""Synthetic writing instructions with required lengths, about invented people and places."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.synthetic_world import Names
from longmab_pl.storage.files import atomic_write

LENGTHS = (60, 100, 160, 240, 400)
"""Required lengths in words, each for an equal share of the instructions."""

_KINDS: dict[str, tuple[str, ...]] = {
    "story": (
        "Write a story of about {n} words about {person}, who loses a {thing} in the town of {town}.",
        "Tell in about {n} words how {person} and {friend} cross the hills near {town} in winter.",
        "Write a bedtime story of about {n} words about a {thing} that can speak and lives in {town}.",
    ),
    "letter": (
        "Write a letter of about {n} words in which {person} thanks {friend} for a {thing}.",
        "Write a letter of about {n} words from {person} to the mayor of {town} about a broken bridge.",
    ),
    "report": (
        "Write a report of about {n} words on the market of {town}, where {person} sells {things}.",
        "Write a newspaper report of about {n} words about a flood in {town}.",
    ),
    "guide": (
        "Write a travel guide of about {n} words to the town of {town}.",
        "Explain in about {n} words how {person} repairs an old {thing}, step by step.",
    ),
    "speech": (
        "Write a speech of about {n} words that {person} gives at the opening of a library in {town}.",
        "Write a speech of about {n} words in which {person} asks the people of {town} to plant trees.",
    ),
    "diary": (
        "Write a diary entry of about {n} words by {person}, who has just moved to {town}.",
        "Write a diary entry of about {n} words by {person} after a long day of selling {things}.",
    ),
}

_THINGS = (
    "basket", "bell", "bicycle", "clock", "coat", "drum", "flute", "hat", "kettle", "kite", "lamp", "map", "mirror",
    "violin", "whistle",
)  # fmt: skip


@dataclass(frozen=True)
class WritingInstruction:
    """An instruction to write a text.

    Args:
        id: unique in its set.
        prompt: what to write, with the required length.
        type: kind of text (`story`, `letter`, `report`, `guide`, `speech`, `diary`).
        length: required length in words.
    """

    id: str
    prompt: str
    type: str
    length: int

    def to_json(self) -> dict[str, Any]:
        """Return the instruction as JSON values: a line of its file."""
        return asdict(self)


def writing_instructions(
    seed: int = 0, n_train: int = 96, n_eval: int = 48, lengths: Sequence[int] = LENGTHS
) -> tuple[list[WritingInstruction], list[WritingInstruction]]:
    """Return instructions for training and for evaluation that share no name. The same arguments give the same ones.

    Args:
        seed: seed of all random choices.
        n_train: training instructions.
        n_eval: evaluation instructions.
        lengths: required lengths in words.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> writing_instructions(n_train=1, n_eval=0)[0][0].length
        60
    """
    at_least("n_train", n_train, 0)
    at_least("n_eval", n_eval, 0)
    at_least("lengths", len(lengths), 1, "give one required length at least")
    for length in lengths:
        at_least("lengths", length, 1, "a required length is at least 1 word")
    rng = random.Random(seed)
    names = Names(rng)
    train, held_out = (
        [_instruction(rng, names, f"{split}-{i + 1:04d}", lengths[i % len(lengths)]) for i in range(count)]
        for split, count in (("train", n_train), ("eval", n_eval))
    )
    return train, held_out


def write_instructions(
    folder: str | Path, seed: int = 0, n_train: int = 96, n_eval: int = 48, lengths: Sequence[int] | None = None
) -> tuple[Path, Path]:
    """Write `train.jsonl` and `eval.jsonl` into a folder and return both paths; otherwise as `writing_instructions`."""
    paths = (Path(folder) / "train.jsonl", Path(folder) / "eval.jsonl")
    for path, made in zip(paths, writing_instructions(seed, n_train, n_eval, lengths or LENGTHS), strict=True):
        with atomic_write(path) as file:
            file.writelines(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in made)
    return paths


def _instruction(rng: random.Random, names: Names, name: str, length: int) -> WritingInstruction:
    kind = rng.choice(list(_KINDS))
    thing = rng.choice(_THINGS)
    prompt = rng.choice(_KINDS[kind]).format(
        n=length,
        person=names.person(),
        friend=names.person(),
        town=names.word(rng.choice(("ton", "burg", "ford", "dale"))),
        thing=thing,
        things=f"{thing}s",
    )
    return WritingInstruction(name, prompt, kind, length)
