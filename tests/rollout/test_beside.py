"""Requests beside a rollout: they fill what it leaves of the engine, and change nothing of it."""

from __future__ import annotations

import pytest

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.errors import DataError, EngineError, PromptTooLong
from longmab_pl.rollout import scheduler
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler

SAMPLING = Sampling(max_tokens=4)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Engines with room wait for strategies however long these take on a busy machine."""
    monkeypatch.setattr(scheduler, "_PATIENCE", None)


def answer(request: Request, i: int) -> str:
    return f"{request.id}#{i}"


def chain(key: str, length: int):
    """Asks one request after the other."""
    texts = []
    for t in range(length):
        (completion,) = yield [Request(f"{key}/{t}", (1,), SAMPLING)]
        texts.append(completion.texts[0])
    return texts


def beside(kept: dict[str, list[str]], count: int, turns: int = 1):
    """Streams of questions that keep their own answers."""

    def one(name: str):
        kept[name] = yield from chain(name, turns)

    return [one(f"q{i}") for i in range(count)]


def rolled(engine, kept, *, count, records=8, pulls=6, turns=1, **settings):
    tasks = ((f"r{i}", chain(f"r{i}", pulls)) for i in range(records))
    return dict(Scheduler({"policy": engine}, beside=beside(kept, count, turns), **settings).run(tasks))


def test_questions_fill_what_a_rollout_leaves_and_all_get_their_answers():
    """Three records leave five of eight slots empty."""
    kept: dict[str, list[str]] = {}

    def polls(count: int, records: int) -> int:
        engine = ScriptedEngine(answer, concurrency=8, jitter=9)
        results = rolled(engine, kept, count=count, records=records, pulls=12, turns=2)
        assert results == {f"r{i}": [f"r{i}/{t}#0" for t in range(12)] for i in range(records)}
        assert max(engine.occupancy) <= 8, "never more in flight than the engine takes"
        return len(engine.occupancy)

    together, alone, afterwards = polls(30, 3), polls(0, 3), polls(30, 0)
    assert kept == {f"q{i}": [f"q{i}/0#0", f"q{i}/1#0"] for i in range(30)}
    assert together < 0.8 * (alone + afterwards)


def test_records_go_first():
    """While records wait for the engine, nothing beside them is asked."""
    kept: dict[str, list[str]] = {}
    engine = ScriptedEngine(answer, concurrency=4, jitter=5)
    rolled(engine, kept, count=12, records=40, pulls=3)
    first = next(i for i, request in enumerate(engine.asked) if request.id.startswith("q"))
    assert first > 0.8 * 40 * 3
    assert len(kept) == 12


def test_the_journal_and_the_counts_are_the_rollouts(tmp_path):
    kept: dict[str, list[str]] = {}
    journal = Journal(tmp_path / "completions.jsonl", "f")
    engine = ScriptedEngine(answer, concurrency=4)
    running = Scheduler({"policy": engine}, journal, beside=beside(kept, 5))
    assert len(dict(running.run((f"r{i}", chain(f"r{i}", 2)) for i in range(3)))) == 3
    journal.close()
    assert "q0" not in (tmp_path / "completions.jsonl").read_text()
    assert (running.progress.responses, running.progress.units, running.progress.records_done) == (6, 6, 3)
    assert running.progress.beside_done == 5


def test_a_question_that_fails_costs_no_record():
    told = []

    def fails():
        yield [Request("q0", (1,), SAMPLING)]
        raise DataError("no such answer")

    def too_long():
        try:
            yield [Request("q1", (1,) * 100, SAMPLING)]
        except PromptTooLong as error:
            told.append(str(error))

    engine = ScriptedEngine(answer, concurrency=2, max_model_len=50)
    running = Scheduler({"policy": engine}, beside=[fails(), too_long(), *beside({}, 2)])
    results = dict(running.run((f"r{i}", chain(f"r{i}", 3)) for i in range(4)))
    assert results == {f"r{i}": [f"r{i}/{t}#0" for t in range(3)] for i in range(4)}
    assert len(told) == 1
    assert running.progress.beside_done == 4


@pytest.mark.parametrize("after", range(5, 60, 6))
def test_nothing_that_was_answered_is_lost_when_the_engine_dies(tmp_path, after):
    """A rollout's answers are in its journal, and a question has kept its own."""
    said: list[str] = []

    def say(request: Request, i: int) -> str:
        said.append(request.id)
        return answer(request, i)

    kept: dict[str, list[str]] = {}
    journal = Journal(tmp_path / "completions.jsonl", "f")
    with pytest.raises(EngineError, match="told to break"):
        rolled(ScriptedEngine(say, concurrency=8, fail_after=after), kept, count=20, journal=journal)
    journal.close()
    journal = Journal(tmp_path / "completions.jsonl", "f")
    assert len(kept) + journal.resumed == len(said) > 0
    left = [
        stream for stream, name in zip(beside(kept, 20), [f"q{i}" for i in range(20)], strict=True) if name not in kept
    ]
    tasks = ((f"r{i}", chain(f"r{i}", 6)) for i in range(8))
    running = Scheduler({"policy": ScriptedEngine(say, concurrency=8)}, journal, beside=left)
    assert len(dict(running.run(tasks))) == 8
    journal.close()
    assert len(kept) == 20
    assert len(said) == len(set(said)) == 8 * 6 + 20, "nothing is asked twice"


def test_questions_are_left_out_where_engines_take_turns():
    """A judge on the policy's device would wait for them."""
    kept: dict[str, list[str]] = {}
    engines = {"policy": ScriptedEngine(answer), "judge": ScriptedEngine(answer)}
    running = Scheduler(engines, taking_turns=["policy", "judge"], beside=beside(kept, 3))
    assert len(dict(running.run([("r0", chain("r0", 2))]))) == 1
    assert not kept


def test_without_a_record_all_questions_are_asked():
    kept: dict[str, list[str]] = {}
    assert rolled(ScriptedEngine(answer, concurrency=3), kept, count=10, records=0) == {}
    assert len(kept) == 10
