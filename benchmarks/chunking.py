"""Time of `chunk_text` by length and style: `python benchmarks/chunking.py`.

The default style tokenizes once, so four times the text should take four times as long; the paper's style encodes the
growing text again at every clause. Seconds are CPU seconds, so other programs on the machine do not count.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from transformers import AutoTokenizer

from longmab_pl.data.chunking import chunk_text
from longmab_pl.data.synthesis import synthesize
from longmab_pl.models.hub import resolve_model


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("bundled:smollm2-135m-instruct"))
    unit = "\n\n".join(r.context for r in synthesize(n_train=40, n_eval=0, passages=30).train)
    per_unit = len(tokenizer(unit, verbose=False).input_ids)

    def seconds(tokens: int, style: str) -> float:
        text = (unit * (tokens // per_unit + 1))[: int(len(unit) * tokens / per_unit)]
        times = []
        for _ in range(3):
            start = time.process_time()
            chunk_text(text, tokenizer, 1500, style=style)  # type: ignore[arg-type]
            times.append(time.process_time() - start)
        return statistics.median(times)

    rows = []
    for tokens in (25_000, 100_000, 400_000):
        row = {"tokens": tokens, "linear_s": seconds(tokens, "linear")}
        if tokens == 25_000:
            row["paper_s"] = seconds(tokens, "paper")
        rows.append(row)
        print("  ".join(f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in row.items()), flush=True)
    print(f"400k / 100k tokens, linear: {rows[2]['linear_s'] / rows[1]['linear_s']:.2f}x the time for 4x the text")
    print(f"paper / linear at 25k tokens: {rows[0]['paper_s'] / rows[0]['linear_s']:.0f}x")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
