"""LongBench v2's placeholders and retrieved chunks."""

from __future__ import annotations

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench_v2.prompts import Chunk, Prompts, filled, filled_in_turn, retrieved, values

GIVEN = values(" a text with $Q$ ", "why?", ["one", "two", "three", "four"])


def test_placeholders_in_a_document_stay_unless_they_are_filled_in_turn():
    template = "$DOC$|$Q$|$C_D$"
    assert filled(template, GIVEN) == "a text with $Q$|why?|four"
    assert filled_in_turn(template, GIVEN) == "a text with why?|why?|four"


def test_retrieved_chunks_are_the_first_ones_in_the_order_of_the_text():
    chunks = [Chunk(7, "late"), Chunk(2, "early"), Chunk(1, "left out")]
    assert retrieved(chunks, 2) == "Retrieved chunk 1: early\n\nRetrieved chunk 2: late"


def test_official_prompts_are_read_from_their_folder(tmp_path):
    for stem in ("0shot", "0shot_cot", "0shot_cot_ans", "0shot_no_context", "0shot_rag"):
        (tmp_path / f"{stem}.txt").write_text(stem)
    assert Prompts.official(tmp_path).cot_answer == "0shot_cot_ans"
    (tmp_path / "0shot_rag.txt").unlink()
    with pytest.raises(ConfigError, match=r"0shot_rag\.txt cannot be read"):
        Prompts.official(tmp_path)
