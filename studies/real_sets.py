"""Question sets of real text for the study: the gold paragraph among 3, 11 or 30 others.

    python studies/real_sets.py --train xquad_train.jsonl --held-out xquad_dev.jsonl --output runs/study/sets

The input files hold one question a record over a context of paragraphs with an empty line between (any reader that
`longmab fit` knows), of which one states the answer; the two files must share no paragraph. Distractors are drawn from
other records of the same file, never one that contains the answer, so training and held-out sets share no text. It
writes `train_4.jsonl` and `held_out_4.jsonl`, `held_out_12.jsonl`, `held_out_31.jsonl` with the same questions at all
three lengths. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.rewards.answer_match import substring_match
from longmab_pl.storage.files import atomic_write

_NUMBER = re.compile(r"(?:passage|paragraph) \d+:\s*\n", re.IGNORECASE)

LENGTHS = (4, 12, 31)
"""Paragraphs of a context, the gold one included."""


def paragraphs(record: QARecord) -> list[str]:
    """Return the paragraphs of a record's context, without a line that numbers them (`Passage 3:`).

    The number is another one in each context: with it, the same paragraph would count as two.
    """
    parts = (_NUMBER.sub("", part.strip()).strip() for part in record.context.split("\n\n"))
    return [part for part in parts if part]


def with_one_gold(records: Sequence[QARecord]) -> Iterator[tuple[QARecord, str]]:
    """Yield the records of which exactly one paragraph states the answer, with that paragraph."""
    for record in records:
        gold = [part for part in paragraphs(record) if substring_match(part, record.answers)]
        if len(gold) == 1:
            yield record, gold[0]


def build(records: Sequence[QARecord], count: int, seed: int) -> list[dict[str, object]]:
    """Return one row for each usable record, with `count` paragraphs in random order.

    A record whose file has too few paragraphs without its answer is left out.
    """
    pool = sorted({part for record in records for part in paragraphs(record)})
    rows: list[dict[str, object]] = []
    for record, gold in with_one_gold(records):
        draw = random.Random(f"{seed}/{record.id}/{count}")
        others = [part for part in draw.sample(pool, len(pool)) if not substring_match(part, record.answers)]
        if len(others) < count - 1:
            continue
        chosen = [gold, *others[: count - 1]]
        draw.shuffle(chosen)
        rows.append(
            {
                "id": record.id,
                "input": record.question,
                "answer": list(record.answers),
                "context": "\n\n".join(chosen),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, held_out = read_records(args.train).records, read_records(args.held_out).records
    shared = {p for r in train for p in paragraphs(r)} & {p for r in held_out for p in paragraphs(r)}
    if shared:
        raise SystemExit(f"{len(shared)} paragraphs are in both {args.train} and {args.held_out}; give files apart")
    args.output.mkdir(parents=True, exist_ok=True)
    wanted = [("train", train, LENGTHS[0]), *(("held_out", held_out, count) for count in LENGTHS)]
    for name, records, count in wanted:
        rows = build(records, count, args.seed)
        path = args.output / f"{name}_{count}.jsonl"
        with atomic_write(path) as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(f"{path}: {len(rows)} questions of {len(records)}, {count} paragraphs each")


if __name__ == "__main__":
    main()
