"""Loading and checking of models, tokenizers, embedders and adapter folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.models.embedder import Embedder

HOMES = {
    "Embedder": "longmab_pl.models.embedder",
}

__all__ = ["Embedder"]

__getattr__ = lazy_exports(__name__, HOMES)
