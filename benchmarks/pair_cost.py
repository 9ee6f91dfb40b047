"""What a usable pair costs: `python benchmarks/pair_cost.py RUN [RUN ...]`.

Reads the rounds of finished runs (`longmab fit` or `longmab rollout`), whatever their strategies, and prints what was
asked for each record that has a pair: calls, prompt tokens, those that had to be prefilled, generated tokens, seconds
from the round's first file to its last. Runs over the same records can be compared line by line. The last columns are
how often the answers of chosen and rejected hold a gold answer (SubEM of the last assistant's turn).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.rewards.answer_match import substring_match


@dataclass(frozen=True)
class PairCost:
    """The cost of one round.

    Args:
        name: run and round.
        strategy: public name of the strategy.
        records: records that were rolled out.
        usable: records with a pair.
        pairs: pairs.
        calls: completions of all engines.
        prompt_tokens: their prompts.
        prefilled: prompt tokens that no prefix cache held.
        generated: new tokens.
        seconds: from the first file of the round to the last.
        chosen: share of chosen answers that hold a gold answer.
        rejected: share of rejected answers that do.
    """

    name: str
    strategy: str
    records: int
    usable: int
    pairs: int
    calls: int
    prompt_tokens: int
    prefilled: int
    generated: int
    seconds: float
    chosen: float
    rejected: float

    def per_usable(self, value: float) -> float:
        """Return a number for each record that has a pair."""
        return value / self.usable if self.usable else float("nan")


def costs(run: Path) -> list[PairCost]:
    """Return the cost of each finished round of a run."""
    return [_cost(folder) for folder in sorted((run / "rounds").iterdir()) if (folder / "round.json").is_file()]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _cost(folder: Path) -> PairCost:
    answered = [row for row in _rows(folder / "completions.jsonl") if "request_id" in row]
    pairs = list(_rows(folder / "pairs.jsonl"))
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    statistics = json.loads((folder / "round.json").read_text(encoding="utf-8"))["statistics"]
    times = [(folder / name).stat().st_mtime for name in ("settings.json", "rollouts.jsonl")]
    prompts, cached = (sum(row[name] for row in answered) for name in ("prompt_tokens", "cached_tokens"))
    return PairCost(
        name=f"{folder.parent.parent.name}/{folder.name[:3]}",
        strategy=str(settings["strategy"].get("class", "")).rpartition(".")[2] or "?",
        records=int(statistics["rollout/records"]),
        usable=len({row["id"] for row in pairs}),
        pairs=len(pairs),
        calls=len(answered),
        prompt_tokens=prompts,
        prefilled=prompts - cached,
        generated=sum(sum(row["completion_tokens"]) for row in answered),
        seconds=times[1] - times[0],
        chosen=_right(pairs, "chosen"),
        rejected=_right(pairs, "rejected"),
    )


def _right(pairs: Sequence[dict[str, Any]], side: str) -> float:
    right = [substring_match(row[side][-1]["content"], row["answer"]) for row in pairs]
    return sum(right) / len(right) if right else float("nan")


def show(found: Sequence[PairCost]) -> str:
    """The costs as a table."""
    lines = [
        "| round | strategy | records, usable, pairs | calls | prompt tokens | prefilled | generated | seconds "
        "| gold in chosen, rejected |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cost in found:
        each = (cost.calls, cost.prompt_tokens, cost.prefilled, cost.generated, cost.seconds)
        numbers = " | ".join(f"{cost.per_usable(value):,.0f}" for value in each)
        lines.append(
            f"| {cost.name} | {cost.strategy} | {cost.records}, {cost.usable}, {cost.pairs} | {numbers} "
            f"| {cost.chosen:.0%}, {cost.rejected:.0%} |"
        )
    return "\n".join([*lines, "", "Calls, tokens and seconds are for each record with a pair."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders (trainer.default_root_dir)")
    print(show([cost for run in parser.parse_args().runs for cost in costs(run)]))


if __name__ == "__main__":
    main()
