"""Preference pairs as token ids, packed so that every shared beginning is in the sequence once.

The sequence is a row of trees (`prefix_tree`), each written out from its root: `[prompt, completion, completion, ...]`,
or deeper where a completion is the beginning of another pair's prompt. A stretch attends to the stretches above it and
to itself, its positions continue from its parent's end, and trees never see each other, so that every completion's
log-probabilities are those of the plain sequence prompt + completion.

A completion mask leaves some tokens of a completion out of all sums: they are read, but neither compared nor learned
(step-wise preferences, where only one block of an answer is judged; the user's turns within a conversation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch

from longmab_pl.errors import DataError
from longmab_pl.training.losses import PairLogps
from longmab_pl.training.prefix_tree import Completion, Ids, PrefixTrees, TreeNode

Role = Literal["chosen", "rejected", "short_chosen", "short_rejected", "group"]
"""One completion of a pair after one of its prompts (`short_`: the short one), or all responses of its record."""

PAIR: tuple[Role, ...] = ("chosen", "rejected")
"""Both completions after the training prompt."""


@dataclass(frozen=True)
class GroupResponse:
    """One of all responses to a prompt, tokenized.

    Args:
        ids: its tokens, its end token included when it ended by itself.
        reward: its score.
        on_prompt: whether it was sampled from the training prompt itself.
    """

    ids: tuple[int, ...]
    reward: float
    on_prompt: bool = False


@dataclass(frozen=True)
class PreferenceExample:
    """One preference pair, tokenized.

    Args:
        id: name of the pair in errors and logs.
        prompt_ids: the prompt, chat template included, up to where the assistant's words begin.
        chosen_ids: the better completion, its end token included when it ended by itself.
        rejected_ids: the worse completion, likewise.
        chosen_reward: the score by which the chosen completion won (for logs).
        rejected_reward: the score of the rejected one.
        reference_chosen_logp: log-probability (nats) of the chosen completion under the reference, if computed before.
        reference_rejected_logp: likewise of the rejected one.
        chosen_mask: completion mask of the chosen completion: which tokens count (step-wise DPO, arXiv:2502.02095);
            None: all.
        rejected_mask: likewise of the rejected one.
        imitated: whether supervised fine-tuning imitates the chosen completion.
        short_prompt_ids: the prompt that the chosen completion was sampled from, where it is a shorter one.
        group: all responses of the record, for group losses; empty if they are not known.
        roles: the completions that a step computes; a phase sets them.

    Raises:
        DataError: an empty prompt or completion, identical completions, a mask of another length or without a token
            that counts, or roles after a short prompt or of a group that is not there.
    """

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_reward: float = 0.0
    rejected_reward: float = 0.0
    reference_chosen_logp: float | None = None
    reference_rejected_logp: float | None = None
    chosen_mask: tuple[bool, ...] | None = None
    rejected_mask: tuple[bool, ...] | None = None
    imitated: bool = True
    short_prompt_ids: tuple[int, ...] | None = None
    group: tuple[GroupResponse, ...] = ()
    roles: tuple[Role, ...] = PAIR

    def __post_init__(self) -> None:
        parts = {"prompt_ids": self.prompt_ids, "chosen_ids": self.chosen_ids, "rejected_ids": self.rejected_ids}
        for name, part in parts.items():
            if not part:
                raise DataError(f"pair {self.id!r}: {name} is empty; leave the pair out")
        if self.chosen_ids == self.rejected_ids:
            raise DataError(
                f"pair {self.id!r}: chosen and rejected are the same tokens, nothing to prefer; leave the pair out"
            )
        if (self.reference_chosen_logp is None) != (self.reference_rejected_logp is None):
            raise DataError(f"pair {self.id!r}: give the reference log-probabilities of both completions or of neither")
        if not self.short_prompt_ids and any(role.startswith("short_") for role in self.roles):
            raise DataError(f"pair {self.id!r} has no short prompt, and the loss compares with it; leave the pair out")
        if "group" in self.roles and len(self.group) < 2:
            raise DataError(f"pair {self.id!r} has no group of responses, and the loss needs it; leave the pair out")
        for name, ids, mask in (
            ("chosen_mask", self.chosen_ids, self.chosen_mask),
            ("rejected_mask", self.rejected_ids, self.rejected_mask),
        ):
            if mask is None:
                continue
            if len(mask) != len(ids):
                raise DataError(f"pair {self.id!r}: {name} has {len(mask)} values for {len(ids)} tokens")
            if not any(mask):
                raise DataError(
                    f"pair {self.id!r}: {name} leaves no token that counts, so there is nothing to learn; leave the "
                    "pair out"
                )

    @property
    def tokens(self) -> int:
        """Tokens that the pair takes in a packed sequence, the prompt counted once."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def texts(self) -> tuple[tuple[Ids, Completion], ...]:
        """Prompt and completion of each role, and of each response of the group."""
        texts = [self._text(role) for role in self.roles if role != "group"]
        if "group" in self.roles:  # behind the others, see `Role`
            texts += [(self.prompt_ids, (response.ids, None)) for response in self.group]
        return tuple(texts)

    def _text(self, role: Role) -> tuple[Ids, Completion]:
        prompt = self.prompt_ids
        if role.startswith("short_"):
            assert self.short_prompt_ids is not None
            prompt = self.short_prompt_ids
        if role.endswith("chosen"):
            return prompt, (self.chosen_ids, self.chosen_mask)
        return prompt, (self.rejected_ids, self.rejected_mask)


