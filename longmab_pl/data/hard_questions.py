"""Questions about invented facts that are hard to answer from a long context.

A question that a chain of slips hides, questions over several passages, questions without an answer in the text, lists
and counts. Each comes with the passages that it needs and with near-duplicates of them; `data.hard_contexts` adds
others up to a length.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

from longmab_pl.data.no_answer import NOT_STATED
from longmab_pl.data.synthesis import mentions, passage_text
from longmab_pl.data.synthetic_world import BRIDGES, KINDS, Entity, Kind, Names, Relation, World

Task = Literal["hops", "chain", "unanswerable", "list", "count"]
TASKS: tuple[Task, ...] = get_args(Task)

MAX_HOPS = 3
"""Longest path from passage to passage that the invented world has."""

UNANSWERABLE_HINT = f'If the passages do not say it, answer "{NOT_STATED}".'

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
_LISTED = {
    ("person", "profession"): "people worked as a {o}",
    ("person", "instrument"): "people played the {o}",
    ("person", "birthplace"): "people were born in {o}",
    ("machine", "material"): "machines are made of {o}",
    ("machine", "purpose"): "machines are used for {o}",
    ("company", "seat"): "companies have their office in {o}",
}
_FIXED_WORDS = frozenset({"Works", "Brothers", "Mills", "House"})
_VOWELS = "aeiou"


@dataclass(frozen=True)
class TitledText:
    """A passage: its title, unique in a context, and its sentences."""

    title: str
    text: str


@dataclass(frozen=True)
class Draft:
    """A question with the passages that must be in its context.

    Args:
        task: what makes it hard.
        question: the question.
        answers: gold answers.
        evidence: passages that the answer needs, in reading order; none for a question without an answer.
        others: further passages that must be there: near-duplicates with another answer, slips of other chains.
        hops: number of facts between the question and the answer.
        topic: kinds of entities and the fact that distractors on the same topic state.
        allows: whether a passage on an entity leaves the answer as it is.
    """

    task: Task
    question: str
    answers: tuple[str, ...]
    evidence: tuple[TitledText, ...]
    others: tuple[TitledText, ...]
    hops: int
    topic: tuple[tuple[Kind, Relation], ...]
    allows: Callable[[Entity], bool]

    @property
    def answerable(self) -> bool:
        return self.task != "unanswerable"


class Questions:
    """Drafts of questions about one world.

    Args:
        world: the invented entities.
        names: the generator of their names; near-duplicates get names that it has not used.
        hops: most facts between a question and its answer, 1 to 3.
        near: near-duplicates per question, each of a needed passage.
        links: slips in a chain that hides a question.
        chains: such chains in a context; all but one lead to other questions.

    Example:
        >>> rng = random.Random(0)
        >>> names = Names(rng)
        >>> draft = Questions(World(rng, names, 60), names).draft(rng, "count")
        >>> len(draft.evidence) == int(draft.answers[0])
        True
    """

    def __init__(
        self, world: World, names: Names, hops: int = MAX_HOPS, near: int = 2, links: int = 4, chains: int = 3
    ) -> None:
        self.world = world
        self.names = names
        self.hops = hops
        self.near = near
        self.links = links
        self.chains = chains
        self._paths = {n: _paths(n) for n in range(1, hops + 1)}
        self._sharing = _sharing(world)

    def draft(self, rng: random.Random, task: Task) -> Draft:
        """Return a new question of a task."""
        if task == "chain":
            return self._chain(rng)
        if task in ("list", "count"):
            return self._several(rng, task)
        return self._path(rng, task)

    def _path(self, rng: random.Random, task: Task) -> Draft:
        """Return a question over one to `hops` passages, each of which names the subject of the next one."""
        hops = rng.randint(1, self.hops)
        while True:
            kind, relations = rng.choice(self._paths[hops])
            entities = [rng.choice(self.world.entities[kind.name])]
            for bridge in relations[:-1]:
                entities.append(self.world.target(entities[-1], bridge))
            asked, owner = relations[-1], entities[-1]
            answer = owner.values[asked.name]
            subject = entities[0].name
            for bridge in relations[:-1]:
                subject = bridge.bridge.format(s=subject)
            question = rng.choice(asked.questions).format(s=subject)
            if answer.lower() not in question.lower():
                break
        steps = list(zip(entities, relations, strict=True))
        own = {entity.name for entity in entities}
        styles = [rng.getrandbits(32) for _ in steps]
        texts = [_text(entity, relation, style) for (entity, relation), style in zip(steps, styles, strict=True)]

        def allows(entity: Entity) -> bool:
            return entity.name not in own and not mentions(entity, answer)

        near = self._near(rng, steps, styles, allows)
        topic = tuple((entity.kind, relation) for entity, relation in steps)
        if task != "unanswerable":
            return Draft(task, question, (answer,), tuple(texts), near, hops, topic, allows)
        # The passage on the subject leaves the fact out, or there is none; near-duplicates state theirs.
        texts[-1:] = [_text(_without(owner, asked), None, styles[-1])] if hops == 1 or rng.random() < 0.5 else []
        return Draft(task, question, (NOT_STATED,), (), (*texts, *near), hops, topic, allows)

    def _chain(self, rng: random.Random) -> Draft:
        """Return a question that stands on the last of several slips, each of which names the next one."""
        hidden = self._path(rng, "hops")
        keys = _keys(rng, self.links * self.chains)
        chains = [keys[i : i + self.links] for i in range(0, len(keys), self.links)]
        evidence = _slips(chains[0], hidden.question)
        others: list[TitledText] = []
        there = {text.title for text in (*hidden.evidence, *hidden.others)}
        kind, asked = hidden.topic[-1]
        for chain in chains[1:]:
            rival = self._another(rng, kind, lambda e: hidden.allows(e) and e.name not in there)
            there.add(rival.name)
            others += _slips(chain, rng.choice(asked.questions).format(s=rival.name))
            others.append(_text(rival, asked, rng.getrandbits(32)))
        return replace(
            hidden,
            task="chain",
            question=f"Begin at slip {chains[0][0]}. Each slip names the slip that follows it, and the last one holds "
            "a question. What is the answer to that question?",
            evidence=(*evidence, *hidden.evidence),
            others=(*hidden.others, *others),
        )

    def _several(self, rng: random.Random, task: Task) -> Draft:
        """Return a question about all entities that share a value: their names, or their number."""
        (kind_name, relation_name), phrase = rng.choice(list(_LISTED.items()))
        value, sharing = rng.choice(self._sharing[kind_name, relation_name])
        chosen = rng.sample(sharing, rng.randint(2, min(len(sharing), 5 if task == "list" else 7)))
        kind = chosen[0].kind
        relation = next(relation for relation in kind.relations if relation.name == relation_name)
        styles = [rng.getrandbits(32) for _ in chosen]
        texts = [_text(entity, relation, style) for entity, style in zip(chosen, styles, strict=True)]

        def allows(entity: Entity) -> bool:
            return entity.kind.name != kind.name or entity.values[relation.name] != value

        near = self._near(rng, [(entity, relation) for entity in chosen], styles, allows)
        those = phrase.format(o=value)
        if task == "list":
            question = f"Which {those}? Give all names in alphabetical order, with commas between them."
            answers: tuple[str, ...] = (", ".join(sorted(entity.name for entity in chosen)),)
        else:
            question = f"How many {those}? Answer with a number."
            answers = (str(len(chosen)), _NUMBERS[len(chosen)])
        return Draft(task, question, answers, tuple(texts), near, len(chosen), ((kind, relation),), allows)

    def _near(
        self,
        rng: random.Random,
        steps: Sequence[tuple[Entity, Relation]],
        styles: Sequence[int],
        allows: Callable[[Entity], bool],
    ) -> tuple[TitledText, ...]:
        """Return near-duplicates of passages, beginning with the last: one letter of the name and the fact differ."""
        found: dict[str, TitledText] = {}
        for number in range(self.near):
            place = len(steps) - 1 - number % len(steps)
            entity, relation = steps[place]
            for _ in range(20):
                name = self._near_name(rng, entity.name)
                other = rng.choice(self.world.entities[entity.kind.name]).values[relation.name]
                copy = Entity(name, entity.kind, {**entity.values, relation.name: other})
                if name not in found and other != entity.values[relation.name] and allows(copy):
                    found[name] = _text(copy, relation, styles[place])
                    break
        return tuple(found.values())

    def _near_name(self, rng: random.Random, name: str) -> str:
        """Return a name that differs in one vowel and that no entity has; the name itself if there is none."""
        words = name.split(" ")
        place = max(i for i, word in enumerate(words) if word not in _FIXED_WORDS)
        word = words[place]
        changed = [
            word[:i] + vowel + word[i + 1 :]
            for i, letter in enumerate(word)
            if letter in _VOWELS
            for vowel in _VOWELS
            if vowel != letter
        ]
        rng.shuffle(changed)
        new = next((other for other in changed if not self.names.taken(other)), word)
        return " ".join([*words[:place], new, *words[place + 1 :]])

    def _another(self, rng: random.Random, kind: Kind, allows: Callable[[Entity], bool]) -> Entity:
        entities = self.world.entities[kind.name]
        first = rng.randrange(len(entities))
        order = (entities[(first + i) % len(entities)] for i in range(len(entities)))
        return next(filter(allows, order))


def _text(entity: Entity, relation: Relation | None, style: int) -> TitledText:
    """Return an entity's passage; the same style chooses the same sentences for another entity of the kind."""
    return TitledText(entity.name, passage_text(random.Random(style), entity, relation))


