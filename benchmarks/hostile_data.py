"""Hostile data: rows and files of every kind of damage through all readers and the tokenization of pairs.

Nothing but an error of this package (`LongMabError`) may come out, and one bad row never stops a file. Usage:

    python benchmarks/hostile_data.py [--rows 10000] [--files 400] [--seed 0] [--output hostile.json]

Each line that is printed says how many rows or files were tried, how many of them were used, refused, and ended in a
traceback, with the first of each kind. The exit status is 1 if there was a traceback, or if good rows were lost.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from longmab_pl.data.readers import BadRecord, checked_records
from longmab_pl.datamodules.tokenized import TokenizedPairs
from longmab_pl.errors import LongMabError
from longmab_pl.evaluation.longbench.loading import load_items, tasks_there
from longmab_pl.pairs.readers import read_answered, read_preferences
from longmab_pl.pairs.types import Demonstration, PreferencePair

TEXTS = (
    *(
        "",
        " ",
        "a",
        "Lima",
        "x" * 3000,
        "\x00",
        "\ud83d",
        "a\udc00b",
        "\u202egnitset",
        "\x1b[31m",
        "<|im_end|>\n<|im_start|>",
    ),
    *(
        "{context}",
        "{0}",
        "%s",
        "[/red]",
        "null",
        "NaN",
        "Ω" * 40,
        "👩‍👩‍👧",
        "\ufeff",
        "<s></s>",
        "Human: Hi\n\nAssistant: a",
    ),
)
NUMBERS = (0, -1, 1, 0.5, 1e308, -1e308, 10**400, -(10**400), 2**63, 2**64, True, False)
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud83d"', "[" * 2000, '{"a":' * 2000, "tru", "")


@dataclass
class Tried:
    """What came of one kind of data."""

    rows: int = 0
    used: int = 0
    refused: int = 0
    tracebacks: int = 0
    lost: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Hostile:
    """Makes values, rows and files that no format allows, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        pick = self.random.randrange(9 if depth < 3 else 6)
        if pick < 3:
            return self.random.choice(TEXTS)
        if pick < 4:
            return self.random.choice(NUMBERS)
        if pick < 5:
            return None
        if pick < 6:
            return self.deep()
        if pick < 7:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if pick < 8:
            return self.message(depth)
        return {self.random.choice(TEXTS): self.value(depth + 1) for _ in range(self.random.randrange(4))}

    def deep(self) -> Any:
        value: Any = "x"
        for _ in range(self.random.choice((1, 10, 100, 300))):
            value = [value] if self.random.random() < 0.5 else {"role": "user", "content": value}
        return value

    def message(self, depth: int = 0) -> dict[str, Any]:
        roles = ("user", "assistant", "system", "tool", "pirate", "", "<|im_end|>", None, 3)
        made: dict[str, Any] = {"role": self.random.choice(roles), "content": self.random.choice(TEXTS)}
        for name in ("tool_calls", "name", "tool_call_id", "content", "from", "value"):
            if self.random.random() < 0.1:
                made[name] = self.value(depth + 1)
        return made

    def conversation(self) -> list[dict[str, Any]]:
        return [self.message() for _ in range(self.random.randrange(4))]

    def row(self, names: tuple[str, ...], good: dict[str, Any]) -> str:
        """A line of JSON: a good row of which some fields are replaced, left out or added."""
        made = dict(good)
        for _ in range(self.random.randint(1, 4)):
            name = self.random.choice(names)
            if self.random.random() < 0.2:
                made.pop(name, None)
            else:
                made[name] = self.conversation() if self.random.random() < 0.3 else self.value()
        line = json.dumps(made, ensure_ascii=True)
        pick = self.random.random()
        if pick < 0.05:
            line = line[: self.random.randrange(len(line))]
        elif pick < 0.15:
            line = line[:-1] + f', "{self.random.choice(names)}": {self.random.choice(RAW)}' + "}"
        elif pick < 0.18:
            line = self.random.choice(RAW)
        return line.replace("\n", " ") or "0"

    def damaged(self, data: bytes) -> bytes:
        """A file with bytes changed, left out, repeated or put in."""
        made = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            place = self.random.randrange(max(len(made), 1))
            pick = self.random.randrange(5)
            if pick == 0 and made:
                made[place % len(made)] ^= 1 << self.random.randrange(8)
            elif pick == 1:
                del made[place:]
            elif pick == 2:
                del made[place : place + self.random.randrange(1, 200)]
            elif pick == 3:
                made[place:place] = bytes(self.random.randrange(256) for _ in range(20))
            else:
                made[place:place] = made[: self.random.randrange(100)]
        return bytes(made)


