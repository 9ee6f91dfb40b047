from __future__ import annotations

from dataclasses import replace

import pytest
from block_writing import STORY, Judge, ratings, search, story_context

from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.files import PairWriter
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.step_pairs import StepPairs
from longmab_pl.prompts.instruction import Instruction
from longmab_pl.strategies.base import RecordRollout, Response
from longmab_pl.strategies.stepwise_search.critics import Refinement
from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch
from longmab_pl.training.tokenization import tokenize

GREEDY = StepwiseSearch(blocks=3, candidates=3, sampling=Sampling(0.7, 1.0, 0.0, 40), facts=None, refinement=None)


def written(request, i, prompt):
    """The third block ends the answer."""
    step = request.id.rpartition("/")[2]
    return f" {'abc'[i]}{step}" + ("END" if step == "2" else "")


def rate(block):
    return {"a": 2, "b": 4, "c": 1}.get(block.strip()[0], 5)


def rollout(tokenizer, strategy=GREEDY, write=written, judge=None):
    return search(strategy.roll(STORY, story_context(tokenizer)), tokenizer, write, judge or Judge(rate))[0]


def context(tokenizer, **settings):
    return PairContext(tokenizer, Instruction(), "writing_quality", 0, 2, **settings)


def made(tokenizer, rule=None, **settings):
    return (rule or StepPairs()).pairs(STORY, rollout(tokenizer, **settings), context(tokenizer))


def test_each_step_gives_a_pair_of_its_blocks_on_the_instruction_and_the_blocks_before(byte_tokenizer):
    pairs = made(byte_tokenizer)
    assert [(p.chosen, p.rejected) for p in pairs] == [(" b0", " c0"), (" b0 b1", " b0 c1"), (" b0 b1 b2", " b0 b1 c2")]
    assert {p.prompt[0]["content"] for p in pairs} == {STORY.question}
    assert [(p.chosen_mask, p.rejected_mask) for p in pairs] == [(None, None), ((3, 6), (3, 6)), ((6, 9), (6, 9))]
    assert [p.shared_ids for p in pairs] == [0, 3, 6]
    assert [(p.chosen_ended, p.rejected_ended) for p in pairs] == [(False, False), (False, False), (True, True)]
    assert [(p.origin.chosen_index, p.origin.rejected_index, p.origin.chosen_step) for p in pairs] == [
        (1, 2, 0),
        (4, 5, 1),
        (7, 8, 2),
    ]