def _without(entity: Entity, relation: Relation) -> Entity:
    relations = tuple(other for other in entity.kind.relations if other is not relation)
    return replace(entity, kind=replace(entity.kind, relations=relations))


def _paths(hops: int) -> list[tuple[Kind, tuple[Relation, ...]]]:
    """Return all ways from a kind over bridge relations to a relation, of so many relations."""
    kinds = {kind.name: kind for kind in KINDS}

    def following(kind: Kind, left: int) -> list[tuple[Relation, ...]]:
        if left == 1:
            return [(relation,) for relation in kind.relations]
        return [
            (bridge, *rest)
            for bridge in kind.relations
            if bridge.bridge
            for rest in following(kinds[BRIDGES[bridge.name]], left - 1)
        ]

    return [(kind, path) for kind in KINDS for path in following(kind, hops)]


def _sharing(world: World) -> Mapping[tuple[str, str], list[tuple[str, list[Entity]]]]:
    """Return, for each kind and relation of lists, the values that several entities share, with these."""
    found = {}
    for kind, relation in _LISTED:
        by_value: dict[str, list[Entity]] = defaultdict(list)
        for entity in world.entities[kind]:
            by_value[entity.values[relation]].append(entity)
        found[kind, relation] = [(value, sharing) for value, sharing in by_value.items() if len(sharing) > 1]
    return found


def _keys(rng: random.Random, count: int) -> list[str]:
    """Return different keys of eight hexadecimal digits."""
    keys: dict[str, None] = {}
    while len(keys) < count:
        keys[f"{rng.getrandbits(32):08x}"] = None
    return list(keys)


def _slips(keys: Sequence[str], question: str) -> list[TitledText]:
    slips = [
        TitledText(f"Slip {key}", f"The slip that follows this one is {following}.")
        for key, following in pairwise(keys)
    ]
    return [*slips, TitledText(f"Slip {keys[-1]}", f'This is the last slip. Its question: "{question}"')]
