"""LongReward: reading the judge, its four dimensions, retrieval, pairs, and the judged evaluations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from parity import Adapter, Deviation, WithDraws
from resources import contexts, tokenizer

from longmab_pl.data.sentences import sentence_starts
from longmab_pl.data.token_chunks import token_chunks
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.evaluation.longbench.judged import best_rating, item_score, judged_score
from longmab_pl.evaluation.longbench_chat import chat_rating, chat_total
from longmab_pl.pairs.selection import best_and_worst
from longmab_pl.rewards.llm_judge.attempts import Outcome, attempts
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS, faithfulness, language, overall
from longmab_pl.rewards.llm_judge.retrieval import labeled_notes, nearest_chunks
from longmab_pl.rewards.llm_judge.verdicts import parse_notes, parse_score, parse_statements, parse_support

FAILED = "NotImplementedError"
"""What the original raises after five replies that it cannot read."""


def ask(parse: Callable[[str], Any], replies: Sequence[str | None]) -> tuple[Outcome[Any], list[float]]:
    """Drive the package's attempts with recorded replies (no reply, and none left, are empty ones)."""
    asking, recorded = attempts(parse), iter(replies)
    temperatures = [next(asking)]
    while True:
        try:
            temperatures.append(asking.send(next(recorded, None) or ""))
        except StopIteration as end:
            return end.value, temperatures


def scored(given: dict[str, Any]) -> dict[str, Any]:
    outcome, temperatures = ask(parse_score, given["replies"])
    return {
        "score": outcome.value,
        "error": FAILED if outcome.value is None else None,
        "calls": outcome.attempts,
        "temperatures": temperatures,
        "max_new_tokens": 512,
    }


def score_completeness(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scored(given).items() if name in ("score", "error", "calls")}


def parsed(name: str, parse: Callable[[str], Any]) -> Adapter:
    def adapter(given: dict[str, Any]) -> dict[str, Any]:
        outcome, _ = ask(parse, given["replies"])
        failed = outcome.value is None
        return {name: outcome.value, "error": FAILED if failed else None, "calls": outcome.attempts}

    return adapter


def score_faithfulness(given: dict[str, Any]) -> dict[str, Any]:
    replies, verdicts = list(given["verdict_replies"]), []
    calls = 0
    for _ in given["facts"]:
        outcome, _ = ask(parse_support, replies[calls:])
        calls += outcome.attempts
        if outcome.value is None:
            return {"score": None, "facts": None, "error": FAILED, "verdict_calls": calls}
        verdicts.append(outcome.value)
    facts = dict(zip(given["facts"], verdicts, strict=True))
    return {"score": faithfulness(verdicts), "facts": facts, "error": None, "verdict_calls": calls}


def text_split(given: dict[str, Any]) -> dict[str, Any]:
    text = given["text"] if "text" in given else contexts()[given["context_id"]]
    chunks = token_chunks(text, tokenizer(), given["chunk_size"], given.get("overlap", 0))
    total = len(tokenizer().encode(text, add_special_tokens=False))

    def row(start: int, end: int, content: str) -> dict[str, Any]:
        sha = {"sha1": hashlib.sha1(content.encode()).hexdigest(), "head": content[:40]}
        return {"start_idx": start, "end_idx": end, "total_token": total} | (
            {"content": content} if "text" in given else sha
        )

    return {"chunks": [row(chunk.start, chunk.end, chunk.text) for chunk in chunks]}


def get_chunk_info(given: dict[str, Any]) -> dict[str, Any]:
    total, size = given["total_tokens"], given["chunk_size"]
    spans = [(start, min(start + size, total)) for start in range(0, total, size)]
    notes = labeled_notes(spans, total, [f"c{i}" for i in range(len(spans))])
    # Long lists were not recorded.
    labels = [label for label, _ in notes] if len(notes) <= 64 else None
    return {"labels": labels, "n_labels": len(notes), "n_chunks": len(spans), "last": notes[-1]}


def text_split_by_punctuation(given: dict[str, Any]) -> list[str]:
    text = given["text"]
    starts = [*sentence_starts(text), len(text)]
    return [text[a:b].strip() for a, b in pairwise(starts) if text[a:b].strip()]


