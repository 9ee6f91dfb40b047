"""Tokenization of preference pairs: the same for all pairs, whatever their source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.types import PreferencePair, Span
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments, EncodedText
from longmab_pl.prompts.transcript import Transcript, Turn, transcript
from longmab_pl.training.batch import PreferenceExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Letters only, so that no template trims it and no tokenizer treats it as special.
_MARKER = "xANSWERx"


class LeftOut(DataError):
    """A well-formed pair that cannot be trained on.

    Args:
        reason: for counts, the words after "3 pairs": `with an empty answer`.
        message: what is wrong with this pair.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class TemplateFacts:
    """What a chat template writes around an assistant's turn.

    Args:
        begin: the first control token of a conversation (without a beginning of sequence), or the first word.
        header: the text between the last user's words and the assistant's.
        end: the text of the token that closes an assistant's turn.
        end_id: its id; None where there is none.
        writes_start: the template itself writes the beginning-of-sequence token.
        ignores_generation: it writes the same with and without `add_generation_prompt`.
    """

    begin: str
    header: str
    end: str
    end_id: int | None
    writes_start: bool
    ignores_generation: bool


def tokenize(
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    arguments: Arguments | None = None,
) -> PreferenceExample:
    """Tokenize one preference pair.

    Answers are tokenized together with the prompt and split off where both have the prompt's tokens in common; sampled
    answers keep their sampled ids. Of conversations, only the assistant's turns after the shared ones are compared, and
    the shared ones belong to the prompt. An answer that ended by itself learns one end token: that of
    the chat template, or of the sequence behind a plain text. An end token that its text already ends with is not
    learned twice.

    Args:
        pair: prompt and answers as text.
        tokenizer: a Hugging Face tokenizer, with a chat template where prompts are messages.
        max_length: most tokens that prompt + longer answer may take.
        arguments: further variables of the chat template (`prompts.encoding.chat`).

    Raises:
        LeftOut: an empty or identical answer, a pair longer than `max_length`, a conversation that the chat template
            refuses or leaves a part of out, or compared characters that are not there; the message names the pair.
        ConfigError: messages without a chat template, or compared characters with a slow tokenizer.
    """
    if pair.chosen_turns:
        return _tokenize_conversations(pair, tokenizer, max_length, arguments)
    facts = template_facts(tokenizer, arguments)
    sides = [_without_end(pair, side, tokenizer, facts) for side in ("chosen", "rejected")]
    if not pair.prompt:
        raise LeftOut("with an empty prompt", f"pair {pair.name!r}: the prompt is empty; leave the pair out")
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if not side.text.strip():
            raise LeftOut("with an empty answer", f"pair {pair.name!r}: the {name} answer is empty; leave the pair out")
    if pair.chosen == pair.rejected:
        raise LeftOut(
            "with equal answers", f"pair {pair.name!r}: chosen and rejected are the same tokens; leave the pair out"
        )
    _refuse_longer(pair, tokenizer, max_length)
    try:
        prompt, end_id = _prompt(pair, tokenizer, facts, arguments, [side.text for side in sides])
    except encoding.TemplateError as error:
        raise LeftOut("that the chat template refuses", f"pair {pair.name!r}: {error}") from error
    if pair.shared_ids and pair.chosen_ids is not None and pair.rejected_ids is not None:
        return _next_block(pair, tokenizer, prompt.ids, end_id, max_length)
    ids, masks = _answers(pair, tokenizer, prompt, sides, end_id)
    longest = len(prompt.ids) + max(len(side.ids or ()) for side in ids)
    if max_length is not None and longest > max_length:
        raise LeftOut(
            f"longer than {max_length} tokens",
            f"pair {pair.name!r}: prompt ({len(prompt.ids)} tokens) and longer answer take {longest} tokens, more than "
            f"{max_length}; cut the prompt's context or raise the limit",
        )
    kept = min(side.kept for side in ids)
    chosen, rejected = ((*prompt.ids[kept : side.kept], *side.ids) for side in ids)
    if chosen == rejected:
        raise LeftOut(
            "with equal answers", f"pair {pair.name!r}: chosen and rejected are the same tokens; leave the pair out"
        )
    if not kept:
        raise LeftOut(
            "whose prompt and answer begin with one token",
            f"pair {pair.name!r}: the tokenizer joins all of the prompt with the beginning of the answer, so no prompt "
            "is left; end the prompt with a space or line break, or write it as messages",
        )
    shared = [
        None if mask is None else (False,) * (side.kept - kept) + mask for side, mask in zip(ids, masks, strict=True)
    ]
    return PreferenceExample(
        id=pair.name,
        prompt_ids=prompt.ids[:kept],
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
        chosen_mask=shared[0],
        rejected_mask=shared[1],
    )