def test_only_the_next_block_is_trained_token_for_token_and_only_an_ending_has_an_end_token(byte_tokenizer):
    """The original closes the turn also after a last block that was cut."""
    first, second, third = (tokenize(pair, byte_tokenizer) for pair in made(byte_tokenizer))
    say = lambda text: tuple(byte_tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
    assert (first.chosen_ids, first.rejected_ids) == (say(" b0"), say(" c0"))
    assert (second.chosen_ids, second.rejected_ids) == (say(" b1"), say(" c1"))
    assert third.chosen_ids == (*say(" b2"), byte_tokenizer.eos_token_id)
    assert second.prompt_ids == first.prompt_ids + first.chosen_ids, "nested: the chosen block continues the prompt"
    assert third.prompt_ids == second.prompt_ids + second.chosen_ids
    assert first.chosen_mask is None


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_pairs_of_blocks_come_back_from_their_file_as_they_were(byte_tokenizer, tmp_path, form):
    pairs = made(byte_tokenizer)
    path = tmp_path / f"pairs.{form}"
    with PairWriter(path, form) as writer:
        for pair in pairs:
            writer.write(pair)
    found = read_round_pairs(path)
    assert [tokenize(pair, byte_tokenizer) for pair in found] == [tokenize(pair, byte_tokenizer) for pair in pairs]


def test_without_sampled_ids_only_the_characters_of_the_block_are_compared(byte_tokenizer):
    found = rollout(byte_tokenizer)
    found = replace(found, responses=tuple(replace(r, token_ids=()) for r in found.responses))
    _, pair, _ = StepPairs().pairs(STORY, found, context(byte_tokenizer))
    assert (pair.chosen_ids, pair.shared_ids) == (None, 0)
    example = tokenize(pair, byte_tokenizer)
    compared = [t for t, keep in zip(example.chosen_ids, example.chosen_mask, strict=True) if keep]
    assert byte_tokenizer.decode(compared) == " b1"


def test_a_refined_block_is_chosen_on_the_history_that_was_written_without_it(byte_tokenizer):
    def weak(block):
        return ratings(max(rate(block) / 2, 1)) | ({"principle1": 5.0} if block.strip()[0] == "a" else {})

    def write(request, i, prompt):
        return " new block" if "refine" in request.id else written(request, i, prompt)

    strategy = replace(GREEDY, refinement=Refinement())
    pairs = made(byte_tokenizer, strategy=strategy, write=write, judge=Judge(weak))
    assert [p.chosen for p in pairs] == [" new block", " b0 new block", " b0 b1 new block"]
    assert [p.rejected for p in pairs] == [" c0", " b0 c1", " b0 b1 c2"]
    assert "advice" not in pairs[0].prompt[0]["content"], "the prompt that is trained has no advice"
    assert tokenize(pairs[1], byte_tokenizer).prompt_ids[-3:] == tuple(byte_tokenizer.encode(" b0"))


def test_the_rejected_block_is_worse_by_the_margin_and_not_any_other(byte_tokenizer):
    """The original draws it from all others, however good."""
    skipped = []
    close = Judge(lambda block: {"a": 4, "b": 4, "c": 3.5}[block.strip()[0]])
    found = rollout(byte_tokenizer, judge=close)
    assert [p.rejected[-2] for p in StepPairs().pairs(STORY, found, context(byte_tokenizer))] == ["c", "c", "c"]
    assert StepPairs(min_margin=0.5).pairs(STORY, found, context(byte_tokenizer, skip=skipped.append)) == []
    assert skipped == ["same_value"]


def test_the_original_rule_draws_the_rejected_block_or_swaps_words(byte_tokenizer):
    drawn = {
        pair.rejected[-2]
        for seed in range(20)
        for pair in StepPairs(rejected="random").pairs(
            STORY, rollout(byte_tokenizer), replace(context(byte_tokenizer), seed=seed)
        )
    }
    assert drawn == {"a", "c"}
    alone = rollout(byte_tokenizer, write=lambda r, i, p: " one two three four five six")
    pairs = StepPairs(rejected="random").pairs(STORY, alone, context(byte_tokenizer))
    assert len(pairs) == 3
    block = pairs[1].rejected[pairs[1].rejected_mask[0] :]
    assert sorted(block.split()) == sorted(["one", "two", "three", "four", "five", "six"]) != block.split()
    example = tokenize(pairs[1], byte_tokenizer)
    assert byte_tokenizer.decode(list(example.rejected_ids)) == block


def test_steps_beyond_the_length_limit_are_left_out_and_counted(byte_tokenizer):
    skipped = []
    found = rollout(byte_tokenizer, write=lambda r, i, p: f" {'abc'[i]}{r.id[-1]}".ljust(12))
    prompt = len(tokenize(made(byte_tokenizer)[0], byte_tokenizer).prompt_ids)
    rule = StepPairs(max_prompt_length=prompt + 24)
    assert len(rule.pairs(STORY, found, context(byte_tokenizer, skip=skipped.append))) == 2
    assert skipped == ["too_long"]


def test_a_judge_without_a_verdict_makes_no_pair(byte_tokenizer):
    assert made(byte_tokenizer, judge=lambda request, prompt: "?") == []


def test_whole_answers_are_refused(byte_tokenizer):
    whole = RecordRollout("story", "ok", (Response("a", True, 0), Response("b", True, 0)))
    with pytest.raises(DataError, match="use BestWorst"):
        StepPairs().pairs(STORY, whole, context(byte_tokenizer))


@pytest.mark.parametrize("rejected", ["lowest", "random"])
def test_a_reward_that_nobody_stored_is_named(byte_tokenizer, rejected):
    with pytest.raises(ConfigError, match="scored by: writing_quality"):
        made(byte_tokenizer, StepPairs(by="judge", rejected=rejected))


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match=r"pairs\.max_prompt_length is 10"):
        StepPairs(max_prompt_length=10)
    with pytest.raises(ConfigError, match=r"pairs\.rejected"):
        StepPairs(rejected="worst")
