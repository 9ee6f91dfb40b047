"""How well does each reward, and each of its dimensions, order answers as the gold answers do?

    python studies/rewards.py run --data shipped:synthetic_train --records 60
    python studies/rewards.py run --records 6 --n 4 --judge '{"evidence_chunks": 2, "reply_tokens": {"verdict": 96}}'
    python studies/rewards.py round runs/sealong/rounds/000-... --output studies/results/rewards-multihop.json
    python studies/rewards.py table studies/results/rewards-*.json

`run` samples answers to questions with known gold answers, scores them by every reward, and writes correlations as
JSON. It is a round of `longmab rollout`, so the same command continues after a kill. The target is whether a gold
answer occurs in the response (SubEM of the whole response); the answer-match reward, which reads it, is the ceiling.
Correlations are Spearman's: within a record (over its answers, mean over records in which both vary; what a pair rule
needs) and over all answers together. `picked` is the mean target of the answers that a reward ranks first; `random` and
`oracle` bound it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from longmab_pl import RolloutDataModule
from longmab_pl.cli.round import roll_out_round
from longmab_pl.data.readers import read_records
from longmab_pl.engines import Engine, Sampling, TransformersEngine, VLLMEngine
from longmab_pl.evaluation.statistics import bootstrap_interval
from longmab_pl.pairs import BestWorst
from longmab_pl.prompts import DirectAnswer
from longmab_pl.rewards import AnswerMatch, Consistency, LLMJudge
from longmab_pl.rewards.answer_match import substring_match
from longmab_pl.rewards.consistency import sibling_means
from longmab_pl.rewards.llm_judge.replies import ReplyLimits
from longmab_pl.rewards.rouge import rouge_l
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.rollout.session import NamedEngine
from longmab_pl.storage.files import atomic_write
from longmab_pl.strategies import BestOfN
from longmab_pl.strategies.base import Response

Scored = Mapping[str, Sequence[float | None]]
"""Name of a reward or dimension -> value of each response of a record; None: excluded."""


def _is_cost(part: str) -> bool:
    """Return whether a part of a judge's score says what it cost or how it leans, not how good the answer is."""
    return part in ("requests", "tokens", "statements") or part.endswith("_bias")


def scores_of(responses: Sequence[Response]) -> dict[str, list[float | None]]:
    """Return the values of all stored rewards and their parts, and ROUGE consistency, which is computed here."""
    found: dict[str, list[float | None]] = {}
    for place, response in enumerate(responses):
        for name, score in response.scores.items():
            values = {name: None if score.excluded is not None else score.value}
            values |= {f"{name}/{part}": value for part, value in score.parts.items() if not _is_cost(part)}
            for key, value in values.items():
                found.setdefault(key, [None] * len(responses))[place] = value
    texts = [response.text for response in responses]
    rouge = sibling_means([[rouge_l(a, b).f1 for b in texts] for a in texts])
    return found | {"consistency (rouge)": [float(value) for value in rouge], "length": [-float(len(t)) for t in texts]}


