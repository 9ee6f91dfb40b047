"""Preference pairs as token ids, packed so that every shared prompt stands in the sequence once.

A group is one prompt and all completions of it: `[prompt, completion, completion, ...]`. Each completion attends to
the prompt and to itself, its positions continue from the prompt's end, and groups never see each other, so that every
completion's log-probabilities are those of the plain sequence prompt + completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from longmab_pl.errors import DataError


@dataclass(frozen=True)
class PreferenceExample:
    """One preference pair, tokenised.

    Args:
        id: names the pair in errors and logs.
        prompt_ids: the prompt, chat template included, up to where the assistant's words begin.
        chosen_ids: the better completion, its end token included when it ended by itself.
        rejected_ids: the worse completion, likewise.
        chosen_reward: the score by which the chosen completion won (for logs).
        rejected_reward: the score of the rejected one.
        reference_chosen_logp: log-probability (nats) of the chosen completion under the reference, if computed before.
        reference_rejected_logp: likewise of the rejected one.

    Raises:
        DataError: an empty prompt or completion, or identical completions.
    """

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_reward: float = 0.0
    rejected_reward: float = 0.0
    reference_chosen_logp: float | None = None
    reference_rejected_logp: float | None = None

    def __post_init__(self) -> None:
        for field in ("prompt_ids", "chosen_ids", "rejected_ids"):
            if not getattr(self, field):
                raise DataError(f"pair {self.id!r}: {field} is empty; leave the pair out")
        if self.chosen_ids == self.rejected_ids:
            raise DataError(
                f"pair {self.id!r}: chosen and rejected are the same tokens, nothing to prefer; leave the pair out"
            )
        if (self.reference_chosen_logp is None) != (self.reference_rejected_logp is None):
            raise DataError(f"pair {self.id!r}: give the reference log-probabilities of both completions or of neither")

    @property
    def tokens(self) -> int:
        """Tokens the pair takes in a packed sequence, with the prompt counted once."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)


@dataclass(frozen=True)
class PackedBatch:
    """One packed sequence of T tokens with G groups, C completions of N tokens in all, and P pairs.

    Args:
        input_ids: long [1, T].
        position_ids: long [1, T], restarting at the prompt's length for each completion and at 0 for each group.
        group_ids: long [T], the group of each token.
        completion_ids: long [T], the completion of each token, -1 for prompt tokens.
        source_index: long [N], the position in the sequence whose hidden state predicts each completion token (the
            prompt's last position for a completion's first token).
        target_ids: long [N], the completion tokens, completion after completion.
        completion_lengths: tokens of each completion, C numbers that sum to N.
        chosen: for each pair, the index of its chosen completion.
        rejected: for each pair, the index of its rejected completion.
        chosen_scores: float [P], the rewards that made the pairs.
        rejected_scores: float [P].
        ids: the P pairs' names.
        reference_chosen_logps: float [P] when every pair brought it, else None.
        reference_rejected_logps: float [P] or None.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    group_ids: torch.Tensor
    completion_ids: torch.Tensor
    source_index: torch.Tensor
    target_ids: torch.Tensor
    completion_lengths: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    chosen_scores: torch.Tensor
    rejected_scores: torch.Tensor
    ids: tuple[str, ...]
    reference_chosen_logps: torch.Tensor | None = None
    reference_rejected_logps: torch.Tensor | None = None

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """T, the tokens that go through the model."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        """The same batch in page-locked memory (the DataLoader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def attention_mask(self, window: int | None = None) -> torch.Tensor:
        """Who may attend to whom: bool [1, 1, T, T], True = row (query) attends to column (key).

        Args:
            window: of sliding-window attention, measured in positions (as the plain sequence would), None for full
                attention.
        """
        index = torch.arange(self.tokens, device=self.input_ids.device)
        mask = index[:, None] >= index[None, :]
        # In place: each T x T bool is 1 GB at 32k tokens.
        mask &= self.group_ids[:, None] == self.group_ids[None, :]
        mask &= (self.completion_ids[None, :] == -1) | (self.completion_ids[:, None] == self.completion_ids[None, :])
        if window is not None:
            mask &= self.position_ids[0, None, :] > self.position_ids[0, :, None] - window
        return mask[None, None]

    def plain_sequence(self, completion: int) -> torch.Tensor:
        """Positions in the packed sequence of one completion's plain sequence, prompt + completion: long [P_len +
        C_len]."""
        own = self.completion_ids == completion
        group = self.group_ids[own][0]
        return torch.nonzero(own | ((self.group_ids == group) & (self.completion_ids == -1))).squeeze(-1)

    def _map(self, move: object) -> PackedBatch:
        assert callable(move)
        moved = {f.name: move(v) for f in fields(self) if isinstance(v := getattr(self, f.name), torch.Tensor)}
        return replace(self, **moved)


def collate(examples: Sequence[PreferenceExample]) -> PackedBatch:
    """Pack pairs into one sequence; pairs with the same prompt share it, and a completion that several of them use
    stands once.

    Raises:
        DataError: no pairs.
    """
    if not examples:
        raise DataError("collate was given no pairs; a batch needs at least one")
    groups: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
    for example in examples:
        completions = groups.setdefault(example.prompt_ids, {})
        for ids in (example.chosen_ids, example.rejected_ids):
            completions.setdefault(ids, -1)

    tokens: list[int] = []
    positions: list[int] = []
    group_ids: list[int] = []
    completion_ids: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    for group, (prompt, completions) in enumerate(groups.items()):
        last_prompt = len(tokens) + len(prompt) - 1
        tokens += prompt
        positions += range(len(prompt))
        completion_ids += [-1] * len(prompt)
        for ids in completions:
            completions[ids] = len(lengths)
            start = len(tokens)
            sources += [last_prompt, *range(start, start + len(ids) - 1)]
            targets += ids
            tokens += ids
            positions += range(len(prompt), len(prompt) + len(ids))
            completion_ids += [len(lengths)] * len(ids)
            lengths.append(len(ids))
        group_ids += [group] * (len(tokens) - len(group_ids))

    reference_chosen = [e.reference_chosen_logp for e in examples if e.reference_chosen_logp is not None]
    reference_rejected = [e.reference_rejected_logp for e in examples if e.reference_rejected_logp is not None]
    known = len(reference_chosen) == len(examples)
    return PackedBatch(
        input_ids=torch.tensor([tokens]),
        position_ids=torch.tensor([positions]),
        group_ids=torch.tensor(group_ids),
        completion_ids=torch.tensor(completion_ids),
        source_index=torch.tensor(sources),
        target_ids=torch.tensor(targets),
        completion_lengths=tuple(lengths),
        chosen=tuple(groups[e.prompt_ids][e.chosen_ids] for e in examples),
        rejected=tuple(groups[e.prompt_ids][e.rejected_ids] for e in examples),
        chosen_scores=torch.tensor([float(e.chosen_reward) for e in examples]),
        rejected_scores=torch.tensor([float(e.rejected_reward) for e in examples]),
        ids=tuple(e.id for e in examples),
        reference_chosen_logps=torch.tensor(reference_chosen) if known else None,
        reference_rejected_logps=torch.tensor(reference_rejected) if known else None,
    )
