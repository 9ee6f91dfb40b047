"""The table of a round's expected cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from longmab_pl.rollout.account import EngineBudget
from longmab_pl.rollout.dry_run import ExpectedCost

if TYPE_CHECKING:
    from rich.table import Table


def cost_table(costs: Sequence[ExpectedCost], records: int, title: str) -> Table:
    """Return a table of a round's expected cost, with a line for each engine and purpose.

    Args:
        costs: result of `expected_costs`.
        records: number of records of the round.
        title: title of the table.
    """
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("engine")
    table.add_column("asked by")
    for column in ("calls", "calls a record", "prompt tokens", "new tokens"):
        table.add_column(column, justify="right")
    for cost in costs:
        numbers = (f"{cost.calls:,.0f}", f"{cost.calls / max(records, 1):,.1f}")
        table.add_row(cost.engine, cost.purpose, *numbers, f"{cost.prompt_tokens:,.0f}", f"{cost.new_tokens:,.0f}")
    return table


def budget_lines(costs: Sequence[ExpectedCost], budgets: Mapping[str, EngineBudget]) -> list[str]:
    """Return a line for each engine whose budget is smaller than a round's expected cost."""
    lines = []
    for name, budget in budgets.items():
        calls = sum(cost.calls for cost in costs if cost.engine == name)
        tokens = sum(cost.tokens for cost in costs if cost.engine == name)
        for what, needed, limit in (("calls", calls, budget.calls), ("tokens", tokens, budget.tokens)):
            if limit is not None and needed > limit:
                lines.append(
                    f"data.engines.{name}.budget.{what} is {limit:,}, about {limit / needed:.0%} of what this round "
                    "takes; the rest will have no score"
                )
    return lines
