"""CPU seconds of the page of `longmab report` by number of records: `python benchmarks/report_page.py`.

The run folder is written by the tests' own writer of run folders (two rounds, eight answers a record, twenty chunks).
Beside the page's seconds are those in which `json.loads` reads every line of its files once, which no page can save
that shows all records.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from report_runs import write_run

from longmab_pl.reporting.html.page import write_page


def measure(records: int) -> dict[str, Any]:
    """Return the seconds of a run's page and of its lines."""
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", records=records, answers=8, chunks=20)
        start = time.process_time()
        page = write_page(run)
        page_s = time.process_time() - start
        start = time.process_time()
        for path in run.rglob("*.jsonl"):
            with path.open("rb") as file:
                for line in file:
                    json.loads(line)
        return {
            "records": records,
            "page_s": page_s,
            "lines_s": time.process_time() - start,
            "page_mb": page.stat().st_size / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 4_000], help="of each round")
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args()
    measure(10)  # imports and templates
    rows = []
    for records in args.records:
        rows.append(measure(records))
        print("  ".join(f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in rows[-1].items()))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
