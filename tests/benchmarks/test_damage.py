"""A small run of the damage program: what it counts as wrong does not happen, and it can see it."""

from __future__ import annotations

import damage
import pytest

from longmab_pl.storage import append_log


def counted(times: int, name: str) -> int:
    return sum(seen.get(name, 0) for by_way in damage.measure(times, seed=1).values() for seen in by_way.values())


def test_no_damage_is_believed_and_none_is_a_traceback():
    counts = damage.measure(times=2, seed=1)
    assert len(counts) >= 12
    for kind, by_way in counts.items():
        assert by_way.keys() == damage.WAYS.keys()
        for way, seen in by_way.items():
            assert not seen.keys() & {"believed", "traceback"}, f"{kind}, {way}: {seen}"


def test_it_sees_damages_that_are_believed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(append_log.zlib, "crc32", lambda content: 0)
    assert counted(2, "believed") > 0
