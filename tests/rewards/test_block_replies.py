from __future__ import annotations

import json

import pytest

from longmab_pl.rewards.block_replies import advice_form, contradictions_form, facts_form, parse_advice, ratings_form

NAMES = ["3f9a-1", "3f9a-2"]


def test_seven_numbers_under_each_candidates_number_are_its_ratings():
    form = ratings_form(NAMES, structured=True)
    first, second = form.parse(json.dumps({"analysis": "", "1": [1, 2, 3, 4, 5, 5, 5], "2": [3] * 7}))
    assert (first["principle1"], first["principle7"]) == (1.0, 5.0)
    assert set(second.values()) == {3.0}
    schema = json.loads(form.schema)
    assert schema["required"] == ["analysis", "1", "2"]
    assert schema["properties"]["1"]["minItems"] == 7


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "[]",
        "none",
        '{"analysis": "", "1": [3, 3, 3, 3, 3, 3, 3]}',
        '{"analysis": "", "1": [3, 3], "2": [3, 3, 3, 3, 3, 3, 3]}',
        '{"analysis": "", "1": [3, 3, 3, 3, 3, 3, 9], "2": [3, 3, 3, 3, 3, 3, 3]}',
        '{"analysis": "", "1": [3, 3, 3, 3, 3, 3, null], "2": [3, 3, 3, 3, 3, 3, 3]}',
    ],
)
def test_other_replies_are_no_verdict(reply):
    assert ratings_form(NAMES, structured=True).parse(reply) is None
    assert ratings_form(NAMES, structured=False).parse(reply) is None


def test_contradictions_are_labels_by_candidate():
    assert contradictions_form(NAMES, False).parse('{"3f9a-1": "Contradicts", "3f9a-2": "consistent"}') == [True, False]
    assert contradictions_form(NAMES, True).parse('{"analysis": "", "1": "consistent", "2": "contradicts"}') == [
        False,
        True,
    ]
    assert contradictions_form(NAMES, False).parse('{"3f9a-1": "Rating = invalid", "3f9a-2": "consistent"}') is None


def test_facts_are_a_list_that_may_be_empty():
    assert facts_form(True).parse('{"facts": [" Ada was born in 1815. ", ""]}') == ["Ada was born in 1815."]
    assert facts_form(True).parse('{"facts": []}') == facts_form(False).parse("<no-statements/>") == []
    assert facts_form(True).parse('{"facts": "none"}') is None
    assert facts_form(False).parse("<statement>One.</statement><statement>Two.</statement>") == ["One.", "Two."]


def test_advice_is_read_by_principle_and_bounded():
    reply = json.dumps(
        {
            "principle5": {"suggestion": "Vary   the\nverbs.", "confidence": 4},
            "principle6": {"suggestion": "x" * 900, "confidence": 17},
            "principle7": {"suggestion": " "},
        }
    )
    names = ["principle5", "principle6", "principle7"]
    assert parse_advice(reply, names) == [("Vary the verbs.", 4.0), ("x" * 400, 1.0)]
    assert parse_advice(reply, [*names, "principle1"]) is None
    assert parse_advice('{"principle7": {"suggestion": ""}}', ["principle7"]) is None
    assert json.loads(advice_form(names, True).schema)["required"] == names
