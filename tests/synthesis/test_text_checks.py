from __future__ import annotations

import pytest

from longmab_pl.synthesis.candidates import Candidate
from longmab_pl.synthesis.documents import DocumentChunk
from longmab_pl.synthesis.text_checks import names_nothing, problem_of

CHUNK = DocumentChunk(
    "a.txt", 0, "Velden is a city. In 1994 it replaced its 42 trams with the buses of Orma & Sons.", 20
)


def problem(question: str, answer: str) -> str | None:
    return problem_of(Candidate(CHUNK, 0, question, answer), max_answer_words=6)


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("Whose buses replaced the trams of Velden?", "Orma & Sons", None),
        ("How many trams did Velden have until 1994?", "forty-two", None),
        ("What is Velden?", "a city", None),
        ("Velden is a city.", "city", "not a question with a short answer"),
        ("What happened in Velden?", "it replaced its 42 trams with the buses", "not a question with a short answer"),
        ("Why?", "trams", "not a question with a short answer"),
        ("Which town is it?", "...", "not a question with a short answer"),
        ("When did Velden replace its trams?", "1995", "answer not in the chunk"),
        ("How many trams had Velden?", "4", "answer not in the chunk"),
        ("Which city, Velden or Orma, had trams?", "Velden", "question holds its answer"),
        ("What is the main topic of this passage?", "trams", "question points to the text"),
        ("According to the text, what replaced the trams of Velden?", "buses", "question points to the text"),
        ("Which city is mentioned?", "Velden", "question points to the text"),
        ("When did it replace its trams?", "1994", "question names nothing"),
    ],
)
def test_each_question_is_left_out_for_its_first_fault(question, answer, found):
    assert problem(question, answer) == found


def test_a_text_that_is_the_subject_is_no_pointer():
    assert problem("Who wrote the text of Velden's anthem?", "Orma") is None
    assert problem("What was stated by Velden in 1994?", "buses") is None


def test_pronouns_may_refer_to_a_name_or_a_number():
    assert names_nothing("When did they leave?")
    assert not names_nothing("When did Ana Reis leave her country?")
    assert not names_nothing("What happened to them in 1950?")
    assert not names_nothing("What spreads seeds?")
