from __future__ import annotations

import json

import pytest

from longmab_pl.data.readers import read_records
from longmab_pl.data.sources import shipped_path
from longmab_pl.data.synthesis import synthesize, write_records

PASSAGES = [["Lima", ["Lima is in Peru.", "It is large."]], ["Quito", ["Quito is not."]], ["Jay–Z", ["A singer."]]]
MUSIQUE = [
    {"title": "Lima", "paragraph_text": "Lima is in Peru.", "is_supporting": False},
    {"title": "Lima", "paragraph_text": "Lima is large.", "is_supporting": True},
]
HEADED = "Passage 1: Lima\nIn Peru.\n\nPassage 2: Quito\nNot there."


def evidence(tmp_path, **row):
    file = tmp_path / "qa.jsonl"
    file.write_text(json.dumps({"id": "a", "input": "Where?", "answer": "Peru", **row}) + "\n")
    (record,) = read_records(str(file)).records
    return record.evidence if record.evidence is None else [record.context[a:b] for a, b in record.evidence]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"context": PASSAGES, "supporting_facts": [["Quito", 0], ["Quito", 1]]}, ["Quito\nQuito is not."]),
        ({"context": PASSAGES, "supporting_facts": {"title": ["Jay-Z"], "sent_id": [0]}}, ["Jay–Z\nA singer."]),
        (
            {"context": json.loads(json.dumps(PASSAGES)), "supporting_facts": '[["Lima", 0]]'},
            ["Lima\nLima is in Peru. It is large."],
        ),
        ({"paragraphs": MUSIQUE}, ["Lima\nLima is large."]),
        ({"context": HEADED, "evidence": ["Quito"]}, ["Quito\nNot there."]),
        ({"context": HEADED, "evidence": ["Quito"], "evidence_passages": [1]}, ["Lima\nIn Peru."]),
        # What other data may mean by these names is not known.
        ({"context": HEADED, "evidence": ["Bogota"]}, None),
        ({"context": HEADED, "evidence": ["Quito", "Bogota"]}, None),
        ({"context": HEADED, "evidence": "Quito"}, None),
        ({"context": HEADED, "evidence": [], "evidence_passages": [3]}, None),
        ({"context": HEADED, "evidence_passages": [True]}, None),
        ({"context": HEADED, "supporting_facts": [["Bogota", 0]]}, None),
        ({"context": HEADED, "supporting_facts": "[[["}, None),
        ({"context": HEADED, "supporting_facts": [[]]}, None),
        ({"context": "Lima is in Peru."}, None),
    ],
)
def test_evidence_is_read_from_every_form(tmp_path, row, expected):
    assert evidence(tmp_path, **row) == expected


def test_the_evidence_of_synthetic_records_holds_their_answers(tmp_path):
    made = synthesize(3, 20, 0, 8, 0.5).train
    records = read_records(str(write_records(made, tmp_path / "train.jsonl"))).records
    for one, record in zip(made, records, strict=True):
        texts = [record.context[start:end] for start, end in record.evidence]
        assert len(texts) == one.hops
        assert any(one.answer in text for text in texts)
    shipped = read_records(str(shipped_path("synthetic_train"))).records
    assert all(record.evidence for record in shipped)
