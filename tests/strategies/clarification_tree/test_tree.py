from __future__ import annotations

import pytest

from longmab_pl.strategies.clarification_tree.tree import (
    TreeNode,
    best_and_worst_nodes,
    breadth_first,
    joint_requests,
    separate_requests,
)


def test_nodes_come_level_by_level_with_their_parents():
    assert breadth_first(2, 2) == [
        TreeNode(None, 0),
        TreeNode(0, 1),
        TreeNode(0, 1),
        TreeNode(1, 2),
        TreeNode(1, 2),
        TreeNode(2, 2),
        TreeNode(2, 2),
    ]


def test_the_papers_tree_has_72_nodes_below_the_root():
    assert len(breadth_first(8, 2)) - 1 == 72
    assert len(breadth_first(8, 0)) == 1


def test_an_expansion_of_128k_tokens_asks_2073_or_273_times():
    assert separate_requests(8, 256).total == 1 + 2048 + 3 * 8 == 2073
    assert joint_requests(8, 256).total == 1 + 256 + 2 * 8 == 273


def test_the_first_of_equal_nodes_is_taken():
    assert best_and_worst_nodes([1.0, 0.0, 2.0, 0.0, 2.0]) == (2, 1)


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0, 2.0], [0.0, 0.0]])
def test_a_node_is_never_compared_with_itself(scores):
    assert best_and_worst_nodes(scores) is None


def test_nodes_must_differ_by_more_than_the_margin():
    assert best_and_worst_nodes([1.0, 1.5], margin=0.5) is None
    assert best_and_worst_nodes([1.0, 1.5], margin=0.4) == (1, 0)
