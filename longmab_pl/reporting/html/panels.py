"""The charts of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.estimate import Score
from longmab_pl.reporting.html.intervals import Estimate, share
from longmab_pl.reporting.html.plot import Chart, Line
from longmab_pl.reporting.html.round_digest import POSITIONS, RoundDigest
from longmab_pl.reporting.html.run_data import RunData
from longmab_pl.reporting.html.text import line
from longmab_pl.reporting.run_report import METRIC_TITLES, shown_metrics

COLORS = tuple(f"var(--c{i})" for i in range(1, 7))
"""Colors of lines that have no order; more lines repeat them."""

DRAWN_ROUNDS = 6
"""Largest number of rounds with a line of their own; of more, as many are shown, evenly spaced."""

Points = list[tuple[float, Estimate]]


def evaluation_charts(data: RunData) -> list[Chart]:
    """Return a chart for each suite, and one for its tasks if it has several."""
    charts = []
    for suite, whole in data.report.suites().items():
        ticks = _ticks(whole)
        lines = [
            Line(METRIC_TITLES.get(metric, line(metric, 30)), scores(whole, metric), COLORS[i % 6], bars=True)
            for i, metric in enumerate(shown_metrics(whole[0])[:6])
        ]
        charts.append(
            Chart(
                line(suite, 60),
                lines,
                "evaluated",
                "Points of 0 to 100. Shaded: 95% bootstrap intervals over questions.",
                ticks=ticks,
                digits=1,
            )
        )
        tasks = data.report.tasks(suite)
        if len(tasks) > 1:
            by_task = [
                Line(line(task, 40), scores(entries, entries[0].metric), COLORS[i % 6], thin=len(tasks) > 6)
                for i, (task, entries) in enumerate(tasks.items())
            ]
            note = "The main score of each task. Intervals are in the numbers below."
            charts.append(Chart(f"{line(suite, 60)}, by task", by_task, "evaluated", note, ticks=ticks, digits=1))
    return [chart for chart in charts if chart.drawn]


def _ticks(entries: Sequence[EvaluationEntry]) -> list[tuple[float, str]]:
    named = {float(entry.step): "before" if entry.step == 0 else f"round {entry.round}" for entry in entries}
    within = {float(e.step): f"step {e.step}" for e in entries if e.when.startswith("after step")}
    return sorted({**within, **{step: name for step, name in named.items() if step not in within}}.items())


def scores(entries: Sequence[EvaluationEntry], metric: str) -> Points:
    """Return the points of a metric by optimizer step."""
    return [(float(e.step), _estimate(e.scores[metric], e.n)) for e in entries if metric in e.scores]


def _estimate(score: Score, n: int) -> Estimate:
    return Estimate(score.value, score.low, score.high, n)


def training_charts(data: RunData) -> list[Chart]:
    """Return the charts by round: rewards, usable pairs, their rewards, and what training made of them."""
    rounds, rows = data.rounds, data.report.rounds
    what = "round" if data.report.rolled_out or rounds else "epoch"

    def of_rounds(value: Callable[[RoundDigest], Estimate | None]) -> Points:
        return [(float(r.number), found) for r in rounds if (found := value(r)) is not None]

    def of_rows(value: Callable[[Mapping[str, Any]], Estimate | None]) -> Points:
        return [(float(row["round"]), found) for row in rows if (found := value(row)) is not None]

    def plain(name: str) -> Points:
        return of_rows(lambda row: Estimate(row[name]) if name in row else None)

    over_records = "Shaded: 95% intervals of the mean over records."
    charts = [
        Chart(
            "Reward of a record's answers",
            [
                Line("best answer", of_rounds(lambda r: r.best), COLORS[0]),
                Line("mean of all answers", of_rounds(lambda r: r.reward), COLORS[1], dashed=True),
            ],
            what,
            over_records,
            top=1.0,
        ),
        Chart(
            "Records with a usable pair",
            [Line("usable", of_rows(_usable), COLORS[2])],
            what,
            "Share of the round's records. Shaded: 95% Wilson intervals.",
            percent=True,
            top=1.0,
        ),
        Chart(
            "Reward of the pairs",
            [
                Line("chosen", of_rounds(lambda r: r.chosen), "var(--good)"),
                Line("rejected", of_rounds(lambda r: r.rejected), "var(--bad)"),
                Line("margin", of_rounds(lambda r: r.margin), COLORS[0], dashed=True),
            ],
            what,
            "Shaded: 95% intervals of the mean over pairs.",
        ),
        Chart(
            "Chosen answer preferred",
            [Line("DPO accuracy", of_rows(_accuracy), COLORS[3])],
            what,
            "Share of training pairs whose chosen answer has the higher implicit reward, mean over the round's last "
            "epoch. Shaded: 95% Wilson intervals.",
            percent=True,
            top=1.0,
        ),
        Chart(
            "DPO margin",
            [
                Line("margin", plain("train/rewards/margins"), COLORS[0]),
                Line("chosen", plain("train/rewards/chosen"), "var(--good)", dashed=True),
                Line("rejected", plain("train/rewards/rejected"), "var(--bad)", dashed=True),
            ],
            what,
            "Implicit rewards, mean over the round's last epoch; a run keeps no interval of them.",
        ),
        Chart(
            "Loss",
            [
                Line("loss", plain("train/loss"), COLORS[0]),
                Line("-log likelihood of chosen", plain("train/nll_loss"), COLORS[1], dashed=True),
            ],
            what,
            "Mean over the round's last epoch. The likelihood is a token's, before its weight in the loss.",
        ),
    ]
    return [chart for chart in charts if chart.drawn]


def _usable(row: Mapping[str, Any]) -> Estimate | None:
    records = int(row.get("rollout/records", 0))
    return share(row.get("rollout/usable_pair_rate", 0.0) * records, records)


def _accuracy(row: Mapping[str, Any]) -> Estimate | None:
    accuracy, pairs = row.get("train/rewards/accuracies"), int(row.get("pairs/count", 0))
    if accuracy is None:
        return None
    return share(accuracy * pairs, pairs) or Estimate(accuracy)


def rollout_charts(data: RunData) -> list[Chart]:
    """Return the charts of what happened within rounds: rewards by step, and where pulls went."""
    rounds = shown_rounds([r for r in data.rounds if r.n_records])
    if not rounds:
        return []
    step = "pull" if any(r.bandit for r in rounds) else "step"
    colors = round_colors(rounds)
    asked = _asked(rounds)
    note = (
        "Means over all records of the round. A record that stopped keeps its last value, so that no curve falls "
        "because solved records are asked no more; the bars below are the share of records still asked. Shaded: 95% "
        "intervals."
    )
    several = any(len(r.curves.best) > 1 for r in rounds)
    charts = []
    if several:
        charts = [
            Chart(
                f"Best answer so far, by {step}",
                [Line(f"round {r.number}", _by_step(r.curves.best), c) for r, c in zip(rounds, colors, strict=True)],
                step,
                note,
                top=1.0,
                asked=asked,
            ),
            Chart(
                f"Mean reward of the {step}'s answers",
                [Line(f"round {r.number}", _by_step(r.curves.mean), c) for r, c in zip(rounds, colors, strict=True)],
                step,
                note,
                asked=asked,
            ),
        ]
    armed = [(r, c) for r, c in zip(rounds, colors, strict=True) if r.ranks]
    if armed:
        charts += [
            Chart(
                "Pulls per chunk",
                [Line(f"round {r.number}", _shares(r.ranks[:30]), c) for r, c in armed],
                "chunks of a record, most pulled first",
                "Share of a record's pulls, mean over records." + lift_note(rounds),
                percent=True,
            ),
            Chart(
                "Where in the document it reads",
                [Line(f"round {r.number}", _positions(r.positions), c) for r, c in armed],
                "place in the document, %",
                f"Share of pulls by {POSITIONS} equal parts of the document, mean over records; even reading would be "
                f"{100 / POSITIONS:.0f}% everywhere.",
                percent=True,
            ),
        ]
    return [chart for chart in charts if chart.drawn]


def lift_note(rounds: Sequence[RoundDigest]) -> str:
    """Return a sentence on how often chunks with the gold answer are pulled; "" where they are unknown."""
    known = [(r.number, r.lift) for r in rounds if r.lift is not None]
    if not known:
        return ""
    parts = []
    for number, lift in known:
        interval = "" if lift.low is None else f" [{lift.low:.2f}, {lift.high:.2f}]"
        parts.append(f"{lift.value:.2f}{interval} in round {number}")
    return " Chunks that hold the gold answer, pulled against chance (1.00): " + ", ".join(parts) + "."


def shown_rounds(rounds: Sequence[RoundDigest]) -> list[RoundDigest]:
    """Return rounds that get a line: all, or the first, the last and those evenly between."""
    if len(rounds) <= DRAWN_ROUNDS:
        return list(rounds)
    places = {round(i * (len(rounds) - 1) / (DRAWN_ROUNDS - 1)) for i in range(DRAWN_ROUNDS)}
    return [rounds[place] for place in sorted(places)]


def round_colors(rounds: Sequence[RoundDigest]) -> list[str]:
    """Return a color for each round, from the first color of the scale to its last, which a single round has."""
    last = len(rounds) - 1
    parts = [100 * i / last for i in range(last + 1)] if last else [100.0]
    return [f"color-mix(in oklab, var(--seq-a), var(--seq-b) {part:.0f}%)" for part in parts]


def _asked(rounds: Sequence[RoundDigest]) -> list[tuple[float, float]]:
    """Return the share of records still asked, by step: over all shown rounds."""
    steps = max((len(r.curves.asked) for r in rounds), default=0)
    total = sum(r.curves.records for r in rounds)
    shares = []
    for step in range(steps):
        asked = sum(r.curves.asked[step] * r.curves.records for r in rounds if step < len(r.curves.asked))
        shares.append((float(step + 1), asked / max(total, 1)))
    return shares if any(value < 1 for _, value in shares) else []


def _by_step(estimates: Sequence[Estimate]) -> Points:
    return [(float(step), estimate) for step, estimate in enumerate(estimates, 1)]


def _shares(values: Sequence[float]) -> Points:
    return [(float(rank), Estimate(value)) for rank, value in enumerate(values, 1)]


def _positions(values: Sequence[float]) -> Points:
    return [(100 * (part + 0.5) / POSITIONS, Estimate(value)) for part, value in enumerate(values)]
