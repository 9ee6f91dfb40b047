"""Records with long contexts: counted exclusions, independence of order and limit, going on after a kill."""

from __future__ import annotations

import csv
import json
import re

import pytest
from multi_hop import hotpot, musique, paragraph, titles, write_lines

from longmab_pl.data import long_context_records
from longmab_pl.data.long_context_records import LongContextSources, write_long_contexts
from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.data.readers import read_records
from longmab_pl.errors import ConfigError, DataError

SETTINGS = ContextSettings(400, 700)


def count(text):
    return len(text.split())


def write(path, questions, settings=SETTINGS, counting=count, **options):
    sources = {name: options.pop(name) for name in ("articles", "documents") if name in options}
    sources = LongContextSources(str(questions), **sources)
    return write_long_contexts(path, sources, settings, counting, counted_by="words", progress=False, **options)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_id(path):
    return {row["id"]: row for row in rows(path)}


def test_records_hold_their_evidence_among_passages_of_others_and_are_read_for_training(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [musique(n) for n in range(30)])
    summary = write(tmp_path / "out.jsonl", source)
    made = rows(tmp_path / "out.jsonl")
    assert len(made) == len(summary.tokens) == 30
    for row in made:
        n = int(row["id"].removeprefix("2hop__"))
        assert row["num_tokens"] == count(row["context"]) <= row["target_tokens"]
        assert row["num_tokens"] > row["target_tokens"] - 45
        shown = re.split(r"\n?Passage \d+:\n", row["context"])[1:]
        assert len({text.split("\n")[0] for text in shown}) == len(shown) == row["passages"]
        for title, place, i in zip(row["evidence"], row["evidence_passages"], range(2), strict=True):
            assert shown[place - 1] == f"{title}\n{paragraph(100 * n + i)}"
    (record, *_) = read_records(str(tmp_path / "out.jsonl")).records
    assert len(record.answers) == 2
    assert not (tmp_path / "out.jsonl.parts").exists()


def test_a_record_does_not_depend_on_the_order_of_the_file_or_on_the_limit(tmp_path):
    questions = [musique(n) for n in range(25)]
    write(tmp_path / "a.jsonl", write_lines(tmp_path / "q.jsonl", questions))
    write(tmp_path / "b.jsonl", write_lines(tmp_path / "r.jsonl", questions[::-1]), limit=7)
    assert len(rows(tmp_path / "b.jsonl")) == 7
    assert rows(tmp_path / "b.jsonl") == rows(tmp_path / "a.jsonl")[:7]


def test_unanswerable_and_malformed_questions_are_counted_and_the_rest_is_made(tmp_path):
    questions = [musique(1), musique(1, answerable=False), {"question": "q", "answer": "a"}, musique(2)]
    summary = write(tmp_path / "out.jsonl", write_lines(tmp_path / "q.jsonl", questions))
    assert sorted(by_id(tmp_path / "out.jsonl")) == ["2hop__1", "2hop__2"]
    text = "\n".join(summary.lines())
    assert "2 records" in text
    assert "left out: 1 marked as unanswerable" in text
    assert "left out: 1 malformed" in text
    assert "q.jsonl:3: the record has no documents" in text


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([musique(1, answerable=False)], "no usable question in it:\nleft out: 1 marked as unanswerable"),
        ([{"prompt": "p", "chosen": "c"}], "q.jsonl:1: input: missing"),
        ([musique(1, paragraphs=[{"title": "t", "paragraph_text": "w " * 999, "is_supporting": True}])], "exceed max"),
        ([{"question": "q", "answer": "a", "sources": ["x.md"]}], "a needed document that is not there"),
    ],
)
def test_a_source_without_a_usable_question_is_one_error_and_leaves_nothing(tmp_path, questions, message):
    source = write_lines(tmp_path / "q.jsonl", questions)
    with pytest.raises(DataError) as error:
        write(tmp_path / "out.jsonl", source)
    assert message in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["q.jsonl"]


