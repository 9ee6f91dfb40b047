"""From a record's responses to a preference pair (LongMab-PO, section 3.3)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.reward.answer_match import pair_reward
from longmab_pl.rollout.reading import Message, ReadingProtocol
from longmab_pl.rollout.strategy import RecordRollout, derive_seed


@dataclass(frozen=True)
class PairRule:
    """When and how a record's responses become a pair.

    Args:
        max_prompt_length: tokens for the training prompt and the longer answer together; the context is cut in the
            middle to what is left after 32 tokens of template, the question and the answer.
        min_margin: the least difference of the two rewards; 0 asks only that they differ (the paper).
    """

    max_prompt_length: int = 8192
    min_margin: float = 0.0

    def __post_init__(self) -> None:
        if self.max_prompt_length < 64:
            raise ConfigError(f"pairs.max_prompt_length is {self.max_prompt_length}; a prompt needs at least 64 tokens")
        if not 0 <= self.min_margin <= 1:
            raise ConfigError(f"pairs.min_margin is {self.min_margin}; rewards lie in 0..1")


@dataclass(frozen=True)
class PreferencePair:
    """A chosen and a rejected answer to the full-context prompt, in TRL's conversational form with its origin.

    `chosen_index` and `rejected_index` count the record's responses in the order they were pulled; `chosen_arms` and
    `rejected_arms` are the chunks that were read; `*_ended` says that the model ended the answer by itself.
    """

    id: str
    input: str
    answer: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_reward: float
    rejected_reward: float
    chosen_index: int
    rejected_index: int
    chosen_arms: tuple[int, ...]
    rejected_arms: tuple[int, ...]
    chosen_ended: bool
    rejected_ended: bool
    round: int

    @property
    def chosen_text(self) -> str:
        return self.chosen[0]["content"]

    @property
    def rejected_text(self) -> str:
        return self.rejected[0]["content"]


def choose(rewards: Sequence[float | None], seed: int, min_margin: float = 0.0) -> tuple[int, int] | None:
    """Indices of a random best and a random worst response, or None if all are alike (or closer than `min_margin`).

    Responses whose reward is None take no part.
    """
    known = [r for r in rewards if r is not None]
    if not known:
        return None
    best, worst = max(known), min(known)
    if best == worst or best - worst < min_margin:
        return None
    rng = random.Random(seed)
    chosen = rng.choice([i for i, r in enumerate(rewards) if r == best])
    rejected = rng.choice([i for i, r in enumerate(rewards) if r == worst])
    return chosen, rejected


def build_pair(
    record: QARecord,
    rollout: RecordRollout,
    rule: PairRule,
    reading: ReadingProtocol,
    tokenizer: Any,
    *,
    seed: int,
    round: int,
) -> PreferencePair | None:
    """The record's best-against-worst pair on the full context, or None if its responses do not differ enough.

    Raises:
        DataError: the answers leave no room for the context.
    """
    # A response without a word cannot be trained on, neither as chosen nor as rejected.
    rewards = [pair_reward(r.text, record.answers) if r.text.strip() else None for r in rollout.responses]
    indices = choose(rewards, derive_seed(seed, record.id, "pair"), rule.min_margin)
    if indices is None:
        return None
    i, j = indices
    chosen, rejected = rollout.responses[i], rollout.responses[j]

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    budget = pair_context_budget(
        rule.max_prompt_length, count(record.question), count(chosen.text), count(rejected.text)
    )
    if budget < 1:
        raise DataError(
            f"record {record.id!r}: question and answers alone take pairs.max_prompt_length = {rule.max_prompt_length} "
            "tokens; raise it or lower sampling.max_tokens"
        )
    context = cut_middle(record.context, tokenizer, budget)
    return PreferencePair(
        id=record.id,
        input=record.question,
        answer=record.answer,
        prompt=tuple(reading.messages(context, record.question)),
        chosen=({"role": "assistant", "content": chosen.text},),
        rejected=({"role": "assistant", "content": rejected.text},),
        chosen_reward=pair_reward(chosen.text, record.answers),
        rejected_reward=pair_reward(rejected.text, record.answers),
        chosen_index=i,
        rejected_index=j,
        chosen_arms=chosen.arms,
        rejected_arms=rejected.arms,
        chosen_ended=chosen.ended,
        rejected_ended=rejected.ended,
        round=round,
    )


def write_pairs(path: Path, pairs: Iterable[PreferencePair]) -> None:
    """Write pairs as JSON lines that `datasets.load_dataset("json", ...)` reads; all of them or nothing."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8") as f:
        for pair in pairs:
            f.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
    partial.replace(path)


def read_pairs(path: Path) -> list[PreferencePair]:
    """Read what `write_pairs` wrote.

    Raises:
        DataError: naming the line and field that is wrong.
    """
    names = [f.name for f in fields(PreferencePair)]
    pairs = []
    with path.open(encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                row = json.loads(line)
                values = {name: row[name] for name in names}
            except (ValueError, TypeError) as e:
                raise DataError(f"{path}, line {number}: not a JSON object ({e})") from e
            except KeyError as e:
                raise DataError(f"{path}, line {number}: the field {e} is missing") from e
            for name in ("prompt", "chosen", "rejected", "chosen_arms", "rejected_arms"):
                values[name] = tuple(values[name])
            pairs.append(PreferencePair(**values))
    return pairs
