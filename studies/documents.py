"""A folder of documents: the paragraphs of a question set, without its questions.

    python studies/documents.py --train xquad_train.jsonl --output runs/study/documents

The input file holds one question a record over a context of paragraphs with an empty line between (any reader that
`longmab fit` knows). Each distinct paragraph becomes a text file, named by its content; the same file gives the same
folder. `longmab synthesize OUT --documents FOLDER` then writes questions about them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from longmab_pl.data.numbering import passage_spans
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.storage.files import atomic_write


def distinct_paragraphs(records: Sequence[QARecord]) -> list[str]:
    """Return the paragraphs of all contexts, each once, sorted; headers `Passage 3:` are no part of them."""
    found = {record.context[start:end].strip() for record in records for start, end in passage_spans(record.context)}
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the documents")
    args = parser.parse_args()
    paragraphs = distinct_paragraphs(read_records(args.train).records)
    args.output.mkdir(parents=True, exist_ok=True)
    for text in paragraphs:
        name = hashlib.blake2b(text.encode("utf-8"), digest_size=6).hexdigest()
        with atomic_write(args.output / f"{name}.txt") as file:
            file.write(text + "\n")
    print(f"{args.output}: {len(paragraphs)} paragraphs of {args.train}, a file each")


if __name__ == "__main__":
    main()
