from __future__ import annotations

import pytest

from longmab_pl.evaluation.degeneration import degeneration, distinct_n, repeated_sentences, repetition_rate


def test_a_text_without_repetition_has_none():
    text = "The boat left the harbour at dawn. Nobody waved."
    assert degeneration(text) == {
        "repetition": 0.0,
        "repeated_sentences": 0.0,
        "distinct_1": pytest.approx(8 / 9),
        "distinct_2": 1.0,
    }


def test_a_loop_is_almost_all_repetition():
    loop = "It was cold. " * 50
    assert repetition_rate(loop) == pytest.approx(1 - 3 / 147)
    assert repeated_sentences(loop) == pytest.approx(49 / 50)
    assert distinct_n(loop, 1) == pytest.approx(3 / 150)


@pytest.mark.parametrize("text", ["", "  \n", "one", "!?"])
def test_short_and_empty_texts_do_not_repeat(text):
    assert repetition_rate(text) == repeated_sentences(text) == 0.0


def test_chinese_is_counted_by_characters():
    assert distinct_n("山山水水", 1) == 0.5
    assert repeated_sentences("他回家了。他回家了。") == 0.0, "no space between them: one sentence of six characters"
    assert repeated_sentences("他回家了。 他回家了。") == 0.5
