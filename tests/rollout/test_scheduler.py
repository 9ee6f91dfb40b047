from __future__ import annotations

import gc
import os
import threading
import time

import pytest

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Engine, Request, Sampling
from longmab_pl.errors import ConfigError, DataError, EngineError, LongMabError
from longmab_pl.rollout import scheduler
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


@pytest.fixture
def patient(monkeypatch):
    """Engines with room wait for strategies however long these take on a busy machine."""
    monkeypatch.setattr(scheduler, "_PATIENCE", None)


def test_scripted_engine_is_an_engine():
    assert isinstance(ScriptedEngine(answer), Engine)


def test_every_record_gets_its_own_answers_in_order():
    engine = ScriptedEngine(answer, concurrency=4)
    results = dict(Scheduler({"policy": engine}).run((f"r{i}", chain(f"r{i}", i % 5 + 1)) for i in range(30)))
    assert results == {f"r{i}": [f"r{i}/{t}#0" for t in range(i % 5 + 1)] for i in range(30)}


def test_the_engine_is_kept_full(patient):
    engine = ScriptedEngine(answer, concurrency=8, jitter=9)
    assert len(list(Scheduler({"policy": engine}).run((f"r{i}", chain(f"r{i}", 6)) for i in range(64)))) == 64
    assert max(engine.occupancy) == 8, "never more in flight than the engine takes"
    assert sum(engine.occupancy) / len(engine.occupancy) / 8 > 0.93


def asks_a_judge(key, steps):
    """Asks the policy, then has its answer judged."""
    texts = []
    for t in range(steps):
        (said,) = yield [Request(f"{key}/{t}", (1,), SAMPLING)]
        (judged,) = yield [Request(f"{key}/{t}/judge", (2,), SAMPLING, to="judge")]
        texts.append((said.texts[0], judged.texts[0]))
    return texts


def test_each_request_goes_to_its_addressee_and_both_engines_are_kept_full(patient):
    policy = ScriptedEngine(answer, concurrency=4, jitter=5)
    judge = ScriptedEngine(lambda request, i: f"verdict on {request.id}", concurrency=4, jitter=5)
    scheduler = Scheduler({"policy": policy, "judge": judge})
    results = dict(scheduler.run((f"r{i}", asks_a_judge(f"r{i}", 3)) for i in range(24)))
    assert results == {f"r{i}": [(f"r{i}/{t}#0", f"verdict on r{i}/{t}/judge") for t in range(3)] for i in range(24)}
    assert {r.to for r in policy.asked} == {"policy"}
    assert {r.to for r in judge.asked} == {"judge"}
    assert scheduler.progress.responses == 72, "the policy's alone"
    assert max(judge.occupancy) == 4


class Turns(ScriptedEngine):
    """An engine that must not be asked anything asleep, and must have nothing in flight when it goes to sleep."""

    def __init__(self, name, log, awake):
        super().__init__(answer, concurrency=4, jitter=3)
        self.name, self.log, self.awake = name, log, awake

    def submit(self, request):
        assert self.awake, f"{self.name} was asked asleep"
        super().submit(request)

    def sleep(self):
        assert self.poll() == [], "something was in flight"
        self.awake = False
        self.log.append(f"{self.name} sleeps")

    def wake(self):
        self.awake = True
        self.log.append(f"{self.name} wakes")


