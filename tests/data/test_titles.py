from __future__ import annotations

import pytest

from longmab_pl.data.titles import Documents, normalize_title, question_documents, title_of_url


@pytest.mark.parametrize(
    ("title", "normal"),
    [("St. Louis", "st louis"), ("Jay–Z", "jay-z"), ("A—B", "a-b"), ("The \n Who", "the who"), ("...", "")],
)
def test_titles_are_matched_by_their_normal_form(title, normal):
    assert normalize_title(title) == normal


@pytest.mark.parametrize(
    ("url", "title"),
    [
        ("https://en.wikipedia.org/wiki/S%C3%A3o_Paulo#History", "São Paulo"),
        ("https://x/One_(film)", "One (film)"),
        ("no/slash/at/end/", ""),
    ],
)
def test_a_title_is_the_last_part_of_an_address(url, title):
    assert title_of_url(url) == title


def test_a_question_needs_all_its_articles():
    titles = [("Paris", True), ("Ghost", True), ("Lyon", False)]
    assert question_documents(titles, {"paris", "lyon"}) is None
    assert question_documents(titles, {"paris", "lyon", "ghost"}) == Documents(["paris", "ghost"], ["lyon"])


def test_no_article_is_in_a_context_twice():
    titles = [("Paris", True), ("Paris", False), ("Lyon", False), ("LYON", False), ("Nice", False)]
    assert question_documents(titles, {"paris", "lyon"}) == Documents(["paris"], ["lyon"])


def test_a_question_without_a_supporting_article_is_left_out():
    assert question_documents([("Paris", False)], {"paris"}) is None
