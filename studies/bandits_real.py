"""Bandit policies, credit and budgets side by side on a real model's answers.

    python studies/bandits_real.py --answers answers.jsonl [--data shipped:synthetic_train] [--out bandits.json]

Every player runs the package's own rollout over the same records. What the model answers to a prompt is sampled once,
kept in the file of `--answers`, and shared by all players: the j-th time a rollout asks a prompt it gets the j-th of
that prompt's answers, in an order that differs between repeats and not between players. So players are compared under
common random numbers, and adding one costs only the prompts that no other has asked. Where there are few chunks, all
sets of `top_k` chunks are asked beforehand and the repeats cost nothing.

Intervals are 95% percentile intervals of 10,000 bootstrap samples of the records; differences to `ucb1` are paired.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import bootstrap

from longmab_pl.bandits import BanditSettings
from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Completion, Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch, pair_reward
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.bandit.credit import EmbeddingSupport, LexicalSupport, Support
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import RecordRollout, RequestStream, StrategyContext

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

TRUSTING = BanditSettings("thompson_beta", {"prior_weight": 30.0})
SEPARATED = EarlyStopping(patience=None)
PLAYERS: dict[str, dict[str, Any]] = {
    **{
        policy: {"bandit": BanditSettings(policy)}
        for policy in (
            "ucb1",
            "ucb_tuned",
            "kl_ucb",
            "moss",
            "thompson_beta",
            "linear_thompson",
            "successive_elimination",
            "uniform",
        )
    },
    "full_context": {"bandit": BanditSettings("full_context.FullContext")},
    "kl_ucb, prior 10": {"bandit": BanditSettings("kl_ucb", {"prior_weight": 10.0})},
    "thompson_beta, prior 10": {"bandit": BanditSettings("thompson_beta", {"prior_weight": 10.0})},
    "thompson_beta, prior 30": {"bandit": TRUSTING},
    "ucb1, lexical credit": {"credit": "lexical"},
    "ucb1, embedding credit": {"credit": "embedding"},
    "thompson_beta, prior 30, lexical credit": {"bandit": TRUSTING, "credit": "lexical"},
    "thompson_beta, prior 30, embedding credit": {"bandit": TRUSTING, "credit": "embedding"},
    "linear_thompson, lexical credit": {"bandit": BanditSettings("linear_thompson"), "credit": "lexical"},
    "ucb1, adaptive, separated": {"budget": "adaptive", "early_stopping": SEPARATED},
    "ucb1, adaptive, patience 5": {"budget": "adaptive", "early_stopping": EarlyStopping(patience=5)},
    "thompson_beta, prior 30, adaptive, separated": {
        "bandit": TRUSTING,
        "budget": "adaptive",
        "early_stopping": SEPARATED,
    },
    "thompson_beta, prior 30, adaptive, patience 5": {
        "bandit": TRUSTING,
        "budget": "adaptive",
        "early_stopping": EarlyStopping(patience=5),
    },
}
AT_ONCE = 12
"""Prompts answered at a time."""
FEW_SETS = 100
"""Up to so many sets of chunks are all asked beforehand."""
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Block:
    """`texts` sampled in one request for one prompt, and why each ended."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]


