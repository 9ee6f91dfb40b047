from __future__ import annotations

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.prompts import CiteThenAnswer, DirectAnswer
from longmab_pl.prompts.formats import NumberingFormat, PromptFormat, numbered_for

RECORD = QARecord("r", "Where is Lima?", ("Peru",), "Lima is in Peru.\n\nQuito is in Ecuador.")


def test_it_numbers_records_and_others_do_not():
    assert isinstance(CiteThenAnswer(), PromptFormat)
    assert isinstance(CiteThenAnswer(), NumberingFormat)
    assert not isinstance(DirectAnswer(), NumberingFormat)
    assert numbered_for(DirectAnswer(), [RECORD]) == [RECORD]
    (made,) = numbered_for(CiteThenAnswer(), [RECORD])
    assert made.context == "[1] Lima is in Peru.\n\n[2] Quito is in Ecuador."


def test_the_prompt_asks_for_the_passages_and_then_the_answer(byte_tokenizer):
    (made,) = numbered_for(CiteThenAnswer(), [RECORD])
    prompt = byte_tokenizer.decode(CiteThenAnswer().prompt_ids(byte_tokenizer, made.context, made.question))
    assert "[2] Quito is in Ecuador.\n\nQuestion: Where is Lima?" in prompt
    assert prompt.index("\nEvidence:") < prompt.index("\nAnswer:")
    assert prompt.endswith("[assistant]")


def test_a_prefill_begins_the_answer(byte_tokenizer):
    begun = CiteThenAnswer(prefill="Evidence:")
    ids = begun.prompt_ids(byte_tokenizer, "words", "what?")
    assert byte_tokenizer.decode(ids).endswith("[assistant]Evidence:")
    assert begun.response(" [1]\nAnswer: Peru") == "Evidence: [1]\nAnswer: Peru"
    assert byte_tokenizer.decode(begun.response_ids(byte_tokenizer, (5,)))[:9] == "Evidence:"
    assert begun.prompt_overhead(byte_tokenizer, "what?") == len(ids) - len("words")


def test_a_length_below_one_is_refused():
    with pytest.raises(ConfigError, match="max_characters is 0"):
        CiteThenAnswer(max_characters=0)
