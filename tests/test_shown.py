from __future__ import annotations

from longmab_pl.shown import first_line, printable, quoted, shown


def test_what_a_terminal_obeys_is_escaped():
    hostile = "a\x1b]0;title\x07b\x9b2Jc\rd\ne\u202ef\ud83dg\x7f"
    for text in (shown(hostile), quoted(hostile), printable(hostile.replace("\n", ""))):
        assert text.isprintable()
        assert "\\x1b]0;title\\x07" in text
        text.encode("utf-8")


def test_long_texts_are_cut_and_counted():
    assert shown("x" * 5_000_000) == "x" * 60 + "... (5,000,000 characters)"
    assert len(quoted("\n" * 5_000_000)) < 200
    assert len(printable("x" * 5_000_000)) < 21_000


def test_ordinary_text_stays_as_it_is():
    assert shown("Größe 漢字 [bold]") == "Größe 漢字 [bold]"
    assert quoted("it's") == '"it\'s"'
    assert quoted(0.5) == "0.5"
    assert printable("two\nlines") == "two\nlines"


def test_the_first_line_of_an_error_says_something():
    assert first_line(ValueError("\n  no such key \nand a long tail")) == "no such key"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(OSError(" \n ")) == "OSError"
    assert first_line(ValueError("red \x1b[31m alert")) == "red \\x1b[31m alert"
    assert len(first_line(ValueError("x" * 10_000))) < 350
