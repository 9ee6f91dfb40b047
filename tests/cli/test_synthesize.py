"""`longmab synthesize`: invented facts by default, long contexts of multi-hop questions with `--from`, questions about
documents with `--documents`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from multi_hop import musique, write_lines
from question_writing import write_documents

from longmab_pl.cli.main import main
from longmab_pl.data.readers import read_records


def test_multi_hop_questions_get_contexts_of_the_models_tokens(
    tmp_path: Path, tiny_model: str, byte_tokenizer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_lines(tmp_path / "musique.jsonl", [musique(n) for n in range(9)] + [musique(1, answerable=False)])
    options = ["--model", tiny_model, "--min_tokens", "2000", "--max_tokens=2000", "--limit=4", "--depths", "[0]"]
    main(["synthesize", str(tmp_path / "out"), "--from", source, *options])
    out = capsys.readouterr().out
    assert "4 records" in out
    assert "left out: 1 marked as unanswerable" in out
    for row in map(json.loads, (tmp_path / "out" / "train.jsonl").read_text().splitlines()):
        assert 1500 < row["num_tokens"] == len(row["context"]) <= 2000  # the tokens of this model are bytes
        assert sorted(row["evidence_passages"]) == [1, 2]
    assert len(read_records(str(tmp_path / "out" / "train.jsonl")).records) == 4


def test_options_of_the_other_kind_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--from", "musique.jsonl", "--train", "3"], ["--max_tokens", "500"]):
        with pytest.raises(SystemExit):
            main(["synthesize", str(tmp_path / "out"), *options])
        assert "no such option" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_invented_facts_are_written_without_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["synthesize", str(tmp_path / "out"), "--train", "3", "--eval", "2"])
    assert len(read_records(str(tmp_path / "out" / "train.jsonl")).records) == 3
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "eval")
    ]


def test_hard_questions_get_contexts_of_the_models_tokens(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--train", "6", "--eval=2", "--model", tiny_model, "--min_tokens", "4000", "--max_tokens=5000"]
    main(["synthesize", str(tmp_path / "a"), "--kind", "long", *options, "--tasks", "[chain,count]"])
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "a" / f"{name}.jsonl") for name in ("train", "eval")]
    rows = [json.loads(line) for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows] == ["chain", "count"] * 3
    assert all(3700 < row["num_tokens"] == len(row["context"]) <= 5000 for row in rows)
    assert len(read_records(str(tmp_path / "a" / "train.jsonl")).records) == 6
    main(["synthesize", str(tmp_path / "b"), "--kind=long", *options, "--tasks", "[chain,count]"])
    for name in ("train.jsonl", "eval.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_wrong_options_of_hard_questions_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in ((["--hops", "7"], "hops is 7"), (["--two_hop", "1"], "no such option")):
        with pytest.raises(SystemExit):
            main(["synthesize", str(tmp_path / "out"), "--kind", "long", *options])
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_documents_alone_become_questions_with_long_contexts(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = write_documents(tmp_path / "docs", documents=5)
    engine = ["--engine", "longmab_pl.engines.ScriptedEngine", "--engine.answer", "question_writing.towns"]
    sizes = ["--chunk_size", "60", "--min_tokens", "200", "--max_tokens=300", "--samples", "2"]
    out = tmp_path / "out"
    main(["synthesize", str(out), "--documents", str(documents), "--model", tiny_model, *sizes, *engine])
    said = capsys.readouterr().out
    assert "5 documents, 15 chunks; 30 questions written about 15 of them" in said
    assert "50.0%  near-duplicate" in said
    assert f"{out / 'train.jsonl'}: 12 records, " in said
    assert len(read_records(str(out / "train.jsonl")).records) == 12
    assert len(read_records(str(out / "eval.jsonl")).records) == 3


def test_a_folder_without_documents_is_refused_before_a_model_is_loaded(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "no .txt, .md, .markdown, .pdf file in it"), ("gone", "no such folder")):
        with pytest.raises(SystemExit):
            main(["synthesize", str(tmp_path / "out"), "--documents", str(tmp_path / folder), "--model", tiny_model])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
