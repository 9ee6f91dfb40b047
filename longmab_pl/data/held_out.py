"""Records held out for evaluation, by context: no context is on both sides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from longmab_pl.data.records import QARecord
from longmab_pl.seeding import derive_seed


def split_by_context(records: Sequence[QARecord], share: float) -> tuple[list[QARecord], list[QARecord]]:
    """Return the records to train on and those held out, each in their order.

    Which contexts are held out depends only on their text, and their number only on how many there are.

    Args:
        records: all records.
        share: share of the different contexts to hold out, in [0, 1); at least one is held out above 0.

    Example:
        >>> rows = [QARecord(str(i), "Who?", ("Ann",), f"Text {i // 2}") for i in range(20)]
        >>> train, held_out = split_by_context(rows, 0.1)
        >>> len(train), len(held_out)
        (18, 2)
    """
    if share <= 0:
        return list(records), []
    names = {record.context: _rank(record.context) for record in records}
    chosen = sorted(names, key=names.__getitem__)[: max(1, math.floor(share * len(names)))]
    held = set(chosen)
    return [r for r in records if r.context not in held], [r for r in records if r.context in held]


def _rank(context: str) -> tuple[int, str]:
    digest = hashlib.blake2b(context.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return derive_seed(0, "held out", digest), digest
