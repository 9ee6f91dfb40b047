from __future__ import annotations

import pytest

from longmab_pl.data.token_chunks import TokenChunk, token_chunks
from longmab_pl.errors import ConfigError


def test_pieces_cover_the_text(byte_tokenizer):
    assert token_chunks("abcdefg", byte_tokenizer, 3) == [
        TokenChunk(0, 3, "abc"),
        TokenChunk(3, 6, "def"),
        TokenChunk(6, 7, "g"),
    ]


def test_an_overlap_widens_pieces_on_both_sides(byte_tokenizer):
    chunks = token_chunks("abcdefg", byte_tokenizer, 4, overlap=1)
    assert [chunk.text for chunk in chunks] == ["abc", "bcde", "defg", "fg"]


def test_a_cut_inside_a_character_leaves_replacement_characters(byte_tokenizer):
    assert [chunk.text for chunk in token_chunks("é", byte_tokenizer, 1)] == ["�", "�"]


def test_an_empty_text_has_no_piece(byte_tokenizer):
    assert token_chunks("", byte_tokenizer, 3) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 2), (4, -1)])
def test_sizes_that_leave_nothing_are_refused(byte_tokenizer, size, overlap):
    with pytest.raises(ConfigError, match="leave no token of their own"):
        token_chunks("abc", byte_tokenizer, size, overlap)
