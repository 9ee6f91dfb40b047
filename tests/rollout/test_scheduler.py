from __future__ import annotations

import gc
import os
import threading
import time

import pytest

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Engine, Request, Sampling
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
    assert max(by_poll) == 8, "never more in flight than the engine takes"
    assert free > 0.93
    assert lockstep < 0.7


class Unhurried(ScriptedEngine):
    """Leaves the strategies' thread the time that a real engine's step takes."""

    def poll(self):
        time.sleep(0.005)
        return super().poll()


def test_the_oldest_record_goes_first_while_there_are_new_ones():
    engine = Unhurried(answer, concurrency=1, jitter=1)
    list(Scheduler(engine, max_live=3).run((key, chain(key, 4)) for key in "abcdefgh"))
    asked = [r.id for r in engine.asked]
    # While a's answer is on its way to the disk and its next prompt is made, b fills the slot; c need not begin.
    assert asked.index("c/0") > asked.index("a/3")
    assert asked.index("e/0") > asked.index("c/3")


def test_the_record_with_the_fewest_answers_goes_first_when_there_are_no_new_ones():
    engine = ScriptedEngine(answer, concurrency=1)
    list(Scheduler(engine).run([("a", chain("a", 3)), ("b", chain("b", 3))]))
    assert [r.id for r in engine.asked] == ["a/0", "b/0", "a/1", "b/1", "a/2", "b/2"]


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
        list(Scheduler(ScriptedEngine(answer, fail_after=17), journal).run(tasks()))
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


def test_an_answer_is_used_when_it_is_durable_and_the_engine_does_not_wait_for_that(tmp_path, monkeypatch):
    """A disk that takes until the engine has been polled five more times."""
    engine = ScriptedEngine(answer, concurrency=4, jitter=1)
    used, durable = [], threading.Event()
    real_poll, real_fsync = engine.poll, os.fsync

    def poll():
        if len(engine.occupancy) == 6:
            assert len(engine.asked) > 20, "the slots were not filled meanwhile"
            assert not used, "used before it was on the disk"
            durable.set()
        return real_poll()

    def fsync(descriptor):
        if threading.current_thread().name == "journal":
            assert durable.wait(60)
        real_fsync(descriptor)

    def single(i):
        (completion,) = yield [Request(f"r{i}", (1,), SAMPLING)]
        used.append(completion)

    monkeypatch.setattr(engine, "poll", poll)
    monkeypatch.setattr("os.fsync", fsync)
    journal = Journal(tmp_path / "c.jsonl", "f")
    list(Scheduler(engine, journal, max_live=40).run((f"r{i}", single(i)) for i in range(40)))
    journal.close()
    assert len(used) == 40


def test_what_a_strategy_does_wrong_is_not_swallowed():
    def broken():
        yield [Request("b/0", (1,), SAMPLING)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Scheduler(ScriptedEngine(answer)).run([("a", chain("a", 9)), ("b", broken())]))
    assert "strategies" not in {t.name for t in threading.enumerate()}


def test_a_source_that_says_not_now_is_asked_again():
    finished = []

    def tasks():
        yield "a", chain("a", 3)
        yield "b", chain("b", 5)
        while "a" not in finished:
            yield None
        yield "c", chain("c", 2)

    for key, _ in Scheduler(ScriptedEngine(answer)).run(tasks()):
        finished.append(key)
    assert sorted(finished) == ["a", "b", "c"]


@pytest.mark.parametrize("mode", ["free", "lockstep"])
def test_prompts_of_live_records_only_are_in_memory(mode):
    """Finished records and answered requests leave; records that are not at work have not been begun."""
    engine = ScriptedEngine(answer, concurrency=4)
    asked = engine.asked
    most = 0

    def count():
        nonlocal most
        asked.clear()  # the scripted engine's own book-keeping
        most = max(most, sum(isinstance(o, Request) for o in gc.get_objects()))

    before = sum(isinstance(o, Request) for o in gc.get_objects())
    for number, _ in enumerate(Scheduler(engine, mode=mode).run((f"r{i}", chain(f"r{i}", 4)) for i in range(300))):
        if number % 10 == 0:
            count()
    assert most - before <= 2 * 8


def test_two_records_of_one_id_are_refused():
    with pytest.raises(DataError, match="two records have the id 'a'"):
        list(Scheduler(ScriptedEngine(answer)).run([("a", chain("a", 3)), ("a", chain("a", 3))]))
