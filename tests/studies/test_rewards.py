"""The study of rewards correlates scores with the gold answers, within records and over all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rewards as study

STUDY = Path(__file__).parents[2] / "studies" / "rewards.py"


def test_a_reward_that_orders_as_the_target_is_1_and_its_reverse_minus_1():
    records = [({"good": [0.1, 0.9, 0.8], "bad": [9.0, 1.0, 2.0]}, [0.0, 1.0, 1.0])] * 3
    rows = study.summary(records)["rewards"]
    assert rows["good"]["within"] == pytest.approx(rows["good"]["pooled"]) == pytest.approx(0.866, abs=1e-3)
    assert rows["bad"]["within"] == pytest.approx(-0.866, abs=1e-3)
    assert (rows["good"]["picked"], rows["bad"]["picked"]) == (1.0, 0.0)


def test_excluded_answers_and_records_that_do_not_vary_do_not_count():
    records = [
        ({"r": [None, 0.2, 0.9]}, [1.0, 0.0, 1.0]),
        ({"r": [0.5, 0.5, 0.5]}, [1.0, 0.0, 1.0]),
        ({"r": [0.1, 0.5, 0.7]}, [1.0, 1.0, 1.0]),
        ({"r": [None, None, None]}, [1.0, 0.0, 0.0]),
    ]
    found = study.summary(records)
    row = found["rewards"]["r"]
    assert row["within"] == pytest.approx(1.0)
    assert (row["records"], row["scored"]) == (1, 8)
    assert row["picked"] == pytest.approx((1.0 + 2 / 3 + 1.0) / 3)
    assert found["oracle"] == 1.0


def test_the_table_shows_every_reward_of_a_result(tmp_path):
    result = {"data": "d.jsonl", "settings": {"seed": 3}, **study.summary([({"r": [0.1, 0.5]}, [0.0, 1.0])])}
    path = tmp_path / "rewards-d.json"
    path.write_text(json.dumps(result).replace("NaN", "null"))
    shown = subprocess.run([sys.executable, STUDY, "table", path], capture_output=True, text=True, check=True).stdout
    assert "d.jsonl: 1 records, 2 answers, seed 3; random 0.50, oracle 1.00" in shown
    assert "| r | 1.00 | 1 | 1.00 | 1.00 | 2 |" in shown
