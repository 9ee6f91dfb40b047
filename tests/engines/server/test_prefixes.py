"""What is known of a server's prefix cache."""

from __future__ import annotations

from longmab_pl.engines.server.prefixes import BLOCK_TOKENS, SentPrefixes, block_keys


def prompt(*blocks: int) -> list[int]:
    """Whole blocks, each of one token."""
    return [token for token in blocks for _ in range(BLOCK_TOKENS)]


def test_only_whole_blocks_count():
    assert block_keys(prompt(1)[:-1]) == ()
    assert len(block_keys([*prompt(1, 2), 3])) == 2


def test_a_block_counts_only_behind_the_same_beginning():
    sent = SentPrefixes()
    sent.add(block_keys(prompt(1, 2, 3)))
    assert sent.shared(block_keys(prompt(1, 2, 3, 4))) == 3
    assert sent.shared(block_keys(prompt(1, 2, 4, 3))) == 2
    assert sent.shared(block_keys(prompt(2, 3))) == 0


def test_the_least_recently_sent_blocks_are_forgotten_from_their_ends():
    sent = SentPrefixes(most=5)
    sent.add(block_keys(prompt(1, 2, 3)))
    sent.add(block_keys(prompt(4, 5, 6)))
    assert sent.shared(block_keys(prompt(1, 2, 3))) == 2
    assert sent.shared(block_keys(prompt(4, 5, 6))) == 3
    sent.add(block_keys(prompt(1)))  # in use again
    sent.add(block_keys(prompt(7, 8, 9, 10)))
    assert sent.shared(block_keys(prompt(1, 2, 3))) == 1
    assert sent.shared(block_keys(prompt(4, 5, 6))) == 0


def test_an_empty_cache_shares_nothing():
    sent = SentPrefixes()
    sent.add(block_keys(prompt(1)))
    sent.clear()
    assert sent.shared(block_keys(prompt(1))) == 0
