from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.data.sources import shipped_path
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.longbench.loading import load_items

GOOD = {"id": "a", "input": "Who?", "answer": "Ada", "context": "Ada did it."}


def write(path: Path, *rows: Any) -> str:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


def row(**fields: Any) -> dict[str, Any]:
    merged = {**GOOD, **fields}
    return {name: value for name, value in merged.items() if value is not ...}


# --- what is accepted ---


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, QARecord("a", "Who?", ("Ada",), "Ada did it.")),
        ({"id": 7}, QARecord("7", "Who?", ("Ada",), "Ada did it.")),
        ({"id": ..., "_id": "x9"}, QARecord("x9", "Who?", ("Ada",), "Ada did it.")),
        ({"id": ...}, QARecord("1", "Who?", ("Ada",), "Ada did it.")),
        ({"id": None}, QARecord("1", "Who?", ("Ada",), "Ada did it.")),
        ({"input": ..., "question": "Why?"}, QARecord("a", "Why?", ("Ada",), "Ada did it.")),
        ({"input": "", "question": "Why?"}, QARecord("a", "Why?", ("Ada",), "Ada did it.")),
        ({"answer": ["Ada", "Ada L."]}, QARecord("a", "Who?", ("Ada", "Ada L."), "Ada did it.")),
        ({"answer": ..., "answers": ["x", "y", "x"]}, QARecord("a", "Who?", ("x", "y"), "Ada did it.")),
        ({"answer": ..., "answers": "x"}, QARecord("a", "Who?", ("x",), "Ada did it.")),
        ({"answers": ["Lovelace", "Ada"]}, QARecord("a", "Who?", ("Ada", "Lovelace"), "Ada did it.")),
        ({"answers": []}, QARecord("a", "Who?", ("Ada",), "Ada did it.")),
        ({"answer": ["Ada", " "]}, QARecord("a", "Who?", ("Ada",), "Ada did it.")),
        ({"answer": 1912}, QARecord("a", "Who?", ("1912",), "Ada did it.")),
        ({"answer": ["x", 2.5]}, QARecord("a", "Who?", ("x", "2.5"), "Ada did it.")),
        ({"context": ["One.", "Two."]}, QARecord("a", "Who?", ("Ada",), "One.\n\nTwo.")),
        ({"hops": 2, "all_classes": None}, QARecord("a", "Who?", ("Ada",), "Ada did it.")),
    ],
)
def test_fields(fields: dict[str, Any], expected: QARecord, tmp_path: Path) -> None:
    assert read_records(write(tmp_path / "data.jsonl", row(**fields))).records == [expected]


