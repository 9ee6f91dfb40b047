"""Does it make a model better? Arms of equal budget on real text, several seeds, held-out questions at three lengths.

    python studies/real_sets.py --train xquad_train.jsonl --held-out xquad_dev.jsonl --output runs/study/sets
    python studies/study.py run --sets runs/study/sets --output runs/study --minutes 15
    python studies/study.py table --output runs/study --results studies/results/study.json

`run` works through arms and seeds in order, for at most `--minutes`, then stops; the same command goes on where it
stopped, inside a rollout or a training step too. `--arms default "random chunks" --seeds 0` picks some. An arm is the
base config `studies/study.yaml` with the changes in `ARMS`; its adapter is evaluated greedily on the held-out files.
Arms that differ in training alone train on the same pairs of the same first round, which is asked once. The scores of
every question are kept, so that arms are compared question by question.

`table` writes the JSON that is kept (means, intervals, paired tests, versions) and prints the table in Markdown. Means
are over seeds; intervals resample questions (paired bootstrap over the mean of the seeds) and are given beside the
spread over seeds.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.statistics import bootstrap_interval, paired_test
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.storage.files import atomic_write

HERE = Path(__file__).resolve().parent
BASE = HERE / "study.yaml"
MODEL = "bundled:smollm2-135m-instruct"
METRICS = ("f1", "em", "subem")
STRATEGIES = "longmab_pl.strategies"


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return both nested settings together; those of `other` win. One that names its class or policy stands alone."""
    found = dict(one)
    for key, value in other.items():
        old = found.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and not value.keys() & {"class_path", "policy"}
        found[key] = _merged(old, value) if both else value
    return found


def _strategy(**settings: Any) -> dict[str, Any]:
    return {"data": {"init_args": {"strategy": {"init_args": settings}}}}


def _rounds(rounds: int, records: int = 80) -> dict[str, Any]:
    return {"data": {"init_args": {"rounds": rounds, "records_per_round": records}}}


def _model(**settings: Any) -> dict[str, Any]:
    return {"model": settings}


