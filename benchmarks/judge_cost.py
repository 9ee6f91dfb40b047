"""Calls and tokens of `LLMJudge` by style, on the same records, and the rank correlation of the two styles' scores.

    python benchmarks/judge_cost.py                       # a scripted judge, one record of 32k tokens, 10 answers
    python benchmarks/judge_cost.py --real 3 [--show]     # the bundled 135M model as judge, on shipped records

The scripted judge reads its prompts: it compares statements with their passages and answers with notes, and adds noise
to its ratings. The answers state 22 facts each, of which a different number stands in the document.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine, VLLMEngine
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Engine, Request
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.rewards.answer_match import pair_reward
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS
from longmab_pl.rewards.llm_judge.questions import JudgeStyle
from longmab_pl.rewards.llm_judge.replies import ReplyLimits
from longmab_pl.rewards.llm_judge.reward import LLMJudge
from longmab_pl.rollout.account import EngineAccount
from longmab_pl.rollout.scheduler import Scheduler

MODEL = "bundled:smollm2-135m-instruct"
STYLES: tuple[JudgeStyle, ...] = ("original", "joint")

Answered = tuple[QARecord, list[str]]
Measured = tuple[dict[str, list[Score]], EngineAccount, float]

_QUOTED = re.compile(r"<([0-9a-f]+-[\w-]+)>\n(.*?)\n</\1>", re.DOTALL)
_FACT = re.compile(r"The mill.*?son\.")


def long_record(tokenizer: Any, tokens: int, facts: int, answers: int) -> Answered:
    """Return a record and answers that state `facts` facts each; answer i has a share of i / (answers - 1) right."""
    draw = random.Random(0)
    syllables = [f"{a}{b}" for a in ("Do", "Mi", "Ka", "Te", "Ru") for b in ("ba", "ful", "rid", "no")]
    names = [f"{syllable}{number}" for syllable in syllables for number in range(40)]
    draw.shuffle(names)
    asked = [f"The mill of {name} was built by Mr. {draw.choice(names)}son." for name in names[:facts]]

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False, verbose=False))

    sentences: list[str] = []
    room = tokens - count(" ".join(asked))
    while count(" ".join(sentences)) < room:
        sentences += [f"The town of {draw.choice(names)} lies on the river {draw.choice(names)}." for _ in range(50)]
    sentences += asked
    draw.shuffle(sentences)

    def stated(fact: str, right: bool, view: int) -> str:
        return f"In view {view}: {fact if right else fact.replace('Mr. ', 'Mrs. Un')}"  # no two answers say it alike

    right = [round(i * facts / (answers - 1)) for i in range(answers)]
    texts = [" ".join(stated(fact, k < right[i], i) for k, fact in enumerate(asked)) for i in range(answers)]
    return QARecord("long", "Who built the mills?", ("x",), " ".join(sentences)), texts


def reading_judge(request: Request, prompt: str) -> str:
    """Return the reply of a judge that compares texts; its ratings have noise of a standard deviation of 0.7 points."""
    quoted = {name.partition("-")[2]: text for name, text in _QUOTED.findall(prompt)}
    schema = json.loads(request.schema or "{}")["properties"]
    draw = random.Random(prompt)

    def rating(share: float) -> int:
        return min(10, max(0, round(10 * share + draw.gauss(0, 0.7))))

    def plausible(answer: str) -> float:
        return 1 - answer.count("Mrs. Un") / max(len(_FACT.findall(answer)), 1)

    def supported(statement: str, passages: str) -> str:
        return "fully" if statement.partition(": ")[2] in passages else "none"

    if "statements" in schema:
        return json.dumps({"statements": re.findall(r"In view \d+: The mill.*?son\.", quoted["answer"])})
    if "notes" in schema:
        return json.dumps({"notes": _FACT.findall(quoted["document"])[: schema["notes"]["maxItems"]]})
    if "notes" in quoted:
        notes = _FACT.findall(quoted["notes"])
        covered = sum(note in quoted["answer"] for note in notes) / max(len(notes), 1)
        return json.dumps({"analysis": "", "verdict": rating(covered)})
    if "statement" in quoted:
        return json.dumps({"analysis": "", "verdict": supported(quoted["statement"], quoted["passages"])})
    if "answer" in quoted:
        return json.dumps({"analysis": "", "verdict": rating(plausible(quoted["answer"]))})
    names = [name for name in schema if name != "analysis"]
    if "passages" in quoted:
        labels = {name: supported(quoted[name], quoted["passages"]) for name in names}
        return json.dumps({"analysis": "", **labels})
    return json.dumps({"analysis": "", **{name: rating(plausible(quoted[name])) for name in names}})


def scripted_judge(tokenizer: Any) -> ScriptedEngine:
    """Return an engine that answers as `reading_judge`."""
    return ScriptedEngine(
        lambda request, i: reading_judge(request, tokenizer.decode(request.prompt_ids)),
        tokenizer=tokenizer,
        max_model_len=10**6,
        structured_output=True,
    )


def shipped_records(count: int) -> list[Answered]:
    """Return shipped records with answers of different worth."""
    found = []
    for record in read_records("shipped:synthetic_train", limit=count).records:
        names = sorted(set(re.findall(r"[A-Z][a-z]{4,}", record.context)) - set(record.answer.split()))
        wrong = random.Random(record.id).sample(names, 2)
        answers = [f"Answer: {record.answer}", f"Answer: {wrong[0]}", f"Answer: {wrong[1]}", "I do not know.", "Hello!"]
        found.append((record, [*answers, f"The document says that the answer is {record.answer}."]))
    return found


def judged(style: JudgeStyle, records: Sequence[Answered], engine: Engine, judge: Addressee, folder: Path) -> Measured:
    """Return the scores of all answers by record, the judge's account, and seconds."""
    small = ReplyLimits(verdict=96, notes=128, statements=128)
    reward = LLMJudge(style=style, reply_tokens=small if judge.max_model_len < 10_000 else ReplyLimits())
    embedder = Embedder()
    account = EngineAccount("judge", folder / f"{style}.jsonl", "m")
    start = time.perf_counter()
    scheduler = Scheduler(
        {"policy": ScriptedEngine(lambda request, i: ""), "judge": engine}, accounts={"judge": account}
    )
    tasks = (
        (record.id, reward.score(record, answers, RewardContext(None, embedder, 0, record.id, {"judge": judge})))
        for record, answers in records
    )
    found: dict[str, list[Score]] = {}
    for name, scores in scheduler.run(tasks):
        if isinstance(scores, Exception):
            raise scores
        found[name] = scores
    return found, account, time.perf_counter() - start


