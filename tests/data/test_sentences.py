from __future__ import annotations

import pytest

from longmab_pl.data.sentences import sentence_starts


def sentences(text: str) -> list[str]:
    starts = sentence_starts(text)
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    "expected",
    [
        ["One. ", "Two! ", "Three? ", "Four."],
        ["It costs $3.14, i.e. not 2,000.5; fine. ", "Next."],
        ["Dr. Smith met Mr. J. A. Hobson in the U.S. South at 5 p.m. on Sept. 3. ", "He left."],
        ["We met at 5 p.m. ", "Then we left."],
        ["Apples, pears, etc. were sold by Acme Inc. ", "The end."],
        ["See Fig. 3 and No. 7, vol. 2, cf. Brown v. Board of Education. ", "He said no. ", "She sat. ", "they ran."],
        ["the first one is here. ", "this is the second."],
        ['He said "Stop!" and left. ', '"Why?" ', "She asked (loudly.) ", "Then silence."],
        ["Well... maybe. ", "Or not... ", "So."],
        ["It continues.[citation needed] ", "It ended.[12][13]\n", "Yes."],
        ["No mark in this paragraph\n\n", "but a new one here\n \n", "and here"],
        ["Made by Dr.\n\n", "Next paragraph."],
        ["A line\nbroken softly goes on. ", "Next."],
        ["\n  Leading space. ", "Two.  \n\n\n", "Three.\n"],
        ["今天天气很好。", "我们去公园吗？", "好！", "他说：“走吧。”", "完"],
        ["Visit www.example.com/a.b?c=d now. ", "Version 2.0.1 is out."],
        ["1. First item. ", "2. Second item."],
        ["Born in 1974. ", "Died later."],
        ["   "],
        ["no mark at all"],
    ],
)
def test_sentences(expected: list[str]) -> None:
    assert sentences("".join(expected)) == expected


def test_an_empty_text_has_none() -> None:
    assert sentence_starts("") == []


@pytest.mark.timeout(120)  # quadratic work would take hours
@pytest.mark.parametrize("unit", [".", ". ", "\n", ".[a]", '."', "a. ", "..." + " " * 50, "。", "x"])
def test_hostile_texts_are_cut_too(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    starts = sentence_starts(text)
    assert starts == sorted(set(starts))
    assert starts[:1] == [0]
    assert starts[-1] < len(text)
