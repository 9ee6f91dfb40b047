from __future__ import annotations

import json

from longmab_pl.rewards.principles import PRINCIPLES, parse_principles, parse_principles_of_all


def test_the_vectors_that_the_template_asks_for_are_read():
    reply = json.dumps({name.title(): [0, 0, 0, 0.5, 0.5] for name in PRINCIPLES})
    assert parse_principles(reply).mean == 4.5


def test_a_verdict_without_all_seven_principles_is_none():
    assert parse_principles('{"Principle1": 5}') is None


def rated(value):
    return dict.fromkeys(PRINCIPLES, value)


def test_all_candidates_are_read_from_one_object_in_the_order_of_their_names():
    reply = "Both are fine {so far}. " + json.dumps({"3f9a-2": rated(2), "3f9a-1": rated([0, 0, 0, 0, 1])})
    first, second = parse_principles_of_all(reply, ["3f9a-1", "3f9a-2"])
    assert set(first.values()) == {5.0}
    assert set(second.values()) == {2.0}


def test_a_candidate_that_is_left_out_or_half_rated_makes_no_verdict():
    assert parse_principles_of_all(json.dumps({"a": rated(3)}), ["a", "b"]) is None
    assert parse_principles_of_all(json.dumps({"a": rated(3), "b": {"principle1": 3}}), ["a", "b"]) is None
    assert parse_principles_of_all(json.dumps({"a": rated(3), "b": 3}), ["a", "b"]) is None
    assert parse_principles_of_all(json.dumps({"a": rated(3), "b": rated(6)}), ["a", "b"]) is None
