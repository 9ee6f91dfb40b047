"""The prefix cache of a stand-in server: whole blocks, the least recently used ones leave first, as in vLLM."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Counts how much of each prompt it holds already.

    Args:
        tokens: its size.
        block: tokens of a block; vLLM's are 16 on most GPUs.
    """

    def __init__(self, tokens: int, block: int = 16) -> None:
        self.blocks = tokens // block
        self.block = block
        self.cached = self.asked = 0
        self._held: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt are cached, and hold all of its whole blocks from now on."""
        keys, key = [], 0
        for end in range(self.block, len(prompt), self.block):  # the last token is always computed
            key = hash((key, tuple(prompt[end - self.block : end])))
            keys.append(key)
        with self._lock:
            found = next((i for i, key in enumerate(keys) if key not in self._held), len(keys)) * self.block
            for key in reversed(keys):
                self._held[key] = None
                self._held.move_to_end(key)
            while len(self._held) > self.blocks:
                self._held.popitem(last=False)
            self.cached += found
            self.asked += len(prompt)
        return found
