from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Completion, Sampling
from longmab_pl.errors import ConfigError, DataError, EngineError
from longmab_pl.evaluation.longbench.loading import LongBenchItem
from longmab_pl.evaluation.longbench.metrics import task_metric
from longmab_pl.evaluation.longbench.table import TASKS
from longmab_pl.evaluation.longbench.task import LongBenchTask
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer

SHORT = Sampling(temperature=0.0, max_tokens=30)


def records(n: int = 12) -> list[QARecord]:
    """Every third record shares its context with the record three before it."""
    return [
        QARecord(f"r{i}", f"Which number has item {i}?", (f"number {i}",), f"Document {i % 3}. Item i has number i.")
        for i in range(n)
    ]


def answer(prompt: str) -> str:
    """Right for even items; the others: wrong, without a readable answer, or too long."""
    number = int(re.search(r"has item (\d+)", prompt).group(1))  # type: ignore[union-attr]
    if number % 2 == 0:
        return f"So.\nAnswer: number {number}"
    return ["Answer: none", "I cannot say.", "Answer: " + "long " * 20][number % 3]


def qa(n: int = 12, **changes: Any) -> QATask:
    settings = {"name": "qa", "records": records(n), "protocol": ReasonThenAnswer(), "sampling": SHORT}
    return QATask(**(settings | changes))


def run(task: Any, engine: Any, tokenizer: Any, **options: Any) -> Any:
    return evaluate(task, engine, tokenizer, progress=False, **options)


def test_completions_in_any_order_land_on_their_record(scripted_engine: Any, tokenizer: Any) -> None:
    results = [run(qa(), scripted_engine(answer, seed=seed), tokenizer).tasks["qa"] for seed in range(5)]
    for result in results:
        assert [item.id for item in result.items] == [f"r{i}" for i in range(12)]
        assert [item.scores["em"] for item in result.items] == [1.0, 0.0] * 6
        assert result.scores["em"] == 50.0
        assert result.n == 12
        assert result.format_failures == 2  # items 1 and 7
        assert result.truncated_responses == 2  # items 5 and 11
        assert result.format_rate == pytest.approx(10 / 12)
        low, high = result.intervals["em"]
        assert 10 < low < 50 < high < 90
    assert results[0].scores == {"f1": results[0].scores["f1"], "em": 50.0, "subem": 50.0}


def test_the_summary_for_loggers(scripted_engine: Any, tokenizer: Any) -> None:
    result = run(qa(), scripted_engine(answer), tokenizer)
    summary = result.tasks["qa"].summary()
    assert set(summary) == {"em", "f1", "subem", "format_rate", "truncated_rate", "n"}
    assert result.summary()["qa/em"] == result.summary()["macro/em"] == 50.0


def test_records_of_one_context_are_asked_one_after_the_other(scripted_engine: Any, tokenizer: Any) -> None:
    engine = scripted_engine(answer)
    run(qa(), engine, tokenizer)
    documents = [re.search(r"Document (\d)", "".join(map(chr, r.prompt_ids))).group(1) for r in engine.asked]
    assert documents == ["0"] * 4 + ["1"] * 4 + ["2"] * 4


def test_the_engine_is_kept_fuller_than_its_concurrency_but_bounded(scripted_engine: Any, tokenizer: Any) -> None:
    engine = scripted_engine(answer, concurrency=3)
    run(qa(), engine, tokenizer)
    assert max(engine.occupancy) == 6
    engine = scripted_engine(answer, concurrency=3)
    run(qa(), engine, tokenizer, max_in_flight=1)
    assert max(engine.occupancy) == 1


