"""Sets of hard questions about invented facts, in contexts of a length that is counted in a model's tokens."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from tqdm.auto import tqdm

from longmab_pl.checks import at_least, between, one_of, unit_interval
from longmab_pl.data.hard_questions import MAX_HOPS, TASKS, UNANSWERABLE_HINT, Draft, Questions, Task, TitledText
from longmab_pl.data.passages import titled_passage
from longmab_pl.data.synthesis import passage_text
from longmab_pl.data.synthetic_world import KINDS, Names, World
from longmab_pl.errors import ConfigError
from longmab_pl.seeding import derive_seed
from longmab_pl.storage.files import atomic_write

_FEWEST_ENTITIES = 60
_TOKENS_PER_ENTITY = 25
"""A passage has more tokens, so that a world has about twice as many entities as its longest context needs."""


@dataclass(frozen=True)
class HardSettings:
    """Settings of a set of hard questions.

    Args:
        tasks: the tasks, in turn: `hops`, `chain`, `unanswerable`, `list`, `count`.
        min_tokens: shortest length of a context; where the two are close, it may lack a passage of about 50 tokens.
        max_tokens: longest length; the logarithm of a record's length is uniform between the two.
        hops: most facts between a question and its answer, 1 to 3.
        near: near-duplicates of needed passages with another answer.
        topic: share of the other distractors that state the same fact about other entities, in [0, 1].
        links: slips in a chain that hides a question.
        chains: chains in a context; all but one lead to other questions.
        seed: seed of all random choices.

    Raises:
        ConfigError: a setting is out of range.
    """

    tasks: tuple[Task, ...] = TASKS
    min_tokens: int = 1024
    max_tokens: int = 4096
    hops: int = MAX_HOPS
    near: int = 2
    topic: float = 0.3
    links: int = 4
    chains: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError(f"tasks is empty; give some of {', '.join(TASKS)}")
        for task in self.tasks:
            one_of("tasks", task, get_args(Task))
        at_least("min_tokens", self.min_tokens, 256)
        at_least("max_tokens", self.max_tokens, self.min_tokens, "it must be at least min_tokens")
        between("hops", self.hops, 1, MAX_HOPS)
        between("near", self.near, 0, 20)
        unit_interval("topic", self.topic, "it is a share, in [0, 1]")
        between("links", self.links, 1, 50)
        between("chains", self.chains, 1, 50)


@dataclass(frozen=True)
class HardRecord:
    """A question with its context.

    Args:
        id: unique in its set.
        draft: the question and the passages that it needs.
        passages: all passages in their order.
        context: their text, each below a line `Passage 3: title`.
        tokens: length of the context in tokens.
    """

    id: str
    draft: Draft
    passages: tuple[TitledText, ...]
    context: str
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values: a line of its file."""
        draft = self.draft
        places = {passage.title: place for place, passage in enumerate(self.passages, start=1)}
        more = {"answers": list(draft.answers)} if len(draft.answers) > 1 else {}
        return {
            "id": self.id,
            "input": draft.question,
            "answer": draft.answers[0],
            **more,
            "answerable": draft.answerable,
            "context": self.context,
            "task": draft.task,
            "hops": draft.hops,
            "num_tokens": self.tokens,
            "passages": len(self.passages),
            "evidence": [passage.title for passage in draft.evidence],
            "evidence_passages": [places[passage.title] for passage in draft.evidence],
        }


def hard_records(settings: HardSettings, split: str, records: int, count: Callable[[str], int]) -> Iterator[HardRecord]:
    """Yield the records of a split. The same settings and tokenizer give the same records on every machine.

    Splits share no entity. A record does not depend on the number of records. Its time and memory grow in proportion to
    its length.

    Args:
        settings: tasks, lengths, distractors and seed.
        split: `train` or `eval`.
        records: number of records.
        count: function that returns the tokens of a text.

    Raises:
        ConfigError: the passages that a question needs are longer than `min_tokens` allows.
    """
    names, worlds = _worlds(settings)
    questions = Questions(worlds[split], names, settings.hops, settings.near, settings.links, settings.chains)
    asked: set[tuple[str, tuple[str, ...]]] = set()
    for number in range(records):
        rng = random.Random(derive_seed(settings.seed, split, number))
        task = settings.tasks[number % len(settings.tasks)]
        for _ in range(20):  # a repeated question is rare, and with few entities may have to be taken
            draft = questions.draft(rng, task)
            key = draft.question, tuple(text.title for text in draft.evidence)
            if key not in asked:
                break
        asked.add(key)
        yield _record(f"{split}-{number + 1:04d}", rng, draft, worlds[split], settings, count)