def batch_search(given: dict[str, Any]) -> list[dict[str, Any]]:
    chunks = np.array(given["context_embeddings"], dtype=np.float32)
    found = [nearest_chunks(np.array(q, dtype=np.float32), chunks, given["k"]) for q in given["query_embeddings"]]
    return [{"by_similarity": order, "evidence_order": sorted(order)} for order in found]


def get_pairs(given: dict[str, Any]) -> dict[str, Any]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in given["scored"]:
        groups.setdefault(int(row["idx"].split("-")[-2]), []).append(row)
    pairs = []
    for record in given["sft_idx"]:
        group = groups.get(record, [])
        pair = best_and_worst([row["total"] for row in group])
        if pair is not None:
            best, worst = pair
            pairs.append(
                {"idx": record, "win_response": group[best]["answer"], "lose_response": group[worst]["answer"]}
            )
    return {"pairs": pairs, "error": None}


def judged(highest: int) -> Adapter:
    def adapter(given: dict[str, Any]) -> dict[str, Any]:
        outcome, _ = ask(lambda reply: judged_score(reply, highest), given["replies"])
        return {"value": outcome.value, "error": None, "calls": outcome.attempts}

    return adapter


def longbench_item_score(given: dict[str, Any]) -> dict[str, Any]:
    highest = best_rating(given["dataset"])
    return {"score": item_score([judged_score(reply, highest) for reply in given["replies_per_reference"]])}


def longbench_chat_total(given: dict[str, Any]) -> dict[str, Any]:
    return {"total_score": chat_total([chat_rating(reply) for reply in given["final_replies"]]).total, "error": None}


def level_groups(given: dict[str, Any]) -> list[int]:
    totals: dict[int, list[float]] = {}
    for row in given["scored"]:
        totals.setdefault(int(row["idx"].split("-")[-2]), []).append(row["total"])
    return [record for record, group in totals.items() if len(group) >= 5 and len(set(group)) == 1]


ADAPTERS: dict[str, Adapter | WithDraws] = {
    "find_last_number": lambda given: parse_score(given["reply"]),
    "faithfulness_level_to_score": lambda given: parse_support(given["reply"]),
    "get_lang": lambda given: language(given["text"]),
    "score_helpfulness": scored,
    "score_logicality": scored,
    "score_completeness": score_completeness,
    "find_facts": parsed("facts", parse_statements),
    "extract_info": parsed("text", parse_notes),
    "batch_search": batch_search,
    "score_faithfulness": score_faithfulness,
    "get_all_score": lambda given: {"total": overall(given) * len(DIMENSIONS)},
    "text_split": text_split,
    "get_chunk_info": get_chunk_info,
    "text_split_by_punctuation": text_split_by_punctuation,
    "get_pairs": get_pairs,
    "longbench_gpt_score_qa": judged(3),
    "longbench_gpt_score_summ": judged(5),
    "longbench_item_score": longbench_item_score,
    "longbench_chat_total": longbench_chat_total,
    "truncate_from_middle": lambda given: {
        "prompt": middle_truncated(given["prompt"], tokenizer(), given["max_input_length"])[0]
    },
}


# --- where ours differ: the expected values, written down without the package --------------------------------------

NUMBERS = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
GROUPS = re.compile(r"\[\[([^\[\]]*\d[^\[\]]*)\]\]")
LABELS = re.compile(r"\[\[([A-Za-z /]+)\]\]")
SUPPORT = {
    "fully": 1,
    "fully supported": 1,
    "partially": 0.5,
    "partially supported": 0.5,
    "no support": 0,
    "none": 0,
} | {
    "not supported": 0,
    "unsupported": 0,
    "contradicted": 0,
}


def numbers(reply: str | None) -> list[float]:
    return [float(found) for found in NUMBERS.findall(reply or "")]


def disputed(reply: str | None) -> bool:
    """Whether a reply holds different scores, or one above 10."""
    return len(set(numbers(reply))) > 1 or any(number > 10 for number in numbers(reply))


def only_score(reply: str | None) -> float | None:
    return None if disputed(reply) or not numbers(reply) else numbers(reply)[0]


