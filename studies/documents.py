"""Questions from documents alone, tried on real text: the documents, a sample to label by hand, and the study's set.

    python studies/documents.py folder --train xquad_train.jsonl --output runs/documents/texts
    longmab synthesize runs/documents/set --documents runs/documents/texts --samples 4 --min_tokens 600 \
        --max_tokens 860 --held_out 0 --max_model_len 2048
    python studies/documents.py sample --questions runs/documents/set --output studies/results/document-questions.jsonl
    python studies/documents.py share --labels studies/results/document-questions.jsonl
    python studies/documents.py set --questions runs/documents/set --output runs/study/sets/documents_4.jsonl

`folder` writes each distinct paragraph of a question set's contexts into a file, without the questions. `sample` draws
50 kept questions with their chunks; a person then sets `sound` (true or false) and `why` in each row. `share` prints
the share of sound ones with its Wilson interval. `set` writes the records in the form of `studies/real_sets.py`, for
the arm "questions from documents" of `studies/study.py`. The same inputs give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from longmab_pl.data.numbering import passage_spans
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.storage.files import atomic_write

SAMPLE = 50
Z = 1.959964  # 95%


def distinct_paragraphs(records: Sequence[QARecord]) -> list[str]:
    """Return the paragraphs of all contexts, each once, sorted; headers `Passage 3:` are no part of them."""
    found = {record.context[start:end].strip() for record in records for start, end in passage_spans(record.context)}
    return sorted(found)


def write_folder(train: str, output: Path) -> None:
    """Write the paragraphs of a question set as text files, named by their content."""
    paragraphs = distinct_paragraphs(read_records(train).records)
    output.mkdir(parents=True, exist_ok=True)
    for text in paragraphs:
        name = hashlib.blake2b(text.encode("utf-8"), digest_size=6).hexdigest()
        with atomic_write(output / f"{name}.txt") as file:
            file.write(text + "\n")
    print(f"{output}: {len(paragraphs)} paragraphs of {train}, a file each")


def sampled(questions: Path, seed: int) -> list[dict[str, Any]]:
    """Return up to 50 kept questions in random order, with empty labels."""
    rows = [json.loads(line) for line in (questions / "candidates.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = sorted((row for row in rows if row["left_out"] is None), key=lambda row: row["id"])
    chosen = random.Random(seed).sample(kept, min(SAMPLE, len(kept)))
    fields = ("id", "question", "answer", "agreement", "chunk")
    return [{**{name: row[name] for name in fields}, "sound": None, "why": ""} for row in chosen]


def wilson(sound: int, of: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of a share, in [0, 1]."""
    share = sound / of
    center = (share + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return center - half, center + half


def show_share(labels: Path) -> None:
    """Print the share of sound questions and how often each reason occurs."""
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    if not rows or any(not isinstance(row["sound"], bool) for row in rows):
        raise SystemExit(f"{labels}: set `sound` to true or false in every row")
    sound = sum(row["sound"] for row in rows)
    low, high = wilson(sound, len(rows))
    print(f"sound: {sound} of {len(rows)}, {sound / len(rows):.0%} [{low:.0%}, {high:.0%}]")
    for why, count in Counter(row["why"] for row in rows if not row["sound"]).most_common():
        print(f"  {count:>3}  {why}")


def study_rows(records: Sequence[QARecord]) -> Iterator[dict[str, Any]]:
    """Yield records with the form of the study's sets: paragraphs with an empty line between."""
    for record in records:
        parts = [record.context[start:end] for start, end in passage_spans(record.context)]
        context = "\n\n".join(parts)
        yield {"id": record.id, "input": record.question, "answer": list(record.answers), "context": context}


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON Lines and say how many."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = commands.add_parser("folder", help="write the documents")
    folder.add_argument("--train", required=True)
    sample = commands.add_parser("sample", help="draw questions to label")
    sample.add_argument("--seed", type=int, default=0)
    made = commands.add_parser("set", help="write the training set of the study's arm")
    for each in (sample, made):
        each.add_argument("--questions", type=Path, required=True, help="folder of `longmab synthesize --documents`")
    for each in (folder, sample, made):
        each.add_argument("--output", type=Path, required=True)
    share = commands.add_parser("share", help="print the share of sound questions")
    share.add_argument("--labels", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "folder":
        write_folder(args.train, args.output)
    elif args.command == "sample":
        if args.output.exists():
            raise SystemExit(f"{args.output} is there already; its labels would be lost")
        write_lines(args.output, sampled(args.questions, args.seed))
    elif args.command == "share":
        show_share(args.labels)
    else:
        write_lines(args.output, list(study_rows(read_records(str(args.questions / "train.jsonl")).records)))


if __name__ == "__main__":
    main()
