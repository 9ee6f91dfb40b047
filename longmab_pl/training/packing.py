"""The choice of pairs that are packed into one sequence, up to a budget of tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

from longmab_pl.training.batch import Example
from longmab_pl.training.prefix_tree import PrefixTrees, root_prompts

log = logging.getLogger(__name__)

Batch = Sequence[Example]

E = TypeVar("E", bound=Example)


def pack_by_tokens(examples: Sequence[E], max_tokens: int) -> list[list[E]]:
    """Return batches of at most `max_tokens` packed tokens, in the order of the examples.

    Pairs with the same prompt share one copy of it, at the place of the first of them, and so do pairs whose prompts
    continue one another (the blocks of one text). If they are too many for one batch they are split, and each part has
    its own copy. A single pair over the budget is a batch of its own: the budget bounds memory, but a pair is never
    cut.
    """
    roots = root_prompts(example.prompt_ids for example in examples)
    by_prompt: dict[tuple[int, ...], list[E]] = {}
    for example in examples:
        by_prompt.setdefault(roots[example.prompt_ids], []).append(example)
    batches: list[list[E]] = []
    free = 0
    over = 0
    for group in by_prompt.values():
        for part in _parts(group, max_tokens):
            tokens = packed_tokens(part)
            over += tokens > max_tokens
            if not batches or tokens > free:
                batches.append([])
                free = max_tokens
            batches[-1] += part
            free -= tokens
    if over:
        log.warning(
            "%d pairs take more than max_tokens_per_batch (%d tokens) and are batches of their own; the longest pair "
            "sets the peak memory: lower the pairs' max_prompt_length or raise the budget",
            over,
            max_tokens,
        )
    return batches


def packed_tokens(examples: Batch) -> int:
    """Return the number of tokens that pairs take in a packed sequence, whatever they share counted once."""
    return PrefixTrees.of(examples).tokens


def balance_ranks(batches: Sequence[Batch], world_size: int) -> list[Batch]:
    """Return a number of batches that is divisible by the number of ranks.

    The largest batches are halved. If none can be, the last ones are left out of this epoch.
    """
    even = list(batches)
    while len(even) % world_size:
        largest = max(range(len(even)), key=lambda i: len(even[i]))
        if len(even[largest]) < 2:
            return even[: len(even) - len(even) % world_size]
        batch = even[largest]
        middle = _middle(batch)
        even[largest : largest + 1] = [batch[:middle], batch[middle:]]
    return even


def _middle(batch: Batch) -> int:
    """Return where to halve a batch: between two prompts if it has several, else within one, which is repeated."""
    roots = root_prompts(example.prompt_ids for example in batch)
    borders = [i for i in range(1, len(batch)) if roots[batch[i].prompt_ids] != roots[batch[i - 1].prompt_ids]]
    return min(borders or range(1, len(batch)), key=lambda i: abs(2 * i - len(batch)))


def _parts(group: Sequence[E], max_tokens: int) -> Iterator[list[E]]:
    """Yield the pairs of one tree in parts of at most `max_tokens` packed tokens, by the lengths of their prompts."""
    part: list[E] = []
    for example in sorted(group, key=lambda e: len(e.prompt_ids)):
        if part and packed_tokens([*part, example]) > max_tokens:
            yield part
            part = []
        part.append(example)
    yield part