def correlation(values: Sequence[float | None], target: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation over the responses with a value; None where either does not vary."""
    both = [(v, t) for v, t in zip(values, target, strict=True) if v is not None]
    if len({v for v, _ in both}) < 2 or len({t for _, t in both}) < 2:
        return None
    return float(spearmanr([v for v, _ in both], [t for _, t in both]).statistic)


def picked(values: Sequence[float | None], target: Sequence[float]) -> float | None:
    """Return the mean target of the responses with the highest value; None without any value."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    return statistics.fmean(t for v, t in zip(values, target, strict=True) if v == max(known))


def summary(records: Iterable[tuple[Scored, Sequence[float]]]) -> dict[str, Any]:
    """Return correlations of every reward with the target, and what each picks.

    Args:
        records: for each record the scores of its responses, and the target of each response.
    """
    listed = list(records)
    targets = [t for _, target in listed for t in target]
    names = list(dict.fromkeys(name for scores, _ in listed for name in scores))
    rows: dict[str, Any] = {}
    for name in names:
        groups = [(scores.get(name, [None] * len(target)), target) for scores, target in listed]
        within = [c for values, target in groups if (c := correlation(values, target)) is not None]
        first = [p for values, target in groups if (p := picked(values, target)) is not None]
        pooled = correlation([v for values, _ in groups for v in values], targets)
        scored = sum(v is not None for values, _ in groups for v in values)
        interval = bootstrap_interval([within]) if len(within) > 1 else (float("nan"), float("nan"))
        rows[name] = {
            "within": statistics.fmean(within) if within else None,
            "within_interval": list(interval),
            "records": len(within),
            "pooled": pooled,
            "picked": statistics.fmean(first) if first else None,
            "scored": scored,
        }
    return {
        "records": len(listed),
        "responses": len(targets),
        "random": statistics.fmean(targets) if targets else None,
        "oracle": statistics.fmean(max(target) for _, target in listed) if listed else None,
        "rewards": rows,
    }


def run(args: argparse.Namespace) -> Path:
    """Sample and score, and write the summary."""
    judge = json.loads(args.judge)
    sampling = Sampling(args.temperature, 1.0, 0.0, args.max_tokens)
    rewards: list[Any] = [AnswerMatch(), Consistency()]
    if judge is not None:
        limits = ReplyLimits(**judge.pop("reply_tokens", {}))
        rewards.append(LLMJudge(reply_tokens=limits, **judge))
    engine: Engine = VLLMEngine(concurrency=16, max_model_len=args.max_model_len, kv_cache_gb=1.0)
    if args.engine == "transformers":
        engine = TransformersEngine(concurrency=16, max_model_len=args.max_model_len)
    data = RolloutDataModule(
        engine,
        args.data,
        strategy=BestOfN(args.n, sampling),
        rewards=rewards,
        prompt_format=DirectAnswer(),
        pairs=BestWorst(max_prompt_length=args.max_model_len),
        engines={} if judge is None else {"judge": NamedEngine()},
        rounds=1,
        records_per_round=args.records,
        seed=args.seed,
    )
    folder = roll_out_round(data, args.model, args.out / Path(args.data.replace(":", "-")).stem)
    name = Path(args.data.replace("shipped:", "")).stem
    return write(folder, args.results / f"rewards-{name}{'' if judge is None else '-judge'}.json", args)


def write(folder: Path, path: Path, args: argparse.Namespace) -> Path:
    """Write the summary of a round, whichever command made it."""
    settings = json.loads((folder / "settings.json").read_text())
    golds = {record.id: record.answers for record in read_records(settings["train"]).records}
    rollouts = RolloutFile(folder / "rollouts.jsonl")
    listed = []
    for record_id in golds:
        if record_id in rollouts:
            responses = rollouts.read(record_id).responses
            target = [float(substring_match(response.text, golds[record_id])) for response in responses]
            listed.append((scores_of(responses), target))
    command = {name: value.name if isinstance(value, Path) else value for name, value in vars(args).items()}
    shared = {name: settings[name] for name in ("model", "strategy", "rewards", "prompt_format", "seed")}
    data = Path(settings["train"].replace("shipped:", "")).stem
    result = {"data": data, "command": command, "settings": shared, **summary(listed)}
    with atomic_write(path) as file:
        file.write(json.dumps(result, indent=1, default=float).replace("NaN", "null") + "\n")
    print(table([path]))
    print(path)
    return path


def table(paths: Sequence[Path]) -> str:
    """Return the results as a Markdown table."""

    def shown(value: float | None) -> str:
        return "" if value is None or np.isnan(value) else f"{value:.2f}"

    lines = []
    for path in paths:
        result = json.loads(path.read_text())
        lines += [
            f"{result['data']}: {result['records']} records, {result['responses']} answers, seed "
            f"{result['settings']['seed']}; random {shown(result['random'])}, oracle {shown(result['oracle'])}",
            "",
            "| reward | within a record | records | all answers | picked | scored |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, row in result["rewards"].items():
            low, high = row["within_interval"]
            interval = f" [{shown(low)}, {shown(high)}]" if low is not None else ""
            lines.append(
                f"| {name} | {shown(row['within'])}{interval} | {row['records']} | {shown(row['pooled'])} | "
                f"{shown(row['picked'])} | {row['scored']} |"
            )
        lines.append("")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("run")
    asked.add_argument("--data", default="shipped:synthetic_train", help="records with gold answers")
    asked.add_argument("--model", default="bundled:smollm2-135m-instruct")
    asked.add_argument("--engine", choices=["vllm", "transformers"], default="vllm")
    asked.add_argument("--records", type=int, default=12)
    asked.add_argument("--n", type=int, default=8, help="answers per record")
    asked.add_argument("--temperature", type=float, default=0.7)
    asked.add_argument("--max_tokens", type=int, default=24)
    asked.add_argument("--max_model_len", type=int, default=4096)
    asked.add_argument("--judge", default="null", help="settings of LLMJudge as JSON; null: no judge")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--out", type=Path, default=Path("runs/rewards-study"))
    asked.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    made = commands.add_parser("round")
    made.add_argument("folder", type=Path, help="the folder of a finished round")
    made.add_argument("--output", type=Path, required=True)
    shown = commands.add_parser("table")
    shown.add_argument("results", type=Path, nargs="+")
    args = parser.parse_args(argv)
    if args.command == "table":
        print(table(args.results))
    elif args.command == "round":
        write(args.folder, args.output, args)
    else:
        run(args)


if __name__ == "__main__":
    main()
