"""The study of questions from documents: paragraphs alone, a sample to label, its interval, the arm's set."""

from __future__ import annotations

import json
from pathlib import Path

import documents
import pytest

from longmab_pl.data.records import QARecord

CONTEXT = "Passage 1:\nAnn built it.\nPassage 2:\nRain fell.\nIt was wet."


def test_each_paragraph_is_one_document_without_its_header(tmp_path: Path) -> None:
    row = {"id": 1, "input": "Who?", "answer": "Ann", "context": CONTEXT}
    other = {"id": 2, "input": "Which bird?", "answer": "Ann", "context": "Passage 1:\nRain fell.\nIt was wet."}
    source = tmp_path / "qa.jsonl"
    source.write_text(json.dumps(row) + "\n" + json.dumps(other) + "\n")
    documents.write_folder(str(source), tmp_path / "texts")
    texts = sorted(path.read_text() for path in (tmp_path / "texts").iterdir())
    assert texts == ["Ann built it.\n", "Rain fell.\nIt was wet.\n"]


def test_only_kept_questions_are_drawn_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    rows = [
        {"id": f"q{n}", "question": "Q?", "answer": "A", "agreement": 1.0, "chunk": "C", "left_out": None}
        for n in range(60)
    ]
    rows[7]["left_out"] = "near-duplicate"
    (tmp_path / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = documents.sampled(tmp_path, 0)
    assert len({row["id"] for row in found}) == 50
    assert "q7" not in {row["id"] for row in found}
    assert found == documents.sampled(tmp_path, 0)
    assert all(row["sound"] is None for row in found)


def test_the_interval_is_wilsons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert documents.wilson(10, 50) == pytest.approx((0.1124, 0.3304), abs=1e-4)
    labels = tmp_path / "labels.jsonl"
    rows = [{"sound": n < 10, "why": "wrong answer" if n % 2 else "vague"} for n in range(50)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents.show_share(labels)
    assert "sound: 10 of 50, 20% [11%, 33%]" in capsys.readouterr().out
    labels.write_text(json.dumps({"sound": None, "why": ""}) + "\n")
    with pytest.raises(SystemExit, match="set `sound`"):
        documents.show_share(labels)


def test_the_arms_set_has_paragraphs_with_empty_lines_between() -> None:
    (row,) = documents.study_rows([QARecord("a", "Who?", ("Ann",), CONTEXT)])
    assert row["context"] == "Ann built it.\n\nRain fell.\nIt was wet."
    assert row["answer"] == ["Ann"]
