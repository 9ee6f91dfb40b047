"""What the `lenient` answer style changes: the rewards, pairs and QA scores of a finished run, by both styles.

    python studies/answer_styles.py runs/demo --out styles.json
    python studies/answer_styles.py runs/demo --records my_records.jsonl --show 10

Nothing is asked again. For every response of the run's rounds both rewards are computed from its text and the gold
answers; a record's pair is made by the paper's rule (a random best against a random worst) with the same seed. QA
predictions in `evaluations/` are scored again too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.pairs.best_worst import choose
from longmab_pl.rewards.answer_match import (
    ANSWER_STYLES,
    AnswerStyle,
    answer_scores,
    extract_answer,
    pair_reward,
    rollout_reward,
)
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.rollout.round_folder import ROUNDS, RoundFolder
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted, shown
from longmab_pl.storage.files import atomic_write

REWARDS: dict[str, Callable[[str, Sequence[str], AnswerStyle], float]] = {
    "pair": pair_reward,
    "rollout": rollout_reward,
    "in_format": lambda text, answers, style: float(extract_answer(text, style) is not None),
}


@dataclass
class Change:
    """How one reward of all responses differs between the styles."""

    paper: float = 0.0
    lenient: float = 0.0
    up: int = 0
    down: int = 0

    def add(self, paper: float, lenient: float) -> None:
        self.paper += paper
        self.lenient += lenient
        self.up += lenient > paper
        self.down += lenient < paper


@dataclass
class Changes:
    """Counts over a run.

    Args:
        responses: number of responses.
        records: number of records with responses.
        rewards: reward name -> sums and directions.
        pairs: outcome -> number of records: `same`, `other` (two others), `gained`, `lost`, `none`.
        examples: (gold answers, response, reward by the paper, reward by lenient) of changed pair rewards.
    """

    responses: int = 0
    records: int = 0
    rewards: dict[str, Change] = field(default_factory=lambda: {name: Change() for name in REWARDS})
    pairs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("same", "other", "gained", "lost", "none"), 0))
    examples: list[tuple[Sequence[str], str, float, float]] = field(default_factory=list)

    def add_record(self, record: QARecord, texts: Sequence[str], seed: int) -> None:
        """Count one record's responses and its pair; `seed` decides between equal responses."""
        self.records += 1
        self.responses += len(texts)
        by_style: dict[AnswerStyle, list[float]] = {}
        for style in ANSWER_STYLES:
            by_style[style] = [pair_reward(text, record.answers, style) for text in texts]
        for text, paper, lenient in zip(texts, by_style["paper"], by_style["lenient"], strict=True):
            for name, reward in REWARDS.items():
                self.rewards[name].add(reward(text, record.answers, "paper"), reward(text, record.answers, "lenient"))
            if paper != lenient:
                self.examples.append((record.answers, text, paper, lenient))
        before, after = (choose(by_style[style], seed) for style in ANSWER_STYLES)
        if before is None or after is None:
            outcome = "none" if before == after else "gained" if before is None else "lost"
        else:
            outcome = "same" if [texts[i] for i in before] == [texts[i] for i in after] else "other"
        self.pairs[outcome] += 1


def changes_of(run: Path, records: str | None = None) -> Changes:
    """Return what changes in the rounds of a run.

    Args:
        run: a run folder.
        records: the training records, if they have moved.
    """
    changes = Changes()
    for folder in sorted((run / ROUNDS).iterdir()):
        store = RoundFolder.at(folder)
        settings = store.read_settings()
        source = read_records(records or settings["train"], on_bad_record="skip", split=settings.get("split", "train"))
        rollouts = RolloutFile(store.rollouts if store.complete else store.rollout_log)
        seed = derive_seed(settings["seed"], "round", settings["round"])
        for record in source.records:
            if record.id in rollouts:
                texts = [response.text for response in rollouts.read(record.id).responses if response.text.strip()]
                changes.add_record(record, texts, derive_seed(seed, record.id, "pair"))
    return changes


def evaluations_of(run: Path) -> Iterator[tuple[str, int, dict[str, dict[str, float]]]]:
    """Yield (file, questions, style -> metric -> mean in percent) of each QA evaluation of a run."""
    for path in sorted(run.glob("evaluations/*/qa/*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        means: dict[str, dict[str, float]] = {}
        for style in ANSWER_STYLES:
            scores = [answer_scores(row["pred"], row["answers"], style) for row in rows]
            means[style] = {
                name: 100 * sum(score[name] for score in scores) / len(scores) for name in ("f1", "em", "subem")
            }
        yield str(path.relative_to(run)), len(rows), means


def report(changes: Changes, evaluations: list[tuple[str, int, dict[str, dict[str, float]]]]) -> dict[str, Any]:
    """Print the changes as tables, and return them as JSON."""
    print(f"{changes.responses} responses of {changes.records} records")
    print(f"{'reward':10} {'paper':>7} {'lenient':>8} {'up':>5} {'down':>5}")
    for name, change in changes.rewards.items():
        paper, lenient = (total / max(changes.responses, 1) for total in (change.paper, change.lenient))
        print(f"{name:10} {paper:7.3f} {lenient:8.3f} {change.up:5} {change.down:5}")
    print("pairs      " + ", ".join(f"{name} {number}" for name, number in changes.pairs.items()))
    for file, questions, means in evaluations:
        both = [f"{metric} {means['paper'][metric]:.1f}/{means['lenient'][metric]:.1f}" for metric in means["paper"]]
        print(f"{file}: {questions} questions, paper/lenient: {', '.join(both)}")
    return {
        "responses": changes.responses,
        "records": changes.records,
        "rewards": {name: asdict(change) for name, change in changes.rewards.items()},
        "pairs": changes.pairs,
        "evaluations": [{"file": file, "questions": n, **means} for file, n, means in evaluations],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder (trainer.default_root_dir)")
    parser.add_argument("--records", help="the training records, if they have moved")
    parser.add_argument("--show", type=int, default=0, help="examples of changed rewards to print")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    changes = changes_of(args.run, args.records)
    written = report(changes, list(evaluations_of(args.run)))
    for answers, text, paper, lenient in changes.examples[: args.show]:
        print(f"{paper:.2f} -> {lenient:.2f}  gold {quoted(list(answers), 80)}  response {shown(text, 160)}")
    if args.out:
        with atomic_write(args.out) as file:
            json.dump(written, file, indent=2)


if __name__ == "__main__":
    main()
