"""`longmab evaluate` and `longmab compare` as their command lines are parsed, on a scripted engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import auto_cli
from tiny_models import save_model

from longmab_pl.cli.arguments import paths_as_list
from longmab_pl.cli.compare import compare
from longmab_pl.cli.evaluate import evaluate
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.errors import ConfigError, DataError, EngineError, LongMabError
from longmab_pl.evaluation import EvaluationResult, LongBenchSuite, NeedleSettings, NeedleSuite, QASuite
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Path:
    module = DPOModule(tiny_model, lora=LoRASettings(r=3, alpha=4), dtype="fp32")
    module.configure_model()
    return module.save_adapter(tmp_path_factory.mktemp("adapters") / "trained")


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A folder with musique (8 records), trec (2) and a task of the user's own (4)."""
    folder = tmp_path / "bench"
    folder.mkdir()
    for task, n in (("musique", 8), ("trec", 2), ("mine", 4)):
        rows = [
            {
                "_id": f"{task}{i}",
                "input": f"What is item {i}?",
                "context": f"Document {i}. " + "x" * 100,
                "answers": ["Date" if task == "trec" else f"number {i}"],
                "length": 20,
                "all_classes": ["Date", "Food"] if task == "trec" else None,
            }
            for i in range(n)
        ]
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def text_of(request: Request) -> str:
    """The byte tokenizer's ids are the ASCII characters here."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return "".join(alphabet[i - 1] if i else "<end>" for i in request.prompt_ids).replace("Ġ", " ").replace("Ċ", "\n")


def half_right(request: Request, i: int) -> str:
    position = int(request.id.rsplit("/", 1)[1])
    return f"number {position}" if position % 2 == 0 else "no idea"


def all_right(request: Request, i: int) -> str:
    return f"number {request.id.rsplit('/', 1)[1]}"


def reasoned(request: Request, i: int) -> str:
    return f"It stands there.\nAnswer: number {request.id.rsplit('/', 1)[1]}"


SHORT = Sampling(temperature=0.0, top_p=1.0, presence_penalty=1.0, max_tokens=50)
OPTIONS = {"adapter", "train", "overwrite"}


def run(
    model: str, data: Path | str, out: Path, answer: Any = half_right, suite: Any = LongBenchSuite, **options: Any
) -> tuple[Any, Any]:
    """Evaluate with one suite on a scripted engine; options of the command and of the suite."""
    engine = options.pop("engine", None) or ScriptedEngine(answer)
    command = {key: options.pop(key) for key in OPTIONS & options.keys()}
    asked = suite(str(data), **options)
    results = evaluate(model=model, suite=asked, out=str(out), engine=engine, **command)
    return results[asked.name], engine


def test_the_command_line(tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--model", tiny_model, "--suite", "longmab_pl.evaluation.LongBenchSuite", "--suite.data", str(bench)]
    args += ["--suite.tasks", "[musique, mine]", "--suite.limit", "8"]
    args += ["--out", str(tmp_path / "out"), "--engine", "longmab_pl.engines.ScriptedEngine"]
    auto_cli(evaluate, args=[*args, "--engine.answer", f"{__name__}.half_right"], prog="longmab evaluate")
    shown = capsys.readouterr()
    for part in ("musique", "mine", "macro average", "50.00 [", "result.json"):
        assert part in shown.out
    assert "12 of 12 questions" in shown.err
    saved = EvaluationResult.load(tmp_path / "out" / "longbench" / "result.json")
    assert (saved.model, saved.score, list(saved.tasks)) == ("tiny", 50.0, ["musique", "mine"])
    assert len((tmp_path / "out" / "longbench" / "mine.jsonl").read_text().splitlines()) == 4


def test_help_and_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        auto_cli(evaluate, args=["--help"], prog="longmab evaluate")
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "a local folder, a hub name" in shown
    assert "the class path of one of your own" in shown
    with pytest.raises(SystemExit) as stopped:
        auto_cli(evaluate, args=["--suite.help", "longmab_pl.evaluation.LongBenchSuite"], prog="longmab evaluate")
    assert stopped.value.code == 0
    assert "longer prompts lose their middle" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        auto_cli(evaluate, args=["--suite", "longmab_pl.evaluation.NeedleSuite"], prog="longmab evaluate")
    assert "model" in capsys.readouterr().err


def test_a_killed_run_continues_with_the_same_command(
    tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = ScriptedEngine(half_right, fail_after=6, concurrency=2)
    with pytest.raises(EngineError, match="died"):
        run(tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"], engine=dying)
    assert dying.closed
    kept = sum(len(file.read_text().splitlines()) for file in (tmp_path / "out").glob("longbench/*.jsonl"))
    assert 0 < kept < 12
    result, engine = run(tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"])
    assert len(engine.asked) == 12 - kept
    assert result.score == 50.0
    assert engine.closed
    again, engine = run(tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"], answer=all_right)
    assert engine.asked == []
    assert again.tasks == result.tasks
    _, engine = run(tiny_model, bench, tmp_path / "out", tasks=["musique", "trec"])
    assert {r.id.split("/")[1] for r in engine.asked} == {"trec"}, "another task beside what is there"
    assert "result.json held mine and is replaced" in capsys.readouterr().err


def test_a_finished_evaluation_asked_for_again_does_not_start_the_engine(
    tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = {"_id": "huge", "input": "What? " * 9000, "context": "A text.", "answers": ["x"]}
    with (bench / "mine.jsonl").open("a") as file:
        file.write(json.dumps(huge) + "\n")
    tight = ScriptedEngine(half_right, max_model_len=2000)
    first, _ = run(
        tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"], engine=tight, suite=QASuite, sampling=SHORT
    )
    assert list(first.tasks["mine"].skipped) == ["huge"]
    again = ScriptedEngine(all_right, max_model_len=2000)
    second, _ = run(
        tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"], engine=again, suite=QASuite, sampling=SHORT
    )
    assert not again.started
    assert again.asked == []
    assert second.tasks == first.tasks
    assert second.seconds == first.seconds > 0, "what the predictions cost is not forgotten"
    assert second.prompt_tokens == first.prompt_tokens > 0
    assert "scored again, nothing asked" in capsys.readouterr().err
    roomier = ScriptedEngine(half_right, max_model_len=200_000)
    held_otherwise = ScriptedEngine(half_right, max_model_len=2000, weight_format="scripted, fp8")
    with pytest.raises(ConfigError, match=r"made with other settings"):
        run(tiny_model, bench, tmp_path / "out", tasks=["mine"], engine=held_otherwise, suite=QASuite, sampling=SHORT)
    with pytest.raises(ConfigError, match="max_model_len: 2000 there, 200000 now"):
        run(
            tiny_model,
            bench,
            tmp_path / "out",
            tasks=["musique", "mine"],
            engine=roomier,
            suite=QASuite,
            sampling=SHORT,
        )
    assert not roomier.started, "a limit that is configured is known before the model is loaded"


def test_other_settings_are_refused_before_the_engine_starts(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    run(tiny_model, bench, tmp_path / "out", tasks=["musique", "mine"])
    kept = (tmp_path / "out" / "longbench" / "mine.jsonl").read_text()
    engine = ScriptedEngine(all_right)
    with pytest.raises(ConfigError, match=r"mine.jsonl: these predictions were made with other settings"):
        run(tiny_model, bench, tmp_path / "out", tasks=["trec", "mine"], max_new_tokens=7, engine=engine)
    assert not engine.started
    assert (tmp_path / "out" / "longbench" / "mine.jsonl").read_text() == kept
    result, engine = run(
        tiny_model, bench, tmp_path / "out", all_right, tasks=["mine"], max_new_tokens=7, overwrite=True
    )
    assert len(engine.asked) == 4
    assert result.score == 100.0


SLOW_RUN = """
import sys, time
from longmab_pl.cli.evaluate import evaluate
from longmab_pl.engines import ScriptedEngine
from longmab_pl.evaluation import LongBenchSuite

