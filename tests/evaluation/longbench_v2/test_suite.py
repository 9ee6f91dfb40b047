"""LongBench v2 from a file in its format."""

from __future__ import annotations

import json

import pytest
from suites import asked

from longmab_pl.engines import TransformersEngine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import LongBenchV2Suite
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext


def row(i, **changes):
    return {
        "_id": f"q{i}",
        "domain": "d",
        "sub_domain": "s",
        "difficulty": "easy" if i % 2 else "hard",
        "length": ("short", "medium", "long")[i % 3],
        "question": f"Which one is {i}?",
        **{f"choice_{letter}": f"choice {letter}{i}" for letter in "ABCD"},
        "answer": "ABCD"[i % 4],
        "context": f"Context {i}. " + "x" * 200,
    } | changes


@pytest.fixture
def data(tmp_path):
    def write(rows):
        path = tmp_path / "data.json"
        path.write_text(json.dumps(rows))
        return str(path)

    return write


def test_accuracy_by_difficulty_and_length(data, tokenizer, scripted_engine):
    suite = LongBenchV2Suite(data([row(i) for i in range(6)]))
    result, prompts = asked(
        suite,
        tokenizer,
        scripted_engine,
        lambda r: f"The correct answer is ({r.answer})" if r.groups["difficulty"] == "easy" else "I cannot say.",
    )
    scores = {name: score.value for name, score in suite.scores(result).items()}
    assert scores == {
        "score": 50,
        "difficulty-easy": 100,
        "difficulty-hard": 0,
        "length-short": 50,
        "length-medium": 50,
        "length-long": 50,
    }
    assert result.tasks["longbench_v2"].format_failures == 3
    groups = ["difficulty easy", "difficulty hard", "length short", "length medium", "length long"]
    assert list(result.tasks["longbench_v2"].buckets) == groups, "the table has them in this order"
    assert "(B) choice B0" in prompts["longbench_v2/q0"]


def test_compensation_counts_a_missing_letter_as_chance(data, tokenizer, scripted_engine):
    suite = LongBenchV2Suite(data([row(i) for i in range(4)]), compensated=True)
    result, _ = asked(suite, tokenizer, scripted_engine, lambda r: "I cannot say.")
    assert suite.scores(result)["score"].value == 25


def test_without_context_and_with_retrieved_chunks(data, tokenizer, scripted_engine):
    chunks = [{"c_idx": 5, "content": "later"}, {"c_idx": 1, "content": "sooner"}, {"c_idx": 0, "content": "third"}]
    path = data([row(0, retrieved_context=chunks)])
    _, prompts = asked(LongBenchV2Suite(path, mode="no_context"), tokenizer, scripted_engine, lambda r: "")
    assert "Context 0" not in prompts["longbench_v2/q0"]
    _, prompts = asked(LongBenchV2Suite(path, mode="rag", chunks=2), tokenizer, scripted_engine, lambda r: "")
    assert "Retrieved chunk 1: sooner\n\nRetrieved chunk 2: later" in prompts["longbench_v2/q0"]
    assert "third" not in prompts["longbench_v2/q0"]


def test_long_prompts_lose_their_middle(data, tokenizer, scripted_engine):
    path = data([row(0, context="begin " + "x" * 5000 + " end")])
    _, prompts = asked(LongBenchV2Suite(path, prompt_tokens=601), tokenizer, scripted_engine, lambda r: "")
    text = prompts["longbench_v2/q0"].removeprefix("<u>").removesuffix("</u><a>")
    assert len(text) == 601
    assert "begin" in text
    assert text.endswith("A, B, C and D.")
    _, prompts = asked(LongBenchV2Suite(path), tokenizer, scripted_engine, lambda r: "", max_model_len=1000)
    assert len(prompts["longbench_v2/q0"]) == 1000 - 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "E"}, "row 2: field 'answer' is .*E.*; it must be one of A, B, C, D"),
        ({"choice_C": None}, "row 2: field 'choice_C'"),
        ({"context": 5}, "row 2: field 'context' is '5'; it must be a text"),
        ({"context": " \n"}, "row 2: field 'context' is empty"),
        ({"question": ""}, "row 2: field 'question' is empty"),
        ({"context": "half \ud800 a character"}, "row 2: field 'context' holds half a surrogate pair at character 5"),
        ({"retrieved_context": [{"content": "\udc00"}]}, "row 2: field 'retrieved_context' holds half a surrogate"),
        ({"_id": "q0"}, "row 2: id 'q0' is also that of .*row 1; give each its own"),
    ],
)
def test_a_bad_row_is_named(data, tokenizer, changes, message):
    with pytest.raises(DataError, match=message):
        LongBenchV2Suite(data([row(0), row(1, **changes)])).tasks(tokenizer, SuiteContext())


