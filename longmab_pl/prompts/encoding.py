"""Encoding of messages and texts to token ids, the same in rollout, training and evaluation.

Only the chat template writes control tokens. Data (documents, questions, answers, roles, tool results) is encoded as
ordinary text, even if it spells out a control token; see `control_tokens`.
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

# The date that templates print as today's. It is the same for all runs: with the real date, a run resumed tomorrow
# would have other prompts than the answers on disk. It is the default date of Llama 3.1's template.
TODAY = "2024-07-26"


class TemplateError(DataError):
    """The chat template refuses a conversation; the message ends with the template's error."""


@dataclass(frozen=True)
class EncodedText:
    """A text with its token ids. Control tokens that data spells out are encoded as ordinary text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        text: the encoded text.
        ids: its token ids, `start` included.
        marked: whether the real control tokens in `text` are written as marks of `ControlTokens.mark`.
        start: token ids before those of `text` (a beginning-of-sequence token).
    """

    tokenizer: PreTrainedTokenizerBase
    text: str
    ids: tuple[int, ...]
    marked: bool = False
    start: tuple[int, ...] = ()

    def continued(self, answer: str) -> Continuation:
        """Return the token ids of an answer after this text, tokenized together with it.

        Tokenizers that add a space before every text (SentencePiece) or merge across the boundary give other tokens
        for the answer alone.

        Args:
            answer: one of the texts passed as `data` to `chat` or `plain`.
        """
        known = control_tokens_of(self.tokenizer)
        # Merges never cross a control token, so the text from the last one on is enough.
        begin = 0 if known is None else known.last_place(self.text, self.marked)
        before = _encode(self.tokenizer, known, self.text[begin:], self.marked)
        if begin and tuple(before) != self.ids[len(self.ids) - len(before) :]:
            begin, before = 0, list(self.ids[len(self.start) :])
        whole = self.text[begin:] + answer
        # Halves of a control token's name on both sides of the boundary are ordinary text.
        if (
            known is not None
            and not self.marked
            and not known.in_text(answer)
            and known.count_in_text(whole) > known.count_in_text(self.text[begin:])
        ):
            alone = tuple(_encode(self.tokenizer, known, answer, marked=False))
            return Continuation(kept=len(self.ids), ids=alone, whole=answer, skipped=0, seam=0)
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
        """Return the range of characters [start, stop) of each token of the answer, [tokens].

        Raises:
            DataError: the tokenizer does not give character offsets.
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
    """An answer that follows a text.

    Args:
        kept: number of the text's tokens that are unchanged before the answer.
        ids: token ids of the answer, which follow those.
        whole: the end of the text together with the answer.
        skipped: number of tokens of `whole` before the answer's.
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
    """Encode a conversation up to the start of the assistant's next turn.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: each has `role` and `content`; the last is not the assistant's. Other fields go to the template.
        prefill: the beginning of the assistant's turn, from the settings.
        arguments: further variables of the template, such as `enable_thinking: false`; `today` is the date
            (YYYY-MM-DD) that a template prints.
        tools: functions that the template describes to the model, as JSON schemas.
        data: texts that may follow (`EncodedText.continued`).

    Raises:
        TemplateError: the template refuses the conversation.
        DataError: a text has an unpaired surrogate.
    """
    plain_messages = [dict(message) for message in messages]
    plain_tools = [dict(tool) for tool in tools]
    texts = [*_texts([plain_messages, plain_tools]), *data]
    _check_characters(texts)
    known = control_tokens_of(tokenizer)
    if known is None or not any(known.in_text(text) or known.has_half(text) for text in texts):
        text = _apply(tokenizer, plain_messages, plain_tools, arguments) + prefill
        ids = _encode(tokenizer, known, text, marked=False)
        # They differ if a text becomes a control token only through the tokenizer's normalization.
        if known is None or known.count_in_ids(ids) == known.count_in_text(text):
            return EncodedText(tokenizer, text, tuple(ids))
    text = _apply(tokenizer, known.hide(plain_messages), known.hide(plain_tools), arguments) + prefill
    marked = known.mark(text)
    return EncodedText(tokenizer, marked, tuple(_encode(tokenizer, known, marked, marked=True)), marked=True)


