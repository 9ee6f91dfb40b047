"""Curves drawn by Matplotlib as SVG that takes its colors and letters from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from markupsafe import Markup, escape

from longmab_pl.reporting.html.intervals import Estimate

WIDTH, HEIGHT = 4.0, 2.75
"""Size of a chart in inches: as wide as a phone, so that its letters stay readable there."""

INK, FAINT = "var(--ink-2)", "var(--line)"

_numbers = count(1)


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: its name in the legend; "" leaves it out.
        points: x and estimate of each point, in order.
        color: a CSS color, such as `var(--c1)`.
        dashed: whether it is dashed.
        thin: whether it is one of many that stand back.
        bars: whether intervals are bars at the points instead of a band.
    """

    name: str
    points: Sequence[tuple[float, Estimate]]
    color: str
    dashed: bool = False
    thin: bool = False
    bars: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with its words.

    Args:
        title: what is shown.
        lines: the lines.
        x_label: what the horizontal axis is.
        note: a sentence below the chart: what intervals are, what a line leaves out.
        percent: whether values are shares, shown as percent.
        ticks: x -> label; empty: numbers.
        from_zero: whether the vertical axis begins at 0.
        top: smallest upper end of the vertical axis; None: that of the values.
        digits: digits of the numbers in the table below the chart.
        asked: share of records that are still asked by x, drawn as a row of its own below the lines; empty: none.
    """

    title: str
    lines: Sequence[Line]
    x_label: str
    note: str = ""
    percent: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    from_zero: bool = True
    top: float | None = None
    digits: int = 3
    asked: Sequence[tuple[float, float]] = ()

    @property
    def drawn(self) -> bool:
        """Whether there is any point."""
        return any(line.points for line in self.lines)

    def text(self, value: float) -> str:
        """Return a value as the chart shows it."""
        return f"{100 * value:.0f}%" if self.percent else f"{value:.{self.digits}f}"

    def rows(self) -> list[list[str]]:
        """Return the numbers as a table: a row for each x, a column for each line."""
        xs = sorted({x for line in self.lines for x, _ in line.points})
        labels = dict(self.ticks)
        by_line = [dict(line.points) for line in self.lines if line.name]
        return [[labels.get(x, f"{x:g}"), *(self.cell(points.get(x)) for points in by_line)] for x in xs]

    def cell(self, estimate: Estimate | None) -> str:
        """Return an estimate with its interval; "" for None."""
        if estimate is None:
            return ""
        if estimate.low is None or estimate.high is None:
            return self.text(estimate.value)
        return f"{self.text(estimate.value)} [{self.text(estimate.low)}, {self.text(estimate.high)}]"

    def svg(self) -> Markup:
        """Return the drawing."""
        return _draw(self)


@dataclass
class _Colors:
    """CSS colors under the hexadecimal colors that Matplotlib is given in their place."""

    by_css: dict[str, str] = field(default_factory=dict)

    def hex(self, css: str) -> str:
        # Blue 0xf3 marks them; Matplotlib writes every color that it is given as #rrggbb.
        return self.by_css.setdefault(css, f"#{len(self.by_css) + 1:04x}f3")

    def back(self, svg: str) -> str:
        for css, color in self.by_css.items():
            svg = svg.replace(color, css)
        return svg


def _draw(chart: Chart) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    colors = _Colors()
    salt = f"chart{next(_numbers)}"
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "svg.id": salt}):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axis = figure.add_axes((0.125, 0.165, 0.855, 0.815))
        titles = []
        for line, shift in zip(chart.lines, _shifts(chart), strict=True):
            titles += _line(axis, line, chart, colors.hex(line.color), shift)
        low, high = _limits(chart)
        axis.set_ylim(low, high)
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        if chart.asked:
            _asked(axis, chart.asked, low, high, colors)
        xs = sorted({x for line in chart.lines for x, _ in line.points})
        if chart.ticks:
            axis.set_xticks(*zip(*_thinned(chart.ticks), strict=True))
        elif len(xs) == 1:
            axis.set_xticks(xs)
        else:
            axis.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
        if chart.percent:
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
        axis.set_xlabel(chart.x_label, color=colors.hex(INK), labelpad=3)
        axis.tick_params(colors=colors.hex(INK), length=0, pad=4, labelsize=8.5)
        axis.grid(axis="y", color=colors.hex(FAINT), lw=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.spines["bottom"].set_color(colors.hex(FAINT))
        if len(xs) == 1:
            axis.set_xlim(xs[0] - 1, xs[0] + 1)
        figure.patch.set_alpha(0)
        axis.patch.set_alpha(0)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _page_svg(colors.back(file.getvalue()), chart, titles)


def _shifts(chart: Chart) -> list[float]:
    """Return how far each line with bars moves aside, so that the bars of several do not cover each other."""
    xs = [x for line in chart.lines for x, _ in line.points]
    width = 0.014 * ((max(xs) - min(xs)) or 2.0) if xs else 0.0
    middle = (len(chart.lines) - 1) / 2
    return [(i - middle) * width if line.bars else 0.0 for i, line in enumerate(chart.lines)]


def _asked(axis: Any, asked: Sequence[tuple[float, float]], low: float, high: float, colors: _Colors) -> None:
    """Draw the share of records still asked as a row of bars below the curves, its first and last value as numbers."""
    room = 0.17 * (high - low)
    axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= high])
    axis.set_ylim(low - room, high)
    xs, shares = zip(*asked, strict=True)
    floor = low - 0.94 * room
    axis.bar(xs, [0.72 * room * share for share in shares], 0.86, floor, color=colors.hex(FAINT), lw=0)
    text = {"color": colors.hex(INK), "fontsize": 8, "va": "center", "bbox": None}
    axis.text(xs[0] - 0.35, floor + 0.36 * room, f" {100 * shares[0]:.0f}%", ha="left", **text)
    if len(xs) > 1:
        axis.text(xs[-1] + 0.35, floor + 0.36 * room, f"{100 * shares[-1]:.0f}% ", ha="right", **text)


def _line(axis: Any, line: Line, chart: Chart, color: str, shift: float) -> list[str]:
    """Draw a line and return what its points say, in the order in which they are drawn."""
    if not line.points:
        return []
    xs = [x + shift for x, _ in line.points]
    ys = [estimate.value for _, estimate in line.points]
    style = (0, (4, 2.5)) if line.dashed else "-"
    if line.thin:
        axis.plot(xs, ys, color=color, lw=0.8, alpha=0.55, ls=style)
        return []
    known = [(x + shift, e.low, e.high) for x, e in line.points if e.low is not None and e.high is not None]
    if line.bars or len(known) == 1:
        for x, low, high in known:
            axis.plot([x, x], [low, high], color=color, lw=5, alpha=0.22, solid_capstyle="butt")
    elif known:
        axis.fill_between(*zip(*known, strict=True), color=color, alpha=0.14, lw=0)
    axis.plot(xs, ys, color=color, lw=1.9, ls=style)
    labels = dict(chart.ticks)
    if len(xs) > 60:
        return []
    axis.plot(xs, ys, color=color, marker="o", ms=4.2, ls="", mew=0, gid="points")
    name = f"{line.name}, " if line.name else ""
    return [f"{name}{labels.get(x, f'{x:g}')}: {chart.cell(estimate)}" for x, estimate in line.points]


def _limits(chart: Chart) -> tuple[float, float]:
    values: list[float] = []
    for line in chart.lines:
        for _, estimate in line.points:
            bounds = [] if line.thin else [b for b in (estimate.low, estimate.high) if b is not None]
            values += [estimate.value, *bounds]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if chart.from_zero:
        low = min(low, 0.0)
    if chart.top is not None:
        high = max(high, chart.top)
    room = 0.06 * (high - low or abs(high) or 1.0)
    return (low - room if low < 0 or not chart.from_zero else 0.0), high + room


def _thinned(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    every = max(1, -(-len(ticks) // 8))
    return list(ticks[::every])


_HEAD = re.compile(r"^.*?<svg[^>]*viewBox=\"([^\"]*)\"[^>]*>", re.DOTALL)
_NO_PART_OF_IT = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", re.DOTALL)
_FONT = re.compile(r"font:? ?[^;\"]*'[^;\"]*;?|font-family: ?[^;\"]*;?")
_POINT = re.compile(r'(<use xlink:href="#[^"]*" x="[^"]*" y="[^"]*"[^>]*?)/>')
_OWN_ID = re.compile(r'<g id="(?!points")[^"]*"')


def _page_svg(svg: str, chart: Chart, titles: Sequence[str]) -> Markup:
    """Return Matplotlib's file as an element of a page: no head, no names of its own, a title on each point."""
    head = _HEAD.match(svg)
    view = head.group(1) if head else "0 0 288 198"
    body = _NO_PART_OF_IT.sub("", svg[head.end() :] if head else svg).rsplit("</svg>", 1)[0]
    body = _OWN_ID.sub("<g", body)
    waiting = iter(titles)
    out = []
    for i, piece in enumerate(body.split('<g id="points">')):
        out.append(piece if i == 0 else '<g class="points">' + _titled(piece, waiting))
    body = _FONT.sub("font-size: 9px;", "".join(out))
    body = re.sub(r"\n\s*", "\n", body)
    label = escape(chart.title)
    return Markup(f'<svg viewBox="{view}" role="img" aria-label="{label}" class="chart">{body}</svg>')


def _titled(piece: str, waiting: Any) -> str:
    """Put the titles on the points of one line: the elements up to the end of its group."""
    end = piece.index("</g>\n</g>") if "</g>\n</g>" in piece else len(piece)
    marks = _POINT.sub(lambda found: f"{found[1]}><title>{escape(next(waiting, ''))}</title></use>", piece[:end])
    return marks + piece[end:]
