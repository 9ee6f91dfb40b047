from __future__ import annotations

import random
import time

import pytest

from longmab_pl.data.numbering import (
    evidence_numbers,
    named_passages,
    numbered,
    numbered_part,
    passage_spans,
    passage_texts,
    without_names,
)
from longmab_pl.data.records import QARecord, records_digest

HEADED = (
    "Passage 1: Lima\nLima is in Peru.\n\nPassage 2: Quito\nQuito is not.\n\nThis belongs to it. Passage 9: no header"
)


def record(context: str, **more) -> QARecord:
    return QARecord("r", "Where is Lima?", ("Peru",), context, **more)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (HEADED, ["Lima\nLima is in Peru.", "Quito\nQuito is not.\n\nThis belongs to it. Passage 9: no header"]),
        ("Passage 1:\nOne.\nPassage 2:\nTwo.", ["One.", "Two."]),
        ("One.\n\n \n\nTwo.\nStill two.\n", ["One.", "Two.\nStill two."]),
        # A header that is not the next one, or not at the beginning, is text.
        ("Passage 2: One.\n\nTwo.", ["Passage 2: One.", "Two."]),
        ("First.\n\nPassage 1: Two.", ["First.", "Passage 1: Two."]),
        ("One line", ["One line"]),
        (" \n", []),
    ],
)
def test_passages_are_found_by_their_headers_or_by_blank_lines(context, expected):
    assert [context[start:end] for start, end in passage_spans(context)] == expected


def test_every_passage_gets_a_number_and_its_header_goes():
    made = numbered(record(HEADED))
    assert made.context.startswith("[1] Lima\nLima is in Peru.\n\n[2] Quito\n")
    assert passage_texts(made)[0] == "[1] Lima\nLima is in Peru.\n\n"
    assert numbered(made) is made, "numbers are given once"
    assert numbered(record("")).passages == ()


def test_numbers_of_the_text_itself_cannot_be_taken_for_passages():
    assert numbered(record("See [1, 2] and [12].\n\nAnd [3].")).context == "[1] See (1, 2) and (12).\n\n[2] And (3)."


def test_long_passages_are_numbered_in_parts_of_whole_sentences():
    text = " ".join(f"Sentence number {i} is here." for i in range(10))
    made = numbered(record(f"{text}\n\nShort."), max_characters=90)
    parts = passage_texts(made)
    assert [part[:4] for part in parts] == [f"[{i}] " for i in range(1, len(parts) + 1)]
    assert all(len(part) <= 90 + 6 for part in parts)
    assert all(part.rstrip().endswith(".") for part in parts)
    assert without_names(made.context).split() == f"{text} Short.".split(), "nothing is lost"
    assert parts[-1].endswith("Short.")


def test_evidence_moves_with_its_passage():
    text = " ".join(f"Sentence number {i} is here." for i in range(10))
    context = f"Before.\n\n{text}\n\nAfter."
    start = context.index("Sentence number 7")
    made = numbered(record(context, evidence=((start, start + 10),)), max_characters=90)
    (number,) = evidence_numbers(made)
    assert "Sentence number 7" in passage_texts(made)[number - 1]
    assert made.context[slice(*made.evidence[0])] == passage_texts(made)[number - 1].rstrip()
    assert evidence_numbers(numbered(record(context))) is None
    assert evidence_numbers(numbered(record(context, evidence=()))) == frozenset()


def test_a_part_of_the_context_keeps_its_numbers():
    made = numbered(record("Lima is in Peru. It is large.\n\nQuito is in Ecuador. It is high."))
    second = made.context.index("It is large")
    assert numbered_part(made, second, len(made.context)).startswith("[1] It is large.\n\n[2] Quito")
    whole = made.context.index("\n\n[2]")
    assert numbered_part(made, whole, len(made.context)).startswith("\n\n[2] Quito"), "it begins with the passage"
    plain = record("Lima is in Peru.")
    assert numbered_part(plain, 5, 11) == "is in "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Evidence: [3] [7]", {3, 7}),
        ("[3, 7; 9] and [3-5]", {3, 4, 5, 7, 9}),
        ("(3) 4 [five] [6", set()),
        ("[5-3] [1-100000000]", {5, 3, 1, 100000000}),
        ("[" + "9" * 5000 + "]", {-1}),
    ],
)
def test_named_passages(text, expected):
    assert named_passages(text) == expected


def test_numbering_takes_time_in_proportion_to_the_length():
    rng = random.Random(0)

    def seconds(passages: int) -> float:
        text = "\n\n".join(" ".join(rng.choices(["alpha", "beta.", "[4]", "Gamma"], k=60)) for _ in range(passages))
        began = time.process_time()
        numbered(record(text, evidence=((len(text) - 5, len(text)),)))
        return time.process_time() - began

    seconds(200)
    small, large = min(seconds(500) for _ in range(3)), min(seconds(4000) for _ in range(3))
    assert large < 24 * small, "8 times the text"


def test_the_digest_knows_evidence_only_where_passages_are_numbered():
    one, other = record(HEADED, evidence=((11, 15),)), record(HEADED, evidence=((45, 50),))
    assert records_digest([one]) == records_digest([other]) == records_digest([record(HEADED)])
    assert records_digest([numbered(one)]) != records_digest([numbered(other)])
