"""Texts cut into pieces of a fixed number of tokens, without regard to sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenChunk:
    """A piece of a text.

    Args:
        start: its first token.
        end: one past its last token.
        text: the tokens decoded; a character that the cut splits becomes a replacement character.
    """

    start: int
    end: int
    text: str


def token_chunks(
    text: str, tokenizer: PreTrainedTokenizerBase, size: int, overlap: int = 0, skip_special_tokens: bool = False
) -> list[TokenChunk]:
    """Return pieces of at most `size` tokens that cover a text, with `overlap` tokens of the neighbors on both sides.

    The text is tokenized once, without special tokens.

    Args:
        text: the document.
        tokenizer: the tokenizer that counts.
        size: maximum piece length in tokens, the overlap on both sides included.
        overlap: tokens that a piece takes from the piece before it, and from the one after it.
        skip_special_tokens: whether to drop special tokens that occur as text, as AgenticLU's paragraphs do.

    Raises:
        ConfigError: the size is below 1, or the overlap leaves no room for new tokens in a piece.

    Example:
        ``token_chunks(document, tokenizer, 128)`` returns the evidence chunks of LongReward.

    Source: LongReward, `text_split` of `utils/retrieve.py`; AgenticLU, `qa_tree_datagen.py` (its first paragraph is
    one token shorter with a tokenizer that adds a BOS).
    """
    own = size - 2 * overlap
    if overlap < 0 or own < 1:
        raise ConfigError(
            f"chunks of {size} tokens with an overlap of {overlap} on both sides leave no token of their own"
        )
    ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    spans = [(max(start - overlap, 0), min(start + own + overlap, len(ids))) for start in range(0, len(ids), own)]
    return [
        TokenChunk(start, end, tokenizer.decode(ids[start:end], skip_special_tokens=skip_special_tokens))
        for start, end in spans
    ]