@dataclass(frozen=True)
class SFTExample:
    """One completion to imitate, tokenized: an answer, or the rest of a conversation.

    Args:
        id: name of the example in errors and logs.
        prompt_ids: the prompt, chat template included, up to where the assistant's words begin.
        completion_ids: all tokens after it.
        completion_mask: whether each token is learned (of a conversation: the assistant's turns); None: all are.
    """

    id: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    completion_mask: tuple[bool, ...] | None = None

    @property
    def texts(self) -> tuple[tuple[Ids, Completion], ...]:
        """The prompt and the completion."""
        return ((self.prompt_ids, (self.completion_ids, self.completion_mask)),)


Example = PreferenceExample | SFTExample
"""An example of a batch; all examples of a batch are of one kind."""


def sft_examples(data: Iterable[Example]) -> Iterator[SFTExample]:
    """Yield the completions to imitate, each distinct one once, in the order of the data; of pairs the chosen ones."""
    seen = set()
    for example in data:
        if isinstance(example, PreferenceExample):
            if not example.imitated:
                continue
            example = SFTExample(example.id, example.prompt_ids, example.chosen_ids, example.chosen_mask)
        key = example.prompt_ids, example.completion_ids, example.completion_mask
        if key not in seen:
            seen.add(key)
            yield example


@dataclass(frozen=True)
class Stretch:
    """A prompt, a part of one, or a completion in the packed sequence.

    Args:
        rows: its positions in the sequence.
        parent: index of the stretch that it continues; None for a root. Parents come before their children.
    """

    rows: range
    parent: int | None