def test_every_kind_of_file_reads_alike(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [row(id=str(i), context=f"İstanbul 東京 {i}") for i in range(5)]
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "bom.jsonl").write_text(lines.replace("\n", "\r\n") + "\n\n", encoding="utf-8-sig", newline="")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    (tmp_path / "c.json").write_text(json.dumps(rows), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    read = [read_records(str(path)).records for path in sorted(tmp_path.iterdir())]
    assert len(read) == 5
    assert all(records == read[0] and len(records) == 5 for records in read)
    assert read[0][3].context == "İstanbul 東京 3"


def test_folders(tmp_path: Path) -> None:
    import datasets

    write(tmp_path / "train-0.jsonl", row(id="1"))
    write(tmp_path / "train-1.jsonl", row(id="2"))
    write(tmp_path / "training_notes.jsonl", row(id="4"))
    write(tmp_path / "test.jsonl", row(id="3"))
    assert [r.id for r in read_records(str(tmp_path)).records] == ["1", "2"]
    assert [r.id for r in read_records(str(tmp_path), split="test").records] == ["3"]
    with pytest.raises(DataError, match=r"no file of split 'dev' \(it has test.jsonl, train-0.jsonl"):
        read_records(str(tmp_path), split="dev")
    saved = tmp_path / "saved"
    datasets.DatasetDict({"train": datasets.Dataset.from_list([row(id="9")])}).save_to_disk(str(saved))
    assert [r.id for r in read_records(str(saved)).records] == ["9"]
    with pytest.raises(DataError, match="no split 'test'; it has train"):
        read_records(str(saved), split="test")


def test_shipped_sets() -> None:
    found = read_records("shipped:synthetic_eval")
    assert len(found.records) == 100
    assert found.summary() == "shipped:synthetic_eval: 100 records"
    assert len(read_records("shipped:synthetic_train", limit=7).records) == 7
    with pytest.raises(DataError, match=r"there are: .*synthetic_eval, synthetic_train"):
        shipped_path("synthetic")


def test_limit_stops_before_what_stands_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", row(id="1"), row(id="2"), "{broken")
    assert [r.id for r in read_records(path, limit=2).records] == ["1", "2"]


# --- what is not ---

BAD_ROWS = [
    ("{broken", "", "not JSON"),
    ('"text"', "", "the record is a string"),
    ("[1]", "", "the record is a list"),
    ("[" * 100_000, "", "not usable JSON"),
    (row(context=...), "context", "missing; add context (the record has id, input, answer)"),
    (row(context=""), "context", "empty or blank"),
    (row(context=" \n\t"), "context", "empty or blank"),
    (row(context=3), "context", "is an integer; give a string or a list of passages"),
    (row(context=[3]), "context[0]", "is an integer that is no passage"),
    (row(context={"title": ["a"]}), "context", "or title and sentences (it has title)"),
    (row(input=...), "input", "missing; add input or question or query"),
    (row(input="  "), "input", "empty or blank"),
    (row(input=3), "input", "is an integer"),
    (row(answer=...), "answer", "missing; add answer (a string) or answers (a list)"),
    (row(answer=None), "answer", "missing"),
    (row(answer=True), "answer", "is a boolean; give a string or a list of strings"),
    (row(answer={"texts": ["x"]}), "answer", "is an object"),
    (row(answer=[]), "answer", "is an empty list"),
    (row(answer=["x", None]), "answer", "holds null"),
    (row(answer=[" ", ""]), "answer", "empty or blank"),
    (row(answer=10**400), "answer", "without a finite value"),
    (row(id=10**30), "id", "too large an integer"),
    (row(id=1.5), "id", "is a number"),
    (row(id=True), "id", "is a boolean"),
    (row(id=""), "id", "empty or blank"),
    (row(id="first"), "id", "'first' is taken by"),
    (row(context="half \ud800 pair"), "context", "half a surrogate pair at character 5"),
]


@pytest.mark.parametrize(("bad", "field", "message"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_each_defect_is_named_with_file_line_and_field(bad: Any, field: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", row(id="first"), "", bad, row(id="last"))
    found = read_records(path, on_bad_record="skip")
    assert [record.id for record in found.records] == ["first", "last"]
    (problem,) = found.bad
    assert (problem.file, problem.line, problem.field) == (path, 3, field)
    assert message in problem.message
    assert f"2 records, 1 bad ones skipped:\n  {path}:3: " in found.summary()
    with pytest.raises(DataError) as refused:
        read_records(path)
    assert "1 of 3 records cannot be used; fix them, or set on_bad_record: skip" in str(refused.value)
    assert str(problem) in str(refused.value)


def test_invalid_utf8_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(row(id="1")).encode() + b'\n{"id": "caf\xe9"}\n')
    (problem,) = read_records(str(path), on_bad_record="skip").bad
    assert problem.line == 2
    assert "invalid UTF-8 (byte 0xe9 at byte 12" in problem.message


def test_the_first_of_each_kind_are_listed_with_the_count(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", row(), *[row(id=str(i), context="") for i in range(25)])
    with pytest.raises(DataError) as refused:
        read_records(path)
    first, second = str(refused.value).splitlines()
    assert "25 of 26 records" in first
    assert second == f"  {path}:2: context: is empty or blank; fill it in or remove the record (and 24 more like it)"
    path = write(tmp_path / "data.jsonl", row(), *[{f"x{i}": 1} for i in range(25)])
    with pytest.raises(DataError) as refused:
        read_records(path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  ... and 15 more"
    assert len(read_records(path, on_bad_record="skip").bad) == 25


def test_skipping_everything_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable record is left"):
        read_records(write(tmp_path / "data.jsonl", row(context="")), on_bad_record="skip")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"data\.jsonl: no records"):
        read_records(str(tmp_path / "data.jsonl"))


def test_missing_files_suggest_close_names(tmp_path: Path) -> None:
    write(tmp_path / "xquad_train.jsonl", row())
    with pytest.raises(DataError, match=r"did you mean .*xquad_train\.jsonl\?"):
        read_records(str(tmp_path / "xquad_trian.jsonl"))
    with pytest.raises(DataError, match=r"its folder .*nowhere does not exist"):
        read_records(str(tmp_path / "nowhere" / "x.jsonl"))


@pytest.mark.parametrize(
    "source",
    [
        "data.jsonl",
        "owner/name.jsonl",
        "./owner/name",
        "~/name",
        "/owner/name",
        "a/b/c",
        "name",
        "here/name",
        "x/y.parquet",
    ],
)
def test_what_looks_like_a_path_never_goes_to_a_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def no_hub(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(datasets, "load_dataset", no_hub)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match="no such file or folder"):
        read_records(source)


def test_an_unreachable_hub_is_one_clear_message(tmp_path: Path) -> None:
    code = (
        "from longmab_pl.data.readers import read_records\n"
        "from longmab_pl.errors import DataError\n"
        "try:\n    read_records('nobody/nothing:en:test')\n"
        "except DataError as error:\n    print(error)\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "data set 'nobody/nothing' (config en, split 'test') cannot be loaded" in done.stdout, done.stderr
    assert "give a downloaded .jsonl or .parquet file" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


def test_broken_containers(tmp_path: Path) -> None:
    for name, data, message in (
        ("a.jsonl.gz", gzip.compress(b'{"id": "1"}' * 1000)[:-20], "cannot be read to its end"),
        ("b.jsonl.gz", b"plain text", "cannot be read to its end"),
        ("c.parquet", b"no parquet", "not a readable Parquet file"),
        ("d.json", b'{"id": "1"}', "must hold a list"),
        ("g.csv", b'id,input\n1,"a', "not a table behind line"),
        ("h.csv", b"id,input\n1,\xff", "invalid UTF-8 behind line"),
        ("e.json", b"[1,\n2,,]", r"e\.json:2: not JSON"),
        ("f.xlsx", b"id,input", "unknown kind of file"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_records(str(tmp_path / name))


def test_bad_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", row())
    with pytest.raises(ConfigError, match="use 'error' or 'skip'"):
        read_records(path, on_bad_record="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="limit is 0"):
        read_records(path, limit=0)


HOTPOT = [["Peru", ["Peru is a country.", " Its capital is Lima."]], ["Chile", ["Chile is long."]]]
PASSAGES = "Peru\nPeru is a country. Its capital is Lima.\n\nChile\nChile is long."


@pytest.mark.parametrize(
    ("fields", "answers", "context"),
    [
        ({"answers": {"text": ["Lima", "Lima"], "answer_start": [4, 9]}, "context": "C"}, ("Lima",), "C"),  # SQuAD
        ({"answer": "Lima", "context": HOTPOT, "type": "bridge"}, ("Lima",), PASSAGES),  # HotpotQA, 2Wiki
        (
            {"answer": "Lima", "context": {"title": ["Peru", "Chile"], "sentences": [HOTPOT[0][1], HOTPOT[1][1]]}},
            ("Lima",),
            PASSAGES,
        ),
        (
            {
                "answer": "Lima",
                "answer_aliases": ["City of Kings"],
                "paragraphs": [{"idx": 0, "title": "Peru", "paragraph_text": "P.", "is_supporting": True}],
            },
            ("Lima", "City of Kings"),
            "Peru\nP.",
        ),  # MuSiQue
    ],
)
def test_question_answering_sets_are_read_as_they_are(
    fields: dict[str, Any], answers: tuple[str, ...], context: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "data.jsonl", {"id": "a", "question": "Capital?", **fields})
    evidence = ((0, len(context)),) if "paragraphs" in fields else None
    expected = QARecord("a", "Capital?", answers, context, evidence=evidence)
    assert read_records(path).records == [expected]
    (item,), _, bad = load_items(path, "mine")
    assert (item.id, item.question, item.answers, item.context, bad) == ("a", "Capital?", answers, context, [])


@pytest.mark.parametrize("name", ["s.json", "s.json.gz"])
def test_squads_file_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    asked = [{"id": str(i), "question": "Q", "answers": [{"text": "Lima", "answer_start": 1}]} for i in range(2)]
    data = json.dumps({"version": "1.1", "data": [{"title": "P", "paragraphs": [{"context": "C", "qas": asked}]}]})
    (tmp_path / name).write_bytes(gzip.compress(data.encode()) if name.endswith("gz") else data.encode())
    found = read_records(str(tmp_path / name)).records
    assert found == [QARecord(str(i), "Q", ("Lima",), "C") for i in range(2)]
    assert [item.id for item in load_items(tmp_path / name, "s")[0]] == ["0", "1"]


def test_tables_are_read_by_both_readers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,question,answers,context\n1,"Q, or?","[""a"", ""b""]","Line\nline"\n2,Q,7,C\n3,Q,,C\n')
    found = read_records(str(path), on_bad_record="skip")
    assert found.records == [QARecord("1", "Q, or?", ("a", "b"), "Line\nline"), QARecord("2", "Q", ("7",), "C")]
    assert [(bad.line, bad.field) for bad in found.bad] == [(5, "answer")]
    items, _, bad = load_items(tmp_path, "t")
    assert [item.answers for item in items] == [("a", "b"), ("7",)]
    assert len(bad) == 1


def test_fields_of_any_name_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", {"uid": 3, "ask": "Q", "gold": 5, "body": "C", "input": "other"})
    fields = {"id": "uid", "question": "ask", "answers": "gold", "context": "body"}
    assert read_records(path, fields=fields).records == [QARecord("3", "Q", ("5",), "C")]
    assert load_items(path, "mine", fields=fields)[0][0].question == "Q"
    with pytest.raises(ConfigError, match=r"'ask' is no field of a record \(did you mean question: ask\?\)"):
        read_records(path, fields={"ask": "question"})


@pytest.mark.parametrize("name", ["null_alias", "null_id", "empty_alias"])
def test_null_filled_columns_are_one_rule_for_both_readers(name: str) -> None:
    path = Path(__file__).parents[1] / "assets" / "cases" / f"{name}.jsonl"
    records = read_records(str(path)).records
    items, _, bad = load_items(path, name)
    assert not bad
    assert [(r.id, r.question, r.answers) for r in records] == [(i.id, i.question, i.answers) for i in items]
    assert [r.id for r in records] == [str(number) for number in range(1, len(records) + 1)]


def test_preference_data_is_sent_to_its_reader(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train on it with longmab_pl\.PreferenceDataModule"):
        read_records(write(tmp_path / "data.jsonl", {"prompt": "Q", "chosen": "a", "rejected": "b"}))


def test_a_name_that_is_too_long_is_an_error_of_the_name() -> None:
    for read in (read_records, lambda name: load_items(name, "x")):
        with pytest.raises(DataError, match=r"is no name of a file or folder|no such file"):
            read("x" * 5000 + ".jsonl")


def test_dates_beyond_the_year_9999_are_null(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {name: pyarrow.array([value]) for name, value in GOOD.items()}
    columns["made"] = pyarrow.array([4 * 10**17]).cast(pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    assert len(read_records(str(tmp_path / "d.parquet")).records) == 1
