"""Seeds derived from their purpose."""

from __future__ import annotations

import hashlib
import os


def global_seed() -> int:
    """Return the seed that `lightning.seed_everything` has set in this process or its parent, else 0."""
    return int(os.environ.get("PL_GLOBAL_SEED") or 0)


def derive_seed(*parts: object) -> int:
    """Return a 31-bit seed that depends only on the parts, not on scheduling, processes or the hash salt."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") & 0x7FFFFFFF
