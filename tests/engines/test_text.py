from __future__ import annotations

import pytest

from longmab_pl.engines.protocol import Completion
from longmab_pl.engines.text import whole_characters


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("plain", "plain"),
        ("café 😀 \x00", "café 😀 \x00"),
        ("so \ud83d", "so �"),
        ("\ude00 so \ud83d", "� so �"),
        ("\ud83d\ude00", "😀"),  # both halves, as JSON escapes them
    ],
)
def test_half_characters_are_replaced_and_nothing_else(text: str, whole: str) -> None:
    assert whole_characters(text) == whole


def test_a_completions_texts_can_be_written_to_a_file() -> None:
    completion = Completion("r", ("a\ud83d", "b"), ("stop", "stop"), (1, 1), 3)
    assert completion.texts == ("a�", "b")
    assert Completion.from_json(completion.to_json()) == completion
