"""`longmab evaluate`: an evaluation of any model on its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from longmab_pl.cli.arguments import call
from longmab_pl.cli.quiet import quiet_transformers
from longmab_pl.data.readers import read_records
from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import runner
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.model import EvaluatedModel, evaluation_tokenizer, subject, vllm_engine
from longmab_pl.evaluation.needle.heat_map import needle_map, needle_table, write_needle_map
from longmab_pl.evaluation.needle.task import NeedleSettings, NeedleTask, needle_task
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suites import NEEDLE, Selection, task_names
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.evaluation_tables import notes, results_table

_DEFAULT_NEEDLES = NeedleSettings()


def evaluate(
    *,
    model: str,
    data: str | None = None,
    adapter: str | None = None,
    tasks: str | list[str] | None = None,
    protocol: Literal["longbench", "qa"] = "longbench",
    official: str | None = None,
    chat: Literal["by_task", "always", "never"] = "by_task",
    prompt_format: Literal["reason_then_answer", "direct"] = "reason_then_answer",
    limit: int | None = None,
    seed: int = 0,
    max_prompt_tokens: int | None = None,
    max_tokens: int | None = None,
    presence_penalty: float | None = None,
    needle: NeedleSettings = _DEFAULT_NEEDLES,
    train: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    engine: Engine | None = None,
    dtype: str = "auto",
    concurrency: int = 16,
    max_model_len: int | None = None,
    kv_cache_gb: float = 2.0,
    gpu_memory_utilization: float = 0.9,
) -> EvaluationResult:
    """Evaluate a model, with or without an adapter, and print a table with confidence intervals.

    A run that was cut off continues when the same command is given again: finished predictions are kept and not asked
    for again, and where all are there the model is not even loaded.

    Args:
        model: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        data: a folder or zip of LongBench's JSONL files, one JSONL file (LongBench's format or id, question, answer,
            context), or a hub name such as THUDM/LongBench; with the qa protocol also a source of training records
            such as shipped:synthetic_eval. The needle probe needs none.
        adapter: a PEFT LoRA folder; it is checked to fit the model before anything is loaded.
        tasks: names, commas between them: LongBench tasks (qasper), LongBench-E's (qasper_e), longbook_qa_eng, the
            groups longbench, longbench_e and infinitebench, the name of any JSONL file in the data folder, or needle,
            the needle-in-a-haystack probe. Default: all that is there.
        protocol: longbench asks and scores as LongBench does; qa asks as the LongMab-PO paper does and scores
            the extracted answer by EM, F1 and SubEM.
        official: longbench: folder with LongBench's own dataset2prompt.json and dataset2maxlen.json, to reproduce
            published numbers. Default: our own prompts.
        chat: longbench: use the chat template as LongBench does, which leaves few-shot and code tasks without
            (by_task), always, or never (base models).
        prompt_format: qa: let the model reason before it answers, or answer directly (for very small models).
        limit: at most this many records per task, a random sample.
        seed: of that sample.
        max_prompt_tokens: cut the middle of longer prompts (qa: contexts). Default: what the model takes.
        max_tokens: longest answer. Default: the task's own (qa: 1024).
        presence_penalty: default: 0 for longbench, as official; 1 for qa, as in the paper.
        needle: of the needle probe, where --tasks names it: which haystacks.
        train: training records; warns where evaluation questions or contexts occur in them.
        out: folder for predictions and result.json. Default: runs/evaluations/, named after model and protocol.
        overwrite: throw away predictions in that folder that were made with other settings.
        engine: another engine than vLLM in this process, or that one with further settings; the five settings below
            are then not used.
        dtype: of the weights; auto is float32 on CPU, bfloat16 on GPU.
        concurrency: answers worked on at once.
        max_model_len: longest prompt and answer together, in tokens. Default: the model's own limit.
        kv_cache_gb: on CPU: memory for the KV cache, in GiB.
        gpu_memory_utilization: on GPU: share of its memory that vLLM may take.

    Returns:
        The result, which is also in `<out>/result.json`.

    Raises:
        ConfigError, DataError: a setting, the data or the adapter cannot be used; said before the model is loaded.
        EngineError: the engine cannot start, or failed; what had finished is on disk.
    """
    selection = Selection(
        protocol, official, chat, prompt_format, limit, seed, max_prompt_tokens, max_tokens, presence_penalty
    )
    names = task_names(tasks)
    probe = names is not None and NEEDLE in names
    names = names if names is None else [name for name in names if name != NEEDLE]
    if data is None and names != []:
        raise ConfigError(
            "--data is missing; give a folder, zip or file of evaluation records (only needle needs none)"
        )
    candidate = subject(model, adapter)
    asked = selection.tasks(data, names) if data is not None and names != [] else []
    tokenizer = evaluation_tokenizer(candidate.resolved, needs_chat=probe or protocol == "qa" or chat == "always")
    if probe:
        asked.append(needle_task(needle, tokenizer))
    if train is not None:
        training = read_records(train, on_bad_record="skip").records
        overlap = find_contamination(training, {task.name: task.records for task in asked})
        if overlap:
            print(f"warning: {overlap.message()}", file=sys.stderr)
    folder = Path(out or Path("runs/evaluations") / f"{candidate.file_name}-{protocol if names != [] else NEEDLE}")
    if engine is None:
        engine = vllm_engine(candidate.adapter, dtype, concurrency, max_model_len, kv_cache_gb, gpu_memory_utilization)
    result = _predicted(asked, candidate, engine, tokenizer, folder, overwrite, seed)
    result = replace(result, model=candidate.label)
    _say_what_is_replaced(folder / "result.json", result)
    result.save(folder / "result.json")
    _show(result, folder)
    for task in asked:
        if isinstance(task, NeedleTask):
            _show_needles(task, result, folder)
    print(f"result     {folder / 'result.json'}")
    return result


def run(args: Sequence[str]) -> None:
    """Run the command."""
    quiet_transformers()
    call(evaluate, args)


def _predicted(
    tasks: Sequence[EvaluationTask],
    candidate: EvaluatedModel,
    engine: Engine,
    tokenizer: Any,
    folder: Path,
    overwrite: bool,
    seed: int,
) -> EvaluationResult:
    """The result from what is on disk and, where that is not all, from the engine; the engine is closed afterwards."""
    from longmab_pl.models.tokenizer import context_limit

    # Predictions are found again under this, so it names the weights too, not only the folder.
    model = candidate.identity(engine.weight_format)
    options: dict[str, Any] = {"model": model, "predictions": folder, "overwrite": overwrite, "seed": seed}
    limit = engine.max_model_len or context_limit(candidate.resolved) or 0
    known = engine.max_model_len > 0
    done = runner.rescore(
        tasks, tokenizer, max_model_len=limit, limit_is_known=known, weight_format=engine.weight_format, **options
    )
    if done is not None:
        print(f"all predictions are in {folder} already: scored again, nothing asked", file=sys.stderr)
        return _with_costs_of(folder / "result.json", done)
    counts = ", ".join(f"{task.name} {len(task.records)}" for task in tasks)
    print(f"evaluating {candidate.label} on {counts}; loading it takes a while", file=sys.stderr, flush=True)
    try:
        engine.start(candidate.resolved)
        engine.sync(None if candidate.adapter is None else candidate.adapter.folder)
        return runner.evaluate(tasks, engine, tokenizer, **options)
    finally:
        engine.close()


def _with_costs_of(file: Path, result: EvaluationResult) -> EvaluationResult:
    """The result with the time and tokens of the run that made its predictions, if that run wrote them down."""
    try:
        earlier = EvaluationResult.load(file)
    except DataError:
        return result
    written = json.loads(json.dumps(result.settings))  # as the file's are: lists where there were tuples
    if earlier.settings != written or _asked(earlier) != _asked(result):
        return result
    costs = ("seconds", "prompt_tokens", "cached_tokens", "completion_tokens")
    return replace(result, **{cost: getattr(earlier, cost) for cost in costs})


def _asked(result: EvaluationResult) -> dict[str, list[str]]:
    return {name: [item.id for item in task.items] for name, task in result.tasks.items()}


def _say_what_is_replaced(file: Path, result: EvaluationResult) -> None:
    try:
        lost = EvaluationResult.load(file).tasks.keys() - result.tasks.keys()
    except DataError:
        return
    if lost:
        print(
            f"note: {file} held {', '.join(sorted(lost))} and is replaced; their predictions stay, and --out keeps "
            "several results apart",
            file=sys.stderr,
        )


def _show(result: EvaluationResult, folder: Path) -> None:
    console = wide_console()
    console.print(results_table([result]))
    for line in notes(result):
        console.print(line, markup=False, soft_wrap=True)
    if result.prompt_tokens:
        cached = result.cached_tokens / result.prompt_tokens
        console.print(
            f"{result.seconds:.1f} s, {result.prompt_tokens:,} prompt tokens ({cached:.0%} from the prefix cache), "
            f"{result.completion_tokens:,} new tokens",
            soft_wrap=True,
        )


def _show_needles(task: NeedleTask, result: EvaluationResult, folder: Path) -> None:
    found = needle_map(task.records, result.tasks[task.name])
    console = wide_console()
    console.print(needle_table({result.model: found}))
    picture = write_needle_map(folder, result.model, found)
    console.print(f"best depth less worst: {found.spread():.0f} points")
    console.print(f"picture    {picture}", markup=False, soft_wrap=True)
