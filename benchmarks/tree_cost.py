"""What a clarification tree costs a record, against the original's style: `python benchmarks/tree_cost.py`.

No model runs: a scripted engine answers by labels, which say which paragraphs help with which question. Both styles ask
about the same document and the same clarifying questions. Counted are requests, prompt tokens, and those that an engine
with a prefix cache (blocks of 16 tokens, everything since the record began) has to prefill.

- original: one verdict a request, the question before the paragraph, a check after each final answer (AgenticLU's
  `sampling_step`, counted in `docs/methods/agenticlu.md`).
- ours: all questions of an expansion in one request a paragraph, the paragraph first, no check.

The paragraphs that each node keeps must be those of the labels. The last column is the original's reading of the very
same replies: it drops a paragraph for the letters "no" anywhere, as in "know".
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts import clarification as say
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.prompts.transcript import Turn, transcript, user
from longmab_pl.rewards.gold_agreement import GoldAgreement
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies import ClarificationTree
from longmab_pl.strategies.base import RecordRollout, StrategyContext
from longmab_pl.strategies.clarification_tree import conversation
from longmab_pl.strategies.clarification_tree.nodes import Node, rounds_to
from longmab_pl.strategies.clarification_tree.paragraphs import (
    Paragraph,
    cut_paragraphs,
    is_relevant,
    join_paragraphs,
)

BLOCK = 16
"""Tokens of a block of the prefix cache."""

TOPICS = 64
"""Topics of the document and of the questions; a paragraph helps with a question of its own topics."""

RELEVANT = 2
"""Topics in a paragraph."""


@dataclass
class Cost:
    """Requests and prompt tokens by step, and what a prefix cache leaves of them to prefill."""

    requests: Counter[str] = field(default_factory=Counter)
    prompt: Counter[str] = field(default_factory=Counter)
    prefill: Counter[str] = field(default_factory=Counter)
    _blocks: set[int] = field(default_factory=set)

    def add(self, step: str, ids: Sequence[int]) -> None:
        """Count one request."""
        cached, chain = 0, 0
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            chain = hash((chain, tuple(ids[start : start + BLOCK])))
            if chain in self._blocks and cached == start:
                cached = start + BLOCK
            self._blocks.add(chain)
        self.requests[step] += 1
        self.prompt[step] += len(ids)
        self.prefill[step] += len(ids) - cached

    def to_json(self) -> dict[str, Any]:
        """Return the counts by step and in all."""
        counted = {"requests": self.requests, "prompt_tokens": self.prompt, "prefill_tokens": self.prefill}
        return {name: dict(counts) | {"all": counts.total()} for name, counts in counted.items()}


class LabelledModel:
    """Answers every request of the tree; verdicts are the labels, and its words hold the letters of a "no"."""

    def __init__(self, tokenizer: Any, sentence: str) -> None:
        self.tokenizer, self.sentence = tokenizer, sentence

    def __call__(self, request: Request, i: int) -> str:
        draw = random.Random(f"{request.seed} {i}")
        if "/verdict/" in request.id:
            return self.verdicts(self.tokenizer.decode(list(request.prompt_ids)))
        if "/clarify" in request.id:
            return f"What is known of topic{draw.randrange(TOPICS)}x in year {draw.randrange(10**6)}?"
        return f"{self.sentence} {draw.randrange(10**6)}."

    def verdicts(self, prompt: str) -> str:
        paragraph, _, asked = prompt.partition("Does this paragraph help")
        questions = re.findall(r"^\d+\. (.*)$", asked, re.MULTILINE)
        if not questions:
            return f"I know this paragraph. Answer: {label(paragraph, asked)}"
        return "\n".join(f"{n}: I know, {label(paragraph, question)}" for n, question in enumerate(questions, 1))


def topics(text: str) -> set[str]:
    """The topics that a text names."""
    return set(re.findall(r"topic\d+x", text))


def label(paragraph: str, question: str) -> str:
    """The right verdict."""
    return "yes" if topics(paragraph) & topics(question) else "no"


def document(tokenizer: Any, paragraphs: int, tokens: int, seed: int) -> str:
    """A document of so many paragraphs of so many tokens, each with its own topics."""
    rng = random.Random(seed)
    words = ["the", "town", "river", "hill", "bridge", "market", "wall", "field", "road", "mill", "tower", "gate"]
    text = ""
    for _ in range(paragraphs):
        part = " ".join(f"topic{rng.randrange(TOPICS)}x" for _ in range(RELEVANT))
        ids: list[int] = []
        while len(ids) < tokens:
            part += " " + " ".join(rng.choices(words, k=40))
            ids = tokenizer.encode(part, add_special_tokens=False)
        text += tokenizer.decode(ids[:tokens])
    return text


class CountingEngine(ScriptedEngine):
    """Counts what it is asked."""

    cost: Cost

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.cost.add(step_of(request.id), request.prompt_ids)


def step_of(name: str) -> str:
    """The step that a request's id names."""
    return next(step for step in ("verdict", "clarify", "answer", "final") if f"/{step}" in name)


