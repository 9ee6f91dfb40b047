"""Invented entities with made-up names, their relations, and the sentences that state them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


def _words(listed: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(listed.split(separator))


# Short, regular syllables: a small model must be able to copy the names.
_ONSETS = _words("b d f g h k l m n p r s t v w z br dr gr tr st")
_VOWELS = _words("a e i o u")
_CODAS = ("", "", "l", "m", "n", "r", "s", "rd", "sk", "x")

# Real names that the syllables could form.
_REAL = frozenset(_words("Putin Stalin Obama Medina Merida Toronto Kabul Baku Dakar Riga Lima Sofia Roma Milan Turin"))
_COLOURS = _words("amber black blue bronze copper crimson golden green grey ivory orange pink purple red silver white")
_GOODS = _words(
    "baskets bells blankets bottles boots candles carpets chairs clocks combs cups drums flutes gloves hats honey "
    "ink kites knives lamps mirrors paper plates ribbons ropes salt scarves soap tea tiles toys umbrellas vases wool"
)
_JOBS = _words(
    "baker botanist carpenter composer dentist doctor farmer fisherman gardener judge lawyer librarian locksmith miner "
    "nurse painter pilot poet potter printer sailor sculptor shepherd surgeon tailor teacher weaver"
)
_INSTRUMENTS = _words(
    "accordion banjo bassoon cello clarinet drum fiddle flute guitar harp lute oboe organ piano viola"
)
_MATERIALS = _words("bamboo brass bronze clay copper cork glass granite iron ivory leather oak paper pine steel walnut")
_TASKS = _words(
    "bending pipes|catching rain|counting coins|cutting grass|drying fruit|folding letters|grinding corn|heating milk|"
    "lifting stones|measuring wind|melting snow|mixing paint|peeling apples|polishing shoes|pressing olives|"
    "printing maps|pumping water|sawing logs|sharpening knives|sorting seeds|spinning thread|washing sheep|"
    "watching stars|weighing ships",
    "|",
)
_VIRTUES = _words("brave bright calm careful clever early faithful free gentle honest humble kind patient quiet steady")
_MONTHS = _words("January February March April May June July August September October November December")


@dataclass(frozen=True)
class Relation:
    """A fact that every entity of a kind has.

    Args:
        name: readable name.
        statements: sentences with {s} for the subject and {o} for the value.
        questions: questions with {s} for the subject, answered by the value.
        bridge: a noun phrase with {s} that names the value, if the value is an entity with its own passage.
    """

    name: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    bridge: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of entity: the openings of its passages, and its relations (`World` chooses the values)."""

    name: str
    openings: tuple[str, ...]
    relations: tuple[Relation, ...]


KINDS = (
    Kind(
        "town",
        ("{s} is a town in the hills.", "{s} is a small town.", "{s} is an old town with a market."),
        (
            Relation(
                "founding year",
                ("{s} was founded in {o}.", "The town of {s} was founded in the year {o}."),
                ("In which year was {s} founded?", "When was {s} founded?"),
            ),
            Relation(
                "river",
                ("{s} lies on the river {o}.", "The river {o} flows through {s}."),
                ("On which river does {s} lie?", "Which river flows through {s}?"),
            ),
            Relation("mayor", ("The mayor of {s} is {o}.", "{o} is the mayor of {s}."), ("Who is the mayor of {s}?",)),
            Relation(
                "famous goods",
                ("{s} is famous for its {o}.", "People visit {s} to buy {o}."),
                ("What is {s} famous for?",),
            ),
        ),
    ),
    Kind(
        "person",
        ("{s} is a well known person.", "Many books mention {s}.", "{s} comes from a large family."),
        (
            Relation(
                "birthplace",
                ("{s} was born in {o}.", "The birthplace of {s} is {o}."),
                ("Where was {s} born?", "In which town was {s} born?"),
                bridge="the town where {s} was born",
            ),
            Relation("birth year", ("{s} was born in the year {o}.",), ("In which year was {s} born?",)),
            Relation(
                "profession",
                ("{s} worked as a {o}.", "By profession {s} was a {o}."),
                ("What was the profession of {s}?", "What did {s} work as?"),
            ),
            Relation(
                "instrument",
                ("{s} played the {o}.", "In the evening {s} played the {o}."),
                ("Which instrument did {s} play?",),
            ),
        ),
    ),
    Kind(
        "company",
        ("{s} is a company.", "{s} is a family business.", "{s} is a firm with many workers."),
        (
            Relation(
                "founder",
                ("{s} was started by {o}.", "The founder of {s} is {o}."),
                ("Who is the founder of {s}?", "Who started {s}?"),
                bridge="the founder of {s}",
            ),
            Relation("product", ("{s} makes {o}.", "{s} sells {o}."), ("What does {s} make?", "What does {s} sell?")),
            Relation(
                "seat",
                ("{s} has its office in {o}.", "The main office of {s} is in {o}."),
                ("In which town is the office of {s}?",),
                bridge="the town where {s} has its office",
            ),
            Relation("motto", ('The motto of {s} is "{o}".',), ("What is the motto of {s}?",)),
        ),
    ),
    Kind(
        "machine",
        ("The {s} is a machine.", "The {s} is a useful machine.", "The {s} stands in a museum."),
        (
            Relation(
                "inventor",
                ("The {s} was invented by {o}.", "{o} invented the {s}."),
                ("Who invented the {s}?",),
                bridge="the inventor of the {s}",
            ),
            Relation(
                "material",
                ("The {s} is made of {o}.", "Workers build the {s} from {o}."),
                ("What is the {s} made of?", "Which material is the {s} made of?"),
            ),
            Relation("purpose", ("The {s} is used for {o}.",), ("What is the {s} used for?",)),
            Relation(
                "year of invention",
                ("The first {s} was built in {o}.",),
                ("In which year was the first {s} built?",),
            ),
        ),
    ),
    Kind(
        "country",
        ("{s} is a country by the sea.", "{s} is a small country.", "{s} is a country with high mountains."),
        (
            Relation(
                "capital",
                ("The capital of {s} is {o}.", "{o} is the capital of {s}."),
                ("What is the capital of {s}?",),
                bridge="the capital of {s}",
            ),
            Relation("currency", ("In {s} people pay with the {o}.",), ("What is the currency of {s}?",)),
            Relation("language", ("The people of {s} speak {o}.",), ("Which language do the people of {s} speak?",)),
            Relation(
                "national day",
                ("The national day of {s} is {o}.", "{s} has its national day on {o}."),
                ("When is the national day of {s}?",),
            ),
        ),
    ),
)