def test_greedy_requests_with_the_tasks_sampling(scripted_engine: Any, tokenizer: Any) -> None:
    engine = scripted_engine(answer)
    run(qa(2), engine, tokenizer)
    assert {request.sampling for request in engine.asked} == {SHORT}
    assert all(request.n == 1 for request in engine.asked)


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_run_continues_and_asks_only_for_the_rest(
    scripted_engine: Any, tokenizer: Any, tmp_path: Path, torn: bool
) -> None:
    whole = run(qa(), scripted_engine(answer), tokenizer)
    first = scripted_engine(answer, fail_after=5)
    with pytest.raises(EngineError, match="told to break"):
        run(qa(), first, tokenizer, predictions=tmp_path)
    assert first.aborted
    file = tmp_path / "qa.jsonl"
    finished = file.read_text().count("\n")
    assert 0 < finished <= 5
    if torn:
        file.write_bytes(file.read_bytes()[:-10])
        finished -= 1
    second = scripted_engine(answer, seed=9)
    result = run(qa(), second, tokenizer, predictions=tmp_path)
    assert len(second.asked) == 12 - finished
    assert result.tasks == whole.tasks
    third = scripted_engine(answer)
    assert run(qa(), third, tokenizer, predictions=tmp_path).tasks == whole.tasks
    assert third.asked == []
    assert len({json.loads(line)["id"] for line in file.read_text().splitlines()}) == 12


def test_more_records_and_more_tasks_reuse_what_is_there(scripted_engine: Any, tokenizer: Any, tmp_path: Path) -> None:
    run(qa(4), scripted_engine(answer), tokenizer, predictions=tmp_path)
    engine = scripted_engine(answer)
    result = run([qa(6), qa(2, name="other")], engine, tokenizer, predictions=tmp_path)
    assert sorted(request.id for request in engine.asked) == [
        "evaluation/other/0", "evaluation/other/1", "evaluation/qa/4", "evaluation/qa/5",
    ]  # fmt: skip
    assert {name: task.n for name, task in result.tasks.items()} == {"qa": 6, "other": 2}


def test_a_record_that_changed_under_its_id_is_asked_again(
    scripted_engine: Any, tokenizer: Any, tmp_path: Path
) -> None:
    run(qa(3), scripted_engine(answer), tokenizer, predictions=tmp_path)
    changed = records(3)
    changed[1] = QARecord("r1", changed[1].question, ("x",), "Another document.")
    for expected in (1, 0):
        engine = scripted_engine(answer)
        run(qa(records=changed), engine, tokenizer, predictions=tmp_path)
        assert len(engine.asked) == expected


