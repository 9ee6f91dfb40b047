"""Bandit policies side by side in a simulation of LongMab-PO's rollout.

    python studies/bandits.py [--records 400] [--out bandits.json]

No model runs: a record is a set of chunks of which 1-3 are gold and needed together, a reader is a probability of
answering correctly given the chunks it is shown, and rewards are graded as (SubEM + F1) / 2 is. Every policy meets the
same records, the same policy seeds, and in each round the same random numbers: the answer is a fixed function of those
and of the chunks shown. So differences to `ucb1` are paired, and their intervals are those of the differences.

Credit by arm is simulated as a noisy measurement of which chunk an answer came from. With an adaptive budget a record
stops early, and what it leaves goes to further records: what counts is pairs per 1,000 responses.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, sem

from longmab_pl.bandits import POLICIES, BanditSettings
from longmab_pl.evaluation.statistics import wilson_interval
from longmab_pl.strategies.bandit.credit import credited
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping

Floats = npt.NDArray[np.float64]

ROUNDS, TOP_K = 30, 4
CHECKPOINTS = (5, 10, 30)
CLEAR_MARGIN = 0.5
COMPARED = ("usable_10", "usable_30", "clear_10", "clear_30")


@dataclasses.dataclass(frozen=True)
class Player:
    """A policy, how a reward is credited to its arms, and when it stops.

    Args:
        bandit: the policy.
        by_arm: credit by arm in place of one reward for all.
        early_stopping: of an adaptive budget; None plays all rounds.
    """

    bandit: BanditSettings
    by_arm: bool = False
    early_stopping: EarlyStopping | None = None


UCB1 = BanditSettings("ucb1")
LINEAR = BanditSettings("linear_thompson")
TRUSTING_KL = BanditSettings("kl_ucb", {"prior_weight": 10.0})
TRUSTING = BanditSettings("thompson_beta", {"prior_weight": 30.0})
SEPARATED = EarlyStopping(patience=None)
PLAYERS = {p: Player(BanditSettings(p)) for p in POLICIES} | {
    "full_context": Player(BanditSettings("full_context.FullContext")),
    "kl_ucb, prior 10": Player(TRUSTING_KL),
    "thompson_beta, prior 30": Player(TRUSTING),
    "ucb1, credit by arm": Player(UCB1, by_arm=True),
    "linear_thompson, credit by arm": Player(LINEAR, by_arm=True),
    "kl_ucb, prior 10, credit by arm": Player(TRUSTING_KL, by_arm=True),
    "thompson_beta, prior 30, credit by arm": Player(TRUSTING, by_arm=True),
    "ucb1, adaptive, no patience": Player(UCB1, early_stopping=SEPARATED),
    "ucb1, adaptive": Player(UCB1, early_stopping=EarlyStopping()),
    "thompson_beta, prior 30, adaptive, no patience": Player(TRUSTING, early_stopping=SEPARATED),
    "thompson_beta, prior 30, adaptive": Player(TRUSTING, early_stopping=EarlyStopping()),
}
"""Every policy as it stands, two that trust the initial scores more than one pseudo-observation; credit; budgets."""
FULL_CONTEXT_ARMS = 100
"""`full_context` plays no regime of more arms: 1,000 chunks of 1,500 tokens fit no reader."""
Z = 1.96


@dataclasses.dataclass(frozen=True)
class Regime:
    """A kind of context and reader.

    Args:
        name: of the table.
        arms: chunks per context.
        separation: how far the scores of gold chunks lie above the others', in standard deviations (d'). 1.2 is an AUC
            of 0.80, 2.5 of 0.96, 0 is no information.
        skill: mean probability of a correct answer with all gold chunks and nothing else.
        golds: possible numbers of gold chunks, equally likely.
        score_mean, score_std: of the scores of chunks that are not gold.
    """

    name: str
    arms: int
    separation: float = 1.2
    skill: float = 0.5
    golds: tuple[int, ...] = (1, 2, 3)
    score_mean: float = 0.35
    score_std: float = 0.12


REGIMES = (
    Regime("6 arms", arms=6),
    Regime("12 arms", arms=12),
    Regime("12 arms, weak reader", arms=12, skill=0.15),
    Regime("30 arms", arms=30),
    Regime("60 arms", arms=60),
    Regime("60 arms, strong scores", arms=60, separation=2.5),
    Regime("60 arms, useless scores", arms=60, separation=0.0),
    Regime("60 arms, narrow high scores", arms=60, score_mean=0.8, score_std=0.03),
    Regime("1,000 arms, strong scores", arms=1000, separation=2.5),
)


@dataclasses.dataclass(frozen=True)
class Record:
    """One simulated record: its chunks, its reader, and the random numbers of its rounds.

    Args:
        scores: initial scores, [arms]: similarities to the probe or the question.
        gold: which chunks are gold, [arms] bool.
        correct: probability of a correct answer by number of gold chunks shown, [golds + 1], before distractors.
        fluke: how a chunk happens to help or mislead the reader, [arms], standard normal.
        overlap: probability that a wrong answer shares words with the right one.
        draws: uniform random numbers, [rounds, 3]: correctness, grade, wording.
        bearing: what a correct answer holds of each chunk, [arms]: 1 of the one gold chunk that states it, 0.4 of those
            that lead there, 0 of others.
        noise: of the measured support, [rounds, arms], exponential with mean 0.5.
    """

    scores: Floats
    gold: npt.NDArray[np.bool_]
    correct: Floats
    fluke: Floats
    overlap: float
    draws: Floats
    bearing: Floats
    noise: Floats

    def success(self, shown: npt.NDArray[np.int64]) -> float:
        """Probability that the answer is correct.

        Distractors shown lower it, by 19% for 3, 31% for 11, 46% for 59; then the log-odds move by 0.7 times the
        flukes' normalized sum, which differs from choice to choice and stays the same when the choice is repeated.
        """
        found = int(np.count_nonzero(self.gold[shown]))
        p = float(self.correct[found]) * (1 + shown.size - found) ** -0.15
        odds = p / (1 - p) * math.exp(0.7 * float(self.fluke[shown].sum()) / math.sqrt(shown.size))
        return odds / (1 + odds)

    def expected_reward(self, success: float) -> float:
        return success * MEAN_CORRECT + (1 - success) * self.overlap * MEAN_OVERLAP

    def reward(self, t: int, success: float) -> float:
        """Reward of round t (from 0), graded as (SubEM + F1) / 2."""
        correct, grade, wording = self.draws[t]
        if correct < success:  # SubEM 1; F1 by how many words too many
            return 1.0 if grade < EXACT else 0.5 + WORDY[int(wording * len(WORDY))] / 2
        if grade < self.overlap:  # SubEM 0, some words shared
            return PARTIAL[int(wording * len(PARTIAL))] / 2
        return 0.0

    def support(self, t: int, success: float, shown: npt.NDArray[np.int64]) -> Floats:
        """Measured support of the answer of round t by each chunk shown, [shown]: of a wrong answer only noise."""
        correct = float(self.draws[t, 0] < success)
        measured: Floats = correct * self.bearing[shown] + self.noise[t, shown]
        return measured

    def reference_reward(self) -> float:
        """Expected reward of all gold chunks, filled up to `TOP_K` with others that neither help nor mislead."""
        shown = np.flatnonzero(self.gold)
        neutral = np.where(self.gold, self.fluke, 0.0)
        others = np.flatnonzero(~self.gold)[: TOP_K - shown.size]
        record = dataclasses.replace(self, fluke=neutral)
        return record.expected_reward(record.success(np.append(shown, others)))


EXACT = 0.6
WORDY = (0.4, 0.5, 2 / 3, 0.8)
PARTIAL = (0.25, 0.4, 0.5, 2 / 3)
MEAN_CORRECT = 0.5 + (EXACT + (1 - EXACT) * float(np.mean(WORDY))) / 2
MEAN_OVERLAP = float(np.mean(PARTIAL)) / 2


def make_record(regime: Regime, seed: int) -> Record:
    random = np.random.default_rng([seed, regime.arms, int(regime.separation * 100), int(regime.skill * 100)])
    golds = int(random.choice(regime.golds))
    gold = np.zeros(regime.arms, dtype=bool)
    gold[random.choice(regime.arms, golds, replace=False)] = True
    scores = regime.score_mean + regime.score_std * (random.standard_normal(regime.arms) + regime.separation * gold)
    # Records differ: some are beyond the model, some answered from memory, some answers cannot be half right.
    skill = random.beta(2 * regime.skill, 2 * (1 - regime.skill))
    memory = random.beta(0.1, 5)
    share = np.arange(golds + 1) / golds
    # Needed together: half of the gold chunks is worth a fifth of all of them.
    correct = np.minimum(memory + (1 - memory) * skill * np.where(share < 1, 0.4 * share, 1.0), 0.999)
    overlap = random.beta(0.2, 2)
    fluke, draws = random.standard_normal(regime.arms), random.random((ROUNDS, 3))
    bearing = 0.4 * gold
    bearing[random.choice(np.flatnonzero(gold))] = 1.0
    noise = random.exponential(0.5, (ROUNDS, regime.arms))
    return Record(scores, gold, correct, fluke, overlap, draws, bearing, noise)


def roll(record: Record, player: Player, seed: int) -> dict[str, float]:
    """One record's rollout: rewards and what was found by when."""
    bandit = player.bandit.start(record.scores, TOP_K, seed)
    gold = frozenset(np.flatnonzero(record.gold).tolist())
    seen: set[int] = set()
    together = False
    reference = record.reference_reward()
    rewards: list[float] = []
    regret, stopped = 0.0, False
    state: dict[str, float] = {}
    outcome: dict[str, float] = {}
    for t in range(ROUNDS):
        if stopped:
            outcome |= {f"{k}_{t + 1}": v for k, v in state.items() if t + 1 in CHECKPOINTS}
            continue
        arms = bandit.select()
        shown = np.asarray(arms)
        success = record.success(shown)
        reward = record.reward(t, success)
        credit = credited(reward, record.support(t, success, shown)) if player.by_arm else reward
        bandit.update(arms, credit)
        rewards.append(reward)
        margin = max(rewards) - min(rewards)
        regret += reference - record.expected_reward(success)
        now = gold.intersection(arms)
        seen |= now
        together |= len(now) == len(gold)
        state = {
            "gold_found": len(seen) / len(gold),
            "gold_together": float(together),
            "usable": float(margin > 0),
            "clear": float(margin >= CLEAR_MARGIN),
            "margin": margin,
            "responses": float(t + 1),
        }
        if t + 1 in CHECKPOINTS:
            outcome |= {f"{k}_{t + 1}": v for k, v in state.items()}
        stopped = player.early_stopping is not None and bool(player.early_stopping.reason(rewards, t + 1))
    return outcome | {"regret": regret}


