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
    path = tmp_path / "spool"
    with RolloutLog(path, "f1") as spool:
        for name in "cab":
            spool.add(rollout(name))
        assert spool.read("a") == rollout("a")
        spool.add(rollout("d"))
    with RolloutLog(path, "f1") as spool:
        assert list(spool) == ["c", "a", "b", "d"]
        assert "e" not in spool
        assert spool.read("d") == rollout("d")
        spool.add(rollout("e"))
        assert spool.read("b") == rollout("b")
        assert len(spool) == 5


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_is_cut_off(tmp_path, cut):
    path = tmp_path / "spool"
    with RolloutLog(path, "f1") as spool:
        spool.add(rollout("a"))
        spool.add(rollout("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    with RolloutLog(path, "f1") as spool:
        assert list(spool) == ["a"]
        spool.add(rollout("b"))
        assert spool.read("b") == rollout("b")
