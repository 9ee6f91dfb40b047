from __future__ import annotations

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.rollout.progress import RolloutBar
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import RecordRollout

SAMPLING = Sampling(max_tokens=4)


def two_nodes(key, prepared):
    """Prepares each node with several requests, which are no progress of their own."""
    for node in range(2):
        yield [Request(f"{key}/{node}/{i}", (1,), SAMPLING, n=2, progress=0) for i in range(prepared)]
        yield [Request(f"{key}/{node}", (2,), SAMPLING, progress=1)]


def test_the_bar_counts_nodes_and_not_the_requests_that_prepare_them(capsys):
    bar = RolloutBar("rollout", 3, 2, "reward", "nodes")
    scheduler = Scheduler({"policy": ScriptedEngine(lambda request, i: "a")}, on_progress=bar.show)
    for _ in scheduler.run((f"r{i}", two_nodes(f"r{i}", 3 + i)) for i in range(3)):
        bar.finished(RecordRollout("r", "ok", units=2))
    bar.show(scheduler.progress)
    bar.close()
    assert scheduler.progress.units == 6
    assert scheduler.progress.responses == 2 * (3 + 4 + 5) * 2 + 6
    assert "6 of 6 nodes" in capsys.readouterr().err


def test_a_record_that_takes_fewer_nodes_than_expected_lowers_the_total(capsys):
    bar = RolloutBar("rollout", 2, 72, "reward", "nodes")
    bar.finished(RecordRollout("r", "ok", units=9))
    bar.skip(9)
    bar.close()
    assert "9 of 81 nodes" in capsys.readouterr().err


def test_requests_to_a_judge_are_no_progress():
    assert Request("r/0", (1,), SAMPLING, n=3).units == 3
    assert Request("r/0", (1,), SAMPLING, to="judge").units == 0
