from __future__ import annotations

import pytest
from scripted_engine import ScriptedEngine

from longmab_pl.engine.protocol import Engine, Request, Sampling
from longmab_pl.errors import DataError, EngineError, LongMabError
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler

SAMPLING = Sampling(max_tokens=4)


def answer(request: Request, i: int) -> str:
    return f"{request.id}#{i}"


def chain(key: str, length: int):
    """Asks `length` requests one after the other; each prompt depends on the answer before."""
    last, texts = 0, []
    for t in range(length):
        (completion,) = yield [Request(f"{key}/{t}", (last,), SAMPLING)]
        texts.append(completion.texts[0])
        last = sum(map(ord, completion.texts[0]))
    return texts


def test_scripted_engine_is_an_engine():
    assert isinstance(ScriptedEngine(answer), Engine)


def test_every_record_gets_its_own_answers_in_order():
    engine = ScriptedEngine(answer, concurrency=4)
    results = dict(Scheduler(engine).run((f"r{i}", chain(f"r{i}", i % 5 + 1)) for i in range(30)))
    assert results == {f"r{i}": [f"r{i}/{t}#0" for t in range(i % 5 + 1)] for i in range(30)}


def test_free_running_keeps_the_engine_full_and_lockstep_does_not():
    def tasks():
        return ((f"r{i}", chain(f"r{i}", 6)) for i in range(64))

    def occupancy(mode):
        engine = ScriptedEngine(answer, concurrency=8, jitter=9)
        assert len(list(Scheduler(engine, mode=mode).run(tasks()))) == 64
        return sum(engine.occupancy) / len(engine.occupancy) / 8, engine.occupancy

    free, by_poll = occupancy("free")
    lockstep, _ = occupancy("lockstep")
    assert all(n == 8 for n in by_poll[: len(by_poll) * 2 // 3]), "a slot was empty while records were waiting"
    assert max(by_poll) == 8, "never more in flight than the engine takes"
    assert free > 0.85
    assert lockstep < 0.7


def test_records_are_taken_up_only_when_there_is_room():
    engine = ScriptedEngine(answer, concurrency=3)
    alive = peak = 0

    def tracked(key):
        nonlocal alive, peak
        alive += 1
        peak = max(peak, alive)
        result = yield from chain(key, 3)
        alive -= 1
        return result

    assert len(list(Scheduler(engine, max_live=5).run((f"r{i}", tracked(f"r{i}")) for i in range(50)))) == 50
    assert peak == 5


def test_joint_requests_come_back_in_the_order_they_were_asked():
    def both():
        requests = [Request(f"x/{i}", (i,), SAMPLING, n=2) for i in range(7)]
        completions = yield requests
        return [c.texts for c in completions]

    ((_, texts),) = Scheduler(ScriptedEngine(answer, concurrency=4)).run([("x", both())])
    assert texts == [(f"x/{i}#0", f"x/{i}#1") for i in range(7)]


def test_one_bad_record_costs_no_other():
    def too_long():
        yield [Request("long/0", tuple(range(200)), SAMPLING)]
        raise AssertionError("never answered")

    def bad():
        yield [Request("bad/0", (1,), SAMPLING)]
        raise DataError("no chunk")

    tasks = [("a", chain("a", 2)), ("long", too_long()), ("bad", bad()), ("b", chain("b", 2))]
    results = dict(Scheduler(ScriptedEngine(answer, max_model_len=100)).run(tasks))
    assert results["a"] == ["a/0#0", "a/1#0"]
    assert results["b"] == ["b/0#0", "b/1#0"]
    assert isinstance(results["long"], LongMabError)
    assert isinstance(results["bad"], DataError)


def test_a_dead_engine_is_an_error_and_the_journal_continues_from_there(tmp_path):
    def tasks():
        return ((f"r{i}", chain(f"r{i}", 4)) for i in range(10))

    uninterrupted = dict(Scheduler(ScriptedEngine(answer)).run(tasks()))
    path = tmp_path / "completions.jsonl"
    journal = Journal(path, "f")
    with pytest.raises(EngineError, match="died"):
        list(Scheduler(ScriptedEngine(answer, die_after=17), journal).run(tasks()))
    journal.close()

    journal = Journal(path, "f")
    assert 0 < journal.resumed < 40
    engine = ScriptedEngine(answer)
    results = dict(Scheduler(engine, journal).run(tasks()))
    assert results == uninterrupted
    assert len(engine.asked) == 40 - journal.resumed, "a finished completion was asked for again"


def test_leaving_early_drops_what_is_in_flight():
    engine = ScriptedEngine(answer, concurrency=8)
    running = Scheduler(engine).run((f"r{i}", chain(f"r{i}", 3)) for i in range(20))
    next(running)
    running.close()
    assert engine.poll() == []
