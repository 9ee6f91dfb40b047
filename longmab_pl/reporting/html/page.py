"""The page itself: templates filled with a run's data; one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from longmab_pl.reporting.html import facts
from longmab_pl.reporting.html.maps import score_maps
from longmab_pl.reporting.html.panels import evaluation_charts, rollout_charts, training_charts
from longmab_pl.reporting.html.run_data import RunData, read_run_data
from longmab_pl.reporting.html.samples import sample
from longmab_pl.reporting.html.text import clean, line, script_json
from longmab_pl.reporting.run_settings import short_name
from longmab_pl.storage.files import atomic_write

PAGE = "report.html"


def write_page(run: Path, out: Path | None = None) -> Path:
    """Write the page of a run.

    Args:
        run: the run folder.
        out: the page's file; None: `report.html` in the run folder.

    Returns:
        The page's path.

    Raises:
        DataError: it is no run folder, or its report is damaged.
        LongMabError: the page cannot be written.
    """
    text = run_page(read_run_data(run))
    path = out or run / PAGE
    with atomic_write(path) as file:
        file.write(text)
    return path


def run_page(data: RunData, live: str = "") -> str:
    """Return the page of a run.

    Args:
        data: the run.
        live: version of what the page shows, for a page that asks its server for newer ones; "": a file.
    """
    rows = facts.cost_rows(data)
    return render(
        "run.html.j2",
        live,
        title=line(data.name, 80),
        data=data,
        model=line(short_name(data.model), 80),
        headlines=facts.headlines(data),
        evaluation_charts=evaluation_charts(data),
        training_charts=training_charts(data),
        rollout_charts=rollout_charts(data),
        outcomes=(bars := facts.outcome_bars(data)),
        outcome_legend=facts.outcome_legend(bars),
        troubles=facts.troubles(data),
        maps=score_maps(data),
        samples=[sample(drawn, r.number) for r in data.rounds for drawn in r.drawn],
        records=[
            [r.number, line(row.id, 80), row.responses, row.best, row.mean, row.pairs, row.outcome]
            for r in data.rounds
            for row in r.records
        ],
        n_records=sum(r.n_records for r in data.rounds),
        n_answers=sum(r.answers for r in data.rounds),
        cost=rows,
        total=facts.total(rows),
        evaluation_tokens=facts.evaluation_tokens(data),
        settings=clean(facts.settings_text(data.config), 40_000),
        problems=[line(problem, 400) for problem in data.problems],
    )


def render(template: str, live: str = "", **values: Any) -> str:
    """Return a page made from a template, which extends `page.html.j2`.

    The page's security policy admits its own style and script and nothing else: a text that got past the escapes could
    run nothing.

    Args:
        template: name of the template.
        live: see `run_page`.
        values: variables of the template.
    """
    from longmab_pl import __version__

    environment = _environment()
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    policy += "; base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if live else "")
    return environment.get_template(template).render(
        style=Markup(_asset("page.css")), script=Markup(script), policy=policy, live=live, version=__version__, **values
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("longmab_pl.reporting.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean,
        "line": line,
        "json": script_json,
        "duration": facts.duration,
        "compact": facts.compact,
    }
    return environment


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
