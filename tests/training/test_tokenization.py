from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts.encoding import chat
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.believed_ids import with_believed_ids
from longmab_pl.training.template_facts import end_of_turn_id
from longmab_pl.training.tokenization import tokenize

WORDS = [
    "[UNK]",
    "<bos>",
    "<eos>",
    "<eot>",
    "<role>",
    "user",
    "assistant",
    "where",
    "Paris",
    "London",
    "Answer",
    ":",
    "think",
]
ID = {word: i for i, word in enumerate(WORDS)}

# The turn's end is another token than the end of sequence, as in Llama 3; BOS is the template's own.
LLAMA_LIKE = (
    "<bos>{% for m in messages %}<role>{{ m.role }} {{ m.content | trim }}<eot>{% endfor %}"
    "{% if add_generation_prompt %}<role>assistant {% endif %}"
)
# Something stands between the header and the answer, as in Qwen 3; the end token is followed by a new line.
THINKING = (
    "{% for m in messages %}<role>{{ m.role }} {% if m.role == 'assistant' %}think think {% endif %}"
    "{{ m.content }}<eos>\n{% endfor %}{% if add_generation_prompt %}<role>assistant {% endif %}"
)
# No end token at all.
BARE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)

MESSAGES = ({"role": "user", "content": "where"},)


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel(ID, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=["<eot>", "<role>"],
    )
    made.chat_template = template
    return made


def tokenized(
    tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None, arguments: Any = None, **fields: Any
) -> PreferenceExample:
    pair = PreferencePair(**({"id": "q", "prompt": MESSAGES} | fields))
    return tokenize(pair, tokenizer, max_length=max_length, arguments=arguments)


@pytest.mark.parametrize(("template", "end"), [(LLAMA_LIKE, "<eot>"), (THINKING, "<eos>"), (BARE, "<eos>")])
def test_end_of_turn_comes_from_the_template(template: str, end: str) -> None:
    assert end_of_turn_id(tokenizer(template)) == ID[end]


def test_prompt_ends_where_the_answer_begins() -> None:
    ids = chat(tokenizer(LLAMA_LIKE), MESSAGES).ids
    assert [WORDS[i] for i in ids] == ["<bos>", "<role>", "user", "where", "<eot>", "<role>", "assistant"]
    opened = chat(tokenizer(LLAMA_LIKE), MESSAGES, prefill="Answer:").ids
    assert opened == (*ids, ID["Answer"], ID[":"])


def test_only_answers_that_ended_by_themselves_learn_to_end() -> None:
    pair = tokenized(
        tokenizer(LLAMA_LIKE),
        id="q1",
        prompt=MESSAGES,
        chosen="Answer: Paris",
        rejected="Answer: London",
        chosen_ended=True,
        rejected_ended=False,
        chosen_reward=1.0,
        rejected_reward=0.5,
    )
    assert [WORDS[i] for i in pair.chosen_ids] == ["Answer", ":", "Paris", "<eot>"]
    assert [WORDS[i] for i in pair.rejected_ids] == ["Answer", ":", "London"]
    assert (pair.id, pair.chosen_reward, pair.rejected_reward) == ("q1", 1.0, 0.5)


@pytest.mark.parametrize(
    ("chosen", "rejected", "limit", "match"),
    [
        ("", "London", None, "the chosen answer is empty"),
        ("Paris", " \n", None, "the rejected answer is empty"),
        ("Paris", "Paris", None, "same tokens"),
        ("Paris", "London Paris", 9, "take 10 tokens, more than 9"),
    ],
)
def test_unusable_pairs_are_named(chosen: str, rejected: str, limit: int | None, match: str) -> None:
    with pytest.raises(DataError, match=rf"pair 'q7': .*{match}"):
        tokenized(tokenizer(LLAMA_LIKE), id="q7", prompt=MESSAGES, chosen=chosen, rejected=rejected, max_length=limit)


def test_the_limit_itself_fits() -> None:
    pair = tokenized(
        tokenizer(LLAMA_LIKE), id="q", prompt=MESSAGES, chosen="Paris", rejected="London Paris", max_length=10
    )
    assert len(pair.prompt_ids) + len(pair.rejected_ids) == 10


def test_one_block_of_an_answer_is_compared() -> None:
    first, better, worse = "think think", " Answer: Paris", " London"
    pair = tokenized(
        tokenizer(LLAMA_LIKE),
        id="q",
        prompt=MESSAGES,
        chosen=first + better,
        rejected=first + worse,
        rejected_ended=False,
        chosen_mask=(len(first), len(first + better)),
        rejected_mask=(len(first), len(first + worse)),
    )
    assert [WORDS[i] for i in pair.chosen_ids] == ["think", "think", "Answer", ":", "Paris", "<eot>"]
    # The end token belongs to the last block.
    assert pair.chosen_mask == (False, False, True, True, True, True)
    assert pair.rejected_mask == (False, False, True)
    middle = tokenized(
        tokenizer(LLAMA_LIKE),
        id="q",
        prompt=MESSAGES,
        chosen="think Paris",
        rejected="think London",
        chosen_mask=(0, 5),
        rejected_mask=(6, 7),
    )
    assert middle.chosen_mask == (True, False, False)
    # A token counts as soon as one of its characters does.
    assert middle.rejected_mask == (False, True, False)


@pytest.mark.parametrize("compared", [(3, 3), (-1, 2), (0, 99)])
def test_a_block_that_is_not_there(compared: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"pair 'q': characters .* in an answer of 5"):
        tokenized(
            tokenizer(LLAMA_LIKE),
            id="q",
            prompt=MESSAGES,
            chosen="Paris",
            rejected="London",
            chosen_mask=compared,
        )


@pytest.mark.parametrize(
    ("ids", "believed"),
    [
        ((ID["Paris"],), True),
        ((ID["Paris"], ID["<eot>"]), True),
        ((ID["London"],), False),
        ((ID["Paris"], ID["<eot>"], ID["<role>"], ID["assistant"], ID["London"]), False),
        ((ID["<eot>"], ID["Paris"]), False),
    ],
)
def test_a_files_token_ids_are_believed_only_if_they_spell_its_text(ids: tuple[int, ...], believed: bool) -> None:
    made = tokenizer(LLAMA_LIKE)
    pair = PreferencePair("q", MESSAGES, "Paris", "London", chosen_ids=ids, chosen_ended=False)
    checked = with_believed_ids(pair, made)
    assert checked.chosen_ids == (ids if believed else None)
    assert tokenize(checked, made).chosen_ids == (ids if believed else (ID["Paris"],))
