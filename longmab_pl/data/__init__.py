"""Input data: records and their sources, chunks, truncation, and synthetic sets."""

from __future__ import annotations

from longmab_pl.data.sources import shipped_path

__all__ = ["shipped_path"]
