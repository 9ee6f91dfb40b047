from __future__ import annotations

import pytest
import torch

from longmab_pl.errors import DataError
from longmab_pl.training.batch import PreferenceExample, collate


def test_layout_of_one_pair() -> None:
    batch = collate([PreferenceExample("p", (1, 2, 3), (4, 5), (6, 7, 8), 1.0, 0.25)])
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5]]
    # The first token of both completions is predicted at the prompt's last position.
    assert batch.source_index.tolist() == [2, 3, 2, 5, 6]
    assert batch.target_ids.tolist() == [4, 5, 6, 7, 8]
    assert (batch.chosen, batch.rejected, batch.completion_lengths) == ((0,), (1,), (2, 3))
    expected = [
        "10000000",
        "11000000",
        "11100000",
        "11110000",
        "11111000",
        "11100100",
        "11100110",
        "11100111",
    ]
    mask = batch.attention_mask()
    assert mask.shape == (1, 1, 8, 8)
    assert mask.dtype == torch.bool
    assert ["".join(str(int(v)) for v in row) for row in mask[0, 0]] == expected


def test_window_is_measured_in_positions() -> None:
    batch = collate([PreferenceExample("p", (1, 2), (3, 4), (5, 6))])
    mask = batch.attention_mask(window=2)[0, 0]
    # The rejected completion's first token stands at position 2: it sees position 1 (index 1) and itself (index 4).
    assert mask[4].tolist() == [False, True, False, False, True, False]


def test_shared_prompts_and_completions_stand_once() -> None:
    batch = collate(
        [
            PreferenceExample("a", (1, 2), (3,), (4,)),
            PreferenceExample("b", (9,), (3,), (4,)),
            PreferenceExample("c", (1, 2), (5,), (4,)),
        ]
    )
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 9, 3, 4]]
    assert batch.subtree_ends.tolist() == [5, 5, 3, 4, 5, 8, 7, 8]
    assert (batch.chosen, batch.rejected) == ((0, 3, 2), (1, 4, 1))
    assert batch.ids == ("a", "b", "c")
    assert len(batch) == 3
    assert batch.tokens == 8
    assert not batch.attention_mask()[0, 0, 5:, :5].any()
    assert batch.plain_sequence(2).tolist() == [0, 1, 4]
    assert batch.plain_sequence(4).tolist() == [5, 7]


def test_reference_log_probabilities_only_when_all_pairs_bring_them() -> None:
    known = PreferenceExample("a", (1,), (2,), (3,), reference_chosen_logp=-1.5, reference_rejected_logp=-2.5)
    unknown = PreferenceExample("b", (1,), (2,), (4,))
    batch = collate([known])
    assert batch.reference_chosen_logps is not None
    assert batch.reference_rejected_logps is not None
    assert (batch.reference_chosen_logps.tolist(), batch.reference_rejected_logps.tolist()) == ([-1.5], [-2.5])
    assert collate([known, unknown]).reference_chosen_logps is None


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "match"),
    [
        ((), (1,), (2,), "prompt_ids is empty"),
        ((1,), (), (2,), "chosen_ids is empty"),
        ((1,), (2,), (), "rejected_ids is empty"),
        ((1,), (2, 3), (2, 3), "same tokens"),
    ],
)
def test_unusable_pairs_are_named(prompt: tuple, chosen: tuple, rejected: tuple, match: str) -> None:
    with pytest.raises(DataError, match=rf"pair 'bad one': .*{match}"):
        PreferenceExample("bad one", prompt, chosen, rejected)


def test_half_a_reference_is_refused() -> None:
    with pytest.raises(DataError, match="both completions or of neither"):
        PreferenceExample("x", (1,), (2,), (3,), reference_chosen_logp=-1.0)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(DataError, match="no examples"):
        collate([])


def test_where_prompts_and_completions_stand() -> None:
    batch = collate([PreferenceExample("a", (1, 2), (3,), (4, 5)), PreferenceExample("b", (9,), (3,), (4,))])
    assert [stretch.rows for stretch in batch.stretches] == [
        range(2),
        range(2, 3),
        range(3, 5),
        range(5, 6),
        range(6, 7),
        range(7, 8),
    ]
    assert [stretch.parent for stretch in batch.stretches] == [None, 0, 0, None, 3, 3]
    assert batch.completion_stretches == (1, 2, 4, 5)
    assert list(batch.trees()) == [[0, 1, 2], [3, 4, 5]]


def test_the_next_blocks_pair_continues_the_chosen_block() -> None:
    first = PreferenceExample("first", (1, 2), (3, 4), (5,))
    second = PreferenceExample("second", (1, 2, 3, 4), (6,), (7, 8))
    batch = collate([second, first])
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 6, 7, 8, 5]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 4, 5, 2]]
    assert batch.subtree_ends.tolist() == [8, 8, 7, 7, 5, 7, 7, 8]
    assert (batch.chosen, batch.rejected) == ((1, 0), (2, 3))
    # The first token of every block is predicted where the text before it ends.
    assert batch.source_index.tolist() == [1, 2, 3, 3, 5, 1]
    assert batch.target_ids.tolist() == [3, 4, 6, 7, 8, 5]
    assert [batch.plain_sequence(i).tolist() for i in range(4)] == [
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 5, 6],
        [0, 1, 7],
    ]
    assert batch.above(1) == [range(2)]
    assert batch.above(3) == [range(4)], "neighbors are joined"
    seen = ["".join(str(int(v)) for v in row) for row in batch.attention_mask()[0, 0]]
    assert seen[3:] == ["11110000", "11111000", "11110100", "11110110", "11000001"]


def test_a_completion_stands_again_where_other_tokens_of_it_are_compared() -> None:
    batch = collate(
        [
            PreferenceExample("a", (1, 2), (3, 4), (5, 6), chosen_mask=(False, True)),
            PreferenceExample("b", (1, 2), (3, 4), (5, 6)),
        ]
    )
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 3, 4]]
    assert batch.completion_mask.tolist() == [0, 1, 1, 1, 1, 1]
    assert (batch.chosen, batch.rejected) == ((0, 2), (1, 1))


@pytest.mark.parametrize(
    ("mask", "match"),
    [((True,), "chosen_mask has 1 values for 2 tokens"), ((False, False), "leaves no token that counts")],
)
def test_masks_that_compare_nothing_or_do_not_fit_are_refused(mask: tuple, match: str) -> None:
    with pytest.raises(DataError, match=rf"pair 'x': .*{match}"):
        PreferenceExample("x", (1,), (2, 3), (4,), chosen_mask=mask)
