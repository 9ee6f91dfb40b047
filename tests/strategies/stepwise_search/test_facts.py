from __future__ import annotations

from longmab_pl.strategies.stepwise_search.facts import GatedStep, gate, remembered


def test_the_best_consistent_candidate_is_chosen_whatever_its_place():
    assert gate([1.0, 3.0, 2.0], {1}) == GatedStep(2, True)
    assert gate([1.0, 0.3, 2.0, 3.0], {0, 1, 3}) == GatedStep(2, True)
    assert gate([2.0, 2.0], set()) == GatedStep(0, True)


def test_the_best_of_all_is_chosen_where_none_is_consistent():
    assert gate([1.0, 3.0, 2.0], {0, 1, 2}) == GatedStep(1, False)


def test_two_facts_of_a_consistent_block_are_remembered():
    assert remembered(["a", "b", "c"], GatedStep(0, True)) == ["a", "b"]
    assert remembered([], GatedStep(0, True)) == []
    assert remembered(["a"], GatedStep(0, False)) == []