def labels(reply: str) -> list[float | None]:
    return [SUPPORT.get(label.lower().strip()) for label in LABELS.findall(reply)]


def unclear_label(reply: str) -> bool:
    """Whether a reply holds a label that is none of the three, or different ones."""
    return len(set(labels(reply))) > 1 or None in labels(reply)


def only_label(reply: str) -> float | None:
    return None if unclear_label(reply) or not labels(reply) else labels(reply)[0]


def unclear_rating(reply: str, highest: float, integer: bool = True) -> bool:
    """Whether a reply's brackets hold different numbers, or one that is no point of the scale from 1 to `highest`."""
    found = [float(number) for group in GROUPS.findall(reply) for number in re.findall(r"-?\d+(?:\.\d+)?", group)]
    return len(set(found)) > 1 or any(not 1 <= n <= highest or (integer and n != int(n)) for n in found)


def only_rating(reply: str, highest: float, integer: bool = True) -> float | None:
    found = re.findall(r"\d+(?:\.\d+)?", " ".join(GROUPS.findall(reply)))
    return float(found[0]) if found and not unclear_rating(reply, highest, integer) else None


def first(read: Callable[[Any], Any], replies: Sequence[str | None]) -> tuple[Any, int]:
    """The first of up to five readings that is one, and its number."""
    readings = [read(reply) if reply else None for reply in replies][:5]
    return next(((value, i) for i, value in enumerate(readings, 1) if value is not None), (None, 5))


def scored_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    score, calls = first(only_score, given["replies"])
    ours = {"score": score, "error": FAILED if score is None else None, "calls": calls}
    temperatures = [0.01, 0.95, 0.95, 0.95, 0.95][:calls]
    return original | ours | ({"temperatures": temperatures} if "temperatures" in original else {})


def support_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    replies, verdicts, calls = given["verdict_replies"], [], 0
    for _ in given["facts"]:
        verdict, asked = first(only_label, replies[calls:])
        calls += asked
        if verdict is None:
            return {"score": None, "facts": None, "error": FAILED, "verdict_calls": calls}
        verdicts.append(verdict)
    score = 10 * sum(verdicts) / len(verdicts)
    return {
        "score": score,
        "facts": dict(zip(given["facts"], verdicts, strict=True)),
        "error": None,
        "verdict_calls": calls,
    }


