from __future__ import annotations

import re
from dataclasses import asdict, replace

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.judge import CHINESE, ENGLISH, FIELDS


def test_names_inside_what_is_filled_in_stay_as_they_are():
    assert fill("$question | $answer", question="$answer", answer="${question} $$") == "$answer | ${question} $$"


@pytest.mark.parametrize("prompts", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_both_languages_ask_the_same_things(prompts):
    assert asdict(prompts).keys() == FIELDS.keys()
    assert ("的" in prompts.helpfulness) == (prompts is CHINESE)


@pytest.mark.parametrize(
    "text", ["Rate it: $answer", "", "$rule $question $answer $more", "$rule $question $answer $5"]
)
def test_a_prompt_of_ones_own_must_hold_the_same_names(text):
    with pytest.raises(ConfigError, match=re.escape("'helpfulness' holds")):
        replace(ENGLISH, helpfulness=text)


def test_a_prompt_of_ones_own_is_taken():
    assert replace(ENGLISH, helpfulness="$rule $question ${answer} $reply for $$5").helpfulness.endswith("$$5")
