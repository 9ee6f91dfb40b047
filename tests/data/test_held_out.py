from __future__ import annotations

from longmab_pl.data.held_out import split_by_context
from longmab_pl.data.records import QARecord


def records(contexts: int, each: int = 3) -> list[QARecord]:
    return [QARecord(f"{c}-{i}", f"Q{i}?", ("a",), f"Context {c}") for c in range(contexts) for i in range(each)]


def test_no_context_is_on_both_sides():
    train, held_out = split_by_context(records(40), 0.1)
    assert len(held_out) == 4 * 3
    assert len(train) == 36 * 3
    assert not {r.context for r in train} & {r.context for r in held_out}


def test_the_choice_depends_on_text_and_seed_not_on_order():
    rows = records(40)
    held = {r.id for r in split_by_context(rows, 0.1)[1]}
    assert {r.id for r in split_by_context(rows[::-1], 0.1)[1]} == held


def test_few_contexts_hold_out_one_and_a_share_of_zero_none():
    assert len({r.context for r in split_by_context(records(3), 0.1)[1]}) == 1
    assert split_by_context(records(3), 0.0) == (records(3), [])
