"""The harness itself: what it takes for the same, and what it refuses."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from parity import BadVector, difference, read_vectors, vector_files


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (1, 1.0),
        (0.3333333, 1 / 3),
        (1e9, 1e9 + 1),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
        ({"a": [1, None]}, {"a": [1.0, None]}),
        ((1, 2), [1, 2]),
    ],
)
def test_equal_values_have_no_difference(ours, expected):
    assert difference(ours, expected) is None


@pytest.mark.parametrize(
    ("ours", "expected", "where"),
    [
        (1, True, "output is 1, expected True"),
        (0, None, "output is 0, expected None"),
        (0.1, 0.10001, "output is 0.1"),
        ("1", 1, "output is '1'"),
        ({"a": 1}, {"a": 1, "b": 2}, "output has the keys"),
        ({"a": [1, 2]}, {"a": [1, 3]}, r"output.a\[1\] is 2, expected 3"),
        ([1], [1, 2], "output has 1 items, expected 2"),
    ],
)
def test_first_difference_is_named_by_its_place(ours, expected, where):
    with pytest.raises(AssertionError, match=where):
        raise AssertionError(difference(ours, expected))


def test_plain_and_packed_files_are_read_alike(tmp_path):
    line = json.dumps({"function": "f", "input": {"text": "a\u2028b"}, "output": 1}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(line + "\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(line + "\n")
    plain, packed = (read_vectors(path) for path in vector_files(tmp_path))
    assert [v.input for v in plain] == [v.input for v in packed] == [{"text": "a\u2028b"}]
    assert plain[0].where == "a.jsonl:1"


def test_a_line_without_the_fields_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"function": "f", "input": 1, "output": 2}\n{"input": 1}\n')
    with pytest.raises(BadVector, match=r"a\.jsonl:2"):
        read_vectors(tmp_path / "a.jsonl")


def test_a_folder_without_vectors_is_refused(tmp_path):
    with pytest.raises(BadVector, match="holds no"):
        vector_files(tmp_path)


def test_a_function_without_an_adapter_fails_and_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"function": "unheard_of", "input": 1, "output": 2}\n')
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", here / "test_vectors.py", "-k", "unheard_of"]
    run = subprocess.run(
        [*command, f"--vectors={tmp_path}"], capture_output=True, text=True, cwd=here.parents[1], timeout=300
    )
    assert run.returncode == 1
    assert "no adapter for the function 'unheard_of'" in run.stdout
    assert "unheard_of: 0 of 1" in run.stdout