def judged_by_hand(highest: int) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def ours(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
        rating, calls = first(lambda reply: only_rating(reply, highest), given["replies"])
        return {"value": None if rating is None else (rating - 1) / (highest - 1), "error": None, "calls": calls}

    return ours


def item_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    highest = 5 if given["dataset"] in ("gov_report", "qmsum", "multi_news", "vcsum") else 3
    ratings = [only_rating(reply, highest) for reply in given["replies_per_reference"]]
    return {"score": max(((rating - 1) / (highest - 1) for rating in ratings if rating is not None), default=None)}


def chat_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    ratings = [only_rating(reply, 10, integer=False) for reply in given["final_replies"]]
    judged = [rating for rating in ratings if rating is not None]
    return {"total_score": np.mean(judged).item() * len(ratings) / 5 if judged else None, "error": None}


def notes_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    text, calls = first(lambda reply: reply if reply.strip() else None, given["replies"])
    if text is not None and re.fullmatch(r"\s*no\s+relevant\s+information\s*\.?\s*", text, re.IGNORECASE):
        text = "No relevant information"
    return {"text": text, "error": FAILED if text is None else None, "calls": calls}


def spelled_otherwise(reply: str | None) -> bool:
    """Whether a reply is the sentinel in other letters or blanks, or holds it among other text, or is blank."""
    canonical = "No relevant information"
    text = reply or ""
    words = " ".join(text.split()).rstrip(".")
    return (text != "" and not words) or (
        canonical.lower() == words.lower() if canonical not in text else words != canonical
    )


def regrouped(given: dict[str, Any], original: list[str]) -> list[str]:
    """The original's pieces, put together where no sentence ends and cut where one does."""
    text, spans, position = given["text"], [], 0
    for piece in original:
        start = text.index(piece, position)
        position = start + len(piece)
        before = text[spans[-1][0] : spans[-1][1]] if spans else ""
        if spans and (
            ABBREVIATION.search(before)
            or (MONTH.search(before) and piece[0].isdigit())
            or LIST_NUMBER.search(before)
            or before[-1] == "；"
            or (before[-1] in "。！？" and piece in "。！？")
            or (OPEN_BEFORE_LOWER.search(before) and piece[0].islower())
        ):
            spans[-1][1] = position
            continue
        closing = re.match("[”’」』）》]*", piece)
        if spans and closing and before[-1] in "。！？":
            spans[-1][1] = start + closing.end()
            start += closing.end()
        spans.append([start, position])
    pieces = [piece for a, b in spans for piece in MISSED.split(text[a:b])]
    return [piece.strip() for piece in pieces if piece.strip()]


ABBREVIATION = re.compile(r"(?:^|\s)(?:Dr|Mr|Mrs|Ms|Prof|St|Vol|No|Fig|vs|e\.g|i\.e)\.$")
MONTH = re.compile(r"(?:^|\s)(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\.$")
LIST_NUMBER = re.compile(r"(?:^|\n)\s*\(?\d{1,3}\.$")
OPEN_BEFORE_LOWER = re.compile(
    r"(?:^|\s)(?:etc|inc|ltd|co|corp|jr|sr|[a-z]{3,4}(?<=jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)"
    r"|(?:[a-z]{1,2}\.)+[a-z])\.$|[.!?…][\"'”’]$|\.\.\.$",
    re.IGNORECASE,
)
MISSED = re.compile(r"(?<=[.!?][\"'”’])\s+(?=[A-Z])|(?<=\.\.\.)\s+(?=[A-Z])|(?<=[ap]\.m\.)\s+(?=[A-Z])")
MARKS = re.compile(
    r"[.!?][\"'”’)]*\s+[a-z0-9]|\w\w?\w?\w?\.\s|；\s*\S|[。！？][。！？”’」』）》]|[.!?][\"'”’)]\s|\.\.\.\s"
)


def similarities(given: dict[str, Any], query: list[float]) -> np.ndarray:
    chunks, vector = np.array(given["context_embeddings"], dtype=np.float64), np.array(query, dtype=np.float64)
    return chunks @ vector / np.linalg.norm(chunks, axis=1) / np.linalg.norm(vector)


def near_ties(given: dict[str, Any]) -> bool:
    """Whether similarities that decide the order are closer than bfloat16 tells apart below 1."""
    ordered = [np.sort(similarities(given, query))[::-1][: given["k"] + 1] for query in given["query_embeddings"]]
    return any((np.diff(values) > -(2.0**-8)).any() for values in ordered)


def by_exact_similarity(given: dict[str, Any], original: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ours = []
    for query in given["query_embeddings"]:
        order = np.argsort(-similarities(given, query), kind="stable")[: given["k"]].tolist()
        ours.append({"by_similarity": order, "evidence_order": sorted(order)})
    return ours


SEVERAL = "a reply's double brackets hold different scores, or one above 10"
SEVERAL_WHY = (
    "the original takes the last brackets, so that an answer's own [[10]] that the judge quotes becomes its score, and "
    "it takes any number; ours asks again, and leaves the answer out where no reply has one score on the scale"
)
RATING = "a reply's double brackets hold different numbers, or one that is no point of the scale"
RATING_WHY = (
    "the original takes the first number of the last brackets: [[5]] of 3 is 2.0, a decimal ends the run with a "
    "ValueError, and a quoted rating replaces the verdict; ours asks again, and reports what has no verdict"
)
UNREAD = "no reply holds a rating"
UNREAD_WHY = "the original gives 0.5, which can beat a true 0; ours has no value, is reported and is left out of means"


def retry_deviations(function: str, extra: dict[str, Any]) -> list[Deviation]:
    return [
        Deviation(
            function=function,
            condition=SEVERAL,
            why=SEVERAL_WHY,
            when=lambda given: any(disputed(reply) for reply in given["replies"]),
            ours=scored_by_hand,
            example={"replies": ["The answer asks for [[10]], I give [[2]]. It says: [[10]]", "[[2]]"]},
            original={"score": 10.0, "error": None, "calls": 1} | extra | ({"temperatures": [0.01]} if extra else {}),
            value={"score": 2.0, "error": None, "calls": 2} | extra | ({"temperatures": [0.01, 0.95]} if extra else {}),
        )
    ]


TOKENS = {"max_new_tokens": 512}

DEVIATIONS: list[Deviation] = [
    Deviation(
        function="find_last_number",
        condition=SEVERAL,
        why=SEVERAL_WHY,
        when=lambda given: disputed(given["reply"]),
        ours=lambda given, original: None,
        example={"reply": "[[3]]. The answer ends with: Rating: [[10]]"},
        original=10.0,
        value=None,
    ),
    Deviation(
        function="faithfulness_level_to_score",
        condition="a label that is none of the three, or labels of different values",
        why='the original looks for "fully" and "partially" anywhere in the last label, so that "not fully" and '
        '"wonderfully" are full support, and takes every other word for none; ours asks again',
        when=lambda given: unclear_label(given["reply"]),
        ours=lambda given, original: None,
        example={"reply": "[[Not fully supported]]"},
        original=1,
        value=None,
    ),
    *retry_deviations("score_helpfulness", TOKENS),
    Deviation(
        function="score_logicality",
        condition="the engine gave no reply",
        why="the original parses before it checks for None and ends with a TypeError; ours asks again",
        when=lambda given: None in given["replies"],
        ours=lambda given, original: scored_by_hand(given, original | {"temperatures": []}),
        example={"replies": [None, "[[7]]"]},
        original={"score": None, "error": "TypeError", "calls": 1, "temperatures": [0.01]} | TOKENS,
        value={"score": 7.0, "error": None, "calls": 2, "temperatures": [0.01, 0.95]} | TOKENS,
    ),
    *retry_deviations("score_logicality", TOKENS),
    *retry_deviations("score_completeness", {}),
    Deviation(
        function="extract_info",
        condition="the words of the sentinel among others, the sentinel in other letters or blanks, or a blank reply",
        why="the original wipes a chunk's notes where the words occur anywhere in them, sends the sentinel in other "
        "letters to the judge as notes, and takes white space for notes",
        when=lambda given: any(spelled_otherwise(reply) for reply in given["replies"]),
        ours=notes_by_hand,
        example={"replies": ["1. Born in Lyon.\n2. No relevant information about the year."]},
        original={"text": "No relevant information", "error": None, "calls": 1},
        value={"text": "1. Born in Lyon.\n2. No relevant information about the year.", "error": None, "calls": 1},
    ),
    Deviation(
        function="score_faithfulness",
        condition="a verdict with a label that is none of the three, or labels of different values",
        why="as for faithfulness_level_to_score",
        when=lambda given: any(unclear_label(reply) for reply in given["verdict_replies"]),
        ours=support_by_hand,
        example={"facts": ["a"], "verdict_replies": ["[[Not fully supported]]", "[[Partially supported]]"]},
        original={"score": 10.0, "facts": {"a": 1}, "error": None, "verdict_calls": 1},
        value={"score": 5.0, "facts": {"a": 0.5}, "error": None, "verdict_calls": 2},
    ),
    Deviation(
        function="batch_search",
        condition="similarities closer than bfloat16 tells apart",
        why="the original compares in bfloat16 with a sort that is not stable, so that near ties fall in any order; "
        "ours takes the more similar chunk, and the earlier of equal ones",
        when=near_ties,
        ours=by_exact_similarity,
        example={
            "context_embeddings": [[1.0, 0.02], [1.0, 0.01], [0.0, 1.0]],
            "query_embeddings": [[1.0, 0.0]],
            "k": 2,
            "dtype": "bfloat16",
        },
        original=[{"by_similarity": [0, 1], "evidence_order": [0, 1]}],
        value=[{"by_similarity": [1, 0], "evidence_order": [0, 1]}],
    ),
    Deviation(
        function="get_chunk_info",
        condition="more than a hundred chunks",
        why="the original's notes are a dict by rounded percentages, so chunks of the same label lose their notes",
        when=lambda given: given["total_tokens"] / given["chunk_size"] > 100,
        ours=lambda given, original: original | {"n_labels": original["n_chunks"]},
        example={"total_tokens": 200, "chunk_size": 1},
        original={"labels": None, "n_labels": 153, "n_chunks": 200, "last": ["100% - 100%", "c199"]},
        value={"labels": None, "n_labels": 200, "n_chunks": 200, "last": ["100% - 100%", "c199"]},
    ),
    Deviation(
        function="text_split_by_punctuation",
        condition="an abbreviation, a number, a semicolon, dots, or a quote beside the mark that ends a sentence",
        why="the original trains its splitter on the one text, so that it ends sentences at abbreviations and numbers "
        "of lists and misses quoted ends, and it cuts at semicolons and before closing quotes; ours cuts at sentences",
        when=lambda given: bool(MARKS.search(given["text"])),
        ours=regrouped,
        example={"text": "Dr. Smith went home. He slept."},
        original=["Dr.", "Smith went home.", "He slept."],
        value=["Dr. Smith went home.", "He slept."],
    ),
    Deviation(
        function="get_pairs",
        condition="the best and the worst answer of a group of five have the same total",
        why="the original makes a pair of two answers that are equally good",
        when=lambda given: bool(level_groups(given)),
        ours=lambda given, original: {
            "pairs": [pair for pair in original["pairs"] if pair["idx"] not in level_groups(given)],
            "error": None,
        },
        example={"scored": [{"idx": f"0-{i}", "answer": f"a{i}", "total": 20.0} for i in range(5)], "sft_idx": [0]},
        original={"pairs": [{"idx": 0, "win_response": "a0", "lose_response": "a4"}], "error": None},
        value={"pairs": [], "error": None},
    ),
    *(
        Deviation(
            function=function,
            condition=condition,
            why=why,
            when=when,
            ours=judged_by_hand(highest),
            example={"replies": replies},
            original=original,
            value=value,
        )
        for function, highest in (("longbench_gpt_score_qa", 3), ("longbench_gpt_score_summ", 5))
        for condition, why, when, replies, original, value in (
            (
                RATING,
                RATING_WHY,
                lambda given, highest=highest: any(unclear_rating(reply, highest) for reply in given["replies"]),
                ["[[1.5]]"] * 5,
                {"value": None, "error": "ValueError", "calls": 1},
                {"value": None, "error": None, "calls": 5},
            ),
            (
                UNREAD,
                UNREAD_WHY,
                lambda given: not any(GROUPS.search(reply) for reply in given["replies"]),
                ["bad"] * 5,
                {"value": 0.5, "error": None, "calls": 5},
                {"value": None, "error": None, "calls": 5},
            ),
            (
                "a whole number written as a decimal",
                "the original ends with a ValueError; [[1.0]] is 1",
                lambda given: any(re.search(r"\[\[[^\[\]]*\d\.[^\[\]]*\]\]", reply) for reply in given["replies"]),
                ["[[1.0]]"],
                {"value": None, "error": "ValueError", "calls": 1},
                {"value": 0.0, "error": None, "calls": 1},
            ),
        )
    ),
    Deviation(
        function="longbench_item_score",
        condition="a judgement without a rating on the scale",
        why=f"{RATING_WHY}; {UNREAD_WHY}",
        when=lambda given: any(
            only_rating(r, best_rating(given["dataset"])) is None for r in given["replies_per_reference"]
        ),
        ours=item_by_hand,
        example={"dataset": "qasper", "replies_per_reference": ["[[5]]", "[[2]]"]},
        original={"score": 2.0},
        value={"score": 0.5},
    ),
    Deviation(
        function="longbench_chat_total",
        condition="a case without one rating on the scale",
        why="one unreadable case makes the original's total a TypeError, and quoted ratings replace verdicts; ours "
        "counts such a case as the mean of the others and reports how many there are",
        when=lambda given: any(only_rating(reply, 10, integer=False) is None for reply in given["final_replies"]),
        ours=chat_by_hand,
        example={"final_replies": ["[[10]]", "bad", "[[6]]"]},
        original={"total_score": None, "error": "TypeError"},
        value={"total_score": 4.8, "error": None},
    ),
]
