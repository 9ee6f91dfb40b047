"""A round of scripted answers, for one process and for the workers of a cluster."""

from __future__ import annotations

import json
from pathlib import Path

from cluster_engines import NotedEngine

from longmab_pl.engines.protocol import Engine, Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.session import RecordSelection, RolloutSession
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking

ANSWERS = 4
"""Requests of a record."""


def write_records(folder: Path, count: int) -> Path:
    """Write questions about rivers, and return the file."""
    path = folder / "qa.jsonl"
    with path.open("w") as file:
        for i in range(count):
            row = {
                "id": f"r{i}",
                "input": f"Which river at {i}?",
                "answer": f"number {i * 10}",
                "context": f"Place {i} lies on river number {i * 10}. Nobody lives there.",
            }
            file.write(json.dumps(row) + "\n")
    return path


def session_of(records: Path, engine: Engine, answers: int = ANSWERS) -> RolloutSession:
    """Return a session that asks several times about each record, one after the other."""
    strategy = BanditRollout(
        pulls=answers, top_k=1, init="uniform", chunking=Chunking(60, 0, 1), sampling=Sampling(max_tokens=8)
    )
    plan = RoundPlan(strategy, (AnswerMatch(),), DirectAnswer(), BestWorst(400), Embedder(), seed=3)
    return RolloutSession(plan, RecordSelection(str(records)), engine)


def begun(session: RolloutSession, run: Path, model: str) -> Round:
    """Return the session's first round, with its records loaded."""
    session.load(model, show=False)
    return session.new_round(run, 0, model, "base")


def in_one_process(records: Path, run: Path, model: str) -> Round:
    """Return a finished round of this process."""
    session = session_of(records, NotedEngine(str(run / "notes")))
    making = begun(session, run, model)
    session.engine.start(model)
    session.roll_out(making, "round 1", adapter=None)
    making.finish("base")
    return making


def files(making: Round) -> dict[str, bytes]:
    """Return a finished round's pairs and rollouts."""
    return {path.name: path.read_bytes() for path in (making.store.pairs, making.store.rollouts)}


def journalled(making: Round) -> list[str]:
    """Return the request ids in a round's journal."""
    lines = making.store.journal.read_text().splitlines()
    return [json.loads(line)["request_id"] for line in lines[1:]]


def asked(notes: Path) -> dict[int, list[str]]:
    """Return what the engines of each process were asked."""
    return {int(path.name): path.read_text().split() for path in sorted(notes.iterdir())}
