"""Batches by token budget: what rides together, what each rank takes, where a resumed run goes on."""

from __future__ import annotations

import logging
import random

import pytest

from longmab_pl.datamodules.loader import RoundLoader
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.packing import balance_ranks, pack_by_tokens, packed_tokens


def pair(name: str, prompt: tuple[int, ...], chosen: int = 3, rejected: int = 2) -> PreferenceExample:
    rng = random.Random(name)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(1000) for _ in range(n))

    return PreferenceExample(name, prompt, ids(chosen), ids(rejected))


def some_pairs(prompts: int, most: int, seed: int = 0) -> list[PreferenceExample]:
    rng = random.Random(seed)
    pairs = [
        pair(f"{p}-{i}", (p,) * rng.randrange(5, 40), rng.randrange(1, 9), rng.randrange(1, 9))
        for p in range(prompts)
        for i in range(1)
    ]
    pairs += [pair(f"{p.id}-more-{i}", p.prompt_ids) for p in pairs for i in range(rng.randrange(most))]
    rng.shuffle(pairs)
    return pairs


def names(batches: list) -> list[list[str]]:
    return [[e.id for e in batch] for batch in batches]


def test_pairs_of_a_prompt_stay_together_within_the_budget() -> None:
    a, b = (1,) * 10, (2,) * 4
    pairs = [pair("a1", a), pair("b1", b), pair("a2", a), pair("c1", (3,) * 4)]
    # a: 10 + 5 + 5 = 20; b: 9; c: 9.
    assert names(pack_by_tokens(pairs, 20)) == [["a1", "a2"], ["b1", "c1"]]
    assert names(pack_by_tokens(pairs, 29)) == [["a1", "a2", "b1"], ["c1"]]
    assert names(pack_by_tokens(pairs, 38)) == [["a1", "a2", "b1", "c1"]]
    # Too many for one batch: in parts, each with its own copy of the prompt.
    assert names(pack_by_tokens(pairs, 18)) == [["a1"], ["a2"], ["b1", "c1"]]


def test_the_budget_holds_and_every_pair_comes_once() -> None:
    pairs = some_pairs(60, 4)
    batches = pack_by_tokens(pairs, 120)
    assert sorted(e.id for batch in batches for e in batch) == sorted(e.id for e in pairs)
    loader = RoundLoader(pairs, 1, "k", max_tokens=120)
    tokens = [batch.tokens for batch in loader]
    assert len(tokens) == len(batches) == len(loader)
    assert max(tokens) <= 120
    # Nothing is left apart that fits the batch before.
    prompts = [{e.prompt_ids for e in batch} for batch in batches]
    assert sum(len(p) for p in prompts) == len({e.prompt_ids for e in pairs})


def test_the_steps_of_a_text_stay_together_and_every_shared_prefix_is_computed_once() -> None:
    block = [tuple(range(100 * i, 100 * i + 20)) for i in range(8)]
    text = (1, 2, 3, 4)
    steps = []
    for i in range(4):
        written = tuple(token for b in block[:i] for token in b)
        steps.append(PreferenceExample(f"step {i + 1}", text + written, block[i], block[4 + i]))
    other = pair("other", (9,) * 30)
    assert packed_tokens(steps) == 4 + 8 * 20
    assert sum(packed_tokens([step]) for step in steps) == 4 * 4 + (2 + 3 + 4 + 5) * 20
    assert names(pack_by_tokens([steps[2], other, steps[0], steps[3], steps[1]], 210)) == [
        ["step 1", "step 2", "step 3", "step 4", "other"]
    ]
    # Too many for one batch: the first steps, which share most, stay together.
    assert names(pack_by_tokens([steps[2], steps[0], steps[3], steps[1]], 130)) == [
        ["step 1", "step 2", "step 3"],
        ["step 4"],
    ]


def test_a_shared_completion_is_counted_once() -> None:
    best = (7, 8, 9)
    pairs = [PreferenceExample("1", (1, 2), best, (3,)), PreferenceExample("2", (1, 2), best, (4,))]
    assert packed_tokens(pairs) == 2 + 3 + 1 + 1
    assert names(pack_by_tokens(pairs, 7)) == [["1", "2"]]


def test_a_pair_over_the_budget_rides_alone_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [pair("s", (1,) * 3), pair("long", (2,) * 50), pair("t", (1,) * 3)]
    with caplog.at_level(logging.WARNING):
        assert names(pack_by_tokens(pairs, 30)) == [["s", "t"], ["long"]]
    assert "1 pairs take more than max_tokens_per_batch (30 tokens)" in caplog.text


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("max_tokens", [None, 90])
def test_ranks_share_the_pairs_evenly_and_none_twice(world: int, max_tokens: int | None) -> None:
    pairs = some_pairs(23, 3)
    loaders = [RoundLoader(pairs, 2, "k", max_tokens=max_tokens, rank=r, world_size=world) for r in range(world)]
    assert len({len(loader) for loader in loaders}) == 1
    seen = [name for loader in loaders for batch in loader for name in batch.ids]
    assert len(seen) == len(set(seen))
    # By pairs fewer than one per rank are left over; by tokens a batch is halved instead and nothing is.
    assert len(seen) == (len(pairs) - len(pairs) % world if max_tokens is None else len(pairs))


def test_halves_are_cut_between_prompts() -> None:
    a, b = (1,) * 5, (2,) * 5
    batch = [pair("a1", a), pair("a2", a), pair("a3", a), pair("b1", b)]
    assert names(balance_ranks([batch, [pair("c", (3,))], [pair("d", (4,))]], 2)) == [
        ["a1", "a2", "a3"],
        ["b1"],
        ["c"],
        ["d"],
    ]
    assert names(balance_ranks([batch[:3]], 2)) == [["a1"], ["a2", "a3"]]
    # Single pairs cannot be halved: the last ones wait.
    assert names(balance_ranks([[pair("c", (3,))], [pair("d", (4,))], [pair("e", (5,))]], 2)) == [["c"], ["d"]]
    assert balance_ranks([[pair("c", (3,))]], 2) == []


@pytest.mark.parametrize("max_tokens", [None, 90])
def test_resumed_in_the_middle(max_tokens: int | None) -> None:
    pairs = some_pairs(20, 3)

    def loader(**changed: object) -> RoundLoader:
        options = {"batch_size": 2, "key": "round/0", "max_tokens": max_tokens, **changed}
        return RoundLoader(pairs, processed=lambda: 3, **options)  # type: ignore[arg-type]

    whole = [batch.ids for batch in loader()]
    state = loader().state_dict()
    resumed = loader()
    resumed.load_state_dict(state)
    assert [batch.ids for batch in resumed] == whole[3:]
    # The position is of one epoch only.
    assert [batch.ids for batch in resumed] == whole
    # Another epoch, or other batches: the position means nothing.
    for other in (loader(key="round/1"), loader(batch_size=3, max_tokens=None), loader(max_tokens=91)):
        other.load_state_dict(state)
        assert len(list(other)) == len(other)