# Bridge relation -> kind of the entity that it refers to.
BRIDGES = {"birthplace": "town", "seat": "town", "capital": "town", "founder": "person", "inventor": "person"}


@dataclass
class Entity:
    """A name and the value of each relation of its kind."""

    name: str
    kind: Kind
    values: dict[str, str] = field(default_factory=dict)


class Names:
    """Generator of unique invented names: splits that use the same `Names` share no entity."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def word(self, ending: str = "") -> str:
        """Return a new capitalized word."""
        syllables = 2
        while True:
            for _ in range(200):
                stem = "".join(
                    self._rng.choice(_ONSETS) + self._rng.choice(_VOWELS) + (self._rng.choice(_CODAS) if last else "")
                    for last in (i == syllables - 1 for i in range(syllables))
                )
                name = (stem + ending).capitalize()
                if name not in self._used and name not in _REAL:
                    self._used.add(name)
                    return name
            syllables += 1

    def taken(self, word: str) -> bool:
        """Return whether a word is one of the names, or a part of one, or a real name."""
        return word.capitalize() in self._used or word.capitalize() in _REAL

    def person(self) -> str:
        """Return a new name of two words."""
        return f"{self.word()} {self.word()}"


class World:
    """Entities of every kind, each related to others of the same world only.

    Args:
        rng: source of all random choices.
        names: shared by worlds whose entities must differ.
        size: number of entities of each kind.
    """

    def __init__(self, rng: random.Random, names: Names, size: int) -> None:
        self._rng = rng
        self._names = names
        make: dict[str, Callable[[], str]] = {
            "town": lambda: names.word(rng.choice(("ton", "burg", "ford", "dale"))),
            "person": names.person,
            "company": lambda: f"{names.word()} {rng.choice(('Works', 'Brothers', 'Mills', 'House'))}",
            "machine": lambda: names.word(rng.choice(("graph", "scope", "phone", "mat"))).lower(),
            "country": lambda: names.word(rng.choice(("land", "mark", "stan"))),
        }
        self.entities: dict[str, list[Entity]] = {
            kind.name: [Entity(make[kind.name](), kind) for _ in range(size)] for kind in KINDS
        }
        self._by_name = {entity.name: entity for group in self.entities.values() for entity in group}
        for group in self.entities.values():
            for entity in group:
                entity.values = {relation.name: self._value(relation.name) for relation in entity.kind.relations}

    def target(self, entity: Entity, relation: Relation) -> Entity:
        """Return the entity that a bridge relation of `entity` refers to."""
        return self._by_name[entity.values[relation.name]]

    def _value(self, relation: str) -> str:
        rng, names = self._rng, self._names
        if relation in BRIDGES:
            return rng.choice(self.entities[BRIDGES[relation]]).name
        if relation in ("famous goods", "product"):
            return f"{rng.choice(_COLOURS)} {rng.choice(_GOODS)}"
        make: dict[str, Callable[[], str]] = {
            "founding year": lambda: str(rng.randrange(1100, 1900)),
            "birth year": lambda: str(rng.randrange(1700, 1990)),
            "year of invention": lambda: str(rng.randrange(1700, 1990)),
            "river": names.word,
            "mayor": names.person,
            "profession": lambda: rng.choice(_JOBS),
            "instrument": lambda: rng.choice(_INSTRUMENTS),
            "motto": lambda: " and ".join(rng.sample(_VIRTUES, 2)).capitalize(),
            "material": lambda: rng.choice(_MATERIALS),
            "purpose": lambda: rng.choice(_TASKS),
            "currency": lambda: names.word().lower(),
            "language": lambda: names.word(rng.choice(("ish", "ese", "ic"))),
            "national day": lambda: f"{rng.randrange(1, 29)} {rng.choice(_MONTHS)}",
        }
        return make[relation]()
