"""What is known of the servers' prefix caches: the beginnings of the prompts that each was sent."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 64
"""Tokens of a block; shorter beginnings in common are not counted."""

REMEMBERED_BLOCKS = 16_384
"""Blocks remembered for each server, about a million tokens; the least recently sent ones are forgotten first."""


def block_keys(prompt_ids: Sequence[int]) -> tuple[int, ...]:
    """Return a key for the beginning of a prompt up to the end of each whole block.

    Args:
        prompt_ids: token ids.

    Example:
        >>> one, other = block_keys(range(200)), block_keys([*range(150), *range(9)])
        >>> len(one), one[:2] == other, one[2] in other
        (3, True, False)
    """
    keys, key = [], 0
    for end in range(BLOCK_TOKENS, len(prompt_ids) + 1, BLOCK_TOKENS):
        key = hash((key, tuple(prompt_ids[end - BLOCK_TOKENS : end])))
        keys.append(key)
    return tuple(keys)


class SentPrefixes:
    """The beginnings of the prompts that one server was sent, as far as its cache may still hold them.

    Args:
        most: number of blocks to remember.

    Example:
        >>> sent = SentPrefixes()
        >>> sent.add(block_keys(range(200)))
        >>> sent.shared(block_keys([*range(150), *range(9)]))
        2
    """

    def __init__(self, most: int = REMEMBERED_BLOCKS) -> None:
        self.most = most
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def add(self, keys: Sequence[int]) -> None:
        """Add a prompt, given its `block_keys`."""
        for key in reversed(keys):  # the first block is the most recent: no block outlives the one before it
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.most:
            self._blocks.popitem(last=False)

    def shared(self, keys: Sequence[int]) -> int:
        """Return the number of whole blocks at a prompt's beginning that were sent before, given its `block_keys`."""
        return bisect_left(keys, True, key=lambda key: key not in self._blocks)

    def clear(self) -> None:
        """Forget everything: the server's cache is empty."""
        self._blocks.clear()
