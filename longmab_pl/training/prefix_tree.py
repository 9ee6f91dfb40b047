"""Prompts and completions as trees in which a shared beginning occurs once.

Pairs with one prompt make a tree of two levels: the prompt, and under it its completions. Pairs of the blocks of one
text (step-wise DPO) make deeper ones: the chosen block of a step is the beginning of the next step's prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Ids = tuple[int, ...]

Completion = tuple[Ids, tuple[bool, ...] | None]
"""Token ids of a completion and its mask (None: all tokens count)."""


class Completed(Protocol):
    """Completions, each after its prompt: those of a pair, or one alone."""

    @property
    def texts(self) -> tuple[tuple[Ids, Completion], ...]:
        """Prompt and completion of each text."""


@dataclass(eq=False)
class TreeNode:
    """A stretch of tokens that continues its parent's.

    Args:
        ids: its token ids.
        mask: which of them count, if it is a completion; None: all.
        is_completion: whether its tokens are compared or learned; False: it is a prompt, or a part of one.
        children: the nodes that continue it.
    """

    ids: Ids
    mask: tuple[bool, ...] | None = None
    is_completion: bool = False
    children: list[TreeNode] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens of this node and all below it."""
        return len(self.ids) + sum(child.tokens for child in self.children)

    def ordered(self) -> list[TreeNode]:
        """Return the children, first those that go on: the longest text is then one stretch of the sequence."""
        return sorted(self.children, key=lambda child: not child.children)


@dataclass(frozen=True)
class PrefixTrees:
    """The trees of some examples.

    Args:
        roots: one root for each prompt that continues no other, in the order of the examples.
        completions: for each example, the nodes of its completions, in the order of its texts.
    """

    roots: list[TreeNode]
    completions: list[tuple[TreeNode, ...]]

    @property
    def tokens(self) -> int:
        """Tokens of all trees."""
        return sum(root.tokens for root in self.roots)

    @classmethod
    def of(cls, examples: Sequence[Completed]) -> PrefixTrees:
        """Return the trees of examples.

        A prompt that begins with another prompt and one of its completions, or with another prompt alone, continues
        that node. A completion that several examples share (with the same mask) is one node.
        """
        texts = [text for example in examples for text in example.texts]
        order = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in texts))}
        root_of = root_prompts(order)
        trees: dict[Ids, dict[Ids, TreeNode]] = {root: {} for root in root_of.values()}
        found: dict[tuple[Ids, Completion], TreeNode] = {}
        by_prompt: dict[Ids, list[Completion]] = {}
        for prompt, completion in texts:
            by_prompt.setdefault(prompt, []).append(completion)
        for prompt in sorted(by_prompt, key=len):
            nodes = trees[root_of[prompt]]  # whole sequence -> the node that it ends with
            begin = max((known for known in nodes if prompt[: len(known)] == known), key=len, default=())
            if begin != prompt:
                nodes[prompt] = TreeNode(prompt[len(begin) :])
                if begin:
                    nodes[begin].children.append(nodes[prompt])
            node = nodes[prompt]
            for ids, mask in by_prompt[prompt]:
                if (prompt, (ids, mask)) in found:
                    continue
                new = found[prompt, (ids, mask)] = TreeNode(ids, mask, is_completion=True)
                node.children.append(new)
                nodes.setdefault(prompt + ids, new)
        completions = [tuple(found[text] for text in example.texts) for example in examples]
        # A tree's place is that of its first example.
        roots = dict.fromkeys(root_of[prompt] for prompt in order)
        return cls([trees[root][root] for root in roots], completions)


def root_prompts(prompts: Iterable[Ids]) -> dict[Ids, Ids]:
    """Return for each distinct prompt the shortest of them that it begins with: the root of its tree.

    Example:
        >>> root_prompts([(1, 2, 3), (1, 2), (5,), (1, 2, 4, 5)])
        {(1, 2): (1, 2), (1, 2, 3): (1, 2), (1, 2, 4, 5): (1, 2), (5,): (5,)}
    """
    roots: dict[Ids, Ids] = {}
    root: Ids | None = None
    # In the order of a dictionary, all that begins with a prompt follows it directly.
    for prompt in sorted(set(prompts)):
        if root is None or prompt[: len(root)] != root:
            root = prompt
        roots[prompt] = root
    return roots
