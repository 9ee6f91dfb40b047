"""Heat maps of scores: shaded cells with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def draw_cells(
    axis: Any, cells: Sequence[Sequence[float | None]], columns: Sequence[str], rows: Sequence[str], fontsize: int = 9
) -> Any:
    """Draw scores as shaded cells on a scale of 0 to 100, each with its number, and return the image for a color bar.

    Args:
        axis: axes of matplotlib.
        cells: scores [rows][columns]; None where there is none.
        columns, rows: labels.
        fontsize: size of the numbers.
    """
    import numpy as np

    scores = np.array(cells, float)  # None becomes NaN
    axis.set_facecolor("0.93")
    image = axis.imshow(scores, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(scores):
        shown = "–" if np.isnan(value) else f"{value:.0f}"
        color = "0.45" if np.isnan(value) else "black" if value > 60 else "white"
        axis.text(column, row, shown, ha="center", va="center", color=color, fontsize=fontsize)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    # White lines between the cells.
    axis.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    return image