@dataclass(frozen=True)
class Gap:
    """What a chat template writes between two turns of the assistant.

    Args:
        end: the control token that closes a turn; None if the template writes none.
        rest: the token ids after it, up to the end of the next turn's header.
    """

    end: int | None
    rest: tuple[int, ...]


def after_turn(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], arguments: Arguments | None = None
) -> Gap:
    """Return the token ids that follow an assistant's turn.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: those before the assistant's next turn; empty: what closes the conversation.
        arguments: as for `chat`.

    Raises:
        TemplateError: the template refuses the conversation.
        DataError: a text has an unpaired surrogate.
    """
    # Letters only, so that no template trims it and no tokenizer treats it as special.
    marker = "xTURNx"
    before = [{"role": "user", "content": "?"}, {"role": "assistant", "content": marker}]
    known = control_tokens_of(tokenizer)
    closing = _apply(tokenizer, [*before], [], arguments, generation=False).partition(marker)[2]
    closes = known is not None and known.in_text(closing)
    if not messages:
        text, marked = closing, False
    else:
        encoded = chat(tokenizer, [*before, *messages], arguments=arguments)
        text, marked = encoded.text.partition(marker)[2], encoded.marked
    ids = _encode(tokenizer, known, text, marked)
    if not closes:
        return Gap(None, tuple(ids))
    place = next(i for i, token in enumerate(ids) if is_control(tokenizer, token))
    return Gap(ids[place], tuple(ids[place + 1 :]))


def is_control(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Return whether a sampled token is a control token: models may have several that end a turn."""
    known = control_tokens_of(tokenizer)
    return known is not None and token in known.ids.values()


def written_out(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], arguments: Arguments | None = None
) -> str:
    """Return the chat template's text up to the assistant's turn, for a file. Control tokens that the messages spell
    out get a space inside, because a plain text cannot mark them as ordinary text."""
    known = control_tokens_of(tokenizer)
    plain_messages = [dict(message) for message in messages]
    if known is None:
        return _apply(tokenizer, plain_messages, [], arguments)
    return known.broken(_apply(tokenizer, known.hide(plain_messages), [], arguments))


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    arguments: Arguments | None = None,
    *,
    generation: bool = True,
) -> str:
    """Return the chat template's text for fixed messages, to inspect the template.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: messages that spell out no control token.
        arguments: as for `chat`.
        generation: whether the text ends with the header of the assistant's next turn.

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
        text: the text to encode.
        meant: whether control tokens in the text are real ones, as in a text rendered by a chat template.
        start: whether to add the tokens that the tokenizer adds before every text. Tokens that it adds at the end (an
            end of sequence) are never added, because an answer follows.
        data: texts that may follow (`EncodedText.continued`).

    Raises:
        DataError: a text has an unpaired surrogate.
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
    """Return the token ids that the tokenizer adds before every text, usually none or a beginning of sequence."""
    alone = tokenizer.encode("x", add_special_tokens=False)
    added = tokenizer.encode("x", add_special_tokens=True)
    place = next((i for i in range(len(added)) if added[i : i + len(alone)] == alone), 0)
    return tuple(added[:place])


def text_tokenizer(tokenizer: PreTrainedTokenizerBase, text: str) -> PreTrainedTokenizerBase:
    """Return a tokenizer that counts, cuts and decodes a text without loss: the same one if the text spells out no
    control token, else a copy that treats their names as ordinary text."""
    known = control_tokens_of(tokenizer)
    if known is None or not known.in_text(text):
        return tokenizer
    return known.as_text or tokenizer


def spells_control_tokens(tokenizer: PreTrainedTokenizerBase, texts: Any) -> bool:
    """Return whether a text, or any text in nested lists and objects, spells out a control token."""
    known = control_tokens_of(tokenizer)
    return known is not None and any(map(known.in_text, _texts(texts)))


def spelled_out_note(source: str, count: int, total: int, what: str = "records") -> str:
    """Return one line on how many records spell out control tokens; "" if none does."""
    if not count:
        return ""
    return (
        f"{source}: {count} of {total} {what} spell out control tokens of the tokenizer (such as an end of turn); they "
        "are read as text"
    )


def control_tokens_of(tokenizer: PreTrainedTokenizerBase) -> ControlTokens | None:
    """Return the tokenizer's control tokens; None if it is not a Hugging Face tokenizer."""
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
    """Yield all texts in nested lists and objects, their keys included."""
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
