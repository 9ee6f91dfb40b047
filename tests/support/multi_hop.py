"""Multi-hop questions in the formats of MuSiQue, HotpotQA and 2WikiMultihopQA, about invented towns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PER_QUESTION = 5


def paragraph(n: int, words: int = 30) -> str:
    return f"Town {n} lies on river {n}. " + " ".join(f"w{n}x{i}" for i in range(words))


def titles(n: int) -> list[str]:
    """Return the titles of question `n`: two needed ones, then distractors of its own."""
    return [f"Town {n}", f"River {n}", *(f"Hill {n}.{i}" for i in range(PER_QUESTION - 2))]


def musique(n: int, **changes: Any) -> dict[str, Any]:
    paragraphs = [
        {"idx": i, "title": title, "paragraph_text": paragraph(100 * n + i), "is_supporting": i < 2}
        for i, title in enumerate(titles(n))
    ]
    row = {"id": f"2hop__{n}", "paragraphs": paragraphs, "question": f"Where does the river of town {n} rise?"}
    return {**row, "answer": f"Land {n}", "answer_aliases": [f"Lande {n}"], "answerable": True, **changes}


def hotpot(n: int, **changes: Any) -> dict[str, Any]:
    context = [[title, [paragraph(100 * n + i), " More of it."]] for i, title in enumerate(titles(n))]
    row = {"_id": f"h{n}", "question": f"Where does river {n} rise?", "answer": f"Land {n}", "type": "bridge"}
    return {**row, "supporting_facts": [[f"River {n}", 0], [f"Town {n}", 1]], "context": context, **changes}


def hotpot_hub(n: int) -> dict[str, Any]:
    row = hotpot(n)
    context = {"title": [c[0] for c in row["context"]], "sentences": [c[1] for c in row["context"]]}
    facts = {"title": [f[0] for f in row["supporting_facts"]], "sent_id": [f[1] for f in row["supporting_facts"]]}
    return {**row, "context": context, "supporting_facts": facts}


def two_wiki(n: int) -> dict[str, Any]:
    row = hotpot(n, evidences=[["Town", "river", "River"]])
    return {**row, "context": json.dumps(row["context"]), "supporting_facts": json.dumps(row["supporting_facts"])}


def write_lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
