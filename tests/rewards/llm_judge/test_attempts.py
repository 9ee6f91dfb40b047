from __future__ import annotations

import pytest

from longmab_pl.rewards.llm_judge.attempts import TEMPERATURES, Outcome, attempts


def number(reply):
    return int(reply) if reply.isdigit() else None


def drive(replies):
    asking = attempts(number)
    temperatures = [next(asking)]
    for reply in replies:
        try:
            temperatures.append(asking.send(reply))
        except StopIteration as end:
            return end.value, temperatures
    raise AssertionError("asked for more replies")


def test_the_first_reply_that_parses_ends_it():
    assert drive(["x", "4"]) == (Outcome(4, 2, "4"), [0.01, 0.95])


def test_five_replies_without_a_verdict_are_no_value():
    outcome, temperatures = drive(["a", "", "c", "d", "e"])
    assert outcome == Outcome(None, 5, "e")
    assert tuple(temperatures) == TEMPERATURES


def test_zero_is_a_verdict():
    assert drive(["0"])[0].value == 0


def test_nothing_is_asked_after_the_verdict():
    asking = attempts(number)
    next(asking)
    with pytest.raises(StopIteration):
        asking.send("1")
