from __future__ import annotations

import pytest
from tokenizers_like import FAMILIES, chatml_like

from longmab_pl.errors import DataError
from longmab_pl.prompts import encoding
from longmab_pl.prompts.transcript import Turn, assistant, system, transcript, user

ASKED = [user("Where?")]


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request):
    return FAMILIES[request.param]()


def sampled(tokenizer, text):
    """Another split of the text than the tokenizer's own, as sampling may give, with the end token."""
    (*_, end) = encoding.after_turn(tokenizer, []).end, encoding.after_turn(tokenizer, []).end
    ids = [token for character in text for token in tokenizer.encode(character, add_special_tokens=False)]
    return (*ids, *([] if end is None else [end]))


def test_a_conversation_that_goes_on_begins_with_its_beginning(tokenizer):
    turns = list(ASKED)
    prompt = transcript(tokenizer, turns).ids
    for n in range(3):
        own = sampled(tokenizer, f"in Lima {n}")
        turns += [assistant(f"in Lima {n}", own), user(f"And then {n}?")]
        longer = transcript(tokenizer, turns)
        assert longer.ids[: len(prompt) + len(own)] == (*prompt, *own)
        assert longer.spans[-1] == (len(prompt), len(prompt) + len(own))
        prompt = longer.ids


def test_between_turns_stands_what_the_template_writes(tokenizer):
    turns = [*ASKED, assistant("Lima"), user("Since when?")]
    ours = transcript(tokenizer, turns).ids
    theirs = encoding.chat(tokenizer, [turn.message for turn in turns]).ids
    assert "".join(tokenizer.decode(list(ours)).split()) == "".join(tokenizer.decode(list(theirs)).split())


def test_the_prompt_is_the_one_that_is_asked_everywhere_else(tokenizer):
    assert transcript(tokenizer, ASKED).ids == encoding.chat(tokenizer, [ASKED[0].message]).ids


def test_a_turn_that_was_cut_gets_an_end_token_that_is_not_learned():
    tokenizer = chatml_like()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = tuple(tokenizer.encode("Lim", add_special_tokens=False))
    between = transcript(tokenizer, [*ASKED, assistant("Lim", ids, ended=False), user("Go on.")])
    start, stop = between.spans[0]
    assert between.ids[start:stop] == ids
    assert between.ids[stop] == end
    last = transcript(tokenizer, [*ASKED, assistant("Lim", ids, ended=False)])
    assert last.ids[last.spans[0][0] :] == ids


def test_a_turn_without_its_end_token_gets_one_that_is_learned():
    tokenizer = chatml_like()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    last = transcript(tokenizer, [*ASKED, assistant("Lima")])
    assert last.ids[-1] == end
    assert last.spans[0][1] == len(last.ids)
    assert transcript(tokenizer, [*ASKED, assistant("Lima", last.ids[last.head :])]) == last


def test_control_tokens_in_a_users_turn_stay_text():
    tokenizer = chatml_like()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain, spelled = (
        transcript(tokenizer, [*ASKED, assistant("Lima"), user(f"Is <|im_{word}|> text?")]) for word in ("xnd", "end")
    )
    assert spelled.ids.count(end) == plain.ids.count(end)
    assert "<|im_end|> text?" in tokenizer.decode(list(spelled.ids))


def test_a_conversation_without_a_users_turn_where_one_belongs_is_refused():
    tokenizer = chatml_like()
    for turns in ([assistant("Lima")], [*ASKED, assistant("Lima"), assistant("Quito")], [*ASKED, assistant("")]):
        with pytest.raises(DataError, match="turn"):
            transcript(tokenizer, turns)


def test_a_turn_is_read_back_from_json():
    for turn in (system("Be brief."), assistant("Lima", (3, 4), ended=False)):
        assert Turn.from_json(turn.to_json()) == turn
