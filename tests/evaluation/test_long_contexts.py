"""What a very long context costs: one tokenization, and memory linear in its length."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from evaluation_fixtures import CharacterTokenizer

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation import LongBenchSuite, LongBenchV2Suite, RULERSuite
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.prompts.formats import ReasonThenAnswer


class CountingTokenizer(CharacterTokenizer):
    """Counts the characters that it is given."""

    seen = 0

    def encode(self, text, add_special_tokens=True):
        self.seen += len(text)
        return super().encode(text)


def v2_task(tmp_path, text, **settings):
    row = {"_id": "1", "difficulty": "easy", "length": "long", "question": "Which?", "answer": "A", "context": text}
    (tmp_path / "data.json").write_text(json.dumps([row | {f"choice_{letter}": letter for letter in "ABCD"}]))
    return LongBenchV2Suite(str(tmp_path / "data.json"), **settings)


def longbench_task(tmp_path, text, **settings):
    row = {"_id": "1", "input": "Who?", "context": text, "answers": ["Ada"], "length": 3, "all_classes": None}
    (tmp_path / "musique.jsonl").write_text(json.dumps(row))
    return LongBenchSuite(str(tmp_path), **settings)


def qa_task(text, **settings):
    return QATask("qa", [QARecord("1", "Who?", ("A",), text)], ReasonThenAnswer(), Sampling(max_tokens=10), **settings)


TEXT = "A line of a long text. " * 20_000  # 460,000 characters


@pytest.mark.parametrize("suite", [v2_task, longbench_task])
@pytest.mark.parametrize("limit", [None, 50_000])
def test_a_long_text_is_tokenized_once(tmp_path, suite, limit):
    name = "prompt_tokens" if suite is v2_task else "max_prompt_tokens"
    (task,) = suite(tmp_path, TEXT, **{name: limit}).tasks(CharacterTokenizer(), SuiteContext())
    tokenizer = CountingTokenizer()
    prompt = task.prompt(task.records[0], tokenizer, 10**6)
    assert prompt.cut == (limit is not None)
    kept = (limit or 0) * 1.1  # what is kept of a cut text is encoded with the chat template
    assert tokenizer.seen < 1.02 * len(TEXT) + kept


@pytest.mark.parametrize("limit", [None, 50_000])
def test_a_long_context_of_a_question_is_tokenized_once(limit):
    task, tokenizer = qa_task(TEXT, max_context_tokens=limit), CountingTokenizer()
    task.prompt(task.records[0], tokenizer, 10**6)
    assert tokenizer.seen < 1.02 * len(TEXT) + (limit or 0) * 1.1


def test_a_generated_text_is_not_tokenized_again_when_it_is_asked():
    (task,) = RULERSuite([100_000], tasks=["niah_single_1"], samples=2).tasks(CharacterTokenizer(), SuiteContext())
    tokenizer = CountingTokenizer()
    for record in task.records:
        assert len(task.prompt(record, tokenizer, 10**6).ids) > 90_000
    assert tokenizer.seen == 0


def test_memory_is_linear_in_the_length():
    def peak(characters):
        task, tokenizer = qa_task("x" * characters), CharacterTokenizer()
        tracemalloc.start()
        try:
            task.prompt(task.records[0], tokenizer, 10**8)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(200_000), peak(800_000)
    assert 3 < large / small < 5, (small, large)