def _tokenize_conversations(
    pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, max_length: int | None, arguments: Arguments | None
) -> PreferenceExample:
    """Tokenize a pair of conversations; the ids of every turn are those that were sampled."""
    assert not isinstance(pair.prompt, str)
    before = [Turn(message["role"], message["content"]) for message in pair.prompt]
    try:
        chosen, rejected = (
            transcript(tokenizer, [*before, *turns], arguments) for turns in (pair.chosen_turns, pair.rejected_turns)
        )
    except encoding.TemplateError as error:
        raise LeftOut("that the chat template refuses", f"pair {pair.name!r}: {error}") from error
    except DataError as error:
        raise LeftOut("with an empty answer", f"pair {pair.name!r}: {error}") from error
    if chosen.ids == rejected.ids:
        raise LeftOut(
            "with equal answers", f"pair {pair.name!r}: chosen and rejected are the same tokens; leave the pair out"
        )
    longest = max(len(chosen.ids), len(rejected.ids))
    if max_length is not None and longest > max_length:
        raise LeftOut(
            f"longer than {max_length} tokens",
            f"pair {pair.name!r}: the longer conversation takes {longest} tokens, more than {max_length}; lower "
            "pairs.max_prompt_length or raise the limit",
        )
    # Assistant's turns have even places, so the first that is compared comes after half of the shared turns.
    first = pair.shared_turns // 2
    start = chosen.spans[first][0]
    masks = [_mask(side, first, start) for side in (chosen, rejected)]
    return PreferenceExample(
        id=pair.name,
        prompt_ids=chosen.ids[:start],
        chosen_ids=chosen.ids[start:],
        rejected_ids=rejected.ids[start:],
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
        chosen_mask=masks[0],
        rejected_mask=masks[1],
        imitated=pair.imitated,
    )


def _mask(side: Transcript, first: int, start: int) -> tuple[bool, ...]:
    """Return which tokens from `start` on belong to the assistant's turns from number `first` on."""
    mask = [False] * (len(side.ids) - start)
    for begin, end in side.spans[first:]:
        mask[begin - start : end - start] = [True] * (end - begin)
    return tuple(mask)


def _next_block(
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    prompt: tuple[int, ...],
    end_id: int | None,
    max_length: int | None,
) -> PreferenceExample:
    """Return a pair of blocks that continue the same earlier blocks, which are part of its prompt."""
    assert pair.chosen_ids is not None
    assert pair.rejected_ids is not None
    written = pair.chosen_ids[: pair.shared_ids]
    blocks = []
    for ids, ended in ((pair.chosen_ids, pair.chosen_ended), (pair.rejected_ids, pair.rejected_ended)):
        if ids[: pair.shared_ids] != written or len(ids) <= pair.shared_ids:
            raise LeftOut(
                "whose earlier blocks differ",
                f"pair {pair.name!r}: the first {pair.shared_ids} tokens of both answers are not the same, or nothing "
                "follows them",
            )
        block = ids[pair.shared_ids :]
        closed = block[-1] in (end_id, tokenizer.eos_token_id) or encoding.is_control(tokenizer, block[-1])
        blocks.append((*block, end_id) if ended and not closed and end_id is not None else block)
    chosen, rejected = blocks
    if chosen == rejected:
        raise LeftOut(
            "with equal answers", f"pair {pair.name!r}: chosen and rejected are the same tokens; leave the pair out"
        )
    longest = len(prompt) + len(written) + max(len(chosen), len(rejected))
    if max_length is not None and longest > max_length:
        raise LeftOut(
            f"longer than {max_length} tokens",
            f"pair {pair.name!r}: prompt ({len(prompt)} tokens), earlier blocks ({len(written)}) and longer block take "
            f"{longest} tokens, more than {max_length}",
        )
    return PreferenceExample(
        id=pair.name,
        prompt_ids=(*prompt, *written),
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
    )


