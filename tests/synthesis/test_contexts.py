from __future__ import annotations

from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.synthesis.candidates import Candidate
from longmab_pl.synthesis.contexts import QuestionRecord, question_records
from longmab_pl.synthesis.documents import DocumentChunk


def chunk(document: str, text: str) -> DocumentChunk:
    return DocumentChunk(document, 0, text, len(text))


GOLD = chunk("a.txt", "The harbor of Corvo was built by Ana Reis.")
BESIDE = [chunk("a.txt", "Corvo has a school."), chunk("a.txt", "A square is named after Ana Reis.")]
OTHERS = [chunk("b.txt", f"Town {i} has a mill of its own.") for i in range(8)] + [
    chunk("b.txt", "ANA REIS was there.")
]


def records(settings: ContextSettings, *kept: Candidate) -> list[QuestionRecord | Candidate]:
    return list(question_records(kept, [GOLD, *BESIDE, *OTHERS], settings, len))


def test_distractors_are_of_the_document_first_and_never_hold_the_answer():
    candidate = Candidate(GOLD, 0, "Who built the harbor of Corvo?", "Ana Reis", agreement=1.0)
    for seed in range(5):
        (record,) = records(ContextSettings(150, 150, seed=seed), candidate)
        assert isinstance(record, QuestionRecord)
        text = record.context.text
        assert text.lower().count("ana reis") == 1
        assert "Corvo has a school." in text
        assert "Town" in text
        assert text.split("\n")[2 * record.context.places[0] - 1] == GOLD.text


def test_a_chunk_longer_than_a_context_is_returned_as_left_out():
    candidate = Candidate(GOLD, 0, "Who built the harbor of Corvo?", "Ana Reis")
    assert records(ContextSettings(20, 40), candidate) == [candidate]