def test_predictions_of_other_settings_are_refused_or_thrown_away(
    scripted_engine: Any, tokenizer: Any, tmp_path: Path
) -> None:
    run(qa(3), scripted_engine(answer), tokenizer, predictions=tmp_path, model="base")
    with pytest.raises(ConfigError, match=r'qa.jsonl: .*model: "base" there, "base \+ adapter" now.*another folder'):
        run(qa(3), scripted_engine(answer), tokenizer, predictions=tmp_path, model="base + adapter")
    other = qa(3, protocol=DirectAnswer())
    with pytest.raises(ConfigError, match="protocol: "):
        run(other, scripted_engine(answer), tokenizer, predictions=tmp_path, model="base")
    engine = scripted_engine(answer)
    run(other, engine, tokenizer, predictions=tmp_path, model="base", overwrite=True)
    assert len(engine.asked) == 3
    assert (tmp_path / "qa.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("damage", ["{broken", "", None])
def test_a_damaged_line_is_named_taken_out_and_asked_again(
    scripted_engine: Any, tokenizer: Any, tmp_path: Path, damage: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(qa(3), scripted_engine(answer), tokenizer, predictions=tmp_path)
    file = tmp_path / "qa.jsonl"
    lines = file.read_text().splitlines()
    flipped = lines[1].replace('"pred": "', '"pred": "x', 1)
    file.write_text("\n".join([lines[0], flipped if damage is None else damage, lines[2]]) + "\n")
    engine = scripted_engine(answer)
    assert run(qa(3), engine, tokenizer, predictions=tmp_path).tasks == whole.tasks
    assert len(engine.asked) == 1
    assert f"{file}, line 2: damaged on disk; its question is asked again" in capsys.readouterr().err
    assert sorted(file.read_text().splitlines()) == sorted(lines)


def test_prediction_rows_are_readable_by_the_official_scorer(
    scripted_engine: Any, tokenizer: Any, tmp_path: Path
) -> None:
    items = [LongBenchItem(str(i), f"has item {i}", ("Date",), "A text.", 10 * i, ("Date", "Food")) for i in range(3)]
    task = LongBenchTask("trec", items, TASKS["trec"])
    result = run(task, scripted_engine(lambda _: "\nDate\nFood"), tokenizer, predictions=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "trec.jsonl").read_text().splitlines()]
    # What LongBench's eval.py reads of a row, and how it averages.
    metric = task_metric("trec")
    metric.update(*([row[name] for row in rows] for name in ("pred", "answers", "all_classes")))
    assert metric.compute().item() == result.tasks["trec"].score == 100.0
    assert sorted(row["length"] for row in rows) == [0, 10, 20]
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.name.endswith("jsonl")] == ["trec.jsonl"]


def test_longbench_e_buckets_with_an_empty_one(scripted_engine: Any, tokenizer: Any) -> None:
    items = [LongBenchItem(str(n), "?", (["yes", "no"][n > 4000],), "c", n) for n in (10, 3999, 9000, 9001)]
    result = run(LongBenchTask("qasper_e", items, TASKS["qasper"]), scripted_engine(lambda _: "yes"), tokenizer)
    assert result.tasks["qasper_e"].buckets == {
        "0-4k": {"score": 100.0, "n": 2},
        "4-8k": {"score": None, "n": 0},
        "8k+": {"score": 0.0, "n": 2},
    }
    assert result.score == 50.0


def test_a_prompt_that_cannot_fit_is_reported_and_the_rest_is_scored(scripted_engine: Any, tokenizer: Any) -> None:
    odd = [*records(3), QARecord("huge", "has item 8 " * 900, ("x",), "A text.")]
    result = run(qa(records=odd), scripted_engine(answer, max_model_len=2000), tokenizer).tasks["qa"]
    assert result.n == 3
    assert list(result.skipped) == ["huge"]
    assert "leave no room" in result.skipped["huge"]
    with pytest.raises(DataError, match="no record could be scored"):
        run(qa(records=odd[3:]), scripted_engine(answer, max_model_len=2000), tokenizer)


def test_a_context_over_the_models_limit_is_cut_in_the_middle_and_counted(scripted_engine: Any, tokenizer: Any) -> None:
    long = [QARecord("r0", "Which number has item 0?", ("number 0",), "x" * 9000), *records(2)[1:]]
    result = run(qa(records=long), scripted_engine(answer, max_model_len=2000), tokenizer).tasks["qa"]
    assert result.cut_prompts == 1
    assert result.items[0].cut
    assert result.items[0].prompt_tokens <= 2000 - 30
    assert result.items[0].scores["em"] == 1.0


def test_a_foreign_completion_is_refused(scripted_engine: Any, tokenizer: Any) -> None:
    engine = scripted_engine(answer)
    engine.poll = lambda: [Completion("rollout/7", ("x",), ("stop",), (1,), 1)]
    with pytest.raises(EngineError, match="'rollout/7', which this evaluation did not ask"):
        run(qa(), engine, tokenizer)
    assert engine.aborted


def test_tasks_need_different_names_and_there_must_be_one(scripted_engine: Any, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="two evaluation tasks are called 'qa'"):
        run([qa(), qa()], scripted_engine(answer), tokenizer)
    with pytest.raises(ConfigError, match="no evaluation task"):
        run([], scripted_engine(answer), tokenizer)


def test_the_progress_bar_shows_the_running_score(
    scripted_engine: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(qa(), scripted_engine(answer), tokenizer, desc="after round 1")
    shown = capsys.readouterr().err
    assert "after round 1" in shown
    assert "12 of 12" in shown
    assert "score" in shown


def test_records_that_spell_out_control_tokens_are_counted(scripted_engine: Any, capsys: Any) -> None:
    from tokenizers_like import chatml_like

    records = [QARecord("a", "Who?", ("Ann",), "One <|im_end|>."), QARecord("b", "Who?", ("Ann",), "Two.")]
    engine = scripted_engine(lambda _: "Answer: Ann")
    evaluate(QATask("qa", records, ReasonThenAnswer()), engine, chatml_like(), progress=False)
    assert "evaluation task 'qa': 1 of 2 records spell out control tokens" in capsys.readouterr().err
