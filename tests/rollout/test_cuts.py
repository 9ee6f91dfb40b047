from __future__ import annotations

from longmab_pl.data.records import QARecord
from longmab_pl.rollout.cuts import context_cuts


def record(name: str, middle: str, words: int) -> QARecord:
    filler = " ".join(f"word{i}" for i in range(words))
    return QARecord(name, "Which?", (middle,), f"{filler} {middle} {filler}")


def test_cut_contexts_and_lost_answers_are_counted(byte_tokenizer):
    rows = [record("short", "Lima", 2), record("long", "Rome", 200), record("longer", "word1", 200)]
    found = context_cuts(rows, byte_tokenizer, 400, 40)
    assert (found.measured, found.cut, found.answers_lost) == (3, 2, 1), "word1 stands at the beginning too"
    lengths = [len(byte_tokenizer.encode(row.context)) for row in rows]
    assert found.longest == max(lengths)
    assert 0.5 < found.lost < 1
    said = found.message()
    assert said.startswith("2 of 3 contexts are cut to fit data.pairs.max_prompt_length 400; half of these lose 8")
    assert "in 1 the gold answer is cut out" in said


def test_contexts_that_fit_lose_nothing(byte_tokenizer):
    found = context_cuts([record("short", "Lima", 2)], byte_tokenizer, 4000, 40)
    assert (found.cut, found.answers_lost, found.lost) == (0, 0, 0.0)
    assert found.message().startswith("contexts: all of 1 fit the training prompt whole")