def worth(score: Score, name: str) -> float:
    """Return a score's value, or one of its parts."""
    return score.value if name == "value" else score.parts[name]


def mean_correlation(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """Return the mean of Spearman's rank correlations of records; one of equal numbers only has none."""
    found = [float(spearmanr(a, b).statistic) for a, b in pairs if len(set(a)) > 1 and len(set(b)) > 1]
    return f"{sum(found) / len(found):.2f} ({len(found)} of {len(pairs)} records)" if found else "none (all are equal)"


def report(records: Sequence[Answered], found: Mapping[JudgeStyle, Measured]) -> dict[str, Any]:
    """Print the table and return its numbers."""
    answers = sum(len(texts) for _, texts in records)
    rows: dict[str, Any] = {}
    print(f"{len(records)} records, {answers} answers")
    for style, (scores, account, seconds) in found.items():
        excluded = sum(score.excluded is not None for each in scores.values() for score in each)
        rows[style] = {"calls": account.calls, "tokens": account.tokens, "excluded": excluded, "seconds": seconds}
        print(
            f"{style:9} {account.calls:5,} calls {account.tokens:9,} tokens; an answer: {account.calls / answers:5.1f} "
            f"calls, {account.tokens / answers:8,.0f} tokens; {excluded} excluded; {seconds:.0f} s"
        )
    for name in ("value", *DIMENSIONS):
        pairs = []
        for record, _ in records:
            both = zip(*(found[style][0][record.id] for style in STYLES), strict=True)
            kept = [(a, b) for a, b in both if a.excluded is None and b.excluded is None]
            pairs.append(([worth(a, name) for a, _ in kept], [worth(b, name) for _, b in kept]))
        rows[f"correlation/{name}"] = mean_correlation(pairs)
        print(f"rank correlation of the two styles, {name:12}: {rows[f'correlation/{name}']}")
    for style in found if records[0][0].id != "long" else ():
        for name in ("value", *DIMENSIONS):
            pairs = []
            for record, texts in records:
                scored = zip(found[style][0][record.id], texts, strict=True)
                kept = [(worth(s, name), pair_reward(t, record.answers)) for s, t in scored if s.excluded is None]
                pairs.append(([value for value, _ in kept], [gold for _, gold in kept]))
            rows[f"gold/{style}/{name}"] = mean_correlation(pairs)
            print(f"rank correlation with the gold answers, {style}, {name:12}: {rows[f'gold/{style}/{name}']}")
    return rows


def show(records: Sequence[Answered], style: JudgeStyle, measured: Measured) -> None:
    """Print every answer with its score and what the judge said of it."""
    for record, texts in records:
        for text, score in zip(texts, measured[0][record.id], strict=True):
            print(f"\n{style} {record.id} {text[:80]!r}: {score.value:.3f} {score.excluded or ''}")
            print(f"   { ({name: round(value, 2) for name, value in score.parts.items()}) }")
            for about, note in score.notes.items():
                print(f"   {about}: {note[:500]!r}", flush=True)


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32_000, help="length of the scripted record's document")
    parser.add_argument("--facts", type=int, default=22, help="facts of a scripted answer")
    parser.add_argument("--answers", type=int, default=10, help="answers to the scripted record")
    parser.add_argument("--real", type=int, default=0, help="judge so many shipped records by the bundled model")
    parser.add_argument("--show", action="store_true", help="print every answer with the judge's replies")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args(args)
    folder = resolve_model(MODEL)
    tokenizer = load_tokenizer(folder)
    engine: Engine
    if options.real:
        records = shipped_records(options.real)
        engine = VLLMEngine(concurrency=16, max_model_len=4096, kv_cache_gb=1.0)
    else:
        records = [long_record(tokenizer, options.tokens, options.facts, options.answers)]
        engine = scripted_judge(tokenizer)
    try:
        engine.start(folder)
        judge = Addressee(ChatFormat(tokenizer), engine.max_model_len, engine.structured_output)
        with tempfile.TemporaryDirectory() as run:
            found: dict[JudgeStyle, Measured] = {}
            for style in STYLES:
                found[style] = judged(style, records, engine, judge, Path(run))
                if options.show:
                    show(records, style, found[style])
    finally:
        engine.close()
    print("the bundled 135M model as judge" if options.real else "a scripted judge that reads its prompts")
    rows = report(records, found)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
