"""Pairs of clarification trees: from a scripted rollout to token ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clarifying_model import ClarifyingModel
from tokenizers_like import FAMILIES, chatml_like

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.clarification import ClarificationPairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.gold_agreement import GoldAgreement
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import RecordRollout, StrategyContext
from longmab_pl.strategies.clarification_tree.nodes import Node
from longmab_pl.strategies.clarification_tree.strategy import ClarificationTree
from longmab_pl.training.tokenization import tokenize

SHORT = Sampling(1.0, 0.95, 0.0, 48)
TREE = ClarificationTree(3, 2, 50, 200, 4, clarify=SHORT, verdict=SHORT, answer=SHORT)
CONTEXT = "".join(f"Place {i} lies on a {'river' if i % 4 == 0 else 'hill'} and is number {i}. " for i in range(16))
RECORD = QARecord("q7", "Where does it rise?", ("Lima",), CONTEXT)


class Sampled(ScriptedEngine):
    """Samples each answer character by character, and says which ids."""

    def _complete(self, request):
        completion = super()._complete(request)
        end = self.tokenizer.eos_token_id
        ids = [
            [t for c in text for t in self.tokenizer.encode(c, add_special_tokens=False)] for text in completion.texts
        ]
        return replace(completion, token_ids=tuple((*own, end) for own in ids))


def roll(tokenizer, engine=Sampled, seed=0, record=RECORD):
    engine = engine(ClarifyingModel(tokenizer), tokenizer=tokenizer, max_model_len=8000)
    context = StrategyContext(tokenizer, DirectAnswer(), Embedder(), 8000, seed, (GoldAgreement(),))
    ((_, rollout),) = Scheduler({"policy": engine}).run([("q7", TREE.roll(record, context))])
    assert isinstance(rollout, RecordRollout), rollout
    return RecordRollout.from_json(rollout.to_json())


def context_of(tokenizer, skipped=None):
    skip = (lambda reason: None) if skipped is None else skipped.append
    return PairContext(tokenizer, DirectAnswer(), "gold_agreement", 0, 0, skip)


@pytest.fixture(scope="module")
def tokenizer():
    return chatml_like()


@pytest.fixture(scope="module")
def rollout(tokenizer):
    return roll(tokenizer)


def nodes_of(rollout):
    return [Node.from_json(row) for row in rollout.trace["nodes"]]


def test_the_best_conversation_is_compared_with_the_worst_and_siblings_with_each_other(rollout, tokenizer):
    pairs = ClarificationPairs().pairs(RECORD, rollout, context_of(tokenizer))
    nodes = nodes_of(rollout)
    values = [node.score for node in nodes if node.compared]
    whole, *siblings = pairs
    assert (whole.chosen_reward, whole.rejected_reward) == (max(values), min(values))
    assert whole.imitated
    assert siblings
    assert not any(pair.imitated for pair in siblings)
    assert all(pair.chosen_reward > pair.rejected_reward for pair in pairs)
    for pair in siblings:
        chosen, rejected = (
            next(n for n in nodes if n.response == i) for i in (pair.origin.chosen_index, pair.origin.rejected_index)
        )
        assert chosen.parent == rejected.parent
    assert len({pair.name for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("first_answer", [True, False])
def test_what_is_trained_are_the_tokens_that_were_sampled(rollout, tokenizer, first_answer):
    nodes = nodes_of(rollout)
    for pair in ClarificationPairs(first_answer=first_answer).pairs(RECORD, rollout, context_of(tokenizer)):
        example = tokenize(pair, tokenizer)
        best = next(n for n in nodes if n.response == pair.origin.chosen_index)
        learned = [t for t, counts in zip(example.chosen_ids, example.chosen_mask, strict=True) if counts]
        sampled = [*best.turns[1].token_ids, *best.turns[2].token_ids]
        assert learned[-len(sampled) :] == sampled
        clarifying = list(best.turns[0].token_ids)
        assert any(learned[i : i + len(clarifying)] == clarifying for i in range(len(learned)))
        text = tokenizer.decode(learned)
        assert "<para 0>" in text or "No paragraph helps" in text
        assert "In as few words" not in text
        assert "<|im_start|>" not in text, "headers and the user's turns are only read"
        assert (nodes[0].turns[0].text in tokenizer.decode(list(example.prompt_ids))) is first_answer


def test_siblings_share_their_whole_prefix(rollout, tokenizer):
    rule = ClarificationPairs(whole=False)
    examples = [tokenize(pair, tokenizer) for pair in rule.pairs(RECORD, rollout, context_of(tokenizer))]
    for example in examples:
        assert example.prompt_ids[-1] == tokenizer.encode("\n", add_special_tokens=False)[-1]
        first = (example.chosen_mask[0], example.rejected_mask[0])
        assert first == (True, True), "nothing before the compared turns is outside the prompt"
    shallow, deep = (min(examples, key=lambda e: len(e.prompt_ids)), max(examples, key=lambda e: len(e.prompt_ids)))
    common = sum(1 for _ in iter_common(shallow.prompt_ids, deep.prompt_ids))
    assert common == len(shallow.prompt_ids), "a deeper prefix goes on where a shallower one ends"


def iter_common(a, b):
    for x, y in zip(a, b, strict=False):
        if x != y:
            return
        yield x


def test_a_margin_leaves_pairs_out_and_equal_nodes_make_none(rollout, tokenizer):
    skipped = []
    context = context_of(tokenizer, skipped)
    assert ClarificationPairs(min_margin=2.0).pairs(RECORD, rollout, context) == []
    few = ClarificationPairs(min_margin=1.5).pairs(RECORD, rollout, context)
    assert all(pair.chosen_reward - pair.rejected_reward > 1.5 for pair in few)
    same = tuple(
        replace(r, scores={"gold_agreement": replace(r.scores["gold_agreement"], value=2.0)}) for r in rollout.responses
    )
    assert ClarificationPairs().pairs(RECORD, replace(rollout, responses=same), context) == []
    unknown = tuple(
        replace(r, scores={"gold_agreement": replace(r.scores["gold_agreement"], excluded="no verdict")})
        for r in rollout.responses
    )
    assert ClarificationPairs().pairs(RECORD, replace(rollout, responses=unknown), context) == []
    assert skipped == ["same_score", "same_score", "few_scored"]


def test_a_long_document_keeps_the_paragraphs_that_are_pointed_to(rollout, tokenizer):
    context = context_of(tokenizer)
    (whole,) = ClarificationPairs(siblings=False).pairs(RECORD, rollout, context)
    full = tokenize(whole, tokenizer)
    longest = len(full.prompt_ids) + max(len(full.chosen_ids), len(full.rejected_ids))
    for limit in (longest - 40, longest - 200):
        (pair,) = ClarificationPairs(max_prompt_length=limit, siblings=False).pairs(RECORD, rollout, context)
        example = tokenize(pair, tokenizer)
        assert len(example.prompt_ids) + max(len(example.chosen_ids), len(example.rejected_ids)) <= limit
        text = pair.prompt[1]["content"]
        for number in {*pair.origin.chosen_read, *pair.origin.rejected_read}:
            assert f"<para {number}> {CONTEXT[50 * number : 50 * number + 50]} </para {number}>" in text
        assert len(example.prompt_ids) < len(full.prompt_ids)
    with pytest.raises(DataError, match=r"raise it, or lower strategy\.max_read_tokens"):
        ClarificationPairs(max_prompt_length=800).pairs(RECORD, rollout, context)


def test_siblings_that_do_not_fit_are_left_out(rollout, tokenizer):
    context = context_of(tokenizer)
    every = ClarificationPairs().pairs(RECORD, rollout, context)
    (whole,) = ClarificationPairs(siblings=False).pairs(RECORD, rollout, context)
    found = set()
    for limit in range(1500, 4000, 100):
        try:
            pairs = ClarificationPairs(max_prompt_length=limit).pairs(RECORD, rollout, context)
        except DataError:
            continue
        found.add(len(pairs))
        assert pairs[0].chosen == whole.chosen
        for pair in pairs:
            example = tokenize(pair, tokenizer)
            assert len(example.prompt_ids) + max(len(example.chosen_ids), len(example.rejected_ids)) <= limit
    assert max(found) == len(every) > min(found)


def test_a_reward_that_nobody_stored_is_named(rollout, tokenizer):
    with pytest.raises(ConfigError, match="scored by: gold_agreement"):
        ClarificationPairs(by="judge").pairs(RECORD, rollout, context_of(tokenizer))


def test_a_rollout_of_another_strategy_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="ClarificationTree"):
        ClarificationPairs().pairs(RECORD, RecordRollout("q7", "ok"), context_of(tokenizer))
    with pytest.raises(ConfigError, match="both false"):
        ClarificationPairs(whole=False, siblings=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_templates_gives_tokens(family):
    tokenizer = FAMILIES[family]()
    rollout = roll(tokenizer, ScriptedEngine)
    pairs = ClarificationPairs().pairs(RECORD, rollout, context_of(tokenizer))
    assert pairs
    for pair in pairs:
        example = tokenize(pair, tokenizer)
        assert any(example.chosen_mask)
