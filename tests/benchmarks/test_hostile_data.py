"""A small run of the program that makes hostile rows and files; its full size is 10,000 rows of each kind."""

from __future__ import annotations

import hostile_data
from tokenizers_like import FAMILIES


def test_hostile_rows_and_files_end_in_no_traceback_and_hide_no_good_row() -> None:
    tokenizers = {name: make() for name, make in FAMILIES.items()}
    found = hostile_data.run(rows=400, files=40, seed=1, tokenizers=tokenizers)
    assert len(found) == 5 + len(FAMILIES)
    for name, tried in found.items():
        assert (name, tried.tracebacks, tried.lost, dict(tried.kinds)) == (name, 0, 0, {})
    assert found["preference rows"].refused > 100
    assert found["preference rows"].used > 40
    assert found["SFT rows"].refused > 100
    assert found["SFT rows"].used > 40
