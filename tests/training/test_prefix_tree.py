from __future__ import annotations

import random

from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.prefix_tree import PrefixTrees, root_prompts


def test_a_prompt_continues_a_completion_or_another_prompt() -> None:
    trees = PrefixTrees.of(
        [
            PreferenceExample("b", (1, 2, 3), (4,), (5,)),
            PreferenceExample("a", (1, 2), (3,), (6,)),
            PreferenceExample("c", (1, 2, 8, 9), (4,), (5,)),
            PreferenceExample("d", (7,), (3,), (6,)),
        ]
    )
    root, other = trees.roots
    assert (root.ids, other.ids) == ((1, 2), (7,))
    assert [(child.ids, child.is_completion) for child in root.children] == [
        ((3,), True),
        ((6,), True),
        ((8, 9), False),
    ]
    assert [child.ids for child in root.ordered()] == [(3,), (8, 9), (6,)], "what goes on comes first"
    assert [child.ids for child in root.children[0].children] == [(4,), (5,)]
    assert trees.completions[1] == tuple(root.children[:2])
    assert trees.tokens == 2 + 1 + 1 + 2 + 2 + 2 + 3


def test_roots_are_the_shortest_beginnings() -> None:
    rng = random.Random(0)
    prompts = [tuple(rng.randrange(2) for _ in range(rng.randrange(1, 9))) for _ in range(200)]
    for prompt, root in root_prompts(prompts).items():
        beginnings = [p for p in prompts if prompt[: len(p)] == p]
        assert root == min(beginnings, key=len)


def test_four_steps_of_two_thousand_tokens_take_16k_in_place_of_41k() -> None:
    blocks = [tuple(range(2000 * i, 2000 * (i + 1))) for i in range(8)]
    prompt = tuple(range(100_000, 100_200))
    steps = [PreferenceExample(f"{i}", sum(blocks[:i], prompt), blocks[i], blocks[4 + i]) for i in range(4)]
    plain = sum(2 * len(s.prompt_ids) + len(s.chosen_ids) + len(s.rejected_ids) for s in steps)
    assert (PrefixTrees.of(steps).tokens, plain) == (16_200, 41_600)
