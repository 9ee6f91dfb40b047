"""RULER's variable tracking: names that take their value from one another, scattered over a text."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Count, Draws, Example, Redraw, Template
from longmab_pl.evaluation.ruler.needles import DEPTHS
from longmab_pl.evaluation.ruler.sizing import fitting_example, search_size
from longmab_pl.evaluation.ruler.texts import Essay

EXAMPLE_VALUE = "12345"
"""The value in a worked example before each question gets its own."""


@dataclass(frozen=True)
class TrackingText:
    """The text that the statements are hidden in.

    Args:
        noise: the line that is repeated.
        essay: a running text instead of it, which is not repeated; None: the line.
    """

    noise: str
    essay: Essay | None = None


class VariableTracking:
    """A generator of chains of assignments (`Generator`); the question asks for all names with the first chain's value.

    Args:
        template: template with `{context}`, `{query}` and `{num_v}`.
        text: the text that the chains are hidden in.
        draws: random numbers.
        chains: number of independent chains in one context.
        hops: assignments from a name to the next; a chain has one name more.
        in_example: make a worked example: short names, one fixed value and at most ten hops.
        worked: a worked example (`worked_example`) to put before the task.
    """

    def __init__(
        self,
        template: Template,
        text: TrackingText,
        draws: Draws,
        *,
        chains: int = 1,
        hops: int = 4,
        in_example: bool = False,
        worked: str = "",
    ) -> None:
        self.template = Template(template.text, template.prefix, template.head + worked)
        self.worked = worked
        self.text = text
        self.draws = draws
        self.chains = chains
        self.hops = min(hops, 10) if in_example else hops
        self.in_example = in_example

    def __call__(self, size: int) -> Example:
        names, chains = self.statements()
        value = chains[0][0].split("=")[-1].strip()
        essay = self.text.essay
        context = self._in_lines(size, chains) if essay is None else self._in_essay(essay, size, chains)
        context = context.replace(". \n", ".\n")
        return self.template.fill(tuple(names[0]), context=context, query=value, num_v=self.hops + 1)

    def finished(self, example: Example) -> Example:
        """Return an example whose worked example has names and a value of its own."""
        if not self.worked:
            return example
        head = self.template.head.removesuffix(self.worked)
        rest = example.text[len(head) + len(self.worked) :]
        return Example(head + renamed(self.worked, self.hops, self.draws) + rest, example.prefix, example.answers)

    @property
    def least(self) -> int:
        """The smallest size that has a place for every statement of a chain."""
        return 1 if self.text.essay is not None else self.hops + 1

    def step(self, length: int) -> int:
        """Return the step in units by which the size is searched and reduced, at a length in tokens."""
        if self.text.essay is not None:
            return 500
        return 10 if length >= 4096 else 5

    def statements(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return the names and the assignments of each chain. Raises `Redraw` if a name was drawn twice."""
        length, each = (3 if self.in_example else 5), self.hops + 1
        wanted = each * self.chains
        drawn = [self.draws.capitals(length) for _ in range(wanted)]
        if len(set(drawn)) < wanted:
            while len(set(drawn)) < wanted:  # the original draws the missing ones before it fails
                drawn.append(self.draws.capitals(length))
            raise Redraw
        names = [drawn[i : i + each] for i in range(0, wanted, each)]
        chains = []
        for chain in names:
            value = EXAMPLE_VALUE if self.in_example else self.draws.five_digits()
            copies = [f"VAR {new} = VAR {old} " for old, new in itertools.pairwise(chain)]
            chains.append([f"VAR {chain[0]} = {value}", *copies])
        return names, chains

    def _in_lines(self, size: int, chains: list[list[str]]) -> str:
        lines = [self.text.noise] * size
        for chain in chains:
            if len(chain) > len(lines):
                raise ConfigError(
                    f"a RULER text of {len(lines)} lines holds no {len(chain)} statements; use fewer hops or a longer "
                    "length"
                )
            places = sorted(self.draws.random.sample(range(len(lines)), len(chain)))
            for moved, (place, statement) in enumerate(zip(places, chain, strict=True)):
                lines.insert(place + moved, statement)
        return "\n".join(lines)

    def _in_essay(self, essay: Essay, size: int, chains: list[list[str]]) -> str:
        sentences = essay.sentences(size, repeat=False)
        statements = merged(chains, self.draws)
        depths = self.draws.random.sample(DEPTHS, len(statements))
        places = [0, *sorted(int(len(sentences) * (depth / 100)) for depth in depths), len(sentences)]
        parts: list[str] = []
        for i, statement in enumerate([*statements, None]):
            parts.append(" ".join(sentences[places[i] : places[i + 1]]))
            if statement is not None:
                parts.append(statement.strip() + ".")
        return " ".join(parts)


def worked_example(make: VariableTracking, count: Count, limit: int = 500) -> str:
    """Return a worked example with its answers.

    Args:
        make: a generator with `in_example`.
        count: tokens of an example, without its answers.
        limit: tokens that it may take.
    """
    size = search_size(make, count, limit, 5, high=2 * make.step(limit))
    example, _ = fitting_example(make, count, size, limit, 5)
    return f"{example.whole} {' '.join(example.answers)}\n\n"


def merged(lists: Sequence[Sequence[str]], draws: Draws) -> list[str]:
    """Return one list in random order that keeps the order within each of the lists."""
    heap = [(draws.random.random(), number, 0) for number in range(len(lists))]
    heapq.heapify(heap)
    result = []
    while heap:
        _, number, position = heapq.heappop(heap)
        result.append(lists[number][position])
        if position + 1 < len(lists[number]):
            heapq.heappush(heap, (draws.random.random(), number, position + 1))
    return result


def renamed(worked: str, hops: int, draws: Draws) -> str:
    """Return a worked example with new names and a new value.

    Args:
        worked: text that ends with its answers, the chain's names.
        hops: number of assignments of the chain.
        draws: random numbers.
    """
    for name in worked.strip().split()[-hops - 1 :]:
        worked = worked.replace(name, draws.capitals(len(name)))
    return worked.replace(EXAMPLE_VALUE, draws.five_digits())
