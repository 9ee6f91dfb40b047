"""Run folders as a run leaves them, written by the package's own writers, of any size and with any texts."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.results import EvaluationResult, ItemResult, compare_headlines, macro_average, task_result
from longmab_pl.pairs.files import PairWriter
from longmab_pl.pairs.types import PairOrigin, PreferencePair
from longmab_pl.reporting.run_record import RoundCost, RunRecord
from longmab_pl.reporting.run_report import RunReport
from longmab_pl.rewards.base import Score as Reward
from longmab_pl.rollout.metrics import RoundMetrics
from longmab_pl.rollout.round_folder import FORMAT, RoundFolder
from longmab_pl.storage.append_log import encode
from longmab_pl.storage.checked_json import write_checked_json
from longmab_pl.strategies.base import RecordRollout, Response

CONFIG = """
seed_everything: 7
trainer: {max_epochs: 2, devices: auto, default_root_dir: /secret/place}
model: {model: "bundled:smollm2-135m-instruct", learning_rate: 0.0002}
data:
  class_path: longmab_pl.RolloutDataModule
  init_args:
    rounds: ROUNDS
    train: /secret/place/train.jsonl
    engine: {class_path: longmab_pl.engines.ServerEngine, init_args: {api_key: sk-123}}
    strategy: {class_path: longmab_pl.strategies.BanditRollout, init_args: {pulls: 4, top_k: 2}}
