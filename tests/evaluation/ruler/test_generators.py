"""What RULER's generators promise, whatever is drawn: answers in the text, counts, and the same text for a seed."""

from __future__ import annotations

from collections import Counter

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.common_words import CommonWords, Frequencies
from longmab_pl.evaluation.ruler.example import Draws, Template
from longmab_pl.evaluation.ruler.frequent_words import FrequentWords
from longmab_pl.evaluation.ruler.needles import NeedleForm, NeedleMaterial, Needles
from longmab_pl.evaluation.ruler.questions import DocumentQuestions, hotpot_questions, squad_questions
from longmab_pl.evaluation.ruler.texts import Essay
from longmab_pl.evaluation.ruler.variable_tracking import TrackingText, VariableTracking, renamed

WORDS = [f"w{i}" for i in range(50)]
MATERIAL = NeedleMaterial(WORDS, "<{key}={value}>", "noise here.", Essay(["one", "two.", "three."] * 40, str.split))
TEMPLATE = Template("Some {type_needle_v}:\n{context}\nWhat are all for {query}?", " {query} are")


def needles(form, seed=1):
    return Needles(form, TEMPLATE, MATERIAL, Draws(seed))


@pytest.mark.parametrize("haystack", ["noise", "essay", "needle"])
def test_every_answer_stands_in_the_haystack_behind_its_key(haystack):
    example = needles(NeedleForm(haystack, values=2, queries=2))(60)
    assert len(example.answers) == 4
    first, second = example.prefix.removesuffix(" are").strip().split(", and ")
    for key, values in ((first, example.answers[:2]), (second, example.answers[2:])):
        assert all(f"<{key}={value}>" in example.text for value in values)


def test_one_value_is_asked_for_in_the_singular():
    example = needles(NeedleForm("noise"))(10)
    assert example.text.startswith("A number:")
    assert "What is for" in example.text
    assert example.prefix.endswith(" is")


def test_the_same_seed_gives_the_same_examples_and_another_one_others():
    texts = [needles(NeedleForm("essay"), seed)(60).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_more_needles_than_lines_are_refused():
    with pytest.raises(ConfigError, match="2 lines holds no 4 needles"):
        needles(NeedleForm("noise", values=4))(2)


def test_names_of_a_chain_lead_back_to_the_value_that_is_asked_for():
    make = VariableTracking(Template("{context}\n{query}", ""), TrackingText("noise."), Draws(3), hops=3)
    example = make(20)
    *lines, value = example.text.split("\n")
    assigned = dict(line.removeprefix("VAR ").rstrip().split(" = ") for line in lines if line.startswith("VAR"))
    assert len(example.answers) == 4
    for name in example.answers:
        while name in assigned:
            name = assigned[name].removeprefix("VAR ")
        assert name == value


def test_a_worked_example_gets_new_names_everywhere():
    text = renamed("VAR ABC = 12345\nVAR XYZ = VAR ABC\nABC XYZ", 1, Draws(5))
    assert "ABC" not in text
    assert "XYZ" not in text
    assert "12345" not in text
    (first, _, value), (second, _, _, source) = (line.split()[1:] for line in text.split("\n")[:2])
    assert source == first
    assert text.endswith(f"{first} {second}")
    assert value.isdigit()
    assert len(value) == 5


def test_common_words_stand_as_often_as_asked():
    make = CommonWords(Template("{context}", ""), WORDS, [], Draws(2), frequencies=Frequencies(7, 2, 3))
    listed, common = make.listing(10, make.question)
    counts = Counter(listed.split()[1::2])
    assert {counts[word] for word in common} == {7}
    assert sorted(counts.values()) == [2] * 7 + [7] * 3


def test_the_most_frequent_made_up_words_are_the_answers_and_dots_are_not():
    example = FrequentWords(Template("{context}", ""), Draws(2), vocabulary=40)(2000)
    counts = Counter(example.text.split())
    assert counts["..."] == int(2000 * 6 / 3.14159265**2)
    assert [word for word, _ in counts.most_common(4)] == ["...", *example.answers]


SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {"context": "B", "qas": [{"question": "q1", "is_impossible": False, "answers": [{"text": "b"}]}]},
                {"context": "A", "qas": [{"question": "q2", "is_impossible": True, "answers": []}]},
            ],
        },
        {"title": "u", "paragraphs": [{"context": "C", "qas": []}, {"context": "D", "qas": []}]},
    ]
}


def test_squad_leaves_out_what_has_no_answer_and_prefers_the_same_article():
    data = squad_questions(SQUAD)
    assert [q.text for q in data.questions] == ["q1"]
    make = DocumentQuestions(Template("{context}|{query}", ""), "{i}:{document}", data, Draws(1))
    two = make.example(0, 2)
    assert set(two.text.split("|")[0].split("\n\n")) in ({"1:A", "2:B"}, {"1:B", "2:A"})
    assert two.answers == ("b",)


def test_more_documents_than_there_are_begin_again():
    make = DocumentQuestions(Template("{context}", ""), "{document}", squad_questions(SQUAD), Draws(1))
    assert Counter(make.example(0, 6).text.split("\n\n")) == {"A": 2, "B": 2, "C": 1, "D": 1}


def test_hotpot_paragraphs_have_their_title():
    data = hotpot_questions([{"question": "q", "answer": "yes", "context": [["T", ["One.", " Two."]]]}])
    assert data.documents == ("T\nOne. Two.",)
    assert data.questions[0].gold == (0,)
