"""Results of the needle probe by length and depth: as numbers, as a table and as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from longmab_pl.evaluation.cells import draw_cells
from longmab_pl.evaluation.needle.task import NeedleSettings, needle_id
from longmab_pl.evaluation.results import TaskResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Accuracies = tuple[float | None, ...]


@dataclass(frozen=True)
class NeedleMap:
    """Share of needles found, in 0..100; None where none could be asked.

    Args:
        lengths: tokens [L].
        depths: percent [D].
        accuracy: share found by length and depth [L][D].
        asked: number of needles asked for each [L][D].
    """

    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    accuracy: tuple[Accuracies, ...]
    asked: tuple[tuple[int, ...], ...]

    def by_length(self) -> Accuracies:
        """Return the mean over the depths, in 0..100 [L]."""
        return tuple(map(_mean, self.accuracy))

    def by_depth(self) -> Accuracies:
        """Return the mean over the lengths that could be asked, in 0..100 [D]."""
        return tuple(_mean([row[d] for row in self.accuracy]) for d in range(len(self.depths)))

    def spread(self) -> float:
        """Return the position sensitivity: the best depth's mean minus the worst one's; 0 if all are equal."""
        means = [mean for mean in self.by_depth() if mean is not None]
        return max(means) - min(means)

    def longest(self, at_least: float = 90.0) -> int | None:
        """Return the longest length up to which every length's mean is at least `at_least`; None if there is none."""
        reached = None
        for length, mean in sorted(zip(self.lengths, self.by_length(), strict=True)):
            if mean is None or mean < at_least:
                break
            reached = length
        return reached

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "by_length": self.by_length(), "by_depth": self.by_depth(), "spread": self.spread()}


def needle_map(options: NeedleSettings, result: TaskResult) -> NeedleMap:
    """Return a probe's scores by length and depth.

    Args:
        options: the settings of the probe.
        result: its result, without records that could not be asked.
    """
    found = {item.id: item.scores["accuracy"] for item in result.items}
    lengths, depths = tuple(sorted(options.lengths)), tuple(sorted(options.depths))
    rows = []
    for length in lengths:
        asked = [[needle_id(length, depth, number) for number in range(options.needles)] for depth in depths]
        rows.append([[found[name] for name in names if name in found] for names in asked])
    return NeedleMap(
        lengths=lengths,
        depths=depths,
        accuracy=tuple(tuple(100 * sum(c) / len(c) if c else None for c in row) for row in rows),
        asked=tuple(tuple(map(len, row)) for row in rows),
    )


def map_from_ids(result: TaskResult) -> NeedleMap:
    """Return a probe's scores by length and depth, without its settings: the ids of the records have them."""
    names = [name.split("-") for name in [*(item.id for item in result.items), *result.skipped]]
    options = NeedleSettings(
        lengths=sorted({int(length) for length, _, _ in names}),
        depths=sorted({float(depth) for _, depth, _ in names}),
        needles=1 + max(int(number) for _, _, number in names),
    )
    return needle_map(options, result)


def needle_table(maps: Mapping[str, NeedleMap]) -> Table:
    """Return a table with a block for each map: depths down, lengths across, means at the margins."""
    from rich.table import Table

    first = next(iter(maps.values()))
    table = Table(title="needles found, %", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("depth")
    for length in first.lengths:
        table.add_column(f"{length:,}", justify="right")
    table.add_column("mean", justify="right")
    for title, found in maps.items():
        if len(maps) > 1:
            table.add_section()
            table.add_row(title, style="bold")
        for d, depth in enumerate(found.depths):
            cells = [_shown(row[d]) for row in found.accuracy]
            table.add_row(f"{depth:g}%", *cells, _shown(found.by_depth()[d]))
        table.add_row("mean", *map(_shown, found.by_length()), _shown(_mean(found.by_length())), style="bold")
    table.caption = "; ".join(f"best depth less worst: {found.spread():.0f} points" for found in maps.values())
    table.caption_justify = "left"
    return table


def draw_needle_maps(maps: Mapping[str, NeedleMap]) -> Figure:
    """Draw heat maps side by side on one scale, 0 to 100: lengths across, depths down.

    Args:
        maps: title to map, at least one.

    Returns:
        A figure without a window, which needs no closing.
    """
    from matplotlib.figure import Figure

    sizes = [(len(m.lengths), len(m.depths)) for m in maps.values()]
    width = sum(max(0.85 * lengths, 2.6) for lengths, _ in sizes) + 1.1 * len(sizes) + 0.9
    figure = Figure(figsize=(width, 0.55 * max(depths for _, depths in sizes) + 1.9), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False, gridspec_kw={"width_ratios": [n for n, _ in sizes]})[0]
    for position, (axis, (title, found)) in enumerate(zip(axes, maps.items(), strict=True)):
        image = _draw(axis, found)
        axis.set_title(title, fontsize=11, loc="left", pad=10, fontweight="bold")
        if position == 0:
            axis.set_ylabel("where the needle stands\n(0% is the beginning)")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, aspect=18, pad=0.02)
    bar.set_label("needles found, %")
    bar.outline.set_visible(False)
    return figure


def _draw(axis: Any, found: NeedleMap) -> Any:
    cells = list(zip(*found.accuracy, strict=True))  # [D][L]
    lengths, depths = [f"{length:,}" for length in found.lengths], [f"{depth:g}%" for depth in found.depths]
    image = draw_cells(axis, cells, lengths, depths, fontsize=10)
    counts = sorted({count for row in found.asked for count in row if count})
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "no"
    axis.set_xlabel(f"tokens of prompt and answer ({each} needles a cell)")
    return image


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
