from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers_like import chatml_like

from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts.transcript import assistant, transcript, user
from longmab_pl.training.batch import sft_examples
from longmab_pl.training.believed_ids import with_believed_ids
from longmab_pl.training.left_out import LeftOut
from longmab_pl.training.packing import packed_tokens
from longmab_pl.training.tokenization import tokenize

TOKENIZER = chatml_like()
PROMPT = ({"role": "user", "content": "Long document. Who founded it?"},)
FIRST = assistant("Nobody.", TOKENIZER.encode("No", add_special_tokens=False) + TOKENIZER.encode("body."))
ASK = user("Ask one question.")


def side(*texts):
    turns = [FIRST, ASK]
    for text in texts:
        turns += [assistant(text), user("Go on.")]
    return turns[:-1]


PAIR = PreferencePair.of_conversations(
    "q", PROMPT, side("When?", "In 1800 by Ann."), side("Why?", "Because."), shared_turns=2
)


def decoded(ids, mask):
    return TOKENIZER.decode([token for token, counts in zip(ids, mask, strict=True) if counts])


def test_only_the_assistants_turns_after_the_shared_ones_are_compared():
    example = tokenize(PAIR, TOKENIZER)
    assert decoded(example.chosen_ids, example.chosen_mask) == "When?<|im_end|>In 1800 by Ann.<|im_end|>"
    assert decoded(example.rejected_ids, example.rejected_mask) == "Why?<|im_end|>Because.<|im_end|>"
    assert "Nobody." in TOKENIZER.decode(list(example.prompt_ids))
    assert "Go on." in TOKENIZER.decode(list(example.chosen_ids))


def test_what_is_trained_is_what_was_sampled():
    odd = tuple(t for c in "When?" for t in TOKENIZER.encode(c, add_special_tokens=False))
    chosen = [FIRST, ASK, assistant("When?", odd, ended=False)]
    example = tokenize(replace(PAIR, chosen_turns=tuple(chosen)), TOKENIZER)
    assert example.chosen_ids == odd
    whole = transcript(TOKENIZER, [user(PROMPT[0]["content"]), FIRST, ASK]).ids
    assert example.prompt_ids == whole


def test_pairs_of_one_parent_share_all_that_stands_before_them():
    other = PreferencePair.of_conversations("q2", PROMPT, side("Where?"), side("Why?", "Because."), shared_turns=2)
    first, second = tokenize(PAIR, TOKENIZER), tokenize(other, TOKENIZER)
    assert first.prompt_ids == second.prompt_ids
    assert packed_tokens([first, second]) == len(first.prompt_ids) + len(first.chosen_ids) + len(
        first.rejected_ids
    ) + len(second.chosen_ids)


def test_supervised_training_leaves_out_what_is_not_to_be_imitated():
    examples = [tokenize(PAIR, TOKENIZER), tokenize(replace(PAIR, id="r", imitated=False, shared_turns=0), TOKENIZER)]
    assert [example.id for example in sft_examples(examples)] == ["q"]


def test_ids_of_a_file_count_only_if_they_spell_the_turn():
    lying = [FIRST, ASK, assistant("When?", TOKENIZER.encode("Never."))]
    pair = with_believed_ids(replace(PAIR, chosen_turns=tuple(lying)), TOKENIZER)
    assert pair.chosen_turns[0] == FIRST
    assert pair.chosen_turns[2].token_ids == ()
    assert "When?" in TOKENIZER.decode(list(tokenize(pair, TOKENIZER).chosen_ids))


def test_conversations_that_cannot_be_trained_on_are_left_out_with_a_reason():
    with pytest.raises(LeftOut, match="more than 20"):
        tokenize(PAIR, TOKENIZER, max_length=20)
    with pytest.raises(LeftOut, match="same tokens"):
        tokenize(replace(PAIR, rejected_turns=PAIR.chosen_turns), TOKENIZER)
    with pytest.raises(LeftOut, match="empty"):
        tokenize(replace(PAIR, chosen_turns=(FIRST, ASK, assistant(""))), TOKENIZER)