class Slow(ScriptedEngine):
    def poll(self):
        time.sleep(0.2)
        return super().poll()[:1]

Slow.__name__ = "ScriptedEngine"  # predictions are found again under the engine's name

def answer(request, i):
    return f"number {request.id.rsplit('/', 1)[1]}"

model, data, out = sys.argv[1:]
suite = LongBenchSuite(data, tasks=["musique"])
evaluate(model=model, suite=suite, out=out, engine=Slow(answer, concurrency=1, jitter=1))
"""


def test_a_run_killed_with_sigkill_asks_for_the_rest_only(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW_RUN, tiny_model, str(bench), str(out)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")})
    until = time.monotonic() + 300
    predictions = out / "longbench" / "musique.jsonl"
    while not predictions.exists() or len(predictions.read_text().splitlines()) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (out / "longbench" / "result.json").exists()
    kept = predictions.read_text().count("\n")
    assert 3 <= kept < 8
    result, engine = run(tiny_model, bench, out, all_right, tasks=["musique"])
    assert len(engine.asked) == 8 - kept
    assert result.score == 100.0
    assert sorted(json.loads(line)["id"] for line in predictions.read_text().splitlines()) == [
        f"musique{i}" for i in range(8)
    ]


def test_the_needle_probe_needs_no_data(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--model", tiny_model, "--suite", "longmab_pl.evaluation.NeedleSuite", "--out", str(tmp_path / "out")]
    args += ["--suite.needle.lengths", "[600, 900]", "--suite.needle.depths", "[0, 100]", "--suite.needle.needles", "2"]
    args += ["--engine", "longmab_pl.engines.ScriptedEngine", "--engine.answer", f"{__name__}.needle_at_the_beginning"]
    auto_cli(evaluate, args=args, prog="longmab evaluate")
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("accuracy", "depth 100%", "needles found, %", "best depth less worst: 100 points", "map.png"):
        assert part in shown, part
    saved = json.loads((tmp_path / "out" / "needle" / "map.json").read_text())
    assert saved["accuracy"] == [[100.0, 0.0], [100.0, 0.0]]
    assert EvaluationResult.load(tmp_path / "out" / "needle" / "result.json").tasks["needle"].n == 8


def needle_at_the_beginning(request: Request, i: int) -> str:
    text = text_of(request).split("Text:\n")[1][:90]
    found = re.search(r"[0-9]{5}", text)
    return found.group() if found else "none"


def test_several_suites_are_asked_of_one_engine(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    needles = NeedleSuite(NeedleSettings(lengths=[600], depths=[50], needles=1))
    suites = [LongBenchSuite(str(bench), tasks=["musique"]), needles]
    engine = ScriptedEngine(half_right)
    results = evaluate(model=tiny_model, suite=suites, out=str(tmp_path / "out"), engine=engine)
    assert {name: list(result.tasks) for name, result in results.items()} == {
        "longbench": ["musique"],
        "needle": ["needle"],
    }
    assert len(engine.asked) == 9
    again = ScriptedEngine(half_right)
    more = [*suites, LongBenchSuite(str(bench), tasks=["mine"], name="mine")]
    evaluate(model=tiny_model, suite=more, out=str(tmp_path / "out"), engine=again)
    assert len(again.asked) == 4, "finished suites are not asked again beside a new one"
    with pytest.raises(ConfigError, match="two suites are called 'needle'"):
        evaluate(model=tiny_model, suite=[needles, needles], out=str(tmp_path / "out"), engine=again)


def test_suites_from_a_file(tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "model": tiny_model,
        "out": str(tmp_path / "out"),
        "suite": [
            {"class_path": "longmab_pl.evaluation.LongBenchSuite", "init_args": {"data": str(bench), "limit": 1}},
            {"class_path": "longmab_pl.evaluation.QASuite", "init_args": {"data": str(bench / "mine.jsonl")}},
        ],
        "engine": {
            "class_path": "longmab_pl.engines.ScriptedEngine",
            "init_args": {"answer": f"{__name__}.half_right"},
        },
    }
    (tmp_path / "evaluate.json").write_text(json.dumps(config))
    auto_cli(evaluate, args=["--config", str(tmp_path / "evaluate.json")], prog="longmab evaluate")
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/result.json")) == ["longbench", "qa"]


def test_predictions_of_other_weights_are_not_taken_for_these(
    tiny_model: str, adapter: Path, bench: Path, tmp_path: Path, byte_tokenizer: Any
) -> None:
    model = save_model(tmp_path / "tiny", byte_tokenizer)
    run(model, bench, tmp_path / "out", tasks=["mine"])
    save_model(tmp_path / "tiny", byte_tokenizer, layers=3)
    with pytest.raises(ConfigError, match="made with other settings"):
        run(model, bench, tmp_path / "out", tasks=["mine"])
    with pytest.raises(ConfigError, match="made with other settings"):
        run(tiny_model, bench, tmp_path / "out", tasks=["mine"], adapter=str(adapter))
    _, engine = run(tiny_model, bench, tmp_path / "out", tasks=["mine"], adapter=str(adapter), overwrite=True)
    assert len(engine.asked) == 4


def test_the_adapter_is_handed_to_the_engine_and_named(
    tiny_model: str, adapter: Path, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = ScriptedEngine(half_right)
    suite = LongBenchSuite(str(bench), tasks=["mine"])
    results = evaluate(model=tiny_model, suite=suite, adapter=str(adapter), engine=engine)
    assert engine.synced == [adapter]
    assert re.fullmatch(r"tiny \+ trained [0-9a-f]{8}", results["longbench"].model)
    (folder,) = (tmp_path / "runs" / "evaluations").iterdir()
    assert re.fullmatch(r"tiny-trained-[0-9a-f]{8}", folder.name)


def test_an_adapter_that_cannot_be_used_is_refused_before_the_engine_starts(
    tiny_model: str, adapter: Path, bench: Path, tmp_path: Path, byte_tokenizer: Any
) -> None:
    wider = save_model(tmp_path / "wider", byte_tokenizer, hidden=64)
    shallower = save_model(tmp_path / "shallower", byte_tokenizer, layers=1)
    empty = tmp_path / "empty"
    empty.mkdir()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    (torn / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes()[:-100])
    prompt_tuning = tmp_path / "prompt"
    prompt_tuning.mkdir()
    (prompt_tuning / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    (prompt_tuning / "adapter_model.safetensors").write_bytes(b"")
    cases = [
        (tiny_model, tmp_path / "nowhere", "does not exist"),
        (tiny_model, empty, "no adapter_config.json in it"),
        (tiny_model, torn, "not a readable safetensors file"),
        (tiny_model, prompt_tuning, "PROMPT_TUNING"),
        (wider, adapter, r"does not fit.*in the model, and the adapter changes"),
        (shallower, adapter, r"does not fit.*the model has no layer model\.layers\.1\."),
    ]
    for model, folder, message in cases:
        engine = ScriptedEngine(half_right)
        with pytest.raises(LongMabError, match=message):
            run(model, bench, tmp_path / "out", adapter=str(folder), engine=engine)
        assert not engine.started


def test_the_rank_that_vllm_is_started_with_holds_the_adapter(tiny_model: str, adapter: Path) -> None:
    from longmab_pl.evaluation.model import vllm_engine
    from longmab_pl.models.adapter_files import fitting_adapter

    info = fitting_adapter(adapter, tiny_model)
    assert (info.rank, info.base_model) == (3, tiny_model)
    engine: Any = vllm_engine(info, "float32", 4, 512, 1.0, 0.5)
    assert engine._settings.max_lora_rank == 8
    assert (engine.concurrency, engine.max_model_len, engine._settings.dtype) == (4, 512, "float32")


def test_chat_by_task_always_and_never(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    expected = {"by_task": {"musique": True, "trec": False}, "always": {"musique": True, "trec": True}}
    expected["never"] = {"musique": False, "trec": False}
    for chat, by_task in expected.items():
        _, engine = run(tiny_model, bench, tmp_path / chat, tasks=["musique", "trec"], limit=1, chat=chat)
        found = {r.id.split("/")[1]: text_of(r).startswith("[user]") for r in engine.asked}
        assert found == by_task, chat


def test_a_base_model_without_a_chat_template(
    tiny_model: str, bench: Path, tmp_path: Path, byte_tokenizer: Any
) -> None:
    model = save_model(tmp_path / "base", byte_tokenizer)
    (tmp_path / "base" / "chat_template.jinja").unlink()
    _, engine = run(model, bench, tmp_path / "out", tasks=["musique"], limit=1)
    assert not text_of(engine.asked[0]).startswith("[user]")
    for options in ({"chat": "always"}, {"suite": QASuite}):
        with pytest.raises(ConfigError, match="has no chat template"):
            run(model, bench, tmp_path / "other", tasks=["musique"], **options)


def test_official_prompts_and_lengths(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    official = tmp_path / "config"
    official.mkdir()
    (official / "dataset2prompt.json").write_text(json.dumps({"musique": "READ {context} ASK {input}"}))
    (official / "dataset2maxlen.json").write_text(json.dumps({"musique": 7}))
    _, engine = run(tiny_model, bench, tmp_path / "a", tasks=["musique"], limit=1, official=str(official))
    assert "READ Document" in text_of(engine.asked[0])
    assert engine.asked[0].sampling.max_tokens == 7
    assert engine.asked[0].sampling.presence_penalty == 0.0
    _, engine = run(
        tiny_model, bench, tmp_path / "b", tasks=["musique"], limit=1, max_new_tokens=9, presence_penalty=1.0
    )
    assert (engine.asked[0].sampling.max_tokens, engine.asked[0].sampling.presence_penalty) == (9, 1.0)


def test_the_qa_protocol_reads_either_way(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    result, engine = run(tiny_model, bench, tmp_path / "r", reasoned, suite=QASuite, tasks=["musique", "mine"])
    assert result.macro == {"f1": 100.0, "em": 100.0, "subem": 100.0}
    assert text_of(engine.asked[0]).endswith("[assistant]")
    assert (engine.asked[0].sampling.max_tokens, engine.asked[0].sampling.presence_penalty) == (1024, 1.0)
    direct = {"prompt_format": DirectAnswer(), "sampling": replace(SHORT, max_tokens=16)}
    result, engine = run(tiny_model, bench / "mine.jsonl", tmp_path / "d", all_right, suite=QASuite, **direct)
    assert text_of(engine.asked[0]).endswith("[assistant]Answer:")
    assert engine.asked[0].sampling.max_tokens == 16
    assert (list(result.tasks), result.macro["em"]) == (["qa"], 100.0)
    result, engine = run(tiny_model, "shipped:synthetic_eval", tmp_path / "s", reasoned, suite=QASuite, limit=3)
    assert list(result.tasks) == ["qa"]
    assert len(engine.asked) == 3


def test_questions_seen_in_training_are_warned_of(
    tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_model, bench, tmp_path / "a", tasks=["mine"], train=str(bench / "musique.jsonl"))
    assert "of 4 evaluation records the question of 4 and the context of 4" in capsys.readouterr().err
    run(tiny_model, bench, tmp_path / "b", tasks=["mine"], train="shipped:synthetic_train")
    assert "contamination" not in capsys.readouterr().err


def test_bad_settings_and_data_are_refused_before_the_engine_starts(
    tiny_model: str, bench: Path, tmp_path: Path
) -> None:
    blank = tmp_path / "gov_report.jsonl"
    blank.write_text(json.dumps({"input": "", "context": "A report.", "answers": ["Short."], "length": 2}))
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"tasks": ["musiqe"]}, ConfigError, "did you mean 'musique'"),
        ({"limit": 0}, ConfigError, "LongBenchSuite.limit is 0"),
        ({"max_new_tokens": 0}, ConfigError, "LongBenchSuite.max_new_tokens is 0"),
        ({"data": tmp_path / "nowhere"}, DataError, "no such file or folder"),
        ({"data": blank, "suite": QASuite, "tasks": ["gov_report"]}, ConfigError, "1 records without a question"),
        ({"data": blank, "suite": QASuite}, DataError, "input"),
        ({"model": str(tmp_path / "nowhere")}, ConfigError, "does not exist"),
        ({"official": str(bench)}, ConfigError, "neither dataset2prompt.json"),
        ({"max_new_tokens": 1000}, ConfigError, "keeps 1,000 tokens for an answer and the model takes 1,000 in all"),
    ]
    for changes, kind, message in cases:
        engine = ScriptedEngine(half_right, max_model_len=1000)
        settings = {"model": tiny_model, "data": bench, "out": tmp_path / "out"} | changes
        with pytest.raises(kind, match=message):
            run(engine=engine, **settings)
        assert not engine.started


def test_bad_rows_are_reported_and_the_rest_is_scored(
    tiny_model: str, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (bench / "mine.jsonl").open("a") as file:
        file.write("{broken\n" + json.dumps({"input": "Who?", "context": "A text.", "answers": [""]}) + "\n")
    result, _ = run(tiny_model, bench, tmp_path / "out", tasks=["mine"])
    shown = capsys.readouterr().err
    assert "2 bad rows" in shown
    assert "mine.jsonl:5" in shown
    assert "mine.jsonl:6: answers: " in shown
    assert result.tasks["mine"].n == 4


def test_compare_sets_results_side_by_side(
    tiny_model: str, adapter: Path, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_model, bench, tmp_path / "base", half_right, tasks=["musique", "mine"])
    run(tiny_model, bench, tmp_path / "trained", all_right, tasks=["musique", "mine"], adapter=str(adapter))
    run(tiny_model, bench, tmp_path / "other", half_right, tasks=["musique"], max_new_tokens=5)
    capsys.readouterr()
    args = [
        str(tmp_path / "base" / "longbench" / "result.json"),
        str(tmp_path / "trained" / "longbench"),
        str(tmp_path / "other" / "longbench"),
    ]
    args += ["--out", str(tmp_path / "tests.json")]
    auto_cli(compare, args=paths_as_list(args), prog="longmab compare")
    shown = capsys.readouterr().out
    for part in ("tiny (base)", "tiny (other)", "tiny + trained", "100.00 [100.0, 100.0]", "+50.00 ("):
        assert part in " ".join(shown.split()), part
    assert "musique was asked with other settings in tiny (other)" in shown
    tests = json.loads((tmp_path / "tests.json").read_text())["longbench"]
    assert tests["first"] == "tiny (base)"
    (trained,) = (found for name, found in tests["against"].items() if "trained" in name)
    assert trained["macro"]["difference"] == 50.0
    assert trained["macro"]["low"] > 0
    assert trained["macro"]["p_value"] < 0.05
    assert tests["against"]["tiny (other)"]["musique"]["difference"] == 0.0
    line = next(line for line in shown.splitlines() if "trained" in line and "macro" in line)
    assert "*" in line
    assert "n 12" in line


def test_compare_refuses_what_cannot_be_compared(tiny_model: str, bench: Path, tmp_path: Path) -> None:
    run(tiny_model, bench, tmp_path / "a", tasks=["musique"])
    run(tiny_model, bench, tmp_path / "b", tasks=["mine"])
    with pytest.raises(ConfigError, match="at least two"):
        compare([str(tmp_path / "a")])
    with pytest.raises(DataError, match="no such evaluation result"):
        compare([str(tmp_path / "a"), str(tmp_path / "c.json")])
    with pytest.raises(ConfigError, match="share no task"):
        compare([str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(ConfigError, match="given twice"):
        compare([str(tmp_path / "a")] * 2)


def test_paths_become_one_list() -> None:
    assert paths_as_list(["a", "b", "--metric", "f1"]) == ['["a", "b"]', "--metric", "f1"]
    assert paths_as_list(["[a,b]"]) == ["[a,b]"]
    assert paths_as_list(["--help"]) == ["--help"]