PREFERENCE = {"prompt": "Capital of Peru?", "chosen": " Lima", "rejected": " Quito"}
PREFERENCE_NAMES = (
    *("prompt", "chosen", "rejected", "question", "instruction", "input", "system", "messages", "conversations", "id"),
    *("prompt_id", "tools", "chosen_reward", "score_rejected", "chosen_ended", "completions", "chosen_token_ids"),
    *("chosen_mask", "pair", "round", "history", "context"),
)
ANSWER = {"question": "Capital of Peru?", "response": "Lima"}
ANSWER_NAMES = (
    *("prompt", "question", "instruction", "input", "context", "system", "messages", "conversations", "answer"),
    *("response", "completion", "output", "chosen", "rejected", "chosen_ended", "chosen_token_ids", "chosen_turn_ids"),
    *("tools", "id", "prompt_id", "text"),
)
RECORD = {"_id": "r", "input": "Capital of Peru?", "answers": ["Lima"], "context": "Lima is the capital of Peru."}
RECORD_NAMES = (
    *("_id", "id", "input", "question", "answer", "answers", "context", "contexts", "paragraphs", "length"),
    *("all_classes", "language", "answer_aliases", "passages"),
)


def lines(hostile: Hostile, names: tuple[str, ...], good: dict[str, Any], count: int) -> Iterator[str]:
    """Rows of which every tenth is good, so that it shows where one row hides the next."""
    for number in range(count):
        if number % 10 == 9:
            yield json.dumps({**good, "_id": f"good{number}", "id": f"good{number}"})
        else:
            yield hostile.row(names, {**good, "_id": f"bad{number}"})


def try_rows(count: int, read: Callable[[], Iterator[Any]]) -> Tried:
    """Count what a reader makes of a file; all good rows must come through."""
    tried = Tried(rows=count)
    good = 0
    try:
        for row in read():
            if isinstance(row, BadRecord):
                tried.refused += 1
                if len(str(row)) > 2000 or not str(row).isprintable():
                    tried.kinds["message that is long or no text"] += 1
            else:
                tried.used += 1
                good += row.id.startswith("good")
    except Exception as error:  # what this program is for
        tried.tracebacks += 1
        tried.kinds[f"{type(error).__name__}: {str(error)[:80]}"] += 1
    tried.lost = count // 10 - good
    return tried


def try_tokens(pairs: list[PreferencePair], tokenizers: dict[str, Any]) -> dict[str, Tried]:
    """Tokenize the rows that a reader let through, as pairs and their chosen answers alone, with every tokenizer."""
    found = {}
    for name, tokenizer in tokenizers.items():
        tried = found[f"tokens of {name}"] = Tried(rows=len(pairs))
        tokens, alone = TokenizedPairs(tokenizer, 2048), TokenizedPairs(tokenizer, 2048)
        for pair in pairs:
            try:
                tried.used += len(list(tokens.examples([pair])))
                list(alone.demonstrations([Demonstration.of(pair)]))
            except Exception as error:  # what this program is for
                tried.tracebacks += 1
                tried.kinds[f"{type(error).__name__}: {str(error)[:80]}"] += 1
        tried.refused = tokens.left_out.total()
    return found


def odd_files(hostile: Hostile, folder: Path, count: int) -> Iterator[Path]:
    """Files that are damaged, empty, of another kind than their names say, or have odd names."""
    import pyarrow
    import pyarrow.parquet

    plain = "".join(json.dumps({**RECORD, "_id": str(i)}) + "\n" for i in range(20)).encode()
    parquet = io.BytesIO()
    columns = {name: [value] * 20 for name, value in RECORD.items()}
    dates = pyarrow.array([4 * 10**17] * 20).cast(pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({**columns, "date": dates}), parquet)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/odd.jsonl", plain)
    table = b"id,question,answers,context\n" + b'1,"Q","A","Line\nline"\n' * 20
    whole = {
        "odd.jsonl": plain,
        "odd.json": b"[" + b",".join(plain.splitlines()) + b"]",
        "odd.jsonl.gz": gzip.compress(plain),
        "odd.json.gz": gzip.compress(b"[" + b",".join(plain.splitlines()) + b"]"),
        "odd.csv": table,
        "odd.tsv": table.replace(b",", b"\t"),
        "odd.parquet": parquet.getvalue(),
        "odd.zip": packed.getvalue(),
    }
    yield Path("x" * 300 + ".jsonl")
    yield Path("/".join(["y" * 200] * 30))
    yield Path("nul\x00.jsonl")
    for number in range(count):
        name = hostile.random.choice(list(whole))
        pick = hostile.random.random()
        data = whole[name] if pick < 0.1 else whole[hostile.random.choice(list(whole))] if pick < 0.25 else b""
        path = folder / str(number) / name
        path.parent.mkdir()
        path.write_bytes(data or (b"" if pick > 0.97 else hostile.damaged(whole[name])))
        yield path


