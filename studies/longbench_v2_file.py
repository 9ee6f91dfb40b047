"""Make a file in LongBench v2's format from questions with short answers.

    python studies/longbench_v2_file.py --questions xquad_dev.jsonl --out v2.json --limit 40

Each question gets four options: its answer, and three answers of other questions that are of the same kind (a number or
not). "hard" questions have three wrong options that occur in the text, "easy" ones have none that does. The thirds of
the file by words are called short, medium and long: the official bounds, 32,000 and 128,000 words, would call all of
them short.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any


def options_of(row: dict[str, Any], pool: list[str], hard: bool, rng: random.Random) -> list[str] | None:
    """Return the right answer and three wrong ones in random order, or None if there are not enough."""
    text, right = row["context"].lower(), row["answer"]
    kind = any(map(str.isdigit, right))
    fitting = [
        answer
        for answer in pool
        if (answer.lower() in text) == hard
        and any(map(str.isdigit, answer)) == kind
        and right.lower() not in answer.lower()
        and answer.lower() not in right.lower()
    ]
    if len(fitting) < 3:
        return None
    options = [right, *rng.sample(fitting, 3)]
    rng.shuffle(options)
    return options


def rows_of(questions: list[dict[str, Any]], limit: int, seed: int) -> list[dict[str, Any]]:
    """Return rows in the official format, easy and hard ones in turn as far as the options go."""
    rng = random.Random(seed)
    pool = sorted({row["answer"] for row in questions})
    words = sorted(len(row["context"].split()) for row in questions)
    bounds = words[len(words) // 3], words[2 * len(words) // 3]
    found = []
    for number, row in enumerate(questions):
        hard = number % 2 == 1
        options = options_of(row, pool, hard, rng)
        if options is None:
            hard = not hard
            options = options_of(row, pool, hard, rng)
        if options is None or len(found) == limit:
            continue
        length = len(row["context"].split())
        found.append(
            {
                "_id": str(row["id"]),
                "domain": "Single-Document QA",
                "sub_domain": "Wikipedia",
                "difficulty": "hard" if hard else "easy",
                "length": "short" if length < bounds[0] else "medium" if length < bounds[1] else "long",
                "question": row["input"],
                **{f"choice_{letter}": option for letter, option in zip("ABCD", options, strict=True)},
                "answer": "ABCD"[options.index(row["answer"])],
                "context": row["context"],
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True, help="JSONL of id, input, answer, context")
    parser.add_argument("--out", required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = Path(args.questions).read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    for row in questions:
        row["id"] = row.get("id", row.get("_id"))
        row["answer"] = row["answer"] if "answer" in row else row["answers"][0]
    rows = rows_of(questions, args.limit, args.seed)
    Path(args.out).write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    hard = sum(row["difficulty"] == "hard" for row in rows)
    print(f"{len(rows)} questions, {hard} hard, in {args.out}")


if __name__ == "__main__":
    main()