def test_engines_on_one_device_take_turns_and_lose_nothing():
    log = []
    policy, judge = Turns("policy", log, True), Turns("judge", log, False)
    scheduler = Scheduler({"policy": policy, "judge": judge}, taking_turns=["policy", "judge"])
    results = dict(scheduler.run((f"r{i}", asks_a_judge(f"r{i}", 2)) for i in range(24)))
    assert len(results) == 24
    assert len(policy.asked) == len(judge.asked) == 48
    assert log[:2] == ["policy sleeps", "judge wakes"]
    assert (
        log
        == ["policy sleeps", "judge wakes", "judge sleeps", "policy wakes"] * (len(log) // 4) + log[len(log) // 4 * 4 :]
    )
    assert len(log) < 48, "a turn lasts until nothing that waits for the engine is left"


def test_a_request_for_an_engine_that_is_not_there_fails_its_record_only():
    results = dict(
        Scheduler({"policy": ScriptedEngine(answer)}).run([("a", chain("a", 2)), ("b", asks_a_judge("b", 1))])
    )
    assert results["a"] == ["a/0#0", "a/1#0"]
    assert isinstance(results["b"], ConfigError)
    assert "'b/0/judge' is for an engine named 'judge'" in str(results["b"])


def test_judged_answers_are_replayed_from_the_journal(tmp_path):
    def roll(policy, judge):
        journal = Journal(tmp_path / "c.jsonl", "f")
        try:
            engines = {"policy": policy, "judge": judge}
            return dict(Scheduler(engines, journal).run((f"r{i}", asks_a_judge(f"r{i}", 3)) for i in range(12)))
        finally:
            journal.close()

    with pytest.raises(EngineError):
        roll(ScriptedEngine(answer), ScriptedEngine(answer, fail_after=19))
    judged = (tmp_path / "c.jsonl").read_text().count('/judge"')
    assert judged > 0
    policy, judge = ScriptedEngine(answer), ScriptedEngine(answer)
    assert len(roll(policy, judge)) == 12
    assert len(judge.asked) == 36 - judged
    again = ScriptedEngine(answer)
    roll(again, again)
    assert again.asked == [], "nothing is asked or judged twice"


class Unhurried(ScriptedEngine):
    """Takes long for a step: the strategies' thread has nothing left to do when it is over."""

    scheduler: Scheduler

    def poll(self):
        thread = self.scheduler._thread
        while thread.unfinished > thread._results.qsize():
            time.sleep(0.001)
        return super().poll()


def test_the_oldest_record_goes_first_while_there_are_new_ones():
    engine = Unhurried(answer, concurrency=1, jitter=1)
    engine.scheduler = Scheduler({"policy": engine}, max_live=3)
    list(engine.scheduler.run((key, chain(key, 4)) for key in "abcdefgh"))
    asked = [r.id for r in engine.asked]
    # While a's answer is on its way to the disk and its next prompt is made, b fills the slot; c need not begin.
    assert asked.index("c/0") > asked.index("a/3")
    assert asked.index("e/0") > asked.index("c/3")


def test_the_record_with_the_fewest_answers_goes_first_when_there_are_no_new_ones(patient):
    engine = ScriptedEngine(answer, concurrency=1)
    list(Scheduler({"policy": engine}).run([("a", chain("a", 3)), ("b", chain("b", 3))]))
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

    assert (
        len(list(Scheduler({"policy": engine}, max_live=5).run((f"r{i}", tracked(f"r{i}")) for i in range(50)))) == 50
    )
    assert peak == 5


def test_joint_requests_come_back_in_the_order_they_were_asked():
    def both():
        requests = [Request(f"x/{i}", (i,), SAMPLING, n=2) for i in range(7)]
        completions = yield requests
        return [c.texts for c in completions]

    ((_, texts),) = Scheduler({"policy": ScriptedEngine(answer, concurrency=4)}).run([("x", both())])
    assert texts == [(f"x/{i}#0", f"x/{i}#1") for i in range(7)]


def test_one_bad_record_costs_no_other():
    def too_long():
        yield [Request("long/0", tuple(range(200)), SAMPLING)]
        raise AssertionError("never answered")

    def bad():
        yield [Request("bad/0", (1,), SAMPLING)]
        raise DataError("no chunk")

    tasks = [("a", chain("a", 2)), ("long", too_long()), ("bad", bad()), ("b", chain("b", 2))]
    results = dict(Scheduler({"policy": ScriptedEngine(answer, max_model_len=100)}).run(tasks))
    assert results["a"] == ["a/0#0", "a/1#0"]
    assert results["b"] == ["b/0#0", "b/1#0"]
    assert isinstance(results["long"], LongMabError)
    assert isinstance(results["bad"], DataError)


def test_a_dead_engine_is_an_error_and_the_journal_continues_from_there(tmp_path):
    def tasks():
        return ((f"r{i}", chain(f"r{i}", 4)) for i in range(10))

    uninterrupted = dict(Scheduler({"policy": ScriptedEngine(answer)}).run(tasks()))
    path = tmp_path / "completions.jsonl"
    journal = Journal(path, "f")
    with pytest.raises(EngineError, match="died"):
        list(Scheduler({"policy": ScriptedEngine(answer, fail_after=17)}, journal).run(tasks()))
    journal.close()

    journal = Journal(path, "f")
    assert 0 < journal.resumed < 40
    engine = ScriptedEngine(answer)
    results = dict(Scheduler({"policy": engine}, journal).run(tasks()))
    assert results == uninterrupted
    assert len(engine.asked) == 40 - journal.resumed, "a finished completion was asked for again"


def test_leaving_early_drops_what_is_in_flight():
    engine = ScriptedEngine(answer, concurrency=8)
    running = Scheduler({"policy": engine}).run((f"r{i}", chain(f"r{i}", 3)) for i in range(20))
    next(running)
    running.close()
    assert engine.poll() == []


def test_an_answer_is_used_when_it_is_durable_and_the_engine_does_not_wait_for_that(tmp_path, monkeypatch, patient):
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
        if threading.current_thread().name == "fsync":
            assert durable.wait(60)
        real_fsync(descriptor)

    def single(i):
        (completion,) = yield [Request(f"r{i}", (1,), SAMPLING)]
        used.append(completion)

    monkeypatch.setattr(engine, "poll", poll)
    monkeypatch.setattr("os.fsync", fsync)
    journal = Journal(tmp_path / "c.jsonl", "f")
    list(Scheduler({"policy": engine}, journal, max_live=40).run((f"r{i}", single(i)) for i in range(40)))
    journal.close()
    assert len(used) == 40


def test_what_a_strategy_does_wrong_is_not_swallowed():
    def broken():
        yield [Request("b/0", (1,), SAMPLING)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Scheduler({"policy": ScriptedEngine(answer)}).run([("a", chain("a", 9)), ("b", broken())]))
    assert "strategies" not in {t.name for t in threading.enumerate()}


def test_a_source_that_says_not_now_is_asked_again():
    finished = []

    def tasks():
        yield "a", chain("a", 3)
        yield "b", chain("b", 5)
        while "a" not in finished:
            yield None
        yield "c", chain("c", 2)

    for key, _ in Scheduler({"policy": ScriptedEngine(answer)}).run(tasks()):
        finished.append(key)
    assert sorted(finished) == ["a", "b", "c"]


def test_prompts_of_live_records_only_are_in_memory():
    """Finished records and answered requests leave; records that are not at work have not been begun."""
    engine = ScriptedEngine(answer, concurrency=4)
    asked = engine.asked
    most = 0

    def count():
        nonlocal most
        asked.clear()  # the scripted engine's own book-keeping
        most = max(most, sum(isinstance(o, Request) for o in gc.get_objects()))

    before = sum(isinstance(o, Request) for o in gc.get_objects())
    results = Scheduler({"policy": engine}).run((f"r{i}", chain(f"r{i}", 4)) for i in range(300))
    for number, _ in enumerate(results):
        if number % 10 == 0:
            count()
    assert most - before <= 2 * 8


def test_two_records_of_one_id_are_refused():
    with pytest.raises(DataError, match="two records have the id 'a'"):
        list(Scheduler({"policy": ScriptedEngine(answer)}).run([("a", chain("a", 3)), ("a", chain("a", 3))]))


def test_two_requests_of_one_id_in_a_step_fail_their_record_only():
    def twice():
        yield [Request("b/0", (1,), SAMPLING), Request("b/0", (2,), SAMPLING)]

    results = dict(Scheduler({"policy": ScriptedEngine(answer)}).run([("a", chain("a", 2)), ("b", twice())]))
    assert results["a"] == ["a/0#0", "a/1#0"]
    assert isinstance(results["b"], ConfigError)
