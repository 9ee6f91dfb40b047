"""Tokenization of preference pairs and demonstrations: the same for all, whatever their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.types import Answer, Demonstration, PreferencePair, Span
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments, EncodedText
from longmab_pl.training.batch import GroupResponse, PreferenceExample, SFTExample
from longmab_pl.training.block_pairs import next_block_tokens
from longmab_pl.training.conversation_pairs import conversation_tokens
from longmab_pl.training.left_out import (
    NO_GROUP,
    NO_SHORT_PROMPT,
    LeftOut,
    longest,
    named,
    refuse_equal,
    too_long,
)
from longmab_pl.training.prefix_tree import Completion, Ids
from longmab_pl.training.template_facts import TemplateFacts, end_of_turn_id, template_facts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    prompt, (chosen, rejected) = _tokens(pair, tokenizer, max_length, arguments)
    return PreferenceExample(
        id=pair.name,
        prompt_ids=prompt,
        chosen_ids=chosen[0],
        rejected_ids=rejected[0],
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
        chosen_mask=chosen[1],
        rejected_mask=rejected[1],
        imitated=pair.imitated,
    )


def tokenize_demonstration(
    row: Demonstration,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    arguments: Arguments | None = None,
) -> SFTExample:
    """Tokenize an answer that is to be imitated, exactly as the chosen answer of a pair (see `tokenize`).

    Args:
        row: prompt and answer as text.
        tokenizer: as for `tokenize`.
        max_length: most tokens that prompt + answer may take.
        arguments: as for `tokenize`.

    Raises:
        LeftOut, ConfigError: as by `tokenize`.
    """
    prompt, ((completion, mask),) = _tokens(row, tokenizer, max_length, arguments)
    return SFTExample(row.name, prompt, completion, mask)


def _tokens(
    row: PreferencePair | Demonstration,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    arguments: Arguments | None,
) -> tuple[Ids, list[Completion]]:
    """Return the token ids of the prompt and the completion of every answer."""
    if row.answers[0].turns:
        return conversation_tokens(row, tokenizer, max_length, arguments)
    facts = template_facts(tokenizer, arguments)
    sides = [_without_end(row, answer, tokenizer, facts) for answer in row.answers]
    if not row.prompt:
        raise LeftOut("with an empty prompt", f"{named(row)}: the prompt is empty; leave the {row.noun} out")
    for name, side in zip(_names(row), sides, strict=True):
        if not side.text.strip():
            raise LeftOut("with an empty answer", f"{named(row)}: the {name} is empty; leave the {row.noun} out")
    refuse_equal(row, [answer.text for answer in row.answers])
    _refuse_longer(row, tokenizer, max_length)
    try:
        prompt, end_id = _prompt(row, tokenizer, facts, arguments, [side.text for side in sides])
    except encoding.TemplateError as error:
        raise LeftOut("that the chat template refuses", f"{named(row)}: {error}") from error
    if row.shared_ids and all(answer.ids is not None for answer in row.answers):
        return next_block_tokens(row, tokenizer, prompt.ids, end_id, max_length)
    ids, masks = _answers(tokenizer, prompt, sides, end_id)
    tokens = len(prompt.ids) + max(len(side.ids or ()) for side in ids)
    if max_length is not None and tokens > max_length:
        raise too_long(
            row,
            max_length,
            f"prompt ({len(prompt.ids)} tokens) and {longest(row, 'answer')} take {tokens} tokens, more than "
            f"{max_length}; cut the prompt's context or raise the limit",
        )
    kept = min(side.kept for side in ids)
    completions = [(*prompt.ids[kept : side.kept], *side.ids) for side in ids]
    refuse_equal(row, completions)
    if not kept:
        raise LeftOut(
            "whose prompt and answer begin with one token",
            f"{named(row)}: the tokenizer joins all of the prompt with the beginning of the answer, so no prompt "
            "is left; end the prompt with a space or line break, or write it as messages",
        )
    shared = [
        None if mask is None else (False,) * (side.kept - kept) + mask for side, mask in zip(ids, masks, strict=True)
    ]
    return prompt.ids[:kept], list(zip(completions, shared, strict=True))


def _names(row: PreferencePair | Demonstration) -> tuple[str, ...]:
    return ("answer",) if len(row.answers) == 1 else ("chosen answer", "rejected answer")


def with_short_prompt(
    example: PreferenceExample,
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    arguments: Arguments | None = None,
) -> PreferenceExample:
    """Return a tokenized pair with the tokens of its short prompt.

    Args:
        example: the pair, as `tokenize` returns it.
        pair: the same pair as text.
        tokenizer: as for `tokenize`.
        arguments: as for `tokenize`.

    Raises:
        LeftOut: it has no short prompt, or its answers have other tokens after it.
    """
    if not pair.short_prompt:
        raise LeftOut(
            NO_SHORT_PROMPT,
            f"pair {pair.name!r}: its chosen answer was not sampled from chunks of the context, or the round is older "
            "than that is stored; roll out with a strategy that chooses chunks (BanditRollout), or train without "
            "model.short_to_long",
        )
    short = tokenize(replace(pair, prompt=pair.short_prompt), tokenizer, arguments=arguments)
    if (short.chosen_ids, short.rejected_ids) != (example.chosen_ids, example.rejected_ids):
        raise LeftOut(
            "whose answers have other tokens after the short prompt",
            f"pair {pair.name!r}: the tokenizer joins the end of a prompt with the beginning of an answer; end prompts "
            "with a space or line break, or write them as messages",
        )
    return replace(example, short_prompt_ids=short.prompt_ids)


def with_group(
    example: PreferenceExample,
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    arguments: Arguments | None = None,
) -> PreferenceExample:
    """Return a tokenized pair with the tokens of all responses of its record.

    Args:
        example: the pair, as `tokenize` returns it.
        pair: the same pair as text.
        tokenizer: as for `tokenize`.
        max_length: as for `tokenize`.
        arguments: as for `tokenize`.

    Raises:
        LeftOut: it has no group, or one of the responses cannot be trained on after the pair's prompt.
    """
    if len(pair.group) < 2 or pair.chosen_turns or pair.shared_ids:
        raise LeftOut(
            NO_GROUP,
            f"pair {pair.name!r}: the loss trains on all responses of a record, and only two are in the pair; set "
            "data.pairs: longmab_pl.pairs.AllResponses, or leave the group's term out",
        )
    facts = template_facts(tokenizer, arguments)
    sides = [_without_end(pair, Answer(r.text, r.ended, ids=r.ids), tokenizer, facts) for r in pair.group]
    prompt, end_id = _prompt(pair, tokenizer, facts, arguments, [side.text for side in sides])
    ids, _ = _answers(tokenizer, prompt, sides, end_id)
    if any(not own.ids or own.kept != len(example.prompt_ids) for own in ids):
        raise LeftOut(
            "with a response that has no tokens of its own",
            f"pair {pair.name!r}: a response of its group is empty, or the tokenizer joins its beginning with the end "
            "of the prompt",
        )
    tokens = len(example.prompt_ids) + max(len(own.ids) for own in ids)
    if max_length is not None and tokens > max_length:
        raise too_long(pair, max_length, f"prompt and longest response take {tokens} tokens")
    group = (GroupResponse(own.ids, r.reward, r.on_prompt) for own, r in zip(ids, pair.group, strict=True))
    return replace(example, group=tuple(group))


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


def _without_end(
    row: PreferencePair | Demonstration, answer: Answer, tokenizer: PreTrainedTokenizerBase, facts: TemplateFacts
) -> _Side:
    text, ended, compared = answer.text, answer.ended, answer.mask
    ends = {end for end in (facts.end, tokenizer.eos_token) if end}
    while (bare := text.rstrip()) and (end := next((end for end in ends if bare.endswith(end)), None)):
        text = bare.removesuffix(end)
        ended = True
    if compared is not None and not 0 <= compared[0] < compared[1] <= len(answer.text):
        raise LeftOut(
            "whose compared characters are not there",
            f"{named(row)}: characters {compared[0]} to {compared[1]} are to be compared in an answer of {len(text)}",
        )
    return _Side(text, ended, answer.ids, compared)


def _prompt(
    row: PreferencePair | Demonstration,
    tokenizer: PreTrainedTokenizerBase,
    facts: TemplateFacts,
    arguments: Arguments | None,
    answers: Sequence[str],
) -> tuple[EncodedText, int | None]:
    """Return the encoded prompt and the token that ends an answer to it."""
    if isinstance(row.prompt, str):
        return _plain_prompt(row.prompt, tokenizer, facts, answers)
    if not tokenizer.chat_template:
        raise ConfigError(
            "prompts of messages need a chat template, and the tokenizer has none; use an instruct/chat model, put a "
            "chat_template.jinja beside its tokenizer.json, or train on plain texts"
        )
    end_id = end_of_turn_id(tokenizer, arguments)
    prompt = encoding.chat(tokenizer, row.prompt, arguments=arguments, tools=row.tools, data=answers)
    for part in [
        *(["tools"] if row.tools else []),
        *(["tool_calls"] if any(m.get("tool_calls") for m in row.prompt) else []),
    ]:
        without = [{key: value for key, value in message.items() if key != part} for message in row.prompt]
        tools = () if part == "tools" else row.tools
        try:
            other = encoding.chat(tokenizer, without, arguments=arguments, tools=tools, data=answers).ids
        except encoding.TemplateError:
            continue  # the template needs this part, so it reads it
        if other == prompt.ids:
            raise LeftOut(
                f"with {part} that the chat template does not write",
                f"{named(row)}: the chat template writes nothing of its {part}; use a model whose template does",
            )
    return prompt, end_id


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
    row: PreferencePair | Demonstration, tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None
) -> bool:
    """Return whether a row's prompt is a text with the chat template written out, with control tokens read as such."""
    if not isinstance(row.prompt, str):
        return False
    facts = template_facts(tokenizer, arguments)
    return _written_out(row.prompt, facts) or _written_out(_without_start(row.prompt, tokenizer), facts)


def spells_out(
    row: PreferencePair | Demonstration, tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None
) -> bool:
    """Return whether a row's texts spell out control tokens that are read as text."""
    facts = template_facts(tokenizer, arguments)
    answers = [_without_end(row, answer, tokenizer, facts).text for answer in row.answers]
    if isinstance(row.prompt, str):
        prompt: list[object] = [] if is_written_out(row, tokenizer, arguments) else [row.prompt]
    else:
        prompt = [dict(part) for part in (*row.prompt, *row.tools)]
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


def _refuse_longer(
    row: PreferencePair | Demonstration, tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> None:
    """Raise `LeftOut` for a row that is far too long, without tokenizing it, by the longest token's characters."""
    if max_length is None:
        return
    prompt = row.prompt if isinstance(row.prompt, str) else "".join(str(m.get("content", "")) for m in row.prompt)
    characters = len(prompt) + max(len(answer.text) for answer in row.answers)
    known = encoding.control_tokens_of(tokenizer)
    if known is not None and characters > max_length * known.longest:
        raise too_long(
            row,
            max_length,
            f"{characters} characters take more than {max_length} tokens",
        )