class Sampler:
    """Samples answers with Transformers: a prompt is read once for all its answers, and what prompts share only once.

    vLLM's cache of prompt beginnings has blocks of 128 tokens on CPU, so it would read prompts this short anew for
    every answer.

    Args:
        model: folder of the model, read in float32.
        tokenizer: its tokenizer.
        sampling: temperature, top-p (within the 512 likeliest tokens) and length of the answers.
    """

    def __init__(self, model: str, tokenizer: Any, sampling: Sampling) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.tokenizer, self.sampling = tokenizer, sampling
        ends = self.model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])

    @torch.inference_mode()
    def sample(self, prompts: Sequence[tuple[int, ...]], n: int, seed: int) -> list[Block]:
        """n answers to each of some prompts, best of all with a common beginning."""
        from transformers import DynamicCache

        shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
        cache = DynamicCache()
        if shared:
            self._read(torch.tensor([prompts[0][:shared]]), cache)
            cache.batch_repeat_interleave(len(prompts))
        rests = [list(p[shared:]) for p in prompts]
        width = max(map(len, rests))
        mask = torch.tensor([[1] * shared + [0] * (width - len(r)) + [1] * len(r) for r in rests])
        place = (mask.cumsum(1) - 1).clamp(min=0)
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rests])
        hidden = self._read(ids, cache, mask, place[:, shared:]).repeat_interleave(n, 0)
        cache.batch_repeat_interleave(n)
        mask, last = mask.repeat_interleave(n, 0), place[:, -1:].repeat_interleave(n, 0)
        generator = torch.Generator().manual_seed(seed)
        said: list[list[int]] = [[] for _ in hidden]
        reasons = ["length"] * len(said)
        rows = torch.arange(len(said))
        for _ in range(self.sampling.max_tokens):
            tokens = self._draw(self.model.lm_head(hidden), generator)
            for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
                if token in self.ends:
                    reasons[row] = "stop"
                else:
                    said[row].append(token)
            going = torch.tensor([i for i, token in enumerate(tokens.tolist()) if token not in self.ends])
            if not len(going):
                break
            if len(going) < len(rows):
                cache.batch_select_indices(going)
                rows, tokens, mask, last = rows[going], tokens[going], mask[going], last[going]
            mask, last = torch.cat([mask, torch.ones_like(last)], 1), last + 1
            hidden = self._read(tokens[:, None], cache, mask, last)
        texts = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
        return [Block(tuple(texts[i : i + n]), tuple(reasons[i : i + n])) for i in range(0, len(texts), n)]

    def _read(
        self, ids: torch.Tensor, cache: Any, mask: torch.Tensor | None = None, place: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Put tokens behind the cached ones; the last hidden state of each row, [rows, hidden]."""
        output = self.model.model(
            input_ids=ids, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
        )
        last: torch.Tensor = output.last_hidden_state[:, -1]
        return last

    def _draw(self, logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One token for each row, [rows]."""
        p, token = torch.softmax(logits / self.sampling.temperature, -1).topk(512, -1)
        p = p.masked_fill(p.cumsum(-1) - p >= self.sampling.top_p, 0)
        return token.gather(1, torch.multinomial(p, 1, generator=generator))[:, 0]


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with."""
    first, last = min(prompts), max(prompts)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


class Answers:
    """The model's answers by prompt, in blocks of `samples`, on disk.

    Args:
        path: JSON lines, continued if the file is there. The file is for one model, sampling and block size.
        samples: answers in a block.
        load: makes the sampler; called only if an answer is missing.
    """

    def __init__(self, path: Path, samples: int, load: Callable[[], Sampler]) -> None:
        self.path, self.samples, self._load = path, samples, load
        self._blocks: dict[tuple[str, int], Block] = {}
        self._sampler: Sampler | None = None
        self.asked = 0
        if path.exists():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    self._blocks[row["prompt"], row["block"]] = Block(tuple(row["texts"]), tuple(row["finish_reasons"]))

    def get(self, prompt: str, block: int) -> Block | None:
        return self._blocks.get((prompt, block))

    def texts(self) -> set[str]:
        """All different answers."""
        return {text for block in self._blocks.values() for text in block.texts}

    def ask(self, wanted: Iterable[tuple[str, int, tuple[int, ...]]]) -> None:
        """Sample blocks that are not there yet: (prompt's digest, block number, token ids) each."""
        waiting = {(p, b): ids for p, b, ids in wanted if (p, b) not in self._blocks}
        if waiting and self._sampler is None:
            self._sampler = self._load()
        # Prompts with a long common beginning stand together in order of their token ids.
        order = sorted(waiting, key=lambda key: (waiting[key], key[1]))
        while order and self._sampler is not None:
            group, order = order[:AT_ONCE], order[AT_ONCE:]
            for size in range(len(group), 0, -1):  # fewer at once, where that lets them share more than their rest
                ids = [waiting[key] for key in group[:size]]
                if common_prefix(ids) * 2 >= len(ids[0]) or size == 1:
                    break
            group, order = group[:size], group[size:] + order
            blocks = self._sampler.sample(ids, self.samples, derive_seed(*(f"{p}/{b}" for p, b in group)))
            with self.path.open("a", encoding="utf-8") as file:
                for (prompt, number), block in zip(group, blocks, strict=True):
                    self._blocks[prompt, number] = block
                    row = {"prompt": prompt, "block": number, **dataclasses.asdict(block)}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self.asked += self.samples * len(group)


def digest(prompt_ids: Sequence[int]) -> str:
    return hashlib.blake2b(json.dumps(list(prompt_ids)).encode(), digest_size=12).hexdigest()


class Rollout:
    """One player's rollout of one record in one repeat, answered from `Answers`."""

    def __init__(self, asking: RequestStream[RecordRollout], repeat: int) -> None:
        self.result: RecordRollout | None = None
        self._asking = asking
        self._repeat = repeat
        self._times: Counter[str] = Counter()
        self._request = next(asking)[0]

    def advance(self, answers: Answers) -> tuple[str, int, tuple[int, ...]] | None:
        """Go on as far as the answers reach: the block that is missing, or None at the end."""
        while True:
            prompt = digest(self._request.prompt_ids)
            block_number, position = divmod(self._times[prompt], answers.samples)
            block = answers.get(prompt, block_number)
            if block is None:
                return prompt, block_number, self._request.prompt_ids
            self._times[prompt] += 1
            order = list(range(answers.samples))
            random.Random(derive_seed(prompt, block_number, self._repeat)).shuffle(order)
            i = order[position]
            completion = Completion(self._request.id, (block.texts[i],), (block.finish_reasons[i],), (0,), 0)
            try:
                self._request = self._asking.send([completion])[0]
            except StopIteration as stop:
                self.result = stop.value
                return None


def outcome(record: QARecord, rollout: RecordRollout, rounds: int) -> dict[str, float]:
    """What a rollout found by when, and what its pair is."""
    evidence = {arm for arm, has in enumerate(rollout.trace["evidence"]) if has}
    scores = [response.scores["answer_match"] for response in rollout.responses]
    rewards = [score.value for score in scores]
    row = {"responses": float(len(rewards)), "reward": float(np.mean([score.parts["rollout"] for score in scores]))}
    for t in sorted({1, rounds // 2, rounds}):
        read = {arm for response in rollout.responses[:t] for arm in response.read}
        row[f"gold_{t}"] = len(evidence & read) / max(len(evidence), 1)
    for t in sorted({rounds // 2, rounds}):
        row[f"usable_{t}"] = float(max(rewards[:t]) > min(rewards[:t]))
    row["margin"] = max(rewards) - min(rewards)
    row["clear"] = float(row["margin"] >= 0.5)
    return row


def play(
    records: Sequence[QARecord],
    base: BanditRollout,
    players: Sequence[str],
    repeats: int,
    context: StrategyContext,
    answers: Answers,
) -> dict[str, dict[str, Floats]]:
    """By player and quantity, the mean over the repeats of each record, [records]."""
    live: list[tuple[tuple[str, int, int], Rollout]] = []
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for player in players:
        strategy = dataclasses.replace(base, **PLAYERS[player])
        for i, record in enumerate(records):
            for repeat in range(repeats):
                asking = strategy.roll(record, dataclasses.replace(context, seed=repeat))
                live.append(((player, i, repeat), Rollout(asking, repeat)))
    while live:
        missing: dict[tuple[str, int, tuple[int, ...]], None] = {}
        still = []
        for key, rollout in live:
            block = rollout.advance(answers)
            if block is not None:
                missing[block] = None
                still.append((key, rollout))
            else:
                assert rollout.result is not None
                found[key] = outcome(records[key[1]], rollout.result, base.pulls)
        live = still
        answers.ask(missing)
    quantities = next(iter(found.values()))
    return {
        player: {
            q: np.array(
                [np.mean([found[player, i, repeat][q] for repeat in range(repeats)]) for i in range(len(records))]
            )
            for q in quantities
        }
        for player in players
    }


def ask_all_sets(records: Sequence[QARecord], base: BanditRollout, context: StrategyContext, answers: Answers) -> bool:
    """Ask every set of `top_k` chunks and the whole context once, for records of few chunks; whether all are such."""
    complete = True
    for record in records:
        c = base.chunking
        spans = chunk_spans(record.context, context.tokenizer, c.chunk_size, c.overlap, c.min_sentences, c.style)
        k = min(base.top_k, len(spans))
        if math.comb(len(spans), k) > FEW_SETS:
            complete = False
            continue
        wanted = []
        for arms in [tuple(range(len(spans))), *itertools.combinations(range(len(spans)), k)]:
            shown = "\n".join(spans[a].of(record.context) for a in arms)
            ids = context.prompt_format.prompt_ids(context.tokenizer, shown, record.question)
            wanted.append((digest(ids), 0, ids))
        answers.ask(wanted)
        print(f"record {record.id}: {len(spans)} chunks, {answers.asked} answers sampled", file=sys.stderr, flush=True)
    return complete


def support_auc(
    records: Sequence[QARecord], base: BanditRollout, context: StrategyContext, answers: Answers
) -> dict[str, dict[str, float]]:
    """How often support ranks a chunk with the gold answer above one without, over sets that show both, by rewarded
    answers (reward >= 0.5) and others; 0.5 is chance. Ties count half."""
    wins: dict[str, dict[str, list[float]]] = {kind: {"rewarded": [], "other": []} for kind in ("lexical", "embedding")}
    for record in records:
        c = base.chunking
        spans = chunk_spans(record.context, context.tokenizer, c.chunk_size, c.overlap, c.min_sentences, c.style)
        texts = [span.of(record.context) for span in spans]
        gold = [any(a in text for a in record.answers) for text in texts]
        supports: dict[str, Support] = {
            "lexical": LexicalSupport(texts),
            "embedding": EmbeddingSupport(context.embedder.encode(texts), context.embedder),
        }
        for arms in itertools.combinations(range(len(spans)), min(base.top_k, len(spans))):
            if len({gold[a] for a in arms}) < 2:
                continue
            ids = context.prompt_format.prompt_ids(
                context.tokenizer, "\n".join(texts[a] for a in arms), record.question
            )
            block = answers.get(digest(ids), 0)
            for text in block.texts if block else ():
                response = context.prompt_format.response(text)
                kind = "rewarded" if pair_reward(response, record.answers) >= 0.5 else "other"
                for name, support in supports.items():
                    s = support.of(response, arms)
                    for a, b in itertools.product(range(len(arms)), repeat=2):
                        if gold[arms[a]] and not gold[arms[b]]:
                            wins[name][kind].append(float(s[a] > s[b]) + 0.5 * float(s[a] == s[b]))
    return {n: {k: float(np.mean(v)) if v else math.nan for k, v in kinds.items()} for n, kinds in wins.items()}


Statistic = Callable[[Indices], Floats]
"""A quantity of some records: their indices [..., records] -> [...]."""


def ratio(top: Floats, bottom: Floats) -> Statistic:
    """The ratio of sums over records."""
    return lambda drawn: np.asarray(top[drawn].sum(axis=-1) / bottom[drawn].sum(axis=-1))


def difference(one: Statistic, other: Statistic) -> Statistic:
    """`one` less `other` on the same records."""
    return lambda drawn: one(drawn) - other(drawn)


def interval(statistic: Statistic, records: int) -> dict[str, float]:
    """A quantity of all records with its percentile interval over resampled ones.

    Every call draws the same resamples, and a difference is taken within each of them, so differences are paired.
    """
    everyone = np.arange(records)
    found = bootstrap(
        (everyone,),
        lambda drawn, axis: statistic(np.moveaxis(drawn, axis, -1)),
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {"mean": float(statistic(everyone)), "low": float(found.low), "high": float(found.high)}


def summarize(outcomes: dict[str, dict[str, Floats]], rounds: int) -> dict[str, dict[str, Any]]:
    """Every quantity with its interval, usable pairs per 1,000 responses, and that against `ucb1`."""
    records = len(next(iter(outcomes.values()))["responses"])
    thousands = {p: q["responses"] / 1000 for p, q in outcomes.items()}
    rates = {p: ratio(q[f"usable_{rounds}"], thousands[p]) for p, q in outcomes.items()}
    clear = {p: ratio(q["clear"], thousands[p]) for p, q in outcomes.items()}
    table: dict[str, dict[str, Any]] = {}
    for player, quantities in outcomes.items():
        row: dict[str, Any] = {q: interval(ratio(v, np.ones(records)), records) for q, v in quantities.items()}
        usable = np.maximum(quantities[f"usable_{rounds}"], 1e-9)
        row["margin_of_pairs"] = interval(ratio(quantities["margin"], usable), records)
        row["usable_per_1000"] = interval(rates[player], records)
        row["clear_per_1000"] = interval(clear[player], records)
        if "ucb1" in outcomes:
            row["against_ucb1"] = interval(difference(rates[player], rates["ucb1"]), records)
            row["clear_against_ucb1"] = interval(difference(clear[player], clear["ucb1"]), records)
        table[player] = row
    return table


def print_table(table: dict[str, dict[str, Any]], rounds: int) -> None:
    """The table in Markdown, most usable pairs per response first."""
    half = rounds // 2
    columns = [("gold_1", 100), (f"gold_{half}", 100), (f"gold_{rounds}", 100), ("reward", 1)]
    columns += [(f"usable_{rounds}", 100), ("margin_of_pairs", 1), ("responses", 1)]
    print(
        f"| player | gold chunk read by 1, % | by {half} | by {rounds} | reward | usable, % | margin | responses "
        "| usable per 1,000 | difference to ucb1 | clear per 1,000 | difference to ucb1 |"
    )
    print("| --- |" + " ---: |" * (len(columns) + 4))
    for player, row in sorted(table.items(), key=lambda item: -item[1]["usable_per_1000"]["mean"]):
        cells = [
            f"{row[q]['mean'] * scale:.{0 if scale == 100 else 1 if q == 'responses' else 2}f}" for q, scale in columns
        ]
        for rate, difference in (("usable_per_1000", "against_ucb1"), ("clear_per_1000", "clear_against_ucb1")):
            r = row[rate]
            cells.append(f"{r['mean']:.1f} [{r['low']:.1f}, {r['high']:.1f}]")
            d = row.get(difference)
            cells.append(
                "" if d is None or player == "ucb1" else f"{d['mean']:+.1f} [{d['low']:+.1f}, {d['high']:+.1f}]"
            )
        print(f"| {player} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, required=True, help="the model's answers, continued if there")
    parser.add_argument("--data", default="shipped:synthetic_train", help="records (default: %(default)s)")
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct", help="default: %(default)s")
    parser.add_argument("--records", type=int, default=40, help="how many records (default: %(default)s)")
    parser.add_argument("--chunk-size", type=int, default=32, help="tokens per chunk (default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=2, help="chunks per pull (default: %(default)s)")
    parser.add_argument("--pulls", type=int, default=10, help="pulls per record (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="rollouts of each record (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=8, help="answers sampled at once (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.7, help="default: %(default)s")
    parser.add_argument("--max-tokens", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--players", nargs="+", default=list(PLAYERS), choices=list(PLAYERS), metavar="PLAYER")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    args = parser.parse_args()
    start = time.monotonic()
    model = resolve_model(args.model)
    sampling = Sampling(args.temperature, 0.95, 0.0, args.max_tokens)
    base = BanditRollout(
        pulls=args.pulls,
        top_k=args.top_k,
        init="query",
        chunking=Chunking(args.chunk_size, 0, 1),
        sampling=sampling,
    )
    context = StrategyContext(load_tokenizer(model), DirectAnswer(), Embedder(), 8192, 0, (AnswerMatch(),))
    records = read_records(args.data, limit=args.records).records
    answers = Answers(args.answers, args.samples, lambda: Sampler(model, context.tokenizer, sampling))
    complete = ask_all_sets(records, base, context, answers)
    if any(PLAYERS[p].get("credit") == "embedding" for p in args.players):
        context.embedder.encode([context.prompt_format.response(text) for text in sorted(answers.texts())])
    outcomes = play(records, base, args.players, args.repeats, context, answers)
    table = summarize(outcomes, args.pulls)
    auc = support_auc(records, base, context, answers) if complete else None
    seconds = time.monotonic() - start
    print(
        f"{args.model} on {args.data}: {len(records)} records, chunks of {args.chunk_size} tokens, k = {args.top_k}, "
        f"{args.pulls} rounds, {args.repeats} repeats, T {args.temperature}\n"
    )
    print_table(table, args.pulls)
    if auc:
        print("\nsupport ranks the chunk with the gold answer first (AUC):")
        for kind, by in auc.items():
            print(f"- {kind}: {by['rewarded']:.2f} for rewarded answers, {by['other']:.2f} for the others")
    print(f"\n{seconds:.0f} s, {answers.asked} answers sampled now")
    if args.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
        report = {"settings": settings, "players": table, "support_auc": auc, "seconds": seconds}
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"written: {args.out}")


if __name__ == "__main__":
    main()
