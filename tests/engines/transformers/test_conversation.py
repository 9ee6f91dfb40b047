"""Conversations: the answers of the whole text, with each token read once."""

from __future__ import annotations

import pytest
import torch
from tiny_adapters import save_adapter

from longmab_pl.engines.protocol import Sampling
from longmab_pl.engines.transformers import conversation as module
from longmab_pl.engines.transformers.engine import TransformersEngine
from longmab_pl.errors import EngineError, PromptTooLong

GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=9)


@pytest.fixture(scope="module")
def engine(tiny_model, tmp_path_factory):
    adapter = save_adapter(tmp_path_factory.mktemp("adapter"), tiny_model)
    with TransformersEngine(max_model_len=300, dtype="float32") as engine:
        engine.start(tiny_model)
        engine.sync(adapter)
        yield engine


def by_hand(engine, ids, adapter):
    """Greedy decoding of the whole text each time, without a cache."""
    model, ids, found = engine._model, list(ids), []
    for _ in range(GREEDY.max_tokens):
        with torch.no_grad():
            if adapter:
                logits = model(torch.tensor([ids])).logits[0, -1]
            else:
                with model.disable_adapter():
                    logits = model(torch.tensor([ids])).logits[0, -1]
        found.append(int(logits.argmax()))
        ids.append(found[-1])
        if found[-1] == 0:
            break
    return found


def test_each_turn_answers_as_the_whole_text_would_and_reads_only_what_is_new(engine, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 16)
    answers = {}
    for adapter in (False, True):
        talk = engine.conversation(adapter)
        for turn, new in enumerate(([*range(30, 90)], [5, 6, 7], [40])):
            before = [*talk.ids, *new]
            text = "".join(talk.answer(new, GREEDY))
            assert talk.ids == [*before, *by_hand(engine, before, adapter)]
            # The last token of an answer is read with the next prompt.
            assert talk.newly_read == (60 if turn == 0 else len(new) + 1)
            assert text == engine._tokenizer.decode(talk.ids[len(before) :], skip_special_tokens=True)
        answers[adapter] = talk.ids
        assert talk.room == 300 - len(talk.ids)
    assert answers[True] != answers[False], "the adapter changes nothing, so the test says nothing"


def test_sampling_follows_the_seed(engine):
    hot = Sampling(temperature=2.0, top_p=1.0, presence_penalty=0.0, max_tokens=12)
    said = ["".join(engine.conversation().answer([50, 60, 70], hot, seed)) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_what_does_not_fit_is_refused_before_anything_is_read(engine):
    talk = engine.conversation()
    with pytest.raises(PromptTooLong, match="exceed"):
        talk.answer([5] * 295, GREEDY)
    with pytest.raises(EngineError, match="vocabulary"):
        talk.answer([10_000], GREEDY)
    with pytest.raises(EngineError, match="empty"):
        talk.answer([], GREEDY)
    assert talk.ids == []