def test_a_kill_loses_nothing_that_was_made(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [musique(n) for n in range(20)])
    write(tmp_path / "whole.jsonl", source)
    counted = []

    def failing(text):
        counted.append(text)
        if len(counted) > 150:
            raise KeyboardInterrupt
        return count(text)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.jsonl", source, counting=failing)
    assert not (tmp_path / "out.jsonl").exists()
    made = sum(1 for line in (tmp_path / "out.jsonl.parts" / "records.jsonl").open()) - 1
    assert 2 < made < 20
    asked = []
    write(tmp_path / "out.jsonl", source, counting=lambda text: asked.append(text) or count(text))
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sum(text.startswith("Passage 1:") for text in asked) <= 4 * (20 - made)


def test_unfinished_work_of_other_settings_is_not_used(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [musique(n) for n in range(5)])

    def failing(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.jsonl", source, ContextSettings(300, 300), counting=failing)
    write(tmp_path / "out.jsonl", source)
    assert {row["target_tokens"] > 300 for row in rows(tmp_path / "out.jsonl")} == {True}


def wiki(n):
    return [(title, f"The article of {title}. " + paragraph(100 * n + i, 60)) for i, title in enumerate(titles(n))]


def articles(path, table):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("title", "text"), *table])
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        columns = {"title": [t for t, _ in table], "text": [x for _, x in table]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        write_lines(path, [{"title": title, "text": text} for title, text in table])
    return str(path)


@pytest.mark.parametrize("name", ["wiki.jsonl", "wiki.csv", "wiki.parquet"])
def test_full_articles_of_the_titles_stand_in_place_of_the_passages(tmp_path, name):
    source = write_lines(tmp_path / "q.jsonl", [hotpot(n) for n in range(6)])
    table = [(title.upper(), text) for n in range(5) for title, text in wiki(n)] + [("Unasked", "nothing " * 9)] * 50
    summary = write(tmp_path / "out.jsonl", source, articles=articles(tmp_path / name, table))
    made = by_id(tmp_path / "out.jsonl")
    assert sorted(made) == [f"h{n}" for n in range(5)]
    assert "left out: 1 with a needed document that is not there" in summary.lines()
    for row in made.values():
        assert "Unasked" not in row["context"]
        shown = re.split(r"\n?Passage \d+:\n", row["context"])[1:]
        assert {text.split(".")[0][:15] for text in shown} == {"The article of "}
        assert len(set(shown)) == len(shown) > 5  # others' articles too


def test_of_articles_with_one_normalized_title_the_one_that_is_spelled_as_asked_is_used(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [hotpot(1)])
    table = [("town 1.", "a wrong article"), *wiki(1), ("TOWN 1", "another wrong one")]
    summary = write(tmp_path / "out.jsonl", source, articles=articles(tmp_path / "wiki.jsonl", table))
    (row,) = rows(tmp_path / "out.jsonl")
    assert "The article of Town 1." in row["context"]
    assert "wrong" not in row["context"]
    assert summary.collisions == 2


def test_a_data_set_folder_and_a_hub_name_are_streamed(tmp_path, monkeypatch):
    import datasets

    from longmab_pl.data import sources as reading

    folder = tmp_path / "wikipedia" / "20231101.en"
    folder.mkdir(parents=True)
    articles(folder / "train-00000-of-00001.parquet", wiki(1))
    source = write_lines(tmp_path / "q.jsonl", [hotpot(1)])
    write(tmp_path / "out.jsonl", source, articles=str(folder))
    # No hub is reachable here: the library loads the same folder where it would load the hub's data set.
    load, asked = datasets.load_dataset, []

    def load_dataset(name, config, *, split, streaming):
        asked.append((name, config, split, streaming))
        return load(str(folder), split=split, streaming=streaming)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    write(tmp_path / "hub.jsonl", source, articles="wikimedia/wikipedia")
    assert set(asked) == {("wikimedia/wikipedia", "20231101.en", "train", True)}
    assert (tmp_path / "hub.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    assert reading.SUFFIXES


def test_articles_without_text_are_refused_by_line(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [hotpot(1)])
    table = write_lines(tmp_path / "wiki.jsonl", [{"title": "a", "text": "b"}, {"title": "c"}])
    with pytest.raises(DataError, match=r"wiki\.jsonl:2: text: missing"):
        write(tmp_path / "o.jsonl", source, articles=table)


def test_documents_of_a_folder_are_distractors_and_what_questions_name(tmp_path):
    folder = tmp_path / "documents"
    (folder / "more").mkdir(parents=True)
    for i in range(12):
        (folder / f"hill-{i}.txt").write_text(f"Hill {i} is high. " + paragraph(i))
    (folder / "more" / "peru.md").write_text("# The country\nLima is in Peru.")
    (folder / "empty.txt").write_text(" ")
    (folder / "picture.png").write_bytes(b"\x89")
    asked = {"question": "Where is Lima?", "answer": "Peru"}
    names = ["peru", "peru.md", "more/peru.md", "The country"]
    named = [{**asked, "id": str(i), "sources": [name]} for i, name in enumerate(names)]
    source = write_lines(tmp_path / "q.jsonl", [*named, musique(1), {**asked, "id": "9", "sources": ["chile.md"]}])
    summary = write(tmp_path / "out.jsonl", source, documents=str(folder))
    made = by_id(tmp_path / "out.jsonl")
    assert sorted(made) == ["0", "1", "2", "2hop__1", "3"]
    for id in "0123":
        assert made[id]["context"].count("Lima is in Peru.") == 1
        assert made[id]["passages"] > 4
    assert "Hill" in made["2hop__1"]["context"]
    assert "Town 1\n" in made["2hop__1"]["context"]
    assert "left out: 1 with a needed document that is not there" in summary.lines()


@pytest.mark.parametrize("files", [None, [], ["a.txt"]])
def test_a_folder_without_documents_is_named(tmp_path, files):
    if files is not None:
        (tmp_path / "documents").mkdir()
    for name in files or []:
        (tmp_path / "documents" / name).write_text("")
    source = write_lines(tmp_path / "q.jsonl", [musique(1)])
    with pytest.raises(DataError, match=r"documents: (no such folder|no \.txt|all 1 documents)"):
        write(tmp_path / "out.jsonl", source, documents=str(tmp_path / "documents"))


def test_a_document_in_another_encoding_is_named(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"a\.txt: invalid UTF-8 at byte 4"):
        write(tmp_path / "o.jsonl", write_lines(tmp_path / "q.jsonl", [musique(1)]), documents=str(tmp_path / "d"))


def test_only_a_bounded_number_of_others_passages_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(long_context_records, "POOL", 10)
    questions = [musique(n) for n in range(40)]
    write(tmp_path / "a.jsonl", write_lines(tmp_path / "q.jsonl", questions), ContextSettings(2000, 2000))
    write(tmp_path / "b.jsonl", write_lines(tmp_path / "r.jsonl", questions[::-1]), ContextSettings(2000, 2000))
    assert {row["passages"] for row in rows(tmp_path / "a.jsonl")} <= set(range(10, 16))
    assert rows(tmp_path / "a.jsonl") == rows(tmp_path / "b.jsonl")


def test_a_source_that_is_not_there_is_named_and_nothing_is_written(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [musique(1)])
    with pytest.raises(DataError, match=r"r\.jsonl: no such file"):
        write(tmp_path / "new" / "o.jsonl", tmp_path / "r.jsonl")
    with pytest.raises(DataError, match=r"wiki\.jsonl: no such file"):
        write(tmp_path / "new" / "o.jsonl", source, articles=str(tmp_path / "wiki.jsonl"))
    assert [p.name for p in tmp_path.iterdir()] == ["q.jsonl"]


def test_the_source_is_not_overwritten_and_two_kinds_of_documents_are_refused(tmp_path):
    source = write_lines(tmp_path / "q.jsonl", [musique(1)])
    with pytest.raises(ConfigError, match="is a source of the records"):
        write(tmp_path / "q.jsonl", source)
    with pytest.raises(ConfigError, match="not both"):
        write(tmp_path / "o.jsonl", source, articles="a", documents="b")