def _loss(name: str, **settings: Any) -> dict[str, Any]:
    return _model(loss={"class_path": f"longmab_pl.training.losses.{name}"}, **settings)


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        what: a few words for the table.
        changes: to `study.yaml`; None: nothing is trained.
        prompt: an instruction in front of the question, at evaluation only (the effect of the answer's form alone).
        after: another arm and a round of it: nothing is trained, the adapter is the other arm's after that round.
        rows: makes the rows of a pairs file of the first round's, which is trained on in its place.
        train: training records in the folder of the sets, in place of `train_4.jsonl`.
    """

    what: str
    changes: Mapping[str, Any] | None = field(default_factory=dict)
    prompt: str | None = None
    after: tuple[str, int] | None = None
    rows: Callable[[Path, random.Random], Iterator[dict[str, Any]]] | None = None
    train: str | None = None

    @property
    def in_training_alone(self) -> bool:
        """Whether the first round's rollout is that of the default."""
        return self.changes is not None and set(self.changes) <= {"model"} and self.after is None and self.rows is None


SHORT_ANSWER = """Read the text and answer the question with the shortest words of the text that answer it.

Text:
{context}

Question: {question}"""

WORKED_EXAMPLE = """Read the text and answer the question in a few words.

Text:
The harbor of Corvo was built in 1871 by the engineer Ana Reis. It closed in 1950.

Question: Who built the harbor of Corvo?

Answer: Ana Reis

Text:
{context}

Question: {question}"""


def _pairs(round_folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the pairs of a round, each with its record's line of the rollouts file."""
    records = {}
    for line in (round_folder / "rollouts.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        records[record["record_id"]] = record
    for line in (round_folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        yield pair, records[pair["id"]]


def _row(pair: Mapping[str, Any], chosen: str, rejected: str) -> dict[str, Any]:
    texts = {"chosen": chosen, "rejected": rejected}
    sides = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    return {"prompt": pair["prompt"], **sides}


def gold_answers(round_folder: Path, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the pairs of a round with the first gold answer as the chosen one."""
    for pair, record in _pairs(round_folder):
        yield _row(pair, record["answers"][0], pair["rejected"][0]["content"])


def answers_of_others(round_folder: Path, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the pairs of a round, each with the chosen answer of the next pair in a random order."""
    pairs = [pair for pair, _ in _pairs(round_folder)]
    draw.shuffle(pairs)
    for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        yield _row(pair, other["chosen"][0]["content"], pair["rejected"][0]["content"])


def permuted_rewards(round_folder: Path, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield a pair of each record that has one: two different answers of it, the better one drawn at random."""
    for pair, record in _pairs(round_folder):
        texts = sorted({response["text"] for response in record["responses"]})
        yield _row(pair, *draw.sample(texts, 2))


BASE_ARM = "default, three rounds"
"""The arm whose first round others train on."""

SFT = {"class_path": "longmab_pl.training.SFTPhase", "init_args": {"learning_rate": 2e-4}}
FEW_TOKENS = {"temperature": 0.7, "top_p": 0.95, "presence_penalty": 0.0, "max_tokens": 24}


def _group(**settings: Any) -> dict[str, Any]:
    """Return the settings of a group loss on all responses of a record, likelihoods weighted by advantage."""
    term = {"class_path": "longmab_pl.training.terms.GroupTerm", "init_args": {"clip": None, **settings}}
    pairs = {"class_path": "longmab_pl.pairs.AllResponses", "init_args": {"max_prompt_length": 1536}}
    return {"model": {"losses": [term], "nll_weight": 0.0}, "data": {"init_args": {"pairs": pairs}}}


ARMS: dict[str, Arm] = {
    "base": Arm("no training", None),
    "base, short-answer instruction": Arm("no training, told to answer shortly", None, SHORT_ANSWER),
    "base, worked example": Arm("no training, one worked example", None, WORKED_EXAMPLE),
    BASE_ARM: Arm("three on-policy rounds", _rounds(3)),
    "default": Arm("our default, one round: the first of three", after=(BASE_ARM, 1)),
    "default, two rounds": Arm("the first two of three rounds", after=(BASE_ARM, 2)),
    "SFT on chosen": Arm("likelihood of the chosen answers", _model(phases=[SFT])),
    "full context": Arm(
        "best of 8 over the whole context",
        {
            "data": {
                "init_args": {
                    "strategy": {
                        "class_path": f"{STRATEGIES}.BestOfN",
                        "init_args": {"n": 8, "sampling": FEW_TOKENS},
                    }
                }
            }
        },
    ),
    "random chunks": Arm(
        "chunks drawn at random", _strategy(bandit={"policy": "uniform", "options": {}}, budget="fixed")
    ),
    "SFT on gold": Arm("likelihood of the gold answers of the same questions", _model(phases=[SFT]), rows=gold_answers),
    "SFT on other answers": Arm(
        "likelihood of the chosen answers of other questions (the form alone)",
        _model(phases=[SFT]),
        rows=answers_of_others,
    ),
    "rewards permuted": Arm("two answers of a record, drawn at random", rows=permuted_rewards),
    "short to long": Arm("SoLoPO's term, weight 3", _model(short_to_long={"weight": 3.0})),
    "group, RLOO": Arm("all responses, others as baseline", _group(baseline="others", length="sum")),
    "group, GRPO": Arm("all responses, divided by their spread", _group(divide_by_spread=True, length="responses")),
    "IPO": Arm("IPO", _loss("IPO")),
    "SimPO": Arm("SimPO", _loss("SimPO")),
    "ORPO": Arm("ORPO", _loss("ORPO", nll_weight=0.0)),
    "NLL 0": Arm("no likelihood term", _model(nll_weight=0.0)),
    "NLL 0.1": Arm("likelihood term of 0.1", _model(nll_weight=0.1)),
    "NLL 1": Arm("likelihood term of 1", _model(nll_weight=1.0)),
    "rate 5e-5": Arm("a quarter of the learning rate", _model(learning_rate=5e-5)),
    "detached prompt": Arm("no gradient through the prompt", _model(prompt_gradient="detached")),
    "paper's UCB1": Arm(
        "the paper's bandit and budget", _strategy(bandit={"policy": "ucb1", "options": {}}, budget="fixed")
    ),
    "query top-k": Arm(
        "the chunks most like the question, always",
        _strategy(bandit={"policy": "thompson_beta", "options": {"prior_weight": 1e6}}, budget="fixed"),
    ),
    "fixed budget": Arm("default without the adaptive budget", _strategy(budget="fixed")),
    "lenient reward": Arm(
        "answers compared word by word",
        {
            "data": {
                "init_args": {
                    "rewards": [{"class_path": "longmab_pl.rewards.AnswerMatch", "init_args": {"style": "lenient"}}]
                }
            }
        },
    ),
    "default, three times the records": Arm("one round of three times the records", _rounds(1, 240)),
    "curriculum": Arm(
        "three rounds, records near half right first",
        _merged(_rounds(3), {"data": {"init_args": {"records": "curriculum"}}}),
    ),
    "reference round start": Arm("three rounds, reference of each round", _rounds(3) | _model(reference="round_start")),
    "cosine": Arm("three rounds, cosine over the run", _rounds(3) | _model(schedule="cosine")),
    "questions from documents": Arm(
        "three rounds on questions that the base wrote (studies/documents.py)", _rounds(3), train="documents_4.jsonl"
    ),
}
"""Arms by name, in the order in which they run."""


class OutOfTime(Exception):
    """The time of this call is over; the next call goes on."""


@dataclass(frozen=True)
class Study:
    """Where a study lives and how long this call may take.

    Args:
        sets: folder of `real_sets.py`.
        output: folder of runs and results.
        end: time (monotonic seconds) after which nothing is begun and what runs is interrupted.
        base: base config.
        model: base model.
        lengths: paragraphs of the held-out sets to ask; None: all.
    """

    sets: Path
    output: Path
    end: float
    base: Path = BASE
    model: str = MODEL
    lengths: Sequence[int] | None = None

    def folder(self, arm: str, seed: int) -> Path:
        return self.output / "arms" / "".join(c if c.isalnum() else "-" for c in arm) / f"seed-{seed}"

    def train(self, name: str, arm: Arm, seed: int) -> Path | None:
        """Return the adapter of an arm, trained in as many calls as it takes; None if the arm trains nothing.

        Raises:
            OutOfTime: it is not done yet.
        """
        if arm.changes is None:
            return None
        if arm.after is not None:
            other, round_ = arm.after
            self.train(other, ARMS[other], seed)
            # The adapter that the next round's rollout was made with.
            handed_over = sorted((self.folder(other, seed) / "adapters").glob("step-*"))
            return handed_over[round_ - 1]
        folder = self.folder(name, seed)
        adapter = folder / "adapter"
        if (folder / "done").is_file():
            return adapter
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._config(name, arm, seed, folder)), encoding="utf-8")
        command = [sys.executable, "-m", "longmab_pl", "fit", "--config", str(config)]
        if (folder / "checkpoints" / "last.ckpt").is_file():
            command += ["--ckpt_path", "last"]
        self._run(command, folder / "output.txt")
        if not (adapter / "adapter_config.json").is_file():
            raise SystemExit(f"{name}, seed {seed}: the run ended without an adapter; see {folder / 'output.txt'}")
        (folder / "done").touch()
        return adapter

    def _config(self, name: str, arm: Arm, seed: int, folder: Path) -> dict[str, Any]:
        """Return the whole config of an arm, with the first round's rollout in its folder where that is shared."""
        (train,) = [self.sets / arm.train] if arm.train else sorted(self.sets.glob("train_*.jsonl"))
        base = yaml.safe_load(self.base.read_text(encoding="utf-8"))
        settings: dict[str, Any] = {
            "seed_everything": seed,
            "trainer": {"default_root_dir": str(folder)},
            "data": {"init_args": {"train": str(train)}},
        }
        config = _merged(_merged(base, arm.changes or {}), settings)
        if name == BASE_ARM or not (arm.in_training_alone or arm.rows):
            return config
        self.train(BASE_ARM, ARMS[BASE_ARM], seed)
        (first,) = (self.folder(BASE_ARM, seed) / "rounds").glob("000-*")
        if arm.rows is not None:
            pairs = folder / "pairs.jsonl"
            rows = arm.rows(first, random.Random(f"{name}/{seed}"))
            pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            config["data"] = {"class_path": "longmab_pl.PreferenceDataModule", "init_args": {"train": str(pairs)}}
        elif not (folder / "rounds" / first.name).exists():
            shutil.copytree(first, folder / "rounds" / first.name)
        return config

    def _run(self, command: Sequence[str], log: Path) -> None:
        with log.open("a", encoding="utf-8") as file, sigterm_interrupts():
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
            try:
                code = process.wait(max(0.0, self.end - time.monotonic()))
            except BaseException as error:  # also Ctrl-C and SIGTERM, which would leave the run behind
                process.send_signal(signal.SIGTERM)  # SIGINT is ignored in the background
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise OutOfTime from None
                raise
        if code:
            raise SystemExit(f"a run ended with exit code {code}; its output is in {log}")

    def evaluate(self, name: str, arm: Arm, seed: int, adapter: Path | None) -> None:
        """Ask every held-out question of an arm's adapter; kept answers are not asked again."""
        from longmab_pl.cli.evaluate import evaluate
        from longmab_pl.engines import Sampling
        from longmab_pl.evaluation import QASuite
        from longmab_pl.prompts import DirectAnswer

        prompt = DirectAnswer(template=arm.prompt) if arm.prompt else DirectAnswer()
        sampling = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=24)
        sets = [
            QASuite(str(file), name=file.stem, prompt_format=prompt, sampling=sampling)
            for file in sorted(self.sets.glob("held_out_*.jsonl"))
            if self.lengths is None or int(file.stem.rpartition("_")[2]) in self.lengths
        ]
        out = self.folder(name, seed) / "evaluation"
        if all((out / suite.name / "result.json").is_file() for suite in sets):
            return
        evaluate(
            model=self.model,
            adapter=None if adapter is None else str(adapter),
            suite=list(sets),
            out=str(out),
            max_model_len=8192,
        )

    def run(self, arms: Sequence[str], seeds: Sequence[int]) -> bool:
        """Work until all is done or the time is over; return whether all is done."""
        for seed in seeds:
            for name in arms:
                arm = ARMS[name]
                if arm.changes is None and seed != seeds[0]:
                    continue  # greedy answers of the base model are the same
                if arm.train is not None and not (self.sets / arm.train).is_file():
                    print(f"{name}: left out, {self.sets / arm.train} is not there", flush=True)
                    continue
                if time.monotonic() > self.end:
                    return False
                start = time.monotonic()
                try:
                    self.evaluate(name, arm, seed, self.train(name, arm, seed))
                except OutOfTime:
                    print(f"{name}, seed {seed}: interrupted, the same command goes on", flush=True)
                    return False
                print(f"{name}, seed {seed}: done ({time.monotonic() - start:.0f} s in this call)", flush=True)
        return True


def results(study: Study) -> Iterator[tuple[str, int, str, EvaluationResult]]:
    """Yield arm, seed, held-out set and result of everything that is evaluated."""
    for name in ARMS:
        for folder in sorted(study.folder(name, 0).parent.glob("seed-*")):
            for file in sorted(folder.glob("evaluation/*/result.json")):
                yield name, int(folder.name.partition("-")[2]), file.parent.name, EvaluationResult.load(file)


def summary(study: Study) -> dict[str, Any]:
    """Return means, intervals and paired differences from the base and from the default, by arm and set."""
    scores: dict[tuple[str, str], dict[int, dict[str, dict[str, float]]]] = {}
    for name, seed, held_out, result in results(study):
        (task,) = result.tasks.values()
        scores.setdefault((name, held_out), {})[seed] = {item.id: item.scores for item in task.items}
    rows = []
    for (name, held_out), by_seed in scores.items():
        row: dict[str, Any] = {"arm": name, "set": held_out, "seeds": sorted(by_seed)}
        for metric in METRICS:
            own = _by_question(by_seed, metric)
            low, high = bootstrap_interval([list(own.values())])
            means = [100 * statistics.fmean(s[metric] for s in items.values()) for items in by_seed.values()]
            row[metric] = {
                "mean": 100 * statistics.fmean(own.values()),
                "interval": [100 * low, 100 * high],
                "over_seeds": statistics.stdev(means) if len(means) > 1 else None,
            }
            for other in ("base", "default"):
                if other != name and (other, held_out) in scores:
                    theirs = _by_question(scores[other, held_out], metric)
                    shared = [key for key in own if key in theirs]
                    test = paired_test([[theirs[k] for k in shared]], [[own[k] for k in shared]])
                    row[metric][f"minus_{other}"] = {
                        "difference": 100 * test.difference,
                        "interval": [100 * test.low, 100 * test.high],
                        "p": test.p_value,
                    }
            row["questions"] = len(own)
        rows.append(row)
    import torch
    import transformers

    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {"model": study.model, "config": yaml.safe_load(study.base.read_text()), "versions": versions, "rows": rows}


def _by_question(by_seed: Mapping[int, Mapping[str, Mapping[str, float]]], metric: str) -> dict[str, float]:
    """Return each question's score, averaged over the seeds that asked it."""
    found: dict[str, list[float]] = {}
    for items in by_seed.values():
        for key, scores in items.items():
            found.setdefault(key, []).append(scores[metric])
    return {key: statistics.fmean(values) for key, values in found.items()}


def show(found: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print("| arm | set | seeds | F1 | EM | SubEM | F1 over base | F1 over default |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in found["rows"]:
        f1 = row["f1"]
        cells = [row["arm"], row["set"], str(len(row["seeds"]))]
        cells.append(f"{f1['mean']:.1f} [{f1['interval'][0]:.1f}, {f1['interval'][1]:.1f}]")
        cells += [f"{row[metric]['mean']:.1f}" for metric in ("em", "subem")]
        for other in ("base", "default"):
            test = f1.get(f"minus_{other}")
            low, high = test["interval"] if test else (0, 0)
            cells.append(f"{test['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p {test['p']:.3g}" if test else "")
        print("| " + " | ".join(cells) + " |")
    print(f"\n{found['model']}; questions: {sorted({row['questions'] for row in found['rows']})}; {found['versions']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and evaluate arms, for a limited time")
    run.add_argument("--sets", type=Path, required=True, help="folder of studies/real_sets.py")
    run.add_argument("--minutes", type=float, default=15.0)
    run.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument("--lengths", nargs="+", type=int, help="held-out sets to ask, by their paragraphs; default: all")
    table = commands.add_parser("table", help="write and print what is evaluated so far")
    table.add_argument("--results", type=Path, help="JSON file to keep")
    for each in (run, table):
        each.add_argument("--output", type=Path, required=True, help="folder of the study's runs")
        each.add_argument("--base", type=Path, default=BASE, help="another base config")
        each.add_argument("--model", default=MODEL)
    args = parser.parse_args()
    if args.command == "run":
        if not sorted(args.sets.glob("held_out_*.jsonl")):
            raise SystemExit(f"{args.sets} has no held_out_*.jsonl; make the sets with studies/real_sets.py first")
        study = Study(args.sets, args.output, time.monotonic() + 60 * args.minutes, args.base, args.model, args.lengths)
        done = study.run(args.arms, args.seeds)
        print("all done" if done else "the time of this call is over; the same command goes on")
        return
    found = summary(Study(args.output, args.output, 0.0, args.base, args.model))
    if args.results:
        with atomic_write(args.results) as file:
            file.write(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
