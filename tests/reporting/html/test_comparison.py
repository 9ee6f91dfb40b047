"""Several runs on one page."""

from __future__ import annotations

import pytest
from report_runs import write_run

from longmab_pl.errors import ConfigError
from longmab_pl.reporting.html.comparison import write_comparison


def test_runs_are_compared_with_the_first_one_by_the_paired_test(tmp_path):
    first = write_run(tmp_path / "a" / "run", records=6, gain=0.0)
    better = write_run(tmp_path / "b" / "run", records=6, rounds=3, gain=0.5)
    page = write_comparison([first, better], tmp_path / "out" / "comparison.html").read_text()
    assert '<b class="verdict">better</b>' in page
    assert "60 questions paired" in page
    for label in ("a/run", "b/run"):
        assert label in page, "folders of one name are told apart"
    assert "data.init_args.rounds" in page
    assert "sk-123" not in page
    with pytest.raises(ConfigError, match="two different run folders"):
        write_comparison([first, first], tmp_path / "x.html")
