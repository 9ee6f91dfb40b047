"""NoLiMa from a needle set and books in its format."""

from __future__ import annotations

import json

import pytest
from suites import asked

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import Asking, NoLiMaSuite
from longmab_pl.evaluation.suite import SuiteContext

ENTRY = {
    "id": "0001",
    "reasoning_type": "r",
    "system_prompt": "",
    "needle": "{CHAR} lives by {1}.",
    "questions": {"onehop": "Who was in {2}?"},
    "character_set": ["Ann", "Bob"],
    "tests": {"T1": {"input_args": ["the mill", "Rome"]}},
}


@pytest.fixture
def files(tmp_path):
    books = tmp_path / "books"
    books.mkdir()
    for number in (1, 2):
        lines = [f"Line {i} of book {number}." for i in range(400)]
        (books / f"rand_book_{number}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "needle_set.json").write_text(json.dumps([ENTRY]))
    return str(tmp_path / "needle_set.json"), str(books)


def test_scores_by_length_base_and_effective_length(files, tokenizer, scripted_engine):
    suite = NoLiMaSuite(*files, lengths=[250, 500, 1000, 2000], depths=5)
    result, prompts = asked(
        suite, tokenizer, scripted_engine, lambda r: r.answer if r.groups["length"] != "2000" else "nobody"
    )
    assert len(prompts) == 4 * 2 * 5
    scores = {name: score.value for name, score in suite.scores(result).items()}
    assert (scores["score"], scores["length-1000"], scores["length-2000"]) == (75, 100, 0)
    assert (scores["base"], scores["effective"]) == (100, 1000)
    prompt = prompts["nolima/250/0001_T1_onehop/0/0"]
    assert prompt.startswith("<u>You are a helpful assistant.</u><u>This is a part of a book.")
    assert prompt.count("lives by the mill.\n") == 1
    assert "Who was in Rome?" in prompt


def test_a_sample_has_the_names_and_places_of_the_whole(files, tokenizer):
    (whole,) = NoLiMaSuite(*files, lengths=[500], depths=5).tasks(tokenizer, SuiteContext())
    (part,) = NoLiMaSuite(*files, lengths=[500], depths=5, limit=3).tasks(tokenizer, SuiteContext())
    known = {record.id: record for record in whole.records}
    assert len(part.records) == 3
    assert all(known[record.id] == record for record in part.records)


def test_missing_files_say_what_is_wanted(files, tmp_path, tokenizer):
    with pytest.raises(DataError, match="rand_shuffle"):
        NoLiMaSuite(files[0], str(tmp_path / "none")).tasks(tokenizer, SuiteContext())
    (tmp_path / "other.json").write_text('[{"id": "0001"}]')
    with pytest.raises(DataError, match="is no needle set"):
        NoLiMaSuite(str(tmp_path / "other.json"), files[1]).tasks(tokenizer, SuiteContext())


def test_the_order_of_the_books_is_a_setting(files, tokenizer, scripted_engine):
    names = ["rand_book_2.txt", "rand_book_1.txt"]
    settings = {"lengths": [250], "depths": 2}
    _, by_name = asked(NoLiMaSuite(*files, **settings), tokenizer, scripted_engine, lambda r: "")
    _, given = asked(NoLiMaSuite(*files, order=names, **settings), tokenizer, scripted_engine, lambda r: "")
    assert "of book 1" in by_name["nolima/250/0001_T1_onehop/0/0"]
    assert "of book 2" in given["nolima/250/0001_T1_onehop/0/0"]
    with pytest.raises(ConfigError, match="must name each book"):
        NoLiMaSuite(*files, order=names[:1]).tasks(tokenizer, SuiteContext())


def test_a_thinking_model_keeps_the_official_system_turn_and_has_room():
    suite = NoLiMaSuite("n.json", "b", asking=Asking(enable_thinking=True))
    assert (suite.asking.system, suite.new_tokens) == ("You are a helpful assistant.", 1536)
