from __future__ import annotations

from longmab_pl.synthesis.candidates import Candidate
from longmab_pl.synthesis.documents import DocumentChunk
from longmab_pl.synthesis.near_duplicates import near_duplicates

ONE, OTHER = (DocumentChunk(name, 0, f"Text of {name}.", 4) for name in ("a.txt", "b.txt"))


def left_out(*asked: tuple[DocumentChunk, str, str], similarity: float = 0.8) -> list[int]:
    candidates = [Candidate(chunk, i, question, answer) for i, (chunk, question, answer) in enumerate(asked)]
    found = near_duplicates(candidates, similarity)
    return [candidate.number for candidate in candidates if candidate.id in found]


def test_the_later_of_two_similar_questions_about_a_chunk_is_left_out():
    first, again = "Who built the harbor of Corvo?", "Who built the old harbor of Corvo?"
    assert left_out((ONE, first, "Ana Reis"), (ONE, again, "Ana")) == [1]
    assert left_out((ONE, again, "Ana"), (ONE, first, "Ana Reis")) == [1]
    assert left_out((ONE, first, "Ana Reis"), (ONE, again, "Ana"), similarity=0.95) == []


def test_questions_about_different_chunks_are_compared_if_their_answers_are_the_same():
    asked = "Who built the harbor of Corvo?", "Who built the old harbor of Corvo?"
    assert left_out((ONE, asked[0], "Ana Reis"), (OTHER, asked[1], "the Ana Reis")) == [1]
    assert left_out((ONE, asked[0], "Ana Reis"), (OTHER, asked[1], "Luis")) == []


def test_the_same_question_with_two_answers_is_ambiguous_and_left_out_everywhere():
    asked = "Who was the king?", "who was king"
    assert left_out((ONE, asked[0], "Carl"), (OTHER, asked[1], "Otto"), (ONE, "Where is Corvo?", "here")) == [0, 1]
