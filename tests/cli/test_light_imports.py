"""`pairs`, `report` and `compare` answer without torch, whose import alone takes longer than their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from report_runs import write_run
from small_config import write_config

from longmab_pl.cli.main import main
from longmab_pl.pairs.readers import read_round_pairs


def run_without_torch(*args: str | Path) -> str:
    """Run a command in a new process, and fail if it loads torch, Lightning or one of Transformers' models."""
    code = (
        "import sys; from longmab_pl.cli.main import main; main(sys.argv[1:])\n"
        "heavy = {'torch', 'lightning', 'torchmetrics', 'datasets', 'transformers.modeling_utils'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ran = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_pairs_load_the_tokenizer_without_torch(tmp_path: Path, tiny_model: str) -> None:
    main(["rollout", "--config", str(write_config(tmp_path, tiny_model))])
    (folder,) = (tmp_path / "run" / "rounds").iterdir()
    out = tmp_path / "again.jsonl"
    assert str(out) in run_without_torch("pairs", folder, "--output", out)
    assert out.read_bytes() == (folder / "pairs.jsonl").read_bytes()
    assert len(list(read_round_pairs(out))) == 6


def test_report_and_compare_read_results_without_torch(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", gain=0.5)
    page = tmp_path / "page.html"
    assert str(page) in run_without_torch("report", run, "--out", page)
    assert page.stat().st_size > 10_000
    assert "difference from" in run_without_torch("compare", run)
