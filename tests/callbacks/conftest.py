from __future__ import annotations

import pytest
from evaluated_fit import rows, write


@pytest.fixture
def qa_file(tmp_path):
    return write(tmp_path / "train.jsonl", rows(12))


@pytest.fixture
def benchmark(tmp_path):
    """Two tasks of the table with 8 records each."""
    for name, start in (("hotpotqa", 100), ("musique", 200)):
        listed = [{**row, "answers": [f"river {row['id']}"], "_id": f"b{row['id']}"} for row in rows(8, start)]
        write(tmp_path / "bench" / f"{name}.jsonl", [{k: r[k] for k in r if k not in ("answer", "id")} for r in listed])
    return tmp_path / "bench"
