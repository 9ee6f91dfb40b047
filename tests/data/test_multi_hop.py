"""Multi-hop questions are read in their native formats, with the passages that answer them."""

from __future__ import annotations

import json

import pytest
from multi_hop import hotpot, hotpot_hub, musique, two_wiki, write_lines

from longmab_pl.data.multi_hop import MultiHopQuestion, Passage, read_questions
from longmab_pl.data.readers import BadRecord


def read(tmp_path, *rows):
    return list(read_questions(write_lines(tmp_path / "q.jsonl", list(rows))))


@pytest.mark.parametrize("form", [musique, hotpot, hotpot_hub, two_wiki])
def test_needed_passages_are_told_from_distractors_in_every_format(tmp_path, form):
    (found,) = read(tmp_path, form(3))
    assert {p.title for p in found.support} == {"Town 3", "River 3"}
    assert [p.title for p in found.distractors] == ["Hill 3.0", "Hill 3.1", "Hill 3.2"]
    assert found.answers[0] == "Land 3"
    assert found.support[0].text.startswith("Town 30")
    assert MultiHopQuestion.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_two_wikis_json_list_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([hotpot(1), hotpot(2)]))
    assert [q.id for q in read_questions(str(path))] == ["h1", "h2"]


def test_an_unanswerable_question_is_none_and_takes_no_id(tmp_path):
    bad, good = musique(1, answerable=False), musique(1)
    assert read(tmp_path, bad, good)[0] is None
    assert isinstance(read(tmp_path, bad, good)[1], MultiHopQuestion)


def test_an_article_with_needed_and_other_paragraphs_is_needed_and_stands_once(tmp_path):
    row = musique(1)
    row["paragraphs"][2]["title"] = "TOWN 1."  # a distractor of the needed article
    row["paragraphs"][3]["title"] = row["paragraphs"][4]["title"]
    row["paragraphs"][1]["title"] = "Town 1"
    (found,) = read(tmp_path, row)
    assert [p.title for p in found.support] == ["Town 1"]
    assert found.support[0].text == "\n".join(p["paragraph_text"] for p in row["paragraphs"][:2])
    assert [p.title for p in found.distractors] == ["Hill 1.2"]


def test_our_own_form_names_documents_or_gives_one_text(tmp_path):
    asked = {"question": "Where?", "answer": "Lima"}
    text = {**asked, "context": "It is in Lima.", "title": "P"}
    named, given = read(tmp_path, {**asked, "sources": ["peru.md"]}, text)
    assert named.support == (Passage("peru.md", ""),)
    assert given.support == (Passage("P", "It is in Lima."),)


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ({"question": "q", "answer": "a"}, "", "no documents; give paragraphs (MuSiQue)"),
        (musique(1, paragraphs=[]), "", "no passage of it is marked"),
        (musique(1, paragraphs=["text"]), "paragraphs[0]", "a string; give title"),
        (musique(1, paragraphs=[{"title": "t", "paragraph_text": "x"}]), "paragraphs[0]", "is_supporting"),
        (hotpot(1, supporting_facts=None), "supporting_facts", "missing"),
        (hotpot(1, supporting_facts=[[]]), "supporting_facts", "a title and a sentence"),
        (hotpot(1, context=[["t"]]), "context[0]", "no passage"),
        (hotpot(1, context={"title": ["t"]}), "context", "equal number"),
        (hotpot(1, context=7), "context", "an integer"),
        (hotpot(1, answer=""), "answer", "empty"),
        (musique(1, question=None), "input", "missing"),
        ([1], "", "a list; it must be an object"),
    ],
)
def test_a_malformed_record_is_named_by_its_field(tmp_path, row, field, message):
    (bad,) = read(tmp_path, row)
    assert isinstance(bad, BadRecord)
    assert (bad.field, bad.line) == (field, 1)
    assert message in bad.message


def test_an_id_that_is_taken_is_named(tmp_path):
    _, bad = read(tmp_path, hotpot(1), hotpot(1))
    assert "taken by" in bad.message
