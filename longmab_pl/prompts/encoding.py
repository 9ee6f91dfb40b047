"""From messages and texts to token ids, the same way in rollout, training and evaluation.

Only the chat template writes control tokens. What data says (documents, questions, answers, roles, tool results) is
encoded as the text it is, even where it spells out a control token; see `control_tokens`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError
from longmab_pl.prompts.control_tokens import ControlTokens, control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Arguments = Mapping[str, Any]

# What templates print as the date of today. One date for all runs: with the real one a run that is resumed tomorrow
# would ask other prompts than it has the answers to. It is the one that Llama 3.1's template falls back to.
TODAY = "2024-07-26"


class TemplateError(DataError):
    """The chat template refuses a conversation; the message ends with its own words."""


@dataclass(frozen=True)
class EncodedText:
    """A text with its token ids. Control tokens that its author or its data only spells out are text in it.

    Args:
        tokenizer: a Hugging Face tokenizer.
        text: what was encoded.
        ids: its token ids, `start` included.
        marked: whether the control tokens in `text` that are meant are written by `ControlTokens.mark`.
        start: what stands in `ids` before `text` (a beginning of sequence).
    """

    tokenizer: PreTrainedTokenizerBase
    text: str
    ids: tuple[int, ...]
    marked: bool = False
    start: tuple[int, ...] = ()

    def continued(self, answer: str) -> Continuation:
        """Return the token ids of an answer behind this text, tokenized together with it.

        Tokenizers that put a blank before every text (SentencePiece) or merge across the seam give other tokens for
        the answer alone.

        Args:
            answer: a text that was among the `data` of `chat` or `plain`.
        """
        known = control_tokens_of(self.tokenizer)
        # Nothing merges with what stands before a control token, so the text from the last one on is enough.
        begin = 0 if known is None else known.last_place(self.text, self.marked)
        before = _encode(self.tokenizer, known, self.text[begin:], self.marked)
        if begin and tuple(before) != self.ids[len(self.ids) - len(before) :]:
            begin, before = 0, list(self.ids[len(self.start) :])
        whole = self.text[begin:] + answer
        after = _encode(self.tokenizer, known, whole, self.marked)
        common = 0
        while common < min(len(before), len(after)) and before[common] == after[common]:
            common += 1
        return Continuation(
            kept=len(self.ids) - len(before) + common,
            ids=tuple(after[common:]),
            whole=whole,
            skipped=common,
            seam=len(whole) - len(answer),
        )

    def spans(self, continuation: Continuation) -> list[tuple[int, int]]:
        """Return the characters [start, stop) of the answer that each of its tokens stands for, [tokens].

        Raises:
            DataError: a tokenizer that does not say where its tokens stand.
        """
        known = control_tokens_of(self.tokenizer)
        tokenizer = known.as_text if known is not None and self.marked else self.tokenizer
        if tokenizer is None or not tokenizer.is_fast:
            raise DataError("comparing a part of an answer needs a fast tokenizer (a tokenizer.json beside the model)")
        encoded = tokenizer(continuation.whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = encoded["offset_mapping"][continuation.skipped :]
        return [(int(start) - continuation.seam, int(stop) - continuation.seam) for start, stop in spans]


@dataclass(frozen=True)
class Continuation:
    """An answer behind a text.

    Args:
        kept: how many tokens of the text stay as they are before the answer.
        ids: the tokens behind those, the answer's.
        whole: the end of the text together with the answer.
        skipped: tokens of `whole` before the answer's.
        seam: character of `whole` at which the answer begins.
    """

    kept: int
    ids: tuple[int, ...]
    whole: str
    skipped: int
    seam: int


def chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    prefill: str = "",
    arguments: Arguments | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
    data: Sequence[str] = (),
) -> EncodedText:
    """Encode a conversation up to where the assistant's next words begin.

    Args:
        tokenizer: with a chat template.
        messages: `{"role", "content"}` each, the last one not the assistant's; other fields are the template's.
        prefill: the setting with which the assistant's turn begins.
        arguments: further variables of the template, such as `enable_thinking: false`; `today` is the date
            (YYYY-MM-DD) that a template prints.
        tools: functions that the template describes to the model, as JSON schemas.
        data: texts that will stand behind it (`EncodedText.continued`).

    Raises:
        TemplateError: the template refuses the conversation.
        DataError: a text is not one (half a surrogate pair).
    """
    plain_messages = [dict(message) for message in messages]
    plain_tools = [dict(tool) for tool in tools]
    texts = [*_texts([plain_messages, plain_tools]), *data]
    _check_characters(texts)
    known = control_tokens_of(tokenizer)
    if known is None or not any(map(known.in_text, texts)):
        text = _apply(tokenizer, plain_messages, plain_tools, arguments) + prefill
        ids = _encode(tokenizer, known, text, marked=False)
        # Not equal where a text becomes a control token only by the tokenizer's normalization.
        if known is None or known.count_in_ids(ids) == known.count_in_text(text):
            return EncodedText(tokenizer, text, tuple(ids))
    text = _apply(tokenizer, known.hide(plain_messages), known.hide(plain_tools), arguments) + prefill
    marked = known.mark(text)
    return EncodedText(tokenizer, marked, tuple(_encode(tokenizer, known, marked, marked=True)), marked=True)


def written_out(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], arguments: Arguments | None = None
) -> str:
    """Return the chat template's text up to where the assistant begins to speak, for a file. Control tokens that the
    messages spell out get a blank inside: a text cannot say otherwise that they are none."""
    known = control_tokens_of(tokenizer)
    plain_messages = [dict(message) for message in messages]
    return _apply(tokenizer, plain_messages if known is None else known.broken(plain_messages), [], arguments)


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    arguments: Arguments | None = None,
    *,
    generation: bool = True,
) -> str:
    """Return the chat template's text for messages of the program's own, to see what the template writes.

    Args:
        tokenizer: with a chat template.
        messages: texts that spell out no control token.
        arguments: as of `chat`.
        generation: up to where the assistant speaks next, else without its header.

    Raises:
        TemplateError: the template refuses the conversation.
    """
    return _apply(tokenizer, [dict(message) for message in messages], [], arguments, generation)


def plain(
    tokenizer: PreTrainedTokenizerBase, text: str, *, meant: bool = False, start: bool = True, data: Sequence[str] = ()
) -> EncodedText:
    """Encode a text to which no chat template is applied.

    Args:
        tokenizer: a Hugging Face tokenizer.
        text: what to encode.
        meant: the text has a chat template written out, so the control tokens in it are meant.
        start: put what the tokenizer puts before every text before it. What it puts behind (an end of sequence) never
            is: something follows.
        data: texts that will stand behind it (`EncodedText.continued`).

    Raises:
        DataError: a text is not one (half a surrogate pair).
    """
    _check_characters([text, *data])
    before = start_ids(tokenizer) if start else ()
    known = control_tokens_of(tokenizer)
    if known is None or not any(map(known.in_text, data if meant else (text, *data))):
        ids = _encode(tokenizer, known, text, marked=False)
        if known is None or known.count_in_ids(ids) == (known.count_in_text(text) if meant else 0):
            return EncodedText(tokenizer, text, (*before, *ids), start=before)
    marked = known.mark(text if meant else known.hide(text))
    ids = _encode(tokenizer, known, marked, marked=True)
    return EncodedText(tokenizer, marked, (*before, *ids), marked=True, start=before)


def start_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What the tokenizer puts before every text: usually nothing or a beginning-of-sequence token."""
    alone = tokenizer.encode("x", add_special_tokens=False)
    added = tokenizer.encode("x", add_special_tokens=True)
    place = next((i for i in range(len(added)) if added[i : i + len(alone)] == alone), 0)
    return tuple(added[:place])