def test_a_missing_file_says_which_one_is_wanted(tmp_path, tokenizer):
    with pytest.raises(DataError, match="THUDM/LongBench-v2"):
        LongBenchV2Suite(str(tmp_path / "data.json")).tasks(tokenizer, SuiteContext())


def test_thoughts_come_first_and_stand_in_place_of_the_text(data, tokenizer, scripted_engine, tmp_path):
    suite = LongBenchV2Suite(data([row(i) for i in range(3)]), answer="cot", cot_tokens=300, new_tokens=40)
    (task,) = suite.tasks(tokenizer, SuiteContext())
    prompts = []

    def answer(prompt):
        prompts.append(prompt)
        if "step by step" in prompt:
            return "" if "Which one is 2?" in prompt else "<think>hidden</think>Because $Q$ says so."
        return "The correct answer is (A)"

    engine = scripted_engine(answer, max_model_len=100_000)
    result = evaluate([task], engine, tokenizer, progress=False, predictions=tmp_path)
    firsts = [p for p in prompts if "step by step" in p]
    seconds = [p for p in prompts if "step by step" not in p]
    assert (len(firsts), len(seconds)) == (3, 2), "no second step without thoughts"
    for prompt in seconds:
        assert "Because $Q$ says so." in prompt
        assert "hidden" not in prompt
        assert "Context" not in prompt
    limits = {"step by step" in "".join(map(chr, r.prompt_ids)): r.sampling.max_tokens for r in engine.asked}
    assert limits == {True: 300, False: 40}
    assert [item.scores["accuracy"] for item in result.tasks["longbench_v2"].items] == [1, 0, 0]
    rows = [json.loads(line) for line in (tmp_path / "longbench_v2.jsonl").read_text().splitlines()]
    assert {r["id"]: r.get("steps") for r in rows}["q0"] == ["<think>hidden</think>Because $Q$ says so."]
    assert {r["id"]: r.get("steps") for r in rows}["q2"] is None
    again = scripted_engine(answer, max_model_len=100_000)
    assert evaluate([task], again, tokenizer, progress=False, predictions=tmp_path).tasks == result.tasks
    assert again.asked == []


def test_the_likeliest_letter_is_that_of_a_direct_forward_pass(data, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    suite = LongBenchV2Suite(data([row(i) for i in range(4)]), answer="log_likelihood", limit=3)
    (task,) = suite.tasks(tokenizer, SuiteContext())
    engine = TransformersEngine(concurrency=2, max_model_len=2048)
    engine.start(tiny_model)
    try:
        result = evaluate([task], engine, tokenizer, progress=False)
    finally:
        engine.close()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    right = []
    for record in task.records:
        text = task.fill(record)
        turn = [{"role": "user", "content": text}]
        chat = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        sums = []
        start = tokenizer(chat + "The correct answer is (", add_special_tokens=False)["input_ids"]
        for letter in "ABCD":
            ids = tokenizer(chat + f"The correct answer is ({letter}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            sums.append(sum(float(logs[i - 1, ids[i]]) for i in range(len(start), len(ids))))
        right.append(float("ABCD"[sums.index(max(sums))] == record.answers[0]))
    assert [item.scores["accuracy"] for item in result.tasks["longbench_v2"].items] == right


def test_empty_answers_are_wrong_or_left_out(data, tokenizer, scripted_engine):
    path = data([row(i) for i in range(4)])

    def reader(record):
        return "" if record.id == "q1" else "The correct answer is (A)"

    result, _ = asked(LongBenchV2Suite(path), tokenizer, scripted_engine, reader)
    assert (result.tasks["longbench_v2"].n, result.tasks["longbench_v2"].score) == (4, 25)
    suite = LongBenchV2Suite(path, empty="left_out")
    result, _ = asked(suite, tokenizer, scripted_engine, reader)
    assert (result.tasks["longbench_v2"].n, result.tasks["longbench_v2"].score) == (3, 33.33)
    assert "empty answer" in result.tasks["longbench_v2"].skipped["q1"]
    assert suite.scores(result)["difficulty-easy"].value == 0


def test_a_mode_that_does_not_exist_is_refused(data):
    with pytest.raises(ConfigError, match=r"LongBenchV2Suite.answer is 'cott'; use one of letter, cot"):
        LongBenchV2Suite("data.json", answer="cott")


def test_a_missing_field_is_named_with_those_that_are_there(data, tokenizer):
    rows = [{"_id": "1", "context": "c", "ask": "q"}]
    with pytest.raises(DataError, match=r"row 1: there is no field 'answer'; the row has '_id', 'context', 'ask'"):
        LongBenchV2Suite(data(rows)).tasks(tokenizer, SuiteContext())