"""


def write_run(
    run: Path,
    *,
    rounds: int = 2,
    records: int = 12,
    answers: int = 4,
    chunks: int = 9,
    text: str = "",
    gain: float = 0.2,
    tree: bool = False,
) -> Path:
    """Write a run folder.

    Args:
        run: the folder.
        rounds, records, answers, chunks: its size; an answer each pull.
        text: put into every text that data or models give: questions, answers, names of records and tasks.
        gain: how much better the last evaluation is, as a share of its questions.
        tree: whether a search tree takes the place of the arms.
    """
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG.replace("ROUNDS", str(rounds)))
    rows = []
    for number in range(rounds):
        store = RoundFolder(run, number, f"{number:016x}")
        store.folder.mkdir(parents=True)
        rows.append(_write_round(store, records, answers, chunks, text, random.Random(number), tree))
    record = RunRecord().spent(0, RoundCost(evaluation=3.0))
    for number in range(1, rounds + 1):
        record = record.spent(number, RoundCost(30.0, 20.0 * number, 5.0))
    record.of_this_process({"seed_everything": 7}).save(run)
    RunReport(rows, _evaluations(run, rounds, text, gain)).save(run)
    return run


def _write_round(
    store: RoundFolder, records: int, answers: int, chunks: int, text: str, chance: random.Random, tree: bool
) -> dict[str, object]:
    metrics = RoundMetrics("answer_match")
    store.write_settings({"format": FORMAT, "round": store.number})
    with store.rollouts.open("wb") as rollouts, store.journal.open("wb") as journal, PairWriter(store.pairs) as pairs:
        for i in range(records):
            rollout = _rollout(f"record-{i:04d}{text}", answers, chunks, text, chance)
            if tree:
                rollout = replace(rollout, trace={"nodes": tree_nodes(3, 2, text)})
            asked = {"question": f"Which river? {text}", "answers": [f"number 7 {text}", "seven"]}
            rollouts.write(encode(rollout.to_json() | asked))
            pair = _pair(rollout, store.number, text)
            metrics.add(rollout, [pair] if pair else [])
            if pair:
                pairs.write(pair)
            for _ in rollout.responses:
                # A text that looks like the fields after it.
                misleading = '{"completion_tokens": [9], "prompt_tokens": 9, "cached_tokens": 9'
                line = {"request_id": f"{i}", "texts": [misleading]}
                line |= {"completion_tokens": [7], "prompt_tokens": 100, "cached_tokens": 40}
                journal.write(encode(line))
    statistics = metrics.result()
    store.write_summary(
        {"round": store.number, "statistics": statistics, "failures": [(f"lost{text}", f"too long {text}")]}
    )
    training = {"accuracies": 0.6 + 0.1 * store.number, "margins": 0.02, "chosen": 0.05, "rejected": 0.03}
    row = {f"train/rewards/{name}": value for name, value in training.items()}
    return {"round": store.number + 1, "folder": store.folder.name, **statistics, **row, "train/loss": 1.2}


def _rollout(name: str, answers: int, chunks: int, text: str, chance: random.Random) -> RecordRollout:
    responses, pulls = [], [0] * chunks
    stops = answers if chance.random() < 0.6 else max(1, answers // 2)
    for step in range(stops):
        read = tuple(sorted(chance.sample(range(chunks), min(2, chunks))))
        for arm in read:
            pulls[arm] += 1
        value = chance.choice([0.0, 0.0, 0.5, 1.0])
        scores = {"answer_match": Reward(value, {"rollout": value, f"in_format{text}": 1.0})}
        said = f"Answer: the river number {chance.randrange(20)} of the old town. {text}"
        responses.append(Response(said, chance.random() < 0.9, step, read, None, scores))
    gold = chance.randrange(chunks)
    trace = {
        "arms": chunks,
        "init": "query",
        "pulls": pulls,
        "values": [chance.random() for _ in range(chunks)],
        "evidence": [int(arm == gold) for arm in range(chunks)],
    }
    stopped = "separated" if stops < answers else ""
    return RecordRollout(name, "ok", tuple(responses), stopped, asked=len(responses), trace=trace)


def _pair(rollout: RecordRollout, number: int, text: str) -> PreferencePair | None:
    values = [response.scores["answer_match"].value for response in rollout.responses]
    best, worst = values.index(max(values)), values.index(min(values))
    if best == worst:
        return None
    chosen, rejected = rollout.responses[best], rollout.responses[worst]
    question, gold = f"Which river? {text}", f"number 7 {text}"
    steps, read = (chosen.step, rejected.step), (chosen.read, rejected.read)
    origin = PairOrigin(0, question, gold, best, worst, *steps, *read, number)
    prompt = ({"role": "user", "content": f"Read the text.\n{text} A town lies on a river. " * 3},)
    return PreferencePair(
        rollout.record_id, prompt, chosen.text, rejected.text, values[best], values[worst], origin=origin
    )


def _evaluations(run: Path, rounds: int, text: str, gain: float) -> list[EvaluationEntry]:
    chance, first, entries = random.Random(1), None, []
    base = [chance.random() < 0.3 for _ in range(60)]
    lucky = [chance.random() for _ in range(60)]
    for number in range(rounds + 1):
        when = f"after round {number}" if number else "before training"
        share = gain * number / rounds
        right = [was or luck < share / 0.7 for was, luck in zip(base, lucky, strict=True)]
        items = [ItemResult(f"q{i}", {"f1": float(found)}, True, False, False, 100, 8) for i, found in enumerate(right)]
        lengths = {"length 4096": ["q1", "q2"], "length 8192": ["q3", "q4", "q5"]}
        task = task_result(f"qa{text}", ["f1"], items, {}, lengths)
        macro, intervals = macro_average({task.name: task})
        result = EvaluationResult(when, {task.name: task}, macro, intervals, 2.0, 6000, 100, 480)
        test = compare_headlines(first, result) if first else None
        first = first or result
        score = {"f1": Score(task.scores["f1"], *task.intervals["f1"])}
        for suite in ("qa", "needle"):
            folder = f"evaluations/{when.replace(' ', '-')}/{suite}"
            (run / folder).mkdir(parents=True)
            result.save(run / folder / "result.json")
            entry = EvaluationEntry(
                when, number, 5 * number, f"{suite}{text}", None, 60, score, 1.0, 0.0, test, "m", folder
            )
            entries.append(entry)
        needles = [[100.0, 50.0 + 10 * number], [25.0 + 20 * number, None]]
        needle = {"lengths": [1024, 2048], "depths": [0, 100], "accuracy": needles, "asked": [[4, 4], [4, 0]]}
        (run / folder / "map.json").write_text(json.dumps(needle))
    return entries


def tree_nodes(branching: int, depth: int, text: str = "") -> list[dict[str, object]]:
    """Return a full tree's nodes with scores, its best leaf chosen and its worst one rejected."""
    root: dict[str, object] = {"id": "0", "parent": None, "kind": "question", "text": f"root {text}", "score": 0.1}
    nodes, level = [root], ["0"]
    for number in range(depth):
        below = []
        for parent in level:
            for i in range(branching):
                name = f"{parent}.{i}"
                below.append(name)
                score = (i + 1) / (branching + number)
                node = {"id": name, "parent": parent, "kind": f"clarification{text}", "text": f"What of {name}? {text}"}
                turns = [{"role": "user", "text": f"Find {name}. {text}", "token_ids": [], "ended": True}]
                nodes.append({**node, "score": score, "parts": {f"judge{text}": score}, "turns": turns})
        level = below
    nodes[-1]["chosen"] = True
    nodes[-branching]["rejected"] = True
    return nodes


def write_rounds_so_far(run: Path, records: int, unfinished: int) -> Path:
    """Write the folder of a run that goes on: no report yet, one finished record after the other in round 1."""
    store = RoundFolder(run, 0, "0" * 16)
    store.folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(5)
    with store.rollout_log.open("wb") as log:
        log.write(encode({"log": "rollout log", "format": 2, "fingerprint": "0" * 16}))
        for i in range(records):
            log.write(encode(_rollout(f"record-{i}", 4, 5, "", chance).to_json()))
        log.write(b'{"record_id": "torn' * unfinished)
    write_checked_json(store.settings, {"format": FORMAT, "round": 0})
    return run
