from __future__ import annotations

import json

import pytest

from longmab_pl.rewards.base import Score
from longmab_pl.rollout.rollout_log import RolloutLog
from longmab_pl.strategies.base import RecordRollout, Response


def rollout(name: str) -> RecordRollout:
    matched = {"answer_match": Score(1 / 3, {"rollout": 0.5})}
    judged = {"judge": Score(0.0, excluded="no verdict", notes={"helpfulness": "?"})}
    responses = (
        Response("Answer: “é”\n", True, 0, (1, 2), None, matched, (7, 8)),
        Response("", False, 1, scores=judged),
    )
    return RecordRollout(name, "ok", responses, "separated", 3, {"arms": 3, "pulls": [1, 1, 0], "values": [0.1, 0.2]})


def test_rows_are_read_back_exactly():
    assert RecordRollout.from_json(json.loads(json.dumps(rollout("a").to_json()))) == rollout("a")
    dropped = RecordRollout("b", "probe_rejected", trace={"arms": 4})
    assert RecordRollout.from_json(json.loads(json.dumps(dropped.to_json()))) == dropped


def test_records_are_found_again_in_any_order_and_by_a_later_process(tmp_path):
    path = tmp_path / "rollouts"
    with RolloutLog(path, "f1") as log:
        for name in "cab":
            log.add(rollout(name))
        assert log.read("a") == rollout("a")
        log.add(rollout("d"))
    with RolloutLog(path, "f1") as log:
        assert list(log) == ["c", "a", "b", "d"]
        assert "e" not in log
        assert log.read("d") == rollout("d")
        log.add(rollout("e"))
        assert log.read("b") == rollout("b")
        assert len(log) == 5


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    path = tmp_path / "rollouts"
    with RolloutLog(path, "f1") as log:
        log.add(rollout("a"))
        log.add(rollout("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    with RolloutLog(path, "f1") as log:
        assert list(log) == ["a"]
        log.add(rollout("b"))
        assert log.read("b") == rollout("b")