def write_hard_dataset(
    folder: str | Path, settings: HardSettings, n_train: int, n_eval: int, count: Callable[[str], int]
) -> tuple[Path, Path]:
    """Write `train.jsonl` and `eval.jsonl` into a folder, one record after the other, and return both paths.

    Args:
        folder: the folder.
        settings: as for `hard_records`.
        n_train: training records.
        n_eval: evaluation records.
        count: as for `hard_records`.

    Raises:
        ConfigError: a number is out of range.
        LongMabError: a file cannot be written.
    """
    at_least("train", n_train, 0)
    at_least("eval", n_eval, 0)
    paths = Path(folder) / "train.jsonl", Path(folder) / "eval.jsonl"
    for path, split, records in zip(paths, ("train", "eval"), (n_train, n_eval), strict=True):
        made = hard_records(settings, split, records, count)
        with atomic_write(path) as file:
            for record in tqdm(made, desc=split, total=records, unit="record", dynamic_ncols=True):
                file.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
    return paths


def _worlds(settings: HardSettings) -> tuple[Names, dict[str, World]]:
    rng = random.Random(derive_seed(settings.seed, "worlds"))
    names = Names(rng)
    size = max(_FEWEST_ENTITIES, settings.max_tokens // (_TOKENS_PER_ENTITY * len(KINDS)))
    return names, {split: World(rng, names, size) for split in ("train", "eval")}


def _record(
    id: str, rng: random.Random, draft: Draft, world: World, settings: HardSettings, count: Callable[[str], int]
) -> HardRecord:
    target = round(math.exp(rng.uniform(math.log(settings.min_tokens), math.log(settings.max_tokens))))
    needed = [*draft.evidence, *draft.others]
    # Which passage has which number comes later; the numbers are the same.
    room = target - sum(count(_shown(number, passage)) for number, passage in enumerate(needed, start=1))
    if room < 0:
        raise ConfigError(
            f"min_tokens is {settings.min_tokens}, but the passages that a {draft.task} question needs take "
            f"{target - room} tokens; raise min_tokens, or lower near, links or chains"
        )
    fillers: list[TitledText] = []
    sizes: list[int] = []
    for passage in _distractors(rng, draft, world, settings.topic):
        size = count(_shown(len(needed) + len(fillers) + 1, passage))
        if room <= 0 or size > room + settings.max_tokens - target:
            break
        room -= size
        fillers.append(passage)
        sizes.append(size)
    order = [*needed, *fillers]
    rng.shuffle(order)
    tokens = count(context := _joined(order))
    while tokens > settings.max_tokens and fillers:  # tokens merge differently in the whole
        excess = tokens - settings.max_tokens
        while fillers and excess > 0:
            excess -= sizes.pop()
            order.remove(fillers.pop())
        tokens = count(context := _joined(order))
    if "unanswerable" in settings.tasks:  # all questions of such a set say what to answer then
        draft = replace(draft, question=f"{draft.question} {UNANSWERABLE_HINT}")
    return HardRecord(id, draft, tuple(order), context, tokens)


def _distractors(rng: random.Random, draft: Draft, world: World, topic: float) -> Iterator[TitledText]:
    """Yield passages on other entities: of the topic with the given share, else of any kind."""
    stated = {kind.name: relation for kind, relation in draft.topic}
    related = [entity for name in stated for entity in world.entities[name]]
    everything = [entity for kind in KINDS for entity in world.entities[kind.name]]
    rng.shuffle(related)
    rng.shuffle(everything)
    there = {passage.title for passage in (*draft.evidence, *draft.others)}
    while related or everything:
        same = bool(related) and (not everything or rng.random() < topic)
        entity = related.pop() if same else everything.pop()
        if entity.name in there or not draft.allows(entity):
            continue
        there.add(entity.name)
        yield TitledText(entity.name, passage_text(rng, entity, stated[entity.kind.name] if same else None))


def _shown(number: int, passage: TitledText) -> str:
    return titled_passage(number, passage.title, passage.text) + "\n\n"


def _joined(passages: list[TitledText]) -> str:
    return "".join(_shown(number, passage) for number, passage in enumerate(passages, start=1)).rstrip()
