"""Synthetic question-answering sets about invented facts, which only the context can answer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.data.passages import titled_passage
from longmab_pl.data.synthetic_world import KINDS, Entity, Names, Relation, World
from longmab_pl.storage.files import atomic_write

_FACTS_PER_PASSAGE = (2, 3)


@dataclass(frozen=True)
class SyntheticRecord:
    """A question, its one gold answer (a span of the context), and the answer's place.

    Args:
        id: unique in its set.
        input: the question.
        answer: occurs verbatim in the last evidence passage and in no passage that is not evidence.
        context: titled passages, separated by blank lines.
        hops: 1, or 2 where one passage names the subject of the other.
        evidence: titles of the passages that answer the question, in reading order.
    """

    id: str
    input: str
    answer: str
    context: str
    hops: int
    evidence: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values: a line of its file."""
        return {**asdict(self), "evidence": list(self.evidence)}


@dataclass(frozen=True)
class SyntheticSet:
    """Training and evaluation records that share no entity."""

    train: tuple[SyntheticRecord, ...]
    eval: tuple[SyntheticRecord, ...]


def synthesize(
    seed: int = 0, n_train: int = 240, n_eval: int = 100, passages: int = 6, two_hop: float = 0.25
) -> SyntheticSet:
    """Return a training and an evaluation set. The same arguments give the same records on every machine.

    Every context has distractors: passages on other entities of the same kind that state the same relation with
    another value (for two hops: whole parallel chains), so that guessing from the question's form fails.

    Args:
        seed: seed of all random choices.
        n_train: training records.
        n_eval: evaluation records.
        passages: passages per context, at least 4; about 50 tokens each, so 6 make 300 tokens and 300 make 15,000.
        two_hop: share of two-hop questions, in [0, 1], spread evenly.

    Raises:
        ConfigError: a number is out of range.
    """
    at_least("passages", passages, 4, "a context with distractors needs at least 4")
    unit_interval("two_hop", two_hop, "it is a share, in [0, 1]")
    at_least("n_train", n_train, 0)
    at_least("n_eval", n_eval, 0)
    rng = random.Random(seed)
    names = Names(rng)
    return SyntheticSet(
        train=tuple(_records("train", rng, names, n_train, passages, two_hop)),
        eval=tuple(_records("eval", rng, names, n_eval, passages, two_hop)),
    )


def write_records(records: Iterable[SyntheticRecord], path: str | Path) -> Path:
    """Write records as JSON Lines, atomically, and return the path.

    Raises:
        LongMabError: the file cannot be written.
    """
    path = Path(path)
    with atomic_write(path) as file:
        file.writelines(json.dumps(record.to_json(), ensure_ascii=False) + "\n" for record in records)
    return path


def write_dataset(
    folder: str | Path, seed: int = 0, n_train: int = 240, n_eval: int = 100, passages: int = 6, two_hop: float = 0.25
) -> tuple[Path, Path]:
    """Write `train.jsonl` and `eval.jsonl` into a folder and return both paths; otherwise as `synthesize`."""
    made = synthesize(seed, n_train, n_eval, passages, two_hop)
    folder = Path(folder)
    return write_records(made.train, folder / "train.jsonl"), write_records(made.eval, folder / "eval.jsonl")


def _records(
    split: str, rng: random.Random, names: Names, count: int, passages: int, two_hop: float
) -> Iterable[SyntheticRecord]:
    # Large enough that a question is rarely drawn twice, small enough that entities recur with the same facts.
    world = World(rng, names, size=max(2 * passages, 24, count // 10, min(count * passages // 10, 2000)))
    asked: set[str] = set()
    while len(asked) < count:
        number = len(asked)
        hops = 2 if int((number + 1) * two_hop) > int(number * two_hop) else 1
        record = _record(f"{split}-{number + 1:04d}", rng, world, passages, hops)
        if record.input not in asked:
            asked.add(record.input)
            yield record


def _record(id: str, rng: random.Random, world: World, passages: int, hops: int) -> SyntheticRecord:
    bridges = [(kind, relation) for kind in KINDS for relation in kind.relations if relation.bridge]
    plain = [(kind, relation) for kind in KINDS for relation in kind.relations]
    kind, stated = rng.choice(bridges if hops == 2 else plain)
    subject = rng.choice(world.entities[kind.name])
    chosen: dict[str, tuple[Entity, Relation | None]] = {subject.name: (subject, stated)}
    if hops == 1:
        asked, owner, named = stated, subject, subject.name
    else:
        owner, named = world.target(subject, stated), stated.bridge.format(s=subject.name)
        asked = rng.choice(owner.kind.relations)
        chosen[owner.name] = (owner, asked)
    answer = owner.values[asked.name]

    def add(entity: Entity, relation: Relation | None) -> None:
        if len(chosen) < passages and entity.name not in chosen and not mentions(entity, answer):
            chosen[entity.name] = (entity, relation)

    # Distractors first: half of the passages; in a two-hop question with its parallel chains, all but the evidence.
    while len(chosen) < (passages + 1) // 2 + hops:
        rival = rng.choice(world.entities[kind.name])
        add(rival, stated)
        if hops == 2 and rival.name in chosen:
            add(world.target(rival, stated), asked)
    while len(chosen) < passages:
        other = rng.choice(KINDS)
        add(rng.choice(world.entities[other.name]), asked if other is owner.kind else stated if other is kind else None)
    texts = [(entity.name, passage_text(rng, entity, relation)) for entity, relation in chosen.values()]
    rng.shuffle(texts)
    return SyntheticRecord(
        id=id,
        input=rng.choice(asked.questions).format(s=named),
        answer=answer,
        context="\n\n".join(titled_passage(i, title, text) for i, (title, text) in enumerate(texts, start=1)),
        hops=hops,
        evidence=(subject.name,) if hops == 1 else (subject.name, owner.name),
    )


def mentions(entity: Entity, answer: str) -> bool:
    """Return whether an answer occurs in an entity's name or in one of its values."""
    return any(answer.lower() in text.lower() for text in (entity.name, *entity.values.values()))


def passage_text(rng: random.Random, entity: Entity, stated: Relation | None) -> str:
    """Return the sentences of a passage: an opening and a few facts in any order, `stated` among them."""
    others = [relation for relation in entity.kind.relations if relation is not stated]
    facts = rng.sample(others, rng.choice(_FACTS_PER_PASSAGE) - (stated is not None)) + ([stated] if stated else [])
    rng.shuffle(facts)
    sentences = [rng.choice(entity.kind.openings)] + [rng.choice(fact.statements) for fact in facts]
    filled = [
        sentence.format(s=entity.name, o=entity.values.get(fact.name, "") if fact else "")
        for sentence, fact in zip(sentences, [None, *facts], strict=True)
    ]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in filled)