def text_tokenizer(tokenizer: PreTrainedTokenizerBase, text: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer with which a text can be counted, cut and decoded without losing what it spells out: itself
    where no control token is spelled out, else one that takes their names for text."""
    known = control_tokens_of(tokenizer)
    if known is None or not known.in_text(text):
        return tokenizer
    return known.as_text or tokenizer


def spells_control_tokens(tokenizer: PreTrainedTokenizerBase, texts: Any) -> bool:
    """Whether a control token is spelled out in a text, or in one of the texts of nested lists and objects."""
    known = control_tokens_of(tokenizer)
    return known is not None and any(map(known.in_text, _texts(texts)))


def spelled_out_note(source: str, count: int, total: int, what: str = "records") -> str:
    """Return one line on how many records spell out control tokens; nothing where none does."""
    if not count:
        return ""
    return (
        f"{source}: {count} of {total} {what} spell out control tokens of the tokenizer (such as an end of turn); they "
        "are read as text"
    )


def control_tokens_of(tokenizer: PreTrainedTokenizerBase) -> ControlTokens | None:
    """The tokenizer's control tokens; None for one that is no Hugging Face tokenizer and has none."""
    from transformers import PreTrainedTokenizerBase

    return control_tokens(tokenizer) if isinstance(tokenizer, PreTrainedTokenizerBase) else None


def _encode(tokenizer: PreTrainedTokenizerBase, known: ControlTokens | None, text: str, marked: bool) -> list[int]:
    if marked:
        assert known is not None
        return known.encode_marked(tokenizer, text)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    arguments: Arguments | None,
    generation: bool = True,
) -> str:
    import jinja2

    given = dict(arguments or {})
    today = datetime.datetime.fromisoformat(str(given.pop("today", TODAY)))
    given.setdefault("strftime_now", partial(datetime.datetime.strftime, today))
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=tools or None,  # type: ignore[arg-type]
            tokenize=False,
            add_generation_prompt=generation,
            **given,
        )
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise TemplateError(f"the chat template refuses the conversation: {words[:200]}") from error
    assert isinstance(text, str)
    return text


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested lists and objects, their keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _check_characters(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"a text holds half a surrogate pair at character {error.start}, which no tokenizer takes; write the "
                "character itself"
            ) from error