def with_believed_ids(pair: PreferencePair, tokenizer: PreTrainedTokenizerBase) -> PreferencePair:
    """Return a pair of a file without token ids that do not spell its texts.

    A round's own pairs are trained on the ids that were sampled. A file from elsewhere may hold any numbers: they count
    only if they spell the answer, with no control token but one at its end.

    Args:
        pair: a pair that was read from a file.
        tokenizer: the policy's tokenizer.
    """
    chosen, rejected = pair.chosen_ids, pair.rejected_ids
    if chosen is not None and not _says(tokenizer, chosen, pair.chosen):
        chosen = None
    if rejected is not None and not _says(tokenizer, rejected, pair.rejected):
        rejected = None
    sides = [
        tuple(turn if _says(tokenizer, turn.token_ids, turn.text) else replace(turn, token_ids=()) for turn in turns)
        for turns in (pair.chosen_turns, pair.rejected_turns)
    ]
    return replace(pair, chosen_ids=chosen, rejected_ids=rejected, chosen_turns=sides[0], rejected_turns=sides[1])


def _says(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> bool:
    """Return whether token ids spell a text, with no control token but one at their end.

    White space does not count (tokenizers add and drop it), and neither does a text with a character that is cut.
    """
    if any(encoding.is_control(tokenizer, token) for token in ids[:-1]):
        return False
    said = tokenizer.decode(list(ids), skip_special_tokens=True)
    return "\ufffd" in said or "".join(said.split()) == "".join(text.split())


@dataclass(frozen=True)
class _Side:
    """An answer: its text without the end token, whether it ended, what was sampled, what is compared."""

    text: str
    ended: bool
    ids: tuple[int, ...] | None
    compared: Span | None


@dataclass(frozen=True)
class _Ids:
    kept: int
    ids: tuple[int, ...]


def _without_end(pair: PreferencePair, name: str, tokenizer: PreTrainedTokenizerBase, facts: TemplateFacts) -> _Side:
    chosen = name == "chosen"
    text, ended = (pair.chosen, pair.chosen_ended) if chosen else (pair.rejected, pair.rejected_ended)
    ids = pair.chosen_ids if chosen else pair.rejected_ids
    compared = pair.chosen_mask if chosen else pair.rejected_mask
    ends = {end for end in (facts.end, tokenizer.eos_token) if end}
    while (bare := text.rstrip()) and (end := next((end for end in ends if bare.endswith(end)), None)):
        text = bare.removesuffix(end)
        ended = True
    if compared is not None and not 0 <= compared[0] < compared[1] <= len(pair.chosen if chosen else pair.rejected):
        raise LeftOut(
            "whose compared characters are not there",
            f"pair {pair.name!r}: characters {compared[0]} to {compared[1]} are to be compared in an answer "
            f"of {len(text)}",
        )
    return _Side(text, ended, ids, compared)


def _prompt(
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    facts: TemplateFacts,
    arguments: Arguments | None,
    answers: Sequence[str],
) -> tuple[EncodedText, int | None]:
    """Return the encoded prompt and the token that ends an answer to it."""
    if isinstance(pair.prompt, str):
        return _plain_prompt(pair.prompt, tokenizer, facts, answers)
    if not tokenizer.chat_template:
        raise ConfigError(
            "prompts of messages need a chat template, and the tokenizer has none; use an instruct/chat model, put a "
            "chat_template.jinja beside its tokenizer.json, or train on plain texts"
        )
    if facts.end_id is None:
        raise ConfigError(
            "the chat template closes no assistant turn and the tokenizer has no end-of-sequence token; set one"
        )
    prompt = encoding.chat(tokenizer, pair.prompt, arguments=arguments, tools=pair.tools, data=answers)
    for part in [
        *(["tools"] if pair.tools else []),
        *(["tool_calls"] if any(m.get("tool_calls") for m in pair.prompt) else []),
    ]:
        without = [{key: value for key, value in message.items() if key != part} for message in pair.prompt]
        tools = () if part == "tools" else pair.tools
        try:
            other = encoding.chat(tokenizer, without, arguments=arguments, tools=tools, data=answers).ids
        except encoding.TemplateError:
            continue  # the template needs this part, so it reads it
        if other == prompt.ids:
            raise LeftOut(
                f"with {part} that the chat template does not write",
                f"pair {pair.name!r}: the chat template writes nothing of its {part}; use a model whose template does",
            )
    return prompt, facts.end_id


def _plain_prompt(
    text: str, tokenizer: PreTrainedTokenizerBase, facts: TemplateFacts, answers: Sequence[str]
) -> tuple[EncodedText, int | None]:
    """Return the encoding of a text prompt, and the token that ends an answer to it.

    In a conversation with the chat template written out, control tokens are read as such, and an answer ends as the
    template ends it.
    """
    start = encoding.start_ids(tokenizer)
    bos = tokenizer.bos_token
    bare = _without_start(text, tokenizer)
    template = _written_out(text, facts) or _written_out(bare, facts)
    if template and bos and (bare != text or facts.writes_start) and not start:
        text = bos + bare  # exactly one, whether the text had it or the template would write it
    elif start:
        text = bare
    eos = None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    return encoding.plain(tokenizer, text, meant=template, data=answers), facts.end_id if template else eos


def is_written_out(
    pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None
) -> bool:
    """Return whether a pair's prompt is a text with the chat template written out, with control tokens read as such."""
    if not isinstance(pair.prompt, str):
        return False
    facts = template_facts(tokenizer, arguments)
    return _written_out(pair.prompt, facts) or _written_out(_without_start(pair.prompt, tokenizer), facts)


def spells_out(pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None) -> bool:
    """Return whether a pair's texts spell out control tokens that are read as text."""
    facts = template_facts(tokenizer, arguments)
    answers = [_without_end(pair, side, tokenizer, facts).text for side in ("chosen", "rejected")]
    if isinstance(pair.prompt, str):
        prompt: list[object] = [] if is_written_out(pair, tokenizer, arguments) else [pair.prompt]
    else:
        prompt = [dict(part) for part in (*pair.prompt, *pair.tools)]
    return encoding.spells_control_tokens(tokenizer, [answers, prompt])


def _without_start(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a text without the beginning-of-sequence tokens that are written out at its start."""
    while tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        text = text.removeprefix(str(tokenizer.bos_token))
    return text


def _written_out(text: str, facts: TemplateFacts) -> bool:
    """Return whether a text is a conversation as the chat template writes it, up to the assistant's words."""
    header = facts.header.strip()
    return bool(header and facts.begin and text.lstrip().startswith(facts.begin) and text.rstrip().endswith(header))


def _answers(
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    prompt: EncodedText,
    sides: Sequence[_Side],
    end_id: int | None,
) -> tuple[list[_Ids], list[tuple[bool, ...] | None]]:
    """Return the token ids of both answers, and which of them are compared."""
    ids: list[_Ids] = []
    masks: list[tuple[bool, ...] | None] = []
    ends = {end_id, tokenizer.eos_token_id}
    for side in sides:
        continuation = None if side.ids is not None and side.compared is None else prompt.continued(side.text)
        if side.ids is not None:
            kept, answer = len(prompt.ids), side.ids
        else:
            assert continuation is not None
            kept, answer = continuation.kept, continuation.ids
        ended = bool(answer) and (
            answer[-1] in ends or (side.ids is not None and encoding.is_control(tokenizer, answer[-1]))
        )
        closing = (end_id,) if side.ended and end_id is not None and answer and not ended else ()
        mask: tuple[bool, ...] | None = None
        if side.compared is not None:
            first, last = side.compared
            assert continuation is not None
            if side.ids is not None:
                spans = _spans_of_sampled(tokenizer, side.ids, ends)
            else:
                try:
                    spans = prompt.spans(continuation)
                except DataError as error:
                    raise ConfigError(str(error)) from error
            inside = tuple(start < last and stop > first for start, stop in spans)
            mask = (*inside, *([last >= len(side.text)] if closing else []))
        ids.append(_Ids(kept, (*answer, *closing)))
        masks.append(mask)
    return ids, masks


def _spans_of_sampled(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ends: set[int | None]
) -> list[tuple[int, int]]:
    """Return the character span of each sampled token; an end token belongs to the answer's last character."""
    spans = []
    before = 0
    for place, token in enumerate(ids, 1):
        if token in ends:
            spans.append((max(before - 1, 0), before))
            continue
        after = len(tokenizer.decode(list(ids[:place]), skip_special_tokens=True))
        spans.append((before, after))
        before = after
    return spans


def _refuse_longer(pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
    """Raise `LeftOut` for a pair that is far too long, without tokenizing it, by the longest token's characters."""
    if max_length is None:
        return
    prompt = pair.prompt if isinstance(pair.prompt, str) else "".join(str(m.get("content", "")) for m in pair.prompt)
    characters = len(prompt) + max(len(pair.chosen), len(pair.rejected))
    known = encoding.control_tokens_of(tokenizer)
    if known is not None and characters > max_length * known.longest:
        raise LeftOut(
            f"longer than {max_length} tokens",
            f"pair {pair.name!r}: {characters} characters take more than {max_length} tokens",
        )


_facts: WeakKeyDictionary[PreTrainedTokenizerBase, dict[str, TemplateFacts]] = WeakKeyDictionary()


def template_facts(tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None) -> TemplateFacts:
    """Return what the tokenizer's chat template writes around an assistant's turn; it is cached."""
    key = json.dumps([tokenizer.chat_template, dict(arguments or {})], sort_keys=True, default=str)
    known = _facts.setdefault(tokenizer, {})
    if key not in known:
        known[key] = _look_up(tokenizer, arguments)
    return known[key]


def _look_up(tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None) -> TemplateFacts:
    eos = None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    nothing = TemplateFacts("", "", str(tokenizer.eos_token or ""), eos, writes_start=False, ignores_generation=False)
    if not tokenizer.chat_template:
        return nothing
    question = {"role": "user", "content": _MARKER}
    try:
        asked = encoding.rendered(tokenizer, [question], arguments)
        unasked = encoding.rendered(tokenizer, [question], arguments, generation=False)
        answered = encoding.rendered(
            tokenizer,
            [{**question, "content": "?"}, {"role": "assistant", "content": _MARKER}],
            arguments,
            generation=False,
        )
    except encoding.TemplateError:
        return nothing
    begin, _, header = asked.partition(_MARKER)
    bos = str(tokenizer.bos_token or "")
    known = encoding.control_tokens_of(tokenizer)
    first = begin.removeprefix(bos).lstrip() or begin
    token = None if known is None else known.at_start_of(first)
    end, end_id = nothing.end, eos
    after = tokenizer.encode(answered.rpartition(_MARKER)[2], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for number in after:
        if number in special:
            end_id, end = number, str(tokenizer.convert_ids_to_tokens(number))
            break
    return TemplateFacts(
        begin=token or (first.split() or [""])[0],
        header=header,
        end=end,
        end_id=end_id,
        writes_start=bool(bos) and begin.startswith(bos),
        ignores_generation=asked == unasked,
    )


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token with which this chat template closes an assistant's turn.

    Often, but not always, it is the end-of-sequence token.

    Raises:
        ConfigError: the template writes no such token and the tokenizer has no end-of-sequence token.
    """
    end = template_facts(tokenizer).end_id
    if end is None:
        raise ConfigError(
            "the chat template closes no assistant turn and the tokenizer has no end-of-sequence token; set one"
        )
    return end
