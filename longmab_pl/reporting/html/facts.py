"""Numbers and words of the page beside its charts: headline, outcomes, cost, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.reporting.html.run_data import Calls, RunData
from longmab_pl.reporting.html.text import line
from longmab_pl.reporting.run_record import RoundCost
from longmab_pl.reporting.run_report import METRIC_TITLES, shown_metrics
from longmab_pl.reporting.run_settings import shown_config

OUTCOMES = {
    "pair": "a pair",
    "stopped: separated": "stopped early with a pair",
    "no pair": "no usable pair",
    "stopped: no signal": "stopped early without a signal",
    "probe rejected": "probe rejected",
}
"""What became of a record: its key and its name on the page, in order."""


@dataclass(frozen=True)
class Headline:
    """A suite's scores before training and at the end.

    Args:
        suite: its name.
        metric: the score that is tested.
        n: number of questions.
        first, last: (when, score, its interval in brackets or "").
        test: difference, interval and p-value in words; "" for a single evaluation.
        verdict: `better`, `worse`, `open` (the interval holds 0) or "" without a test.
        best: the best evaluation if it is not the last one, in words.
        others: (metric, first, last) of further scores.
    """

    suite: str
    metric: str
    n: int
    first: tuple[str, str, str]
    last: tuple[str, str, str] | None
    test: str
    verdict: str
    best: str
    others: Sequence[tuple[str, str, str]]


def headlines(data: RunData) -> list[Headline]:
    """Return the headline of every suite."""
    found = []
    for suite, entries in data.report.suites().items():
        first, last = entries[0], entries[-1]
        metric, once = first.metric, len(entries) == 1
        best = max(entries, key=lambda entry: entry.scores[metric].value if metric in entry.scores else float("-inf"))
        between = best is not first and best is not last and metric in best.scores
        found.append(
            Headline(
                suite=line(suite, 80),
                metric=METRIC_TITLES.get(metric, line(metric, 40)),
                n=last.n,
                first=_shown(first, metric),
                last=None if once else _shown(last, metric),
                test="" if last.against_first is None else in_words(last.against_first),
                verdict="" if last.against_first is None else verdict(last.against_first),
                best=f"best: {best.scores[metric]} {_when(best.when)}" if between else "",
                others=[
                    (
                        METRIC_TITLES.get(m, line(m, 40)),
                        str(first.scores[m]),
                        "" if once else str(last.scores.get(m, "–")),
                    )
                    for m in shown_metrics(first)
                    if m != metric
                ][:4],
            )
        )
    return found


def _shown(entry: EvaluationEntry, metric: str) -> tuple[str, str, str]:
    score, bracket, interval = str(entry.scores.get(metric, "–")).partition(" [")
    return _when(entry.when), score, bracket.strip() + interval


def verdict(test: PairedTest) -> str:
    """Return `better` or `worse` if the interval of the difference leaves out 0, else `open`."""
    return "better" if test.low > 0 else "worse" if test.high < 0 else "open"


def in_words(test: PairedTest) -> str:
    """Return a paired test in one line."""
    p = "p\u00a0<\u00a00.001" if test.p_value < 0.001 else f"p\u00a0=\u00a0{test.p_value:.3f}"
    return f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}] points, {p}, {test.n} questions paired"


def _when(when: str) -> str:
    return line(when, 60)


@dataclass(frozen=True)
class OutcomeBar:
    """The records of one round by what became of them: (key, name, number, share)."""

    round: int
    records: int
    parts: Sequence[tuple[str, str, int, float]]


def outcome_bars(data: RunData) -> list[OutcomeBar]:
    """Return a bar for each round."""
    bars = []
    for r in data.rounds:
        known = [key for key in OUTCOMES if r.outcomes[key]]
        others = sorted(key for key in r.outcomes if key not in OUTCOMES)
        parts = [
            (_css(key), OUTCOMES.get(key, line(key, 40)), n, n / r.n_records)
            for key in [*known, *others]
            if (n := r.outcomes[key])
        ]
        if parts:
            bars.append(OutcomeBar(r.number, r.n_records, parts))
    return bars


def outcome_legend(bars: Sequence[OutcomeBar]) -> dict[str, str]:
    """Return CSS name and name of every outcome that occurs."""
    return {key: name for bar in bars for key, name, _, _ in bar.parts}


def troubles(data: RunData) -> list[str]:
    """Return sentences on records that failed and on answers without a score, by round."""
    found = []
    for r in data.rounds:
        if r.failures:
            name, reason = next(iter(r.failures.items()))
            found.append(
                f"Round {r.number}: failed records: {len(r.failures)}, such as {line(name, 60)}: {line(reason, 300)}"
            )
        for reward, reasons in r.exclusions.items():
            listed = "; ".join(f"{count} x {line(reason, 120)}" for reason, count in list(reasons.items())[:5])
            found.append(
                f"Round {r.number}: {sum(reasons.values())} answers without a score by {line(reward, 60)}: {listed}"
            )
    return found


def _css(outcome: str) -> str:
    return outcome.replace(":", "").replace(" ", "-") if outcome in OUTCOMES else "other"


@dataclass(frozen=True)
class CostRow:
    """The cost of one round (0: before training)."""

    name: str
    cost: RoundCost
    calls: Calls
    pairs: int


def cost_rows(data: RunData) -> list[CostRow]:
    """Return a row for each round that cost something, in order."""
    pairs = {row["round"]: int(row.get("pairs/count", 0)) for row in data.report.rounds}
    numbers = sorted({*data.record.costs, *data.calls})
    what = "round" if data.rounds else "epoch"
    rows = [
        CostRow(
            f"{what} {number}" if number else "before training",
            data.record.costs.get(number, RoundCost()),
            data.calls.get(number, Calls()),
            pairs.get(number, 0),
        )
        for number in numbers
    ]
    return [row for row in rows if row.cost.total or row.calls.requests]


def total(rows: Sequence[CostRow]) -> CostRow:
    """Return the sums of all rows."""
    cost, calls = RoundCost(), Calls()
    for row in rows:
        cost, calls = cost.plus(row.cost), calls.plus(row.calls)
    return CostRow("together", cost, calls, sum(row.pairs for row in rows))


def evaluation_tokens(data: RunData) -> Calls:
    """Return what the evaluations asked for, those that were on disk already left out."""
    results = data.results.values()
    return Calls(
        prompt_tokens=sum(r.prompt_tokens for r in results),
        cached_tokens=sum(r.cached_tokens for r in results),
        new_tokens=sum(r.completion_tokens for r in results),
        answers=sum(task.n for r in results for task in r.tasks.values()),
    )


def settings_text(config: Mapping[str, Any]) -> str:
    """Return the settings as YAML, without private values."""
    import yaml

    return yaml.safe_dump(shown_config(config), sort_keys=False, allow_unicode=True, width=100) if config else ""


def duration(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> duration(95), duration(4000)
        ('1 min 35 s', '1 h 7 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def compact(value: int) -> str:
    """Return a count in few characters.

    Example:
        >>> compact(950), compact(12_345), compact(3_400_000)
        ('950', '12.3k', '3.4M')
    """
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if value >= limit:
            return f"{value / (1000 if unit == 'k' else limit):.1f}{unit}"
    return f"{value:,}"