def grow(tree: ClarificationTree, record: QARecord, tokenizer: Any) -> tuple[RecordRollout, Cost]:
    """Run the strategy on a record."""
    model = LabelledModel(tokenizer, "It says that it was built in")
    engine = CountingEngine(model, max_model_len=65536, jitter=1)
    engine.cost = Cost()
    policy = Addressee(ChatFormat(tokenizer), 65536)
    context = StrategyContext(tokenizer, DirectAnswer(), Embedder(), 65536, 0, (GoldAgreement(),), {"policy": policy})
    ((_, rollout),) = Scheduler({"policy": engine}).run([(record.id, tree.roll(record, context))])
    assert isinstance(rollout, RecordRollout), rollout
    return rollout, engine.cost


def original_requests(
    nodes: Sequence[Node], question: str, paragraphs: Sequence[Paragraph], rounds: int
) -> Iterator[tuple[str, list[Turn]]]:
    """The requests of the original for the same tree: verdicts one by one with the question first, and checks."""
    texts = [paragraph.text for paragraph in paragraphs]

    def verdicts(asked: str) -> Iterator[tuple[str, list[Turn]]]:
        for text in texts:
            form = "Give a short reason, then end with one line: Answer: (yes/maybe/no)"
            told = f"{asked}\n\n{text}\n\nDoes this paragraph help in any way to answer the question?\n\n{form}"
            yield "verdict", [conversation.system(), user(told)]

    def checked(before: list[Turn], final: Turn) -> tuple[str, list[Turn]]:
        return "check", [*before, final, user(say.CHECK)]

    root = nodes[0]
    yield from verdicts(question)
    asked = conversation.base_answer_request(join_paragraphs(texts, root.kept), question)
    yield "answer", asked
    yield checked(asked, root.turns[0])
    for node in nodes:
        before = rounds_to(nodes, node.id)
        if len(before) >= rounds:
            continue
        yield "clarify", conversation.clarification_request(before, join_paragraphs(texts, node.kept), question)
        for child in (n for n in nodes if n.parent == node.id):
            clarification, answer, final = child.turns
            read = join_paragraphs(texts, child.kept)
            yield from verdicts(child.text)
            yield "answer", conversation.answer_request(before, question, clarification, read)
            told = conversation.final_request(before, question, clarification, read, answer)
            yield "final", told
            yield checked(told, final)


def kept_sets(nodes: Sequence[Node], question: str, paragraphs: Sequence[Paragraph]) -> dict[str, int]:
    """How many nodes keep the paragraphs of the labels: ours, and the original's reading of the same replies."""
    counts: Counter[str] = Counter()
    for node in nodes:
        asked = question if node.parent is None else node.text
        labels = [label(p.text, asked) for p in paragraphs]
        right = {p.number for p, found in zip(paragraphs, labels, strict=True) if found == "yes"}
        replies = [f"Answer: I know, {found}" for found in labels]
        counts["nodes"] += 1
        counts["ours"] += set(node.kept) == right
        counts["one by one, labels"] += {i for i, reply in enumerate(replies) if is_relevant(reply)} == right
        counts["one by one, letters"] += {i for i, r in enumerate(replies) if "no" not in r.partition(":")[2]} == right
        counts["paragraphs"] += len(right)
    return dict(counts)


def run(branching: int, rounds: int, paragraphs: int, tokens: int, tokenizer: Any, seed: int = 0) -> dict[str, Any]:
    """Count both styles for one record."""
    text = document(tokenizer, paragraphs, tokens, seed)
    record = QARecord("r", "What is known of topic1x and topic2x?", ("in 1800",), text)
    sampling = Sampling(max_tokens=128)
    tree = ClarificationTree(branching, rounds, tokens, 32768, branching, sampling, sampling, sampling)
    rollout, ours = grow(tree, record, tokenizer)
    nodes = [Node.from_json(row) for row in rollout.trace["nodes"]]
    cut = cut_paragraphs(text, tokenizer, tokens)
    original = Cost()
    for step, turns in original_requests(nodes, record.question, cut, rounds):
        original.add(step, transcript(tokenizer, turns).ids)
    return {
        "branching": branching,
        "rounds": rounds,
        "document_tokens": sum(p.tokens for p in cut),
        "paragraphs": len(cut),
        "original": original.to_json(),
        "ours": ours.to_json(),
        "kept": kept_sets(nodes, record.question, cut),
    }


def show(result: dict[str, Any]) -> str:
    """The counts as a table."""
    steps = ["clarify", "verdict", "answer", "final", "check", "all"]
    lines = [
        f"n {result['branching']}, depth {result['rounds']}, {result['document_tokens']:,} tokens in "
        f"{result['paragraphs']} paragraphs",
        "",
        "| | style | " + " | ".join(steps) + " |",
        "| --- | --- |" + " ---: |" * len(steps),
    ]
    for name in ("requests", "prompt_tokens", "prefill_tokens"):
        for style in ("original", "ours"):
            counts = result[style][name]
            cells = " | ".join(f"{counts.get(step, 0):,}" for step in steps)
            lines.append(f"| {name.replace('_', ' ')} | {style} | {cells} |")
    kept = result["kept"]
    lines += ["", f"nodes that keep exactly the labeled paragraphs, of {kept['nodes']}:"]
    lines += [f"- {name}: {kept[name]}" for name in ("ours", "one by one, labels", "one by one, letters")]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--branching", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--paragraphs", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=512, help="tokens of a paragraph")
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct", help="whose tokenizer counts")
    parser.add_argument("--json", type=Path, help="file for the counts")
    given = parser.parse_args()
    tokenizer = load_tokenizer(resolve_model(given.model))
    result = run(given.branching, given.rounds, given.paragraphs, given.tokens, tokenizer)
    print(show(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
