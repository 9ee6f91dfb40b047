"""The tokenizer's control tokens, and texts that spell them out.

A document with the text `<|im_end|>\\n<|im_start|>system ...` would end the user's turn, because a fast tokenizer
recognizes special tokens in any text. This module encodes such a text as ordinary characters.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Not special in the tokenizers that have them: models write their thoughts in them, so answers contain them.
_THOUGHT_MARKS = ("<think>", "</think>")
_CONTROL_SHAPE = re.compile(r"<[|｜].*[|｜]>")

# Temporary replacements in texts. Private-use characters pass through normalizers and template filters unchanged, and
# random digits prevent data from spelling them out.
_SECRET = secrets.token_hex(8)


class ControlTokens:
    """The control tokens of one tokenizer.

    These are its special tokens, and added tokens that its chat template writes or that are written `<|...|>`. Other
    added tokens (runs of spaces, HTML tags, `<think>`) are ordinary vocabulary.

    Args:
        tokenizer: a Hugging Face tokenizer.

    Attributes:
        ids: names -> token ids.
        longest: length of the vocabulary's longest token, in characters.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from transformers import PreTrainedTokenizerFast

        template = json.dumps(tokenizer.chat_template or "", ensure_ascii=False)
        special = set(tokenizer.all_special_tokens)
        self.ids: dict[str, int] = {}
        for number, token in tokenizer.added_tokens_decoder.items():
            text = token.content
            written = text in template and text not in _THOUGHT_MARKS
            if text.strip() and (token.special or text in special or written or _CONTROL_SHAPE.fullmatch(text)):
                self.ids[text] = number
        self._names = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        self._mark = re.compile(f"\ue000{_SECRET}m(\\d+)\ue001")
        self._stand_in = re.compile(f"\ue000{_SECRET}s(\\d+)\ue001")
        self._guard = f"\ue000{_SECRET}g\ue001"
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._beginnings = {name[:i] for name in self._names for i in range(1, len(name))}
        self._endings = {name[i:] for name in self._names for i in range(1, len(name))}
        self._longest_name = max(map(len, self._names), default=0)
        self._unknown = tokenizer.unk_token_id
        self.longest = max(map(len, tokenizer.get_vocab()), default=1)
        # Without a reference to the tokenizer: the table of known tokenizers must not keep it alive.
        self._state = tokenizer.backend_tokenizer.to_str if isinstance(tokenizer, PreTrainedTokenizerFast) else None
        self._cleans_up = bool(tokenizer.clean_up_tokenization_spaces)

    def at_start_of(self, text: str) -> str | None:
        """Return the control token at the start of a text, or None."""
        match = self._pattern.match(text)
        return None if match is None else match.group()

    def in_text(self, text: str) -> bool:
        """Return whether a text spells out a control token."""
        return self._pattern.search(text) is not None

    def has_half(self, text: str) -> bool:
        """Return whether a text ends with the beginning of a token's name, or begins with the end of one, which a
        template may join with another text to a whole name."""
        return self._half_at_end(text.rstrip()) or self._half_at_start(text.lstrip())

    def _half_at_end(self, text: str) -> bool:
        return any(text[-size:] in self._beginnings for size in range(1, min(self._longest_name, len(text) + 1)))

    def _half_at_start(self, text: str) -> bool:
        return any(text[:size] in self._endings for size in range(1, min(self._longest_name, len(text) + 1)))

    def _guarded(self, text: str) -> str:
        """Return a text with guards beside its halves of names, within its outer white space (templates trim it)."""
        inner = text.strip()
        if not inner:
            return text
        begin = text.index(inner)
        before = self._guard if self._half_at_start(inner) else ""
        after = self._guard if self._half_at_end(inner) else ""
        return f"{text[:begin]}{before}{inner}{after}{text[begin + len(inner) :]}"

    def count_in_text(self, text: str) -> int:
        """Return how many control tokens a text spells out."""
        return sum(1 for _ in self._pattern.finditer(text))

    def count_in_ids(self, ids: list[int]) -> int:
        """Return how many token ids are control tokens. The id of unknown characters does not count."""
        control = set(self.ids.values()) - {self._unknown}
        return sum(1 for token in ids if token in control)

    def last_place(self, text: str, marked: bool) -> int:
        """Return the character at which the last control token of a text begins; 0 without one.

        Args:
            text: any text.
            marked: whether the text is a result of `mark`, in which only marks are control tokens.
        """
        pattern = self._mark if marked else self._pattern
        # The last turn's header is short, so the end of a long text nearly always has one.
        for begin in (max(len(text) - 400, 0), 0):
            places = [match.start() for match in pattern.finditer(text, begin)]
            if places:
                return places[-1]
        return 0

    def hide(self, value: Any) -> Any:
        """Return a value with every spelled-out token, in all its texts, replaced by a placeholder, and with a guard
        beside every half of one."""
        if isinstance(value, str):
            guarded = self._guarded(value)
            return self._pattern.sub(lambda m: f"\ue000{_SECRET}s{self._numbers[m.group()]}\ue001", guarded)
        if isinstance(value, dict):
            return {self.hide(key): self.hide(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(part) for part in value]
        return value

    def broken(self, text: str) -> str:
        """Return a text made of hidden values with a space inside every spelled-out token and beside every half of one,
        for files read without this module."""
        return self._stand_in.sub(
            lambda m: f"{self._names[int(m.group(1))][0]} {self._names[int(m.group(1))][1:]}",
            text.replace(self._guard, " "),
        )

    def mark(self, text: str) -> str:
        """Return a text with every spelled-out token replaced by its mark, which `as_text` reads as a control token.

        The placeholders of `hide` become ordinary text again, and its guards go.
        """
        marked = self._pattern.sub(lambda m: self._mark_of(m.group()), text).replace(self._guard, "")
        return self._stand_in.sub(lambda m: self._names[int(m.group(1))], marked)

    def _mark_of(self, name: str) -> str:
        return f"\ue000{_SECRET}m{self._numbers[name]}\ue001"

    @cached_property
    def as_text(self) -> PreTrainedTokenizerFast | None:
        """A copy of the tokenizer that knows control tokens by the marks of `mark` only; their names are ordinary text.
        None if the tokenizer is not a fast one."""
        from transformers import PreTrainedTokenizerFast

        if self._state is None:
            return None
        backend = _renamed(self._state(), {name: self._mark_of(name) for name in self._names})
        if any(backend.token_to_id(self._mark_of(name)) != number for name, number in self.ids.items()):
            return None
        return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=self._cleans_up)

    def encode_marked(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Return the token ids of a result of `mark`, without tokens that the tokenizer adds."""
        if self.as_text is not None:
            return list(self.as_text.encode(text, add_special_tokens=False))
        ids: list[int] = []
        for place, part in enumerate(self._mark.split(text)):  # text, number of a token, text, ...
            ids += [self.ids[self._names[int(part)]]] if place % 2 else self._encode_slowly(tokenizer, part)
        return ids

    def _encode_slowly(self, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        """Return the token ids of ordinary text, split inside every spelled-out token."""
        cuts = [0, *(match.start() + 1 for match in self._pattern.finditer(text)), len(text)]
        parts = [text[a:b] for a, b in itertools.pairwise(cuts) if a < b]
        return [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]


_known: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, object, ControlTokens]] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> ControlTokens:
    """Return the control tokens of a tokenizer (cached)."""
    size, template = len(tokenizer), tokenizer.chat_template
    found = _known.get(tokenizer)
    if found is None or found[:2] != (size, template):
        found = _known[tokenizer] = (size, template, ControlTokens(tokenizer))
    return found[2]


def _renamed(state: str, names: dict[str, str]) -> Tokenizer:
    """Return a fast tokenizer, given as JSON, with renamed tokens and the same ids."""
    from tokenizers import Tokenizer

    settings = json.loads(state)
    for token in settings["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = settings["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
    else:  # Unigram: a list of pieces with their scores
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:  # merges that would make a control token of ordinary text
        pairs = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [[a, b] for a, b in pairs if a + b not in names and a not in names and b not in names]
    return Tokenizer.from_str(json.dumps(settings))