def try_files(paths: Iterator[Path]) -> Tried:
    """Read every file with each reader: only errors of this package may come out."""
    tried = Tried()

    def evaluated(path: Path) -> None:
        for task in tasks_there(path):
            load_items(path, task)

    readers: dict[str, Callable[[Path], Any]] = {
        "records": lambda path: list(checked_records(str(path))),
        "pairs": lambda path: list(read_preferences(str(path))),
        "evaluation": evaluated,
    }
    for path in paths:
        for name, read in readers.items():
            tried.rows += 1
            try:
                read(path)
                tried.used += 1
            except LongMabError as error:
                tried.refused += 1
                if len(str(error)) > 5000:
                    tried.kinds[f"{name}: message of {len(str(error))} characters"] += 1
            except Exception as error:  # what this program is for
                tried.tracebacks += 1
                tried.kinds[f"{name} {path.suffix}: {type(error).__name__}: {str(error)[:80]}"] += 1
    return tried


def run(rows: int, files: int, seed: int, tokenizers: dict[str, Any]) -> dict[str, Tried]:
    """Try everything.

    Args:
        rows: of each kind of row.
        files: odd files, each given to three readers.
        seed: of what is made.
        tokenizers: by name; rows that a reader lets through are tokenized with each.
    """
    hostile = Hostile(seed)
    found: dict[str, Tried] = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs, records = Path(folder) / "pairs.jsonl", Path(folder) / "musique.jsonl"
        pairs.write_text("\n".join(lines(hostile, PREFERENCE_NAMES, PREFERENCE, rows)) + "\n", encoding="utf-8")
        records.write_text("\n".join(lines(hostile, RECORD_NAMES, RECORD, rows)) + "\n", encoding="utf-8")

        def evaluation_rows() -> Iterator[Any]:
            items, _, bad = load_items(records, "musique")
            yield from items
            yield from (BadRecord(row.file, row.line, row.field, row.problem) for row in bad)

        found["preference rows"] = try_rows(rows, lambda: read_preferences(str(pairs)))
        answers = Path(folder) / "answers.jsonl"
        answers.write_text("\n".join(lines(hostile, ANSWER_NAMES, ANSWER, rows)) + "\n", encoding="utf-8")
        found["SFT rows"] = try_rows(rows, lambda: read_answered(str(answers)))
        found["training records"] = try_rows(rows, lambda: (row for _, row in checked_records(str(records))))
        found["evaluation rows"] = try_rows(rows, evaluation_rows)
        usable = [row for row in read_preferences(str(pairs)) if isinstance(row, PreferencePair)]
        found |= try_tokens(usable, tokenizers)
        found["odd files, by three readers"] = try_files(odd_files(hostile, Path(folder), files))
    return found


def main() -> int:
    """Run the program; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct", help="whose tokenizer is tried")
    parser.add_argument("--output", help="a JSON file of the counts")
    options = parser.parse_args()
    from longmab_pl.models.hub import resolve_model
    from longmab_pl.models.tokenizer import load_tokenizer

    tokenizers = {options.model: load_tokenizer(resolve_model(options.model))}
    found = run(options.rows, options.files, options.seed, tokenizers)
    for name, tried in found.items():
        counts = (
            f"{tried.rows:>7,} tried, {tried.used:>7,} used, {tried.refused:>7,} refused, {tried.lost} good ones lost"
        )
        print(f"{name:<45}{counts}, {tried.tracebacks} tracebacks")
        for kind, number in tried.kinds.most_common(10):
            print(f"    {number:>5} {kind.encode('unicode_escape').decode()}")
    if options.output:
        Path(options.output).write_text(json.dumps({name: asdict(tried) for name, tried in found.items()}, indent=1))
    return int(any(tried.tracebacks or tried.lost or tried.kinds for tried in found.values()))


if __name__ == "__main__":
    sys.exit(main())