def interval(sample: Floats, z: float = Z) -> tuple[float, float]:
    """Mean and half width of its normal interval."""
    return float(sample.mean()), z * float(sem(sample))


def per_1000(quantities: dict[str, Floats], key: str) -> tuple[float, Floats]:
    """Pairs per 1,000 responses, and each record's part in its error (the ratio linearized), [records]."""
    pairs, responses = quantities[key], quantities[f"responses_{key.rpartition('_')[2]}"]
    rate = 1000 * float(pairs.sum() / responses.sum())
    return rate, (1000 * pairs - rate * responses) / float(responses.mean())


def measure(regime: Regime, players: dict[str, Player], records: int, first_seed: int) -> dict[str, dict[str, Floats]]:
    """By policy and quantity, the outcome of each record, [records]."""
    outcomes: dict[str, list[dict[str, float]]] = {policy: [] for policy in players}
    for seed in range(first_seed, first_seed + records):
        record = make_record(regime, seed)
        for policy, player in players.items():
            outcomes[policy].append(roll(record, player, seed))
    return {p: {key: np.array([r[key] for r in rows]) for key in rows[0]} for p, rows in outcomes.items()}


def summary(outcomes: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    """Mean and 95% interval of every quantity."""
    table: dict[str, Any] = {}
    for policy, quantities in outcomes.items():
        row: dict[str, Any] = {}
        for key, sample in quantities.items():
            mean, half = interval(sample)
            is_rate = key.startswith(("usable", "clear", "gold_together"))
            low, high = wilson_interval(int(sample.sum()), sample.size) if is_rate else (mean - half, mean + half)
            row[key] = {"mean": mean, "low": low, "high": high}
        for key in COMPARED:
            rate, errors = per_1000(quantities, key)
            half = interval(errors)[1]
            row[f"{key}_per_1000"] = {"mean": rate, "low": rate - half, "high": rate + half}
        table[policy] = row
    return table


def against_ucb1(outcomes: dict[str, dict[str, Floats]], key: str) -> dict[str, Any]:
    """Paired differences to `ucb1` in pairs per 1,000 responses, with 95% intervals that hold for all at once.

    Bonferroni: the best of several policies is looked for, so each interval is wider than it would be alone.
    `full_context` is compared but never named best: its responses cost `arms / 4` times the prompt tokens. Adaptive
    budgets stand beside the policies: the best is looked for among the fixed ones.
    """
    rates = {p: per_1000(quantities, key) for p, quantities in outcomes.items()}
    rivals = [p for p in outcomes if p != "ucb1"]
    z = float(norm.isf(0.025 / max(len(rivals), 1)))
    differences = {}
    for policy in rivals:
        mean, half = rates[policy][0] - rates["ucb1"][0], interval(rates[policy][1] - rates["ucb1"][1], z)[1]
        differences[policy] = {"mean": mean, "low": mean - half, "high": mean + half}
    fixed = [p for p in outcomes if p != "full_context" and PLAYERS[p].early_stopping is None]
    best = max(fixed, key=lambda p: rates[p][0])
    return {"best": best, "separates": best != "ucb1" and differences[best]["low"] > 0, "differences": differences}


def verdict_line(key: str, verdict: dict[str, Any], table: dict[str, Any]) -> str:
    kind, _, rounds = key.rpartition("_")
    best = verdict["best"]
    rate = {p: table[p][f"{key}_per_1000"]["mean"] for p in (best, "ucb1")}
    line = f"{kind} pairs per 1,000 responses, {rounds} rounds: best `{best}` {rate[best]:.1f}"
    if best == "ucb1":
        return line
    d = verdict["differences"][best]
    outcome = "separates from" if verdict["separates"] else "does not separate from"
    return f"{line}, ucb1 {rate['ucb1']:.1f}; {d['mean']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}]: {outcome} ucb1"


def print_regime(regime: Regime, table: dict[str, Any], verdicts: dict[str, Any], records: int) -> None:
    """The table of one regime in Markdown, then which policy is best."""
    print(f"\n### {regime.name} (d' {regime.separation}, skill {regime.skill}, {records} records)\n")
    print(
        "| policy | regret | gold seen by 5 | by 10 | by 30 | all at once % | usable % by 10 | by 30 "
        "| clear % by 10 | by 30 | margin | responses | usable per 1,000 | clear per 1,000 |"
    )
    print("| --- |" + " ---: |" * 13)
    columns = [("regret", 1, 1), *((f"gold_found_{t}", 1, 2) for t in CHECKPOINTS), ("gold_together_30", 100, 1)]
    columns += [(f"{kind}_{t}", 100, 1) for kind in ("usable", "clear") for t in (10, 30)] + [("margin_30", 1, 2)]
    columns += [("responses_30", 1, 1), ("usable_30_per_1000", 1, 1), ("clear_30_per_1000", 1, 1)]
    for policy, row in sorted(table.items(), key=lambda item: -item[1]["clear_30_per_1000"]["mean"]):
        cells = [
            f"{row[k]['mean'] * scale:.{digits}f} ± {(row[k]['high'] - row[k]['low']) / 2 * scale:.{digits}f}"
            for k, scale, digits in columns
        ]
        print(f"| {policy} | " + " | ".join(cells) + " |")
    print()
    for key, verdict in verdicts.items():
        print("- " + verdict_line(key, verdict, table))


def print_overall(table: dict[str, Any], verdicts: dict[str, Any]) -> None:
    """Differences to `ucb1` over all regimes in Markdown, then which policy is best."""
    print("\n### All regimes, same weight: pairs per 1,000 responses, difference to ucb1\n")
    print("| policy | " + " | ".join(f"{k.split('_')[0]}, {k.split('_')[1]} rounds" for k in verdicts) + " |")
    print("| --- |" + " ---: |" * len(verdicts))
    rivals = verdicts["clear_30"]["differences"]
    for policy in sorted(rivals, key=lambda p: -rivals[p]["mean"]):
        differences = [v["differences"][policy] for v in verdicts.values()]
        print(
            f"| {policy} | "
            + " | ".join(f"{d['mean']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}]" for d in differences)
            + " |"
        )
    print()
    for key, verdict in verdicts.items():
        print("- " + verdict_line(key, verdict, table))


def pooled(regimes: list[dict[str, dict[str, Floats]]]) -> dict[str, dict[str, Floats]]:
    """The records of several regimes as one sample, for the policies that played in all of them."""
    everywhere = [p for p in regimes[0] if all(p in r for r in regimes)]
    return {p: {key: np.concatenate([r[p][key] for r in regimes]) for key in regimes[0][p]} for p in everywhere}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400, help="records per regime (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first record (default 0)")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    args = parser.parse_args()
    if args.records < 2:
        parser.error(f"--records is {args.records}; an interval needs at least 2")
    start = time.process_time()
    print(f"{ROUNDS} rounds, k = {TOP_K}, 1-3 gold chunks needed together; usable: max != min; clear: margin >= 0.5.")
    print("± is half a 95% interval; differences are paired, 95% intervals over all policies at once (Bonferroni).")
    measured, regimes = [], {}
    for regime in REGIMES:
        players = {p: s for p, s in PLAYERS.items() if p != "full_context" or regime.arms <= FULL_CONTEXT_ARMS}
        outcomes = measure(regime, players, args.records, args.seed)
        measured.append(outcomes)
        table = summary(outcomes)
        verdicts = {key: against_ucb1(outcomes, key) for key in COMPARED}
        print_regime(regime, table, verdicts, args.records)
        regimes[regime.name] = {"regime": dataclasses.asdict(regime), "policies": table, "against_ucb1": verdicts}
    together = pooled(measured)
    overall = {key: against_ucb1(together, key) for key in COMPARED}
    print_overall(summary(together), overall)
    seconds = time.process_time() - start
    print(f"\n{seconds:.0f} s of CPU time")
    if args.out:
        report = {
            "rounds": ROUNDS,
            "top_k": TOP_K,
            "records": args.records,
            "seed": args.seed,
            "clear_margin": CLEAR_MARGIN,
            "cpu_seconds": seconds,
            "regimes": regimes,
            "all": {"policies": summary(together), "against_ucb1": overall},
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"written: {args.out}")


if __name__ == "__main__":
    main()