@dataclass(frozen=True)
class PackedBatch:
    """One packed sequence of T tokens with trees of stretches, C completions of N tokens in all, and P pairs.

    Args:
        input_ids: long [1, T].
        position_ids: long [1, T], restarting at its parent's length for each stretch and at 0 for each root.
        subtree_ends: long [T], the place after the last token that may attend to each token: the end of its stretch
            and of all that continue it.
        source_index: long [N], the position in the sequence whose hidden state predicts each completion token (the
            parent's last position for a completion's first token).
        target_ids: long [N], the completion tokens, completion after completion.
        completion_mask: float [N], 1 where a completion token counts in sums and lengths, 0 where it is only read.
        stretches: the stretches in the order of the sequence.
        completion_stretches: for each completion, the index of its stretch, C numbers.
        completion_lengths: tokens of each completion, C numbers that sum to N.
        chosen: for each pair, the index of its chosen completion.
        rejected: for each pair, the index of its rejected completion; empty where completions are alone (SFT), or
            where the pairs' roles leave it out.
        ids: the names of the P pairs or completions.
        reference_chosen_logps: float [P] if every pair has it, else None.
        reference_rejected_logps: float [P] or None.
        short_chosen: for each pair, the index of its chosen completion after its short prompt; empty where the pairs'
            roles leave it out.
        short_rejected: likewise of the rejected completion.
        groups: for each pair, the indices of the completions of its group, G in all; empty where the pairs' roles
            leave the groups out. Equal responses are one completion.
        group_rewards: float [G], group after group.
        group_on_prompt: float [G], 1 where the response was sampled from the training prompt itself.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    subtree_ends: torch.Tensor
    source_index: torch.Tensor
    target_ids: torch.Tensor
    completion_mask: torch.Tensor
    stretches: tuple[Stretch, ...]
    completion_stretches: tuple[int, ...]
    completion_lengths: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    ids: tuple[str, ...]
    reference_chosen_logps: torch.Tensor | None = None
    reference_rejected_logps: torch.Tensor | None = None
    short_chosen: tuple[int, ...] = ()
    short_rejected: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    group_rewards: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    group_on_prompt: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def __len__(self) -> int:
        """Return the number of pairs, or of completions that are alone."""
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """T, the number of tokens that the model computes."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """Return the same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        """Return the same batch in page-locked memory (the DataLoader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def above(self, stretch: int) -> list[range]:
        """Return the positions of the stretches above a stretch, from the root on; neighbors are joined."""
        found: list[range] = []
        parent = self.stretches[stretch].parent
        while parent is not None:
            rows = self.stretches[parent].rows
            if found and rows.stop == found[0].start:
                rows = range(rows.start, found.pop(0).stop)
            found.insert(0, rows)
            parent = self.stretches[parent].parent
        return found

    def trees(self) -> Iterator[list[int]]:
        """Yield the indices of the stretches of each tree, the root first."""
        tree: list[int] = []
        for index, stretch in enumerate(self.stretches):
            if stretch.parent is None and tree:
                yield tree
                tree = []
            tree.append(index)
        yield tree

    def visible(self, rows: torch.Tensor, columns: torch.Tensor, window: int | None = None) -> torch.Tensor:
        """Return who attends to whom: bool, True = the token at `rows` (query) attends to the one at `columns` (key).

        Args:
            rows: positions in the sequence, of any shape that broadcasts with `columns`.
            columns: likewise.
            window: size of sliding-window attention in positions of the plain sequence; None: full attention.
        """
        allowed = rows >= columns
        # In place: a whole T x T bool is 1 GB at 32k tokens.
        allowed &= rows < self.subtree_ends[columns]
        if window is not None:
            allowed &= self.position_ids[0, columns] > self.position_ids[0, rows] - window
        return allowed

    def attention_mask(self, window: int | None = None) -> torch.Tensor:
        """Return `visible` for the whole sequence: bool [1, 1, T, T]."""
        index = torch.arange(self.tokens, device=self.input_ids.device)
        return self.visible(index[:, None], index[None, :], window)[None, None]

    def plain_sequence(self, completion: int) -> torch.Tensor:
        """Return the positions in the packed sequence of one completion's plain sequence, prompt + completion:
        long [P_len + C_len]."""
        index = self.completion_stretches[completion]
        parts = [*self.above(index), self.stretches[index].rows]
        device = self.input_ids.device
        return torch.cat([torch.arange(part.start, part.stop, device=device) for part in parts])

    def counted_lengths(self) -> torch.Tensor:
        """Return the number of tokens that count in each completion: float [C]."""
        return torch.stack([mask.sum() for mask in self.completion_mask.split(list(self.completion_lengths))])

    def reference_logps(self) -> PairLogps | None:
        """Return the reference's log-probabilities stored in the pairs, or None if a pair has none."""
        if self.reference_chosen_logps is None or self.reference_rejected_logps is None:
            return None
        lengths = self.counted_lengths()
        return PairLogps(
            self.reference_chosen_logps,
            self.reference_rejected_logps,
            lengths[list(self.chosen)],
            lengths[list(self.rejected)],
        )

    def _map(self, move: Callable[[torch.Tensor], torch.Tensor]) -> PackedBatch:
        moved: dict[str, Any] = {
            f.name: move(v) for f in fields(self) if isinstance(v := getattr(self, f.name), torch.Tensor)
        }
        return replace(self, **moved)


def collate(examples: Sequence[Example]) -> PackedBatch:
    """Pack examples into one sequence.

    Examples with the same prompt share it, and one whose prompt continues another's shares all that they have in
    common. A completion that several of them use (with the same mask) is included once. A short prompt and the
    completions after it are a tree of their own.

    Raises:
        DataError: no examples, pairs and single completions together, or pairs of different roles.

    Example:
        >>> batch = collate([PreferenceExample("a", (1, 2, 3), (4, 5), (6,))])
        >>> batch.input_ids.tolist(), batch.position_ids.tolist()
        ([[1, 2, 3, 4, 5, 6]], [[0, 1, 2, 3, 4, 3]])
    """
    if not examples:
        raise DataError("collate was given no examples; a batch needs at least one")
    if len({type(example) for example in examples}) > 1:
        raise DataError("a batch holds either pairs or single completions; make a batch of each")
    roles = {example.roles for example in examples if isinstance(example, PreferenceExample)}
    if len(roles) > 1:
        raise DataError("the pairs of a batch have different roles; a phase gives all of its pairs the same")
    trees = PrefixTrees.of(examples)
    layout = _Layout()
    for root in trees.roots:
        layout.add(root, parent=None, position=0, last=-1)
    indices = [[layout.completions[node] for node in nodes] for nodes in trees.completions]
    (order,) = roles or {("chosen",)}  # of single completions: to be learned, as a chosen one

    def places(role: Role) -> tuple[int, ...]:
        return tuple(own[order.index(role)] for own in indices) if role in order else ()

    pairs = [e for e in examples if isinstance(e, PreferenceExample)]
    grouped = [response for e in pairs for response in e.group] if "group" in order else []
    reference_chosen = [e.reference_chosen_logp for e in pairs if e.reference_chosen_logp is not None]
    reference_rejected = [e.reference_rejected_logp for e in pairs if e.reference_rejected_logp is not None]
    known = len(reference_chosen) == len(examples)
    return PackedBatch(
        input_ids=torch.tensor([layout.tokens]),
        position_ids=torch.tensor([layout.positions]),
        subtree_ends=torch.tensor(layout.subtree_ends),
        source_index=torch.tensor(layout.sources),
        target_ids=torch.tensor(layout.targets),
        completion_mask=torch.tensor(layout.mask, dtype=torch.float32),
        stretches=tuple(layout.stretches),
        completion_stretches=tuple(layout.completion_stretches),
        completion_lengths=tuple(len(layout.stretches[i].rows) for i in layout.completion_stretches),
        chosen=places("chosen"),
        rejected=places("rejected"),
        ids=tuple(e.id for e in examples),
        reference_chosen_logps=torch.tensor(reference_chosen) if known else None,
        reference_rejected_logps=torch.tensor(reference_rejected) if known else None,
        short_chosen=places("short_chosen"),
        short_rejected=places("short_rejected"),
        groups=tuple(tuple(own[order.index("group") :]) for own in indices) if "group" in order else (),
        group_rewards=torch.tensor([response.reward for response in grouped], dtype=torch.float32),
        group_on_prompt=torch.tensor([float(response.on_prompt) for response in grouped]),
    )


class _Layout:
    """The packed sequence of trees, written out stretch by stretch: a stretch, then all that continue it."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.subtree_ends: list[int] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.mask: list[float] = []
        self.stretches: list[Stretch] = []
        self.completions: dict[TreeNode, int] = {}
        self.completion_stretches: list[int] = []

    def add(self, node: TreeNode, parent: int | None, position: int, last: int) -> None:
        """Write a node and all below it.

        Args:
            node: the node.
            parent: index of its parent's stretch.
            position: position of its first token in the plain sequence.
            last: place of its parent's last token in the sequence.
        """
        index, start = len(self.stretches), len(self.tokens)
        stop = start + len(node.ids)
        self.stretches.append(Stretch(range(start, stop), parent))
        self.tokens += node.ids
        self.positions += range(position, position + len(node.ids))
        self.subtree_ends += [0] * len(node.ids)
        if node.is_completion:
            self.completions[node] = len(self.completion_stretches)
            self.completion_stretches.append(index)
            self.sources += [last, *range(start, stop - 1)]
            self.targets += node.ids
            self.mask += node.mask or [1.0] * len(node.ids)
        for child in node.ordered():
            self.add(child, index, position + len(node.ids), stop - 1)
        self.subtree_ends[start:stop] = [len(self.tokens)] * len(node.ids)
