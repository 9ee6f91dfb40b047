"""`longmab evaluate`: an evaluation of any model on its own."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engine.protocol import Engine, Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import runner
from longmab_pl.evaluation.adapter import AdapterInfo, fitting_adapter
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.loading import BadRow, load_items, sample, tasks_there
from longmab_pl.evaluation.longbench import longbench_tasks
from longmab_pl.evaluation.qa import GREEDY, QATask
from longmab_pl.evaluation.report import notes, results_table
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.evaluation.tasks import expand_tasks
from longmab_pl.models import BUNDLED_PREFIX, resolve_model
from longmab_pl.report import wide_console
from longmab_pl.rollout.reading import Direct, ReadingProtocol, ReasonThenAnswer

_READINGS = {"reason_then_answer": ReasonThenAnswer, "direct": Direct}


def evaluate(
    *,
    model: str,
    data: str,
    adapter: str | None = None,
    tasks: str | list[str] | None = None,
    protocol: Literal["longbench", "qa"] = "longbench",
    official: str | None = None,
    chat: Literal["by_task", "always", "never"] = "by_task",
    reading: Literal["reason_then_answer", "direct"] = "reason_then_answer",
    limit: int | None = None,
    seed: int = 0,
    max_prompt_tokens: int | None = None,
    max_tokens: int | None = None,
    presence_penalty: float | None = None,
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
    for again.

    Args:
        model: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        data: a folder or zip of LongBench's JSONL files, one JSONL file (LongBench's format or id, question, answer,
            context), or a hub name such as THUDM/LongBench; with the qa protocol also a source of training records
            such as shipped:synthetic_eval.
        adapter: a PEFT LoRA folder; it is checked to fit the model before anything is loaded.
        tasks: names, commas between them: LongBench tasks (qasper), LongBench-E's (qasper_e), longbook_qa_eng, the
            groups longbench, longbench_e and infinitebench, or the name of any JSONL file in the data folder. Default:
            all that is there.
        protocol: longbench asks and scores as LongBench does; qa asks as the LongMab-PO paper does and scores
            the extracted answer by EM, F1 and SubEM.
        official: longbench: folder with LongBench's own dataset2prompt.json and dataset2maxlen.json, to reproduce
            published numbers. Default: our own prompts.
        chat: longbench: use the chat template as LongBench does, which leaves few-shot and code tasks without
            (by_task), always, or never (base models).
        reading: qa: let the model reason before it answers, or answer directly (for very small models).
        limit: at most this many records per task, a random sample.
        seed: of that sample.
        max_prompt_tokens: cut the middle of longer prompts (qa: contexts). Default: what the model takes.
        max_tokens: longest answer. Default: the task's own (qa: 1024).
        presence_penalty: default: 0 for longbench, as official; 1 for qa, as in the paper.
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
    resolved = resolve_model(model)
    for option, value in (("limit", limit), ("max_tokens", max_tokens)):
        if value is not None and value < 1:
            raise ConfigError(f"--{option} is {value}; give a positive number, or leave it out")
    names = _names(tasks)
    asked: Sequence[EvaluationTask]
    if protocol == "qa":
        if official is not None or chat != "by_task":
            raise ConfigError("--official and --chat belong to --protocol longbench; leave them out for qa")
        sampling = replace(
            GREEDY,
            max_tokens=max_tokens or GREEDY.max_tokens,
            presence_penalty=GREEDY.presence_penalty if presence_penalty is None else presence_penalty,
        )
        asked, bad = _qa_tasks(data, names, limit, seed, _READINGS[reading](), sampling, max_prompt_tokens)
    else:
        found, bad = longbench_tasks(
            data,
            names,
            limit=limit,
            seed=seed,
            official=official,
            max_prompt_tokens=max_prompt_tokens,
            presence_penalty=presence_penalty or 0.0,
        )
        changes: dict[str, Any] = {} if chat == "by_task" else {"chat": chat == "always"}
        if max_tokens is not None:
            changes["max_new_tokens"] = max_tokens
        asked = [replace(task, spec=replace(task.spec, **changes)) for task in found]
    _tell_bad_rows(bad, data)
    if train is not None:
        training = read_records(train, on_bad_record="skip").records
        overlap = find_contamination(training, {task.name: task.records for task in asked})
        if overlap:
            print(f"warning: {overlap.message()}", file=sys.stderr)
    tokenizer = _tokenizer(resolved, needs_chat=protocol == "qa" or chat == "always")
    info = None if adapter is None else fitting_adapter(adapter, resolved)
    if info is not None and info.base_model and Path(info.base_model).name != Path(resolved).name:
        # The shapes fit, so it is not refused: folders are renamed. An instruct model's adapter fits its base, too.
        print(f"note: the adapter {adapter} says that it was trained on {info.base_model}", file=sys.stderr)
    label = _label(model, info)
    folder = Path(out) if out is not None else Path("runs/evaluations") / f"{_file_name(label)}-{protocol}"
    if engine is None:
        engine = _vllm(info, dtype, concurrency, max_model_len, kv_cache_gb, gpu_memory_utilization)
        identity = f"{label}, {dtype}"
    else:
        identity = f"{label}, {type(engine).__name__}"
    try:
        engine.start(resolved)
        engine.sync(None if info is None else info.folder)
        result = runner.evaluate(
            asked,
            engine,
            tokenizer,
            # Predictions are found again under this label, so it names the weights too, not only the folder.
            model=f"{identity}{_weights_digest(model)}",
            predictions=folder,
            overwrite=overwrite,
            seed=seed,
        )
    finally:
        engine.close()
    result = replace(result, model=label)
    result.save(folder / "result.json")
    _show(result, folder)
    return result


# tasks


def _names(tasks: str | list[str] | None) -> list[str] | None:
    if tasks is None:
        return None
    names = [name.strip() for entry in ([tasks] if isinstance(tasks, str) else tasks) for name in entry.split(",")]
    if not any(names):
        raise ConfigError("--tasks is empty; name at least one task, or leave it out for all that is there")
    return [name for name in names if name]


def _qa_tasks(
    data: str,
    names: list[str] | None,
    limit: int | None,
    seed: int,
    protocol: ReadingProtocol,
    sampling: Sampling,
    max_context_tokens: int | None,
) -> tuple[list[QATask], list[BadRow]]:
    bad: list[BadRow] = []
    found: list[tuple[str, list[QARecord]]] = []
    if names is None and not Path(data).exists():  # shipped or on a hub: one set of questions
        file = read_records(data, on_bad_record="skip")
        bad = [BadRow(b.file, b.line, b.field, b.message) for b in file.bad]
        found = [(re.split(r"[/:]", data)[-1], list(file.records))]
    else:
        for name in expand_tasks(names) if names is not None else tasks_there(data):
            items, _, unusable = load_items(data, name)
            blank = sum(not item.question.strip() for item in items)
            if blank:
                raise ConfigError(
                    f"task {name!r} has {blank} records without a question, so the qa protocol cannot ask it; "
                    "use --protocol longbench, or name other --tasks"
                )
            bad += unusable
            found.append((name, list(items)))
    tasks = [
        QATask(name, sample(records, limit, seed), protocol, sampling, max_context_tokens) for name, records in found
    ]
    return tasks, bad


def _tell_bad_rows(bad: Sequence[BadRow], data: str) -> None:
    if bad:
        print(f"{len(bad)} bad rows skipped in {data}:", file=sys.stderr)
        for row in bad[:10]:
            print(f"  {row}", file=sys.stderr)


# the model


def _tokenizer(model: str, *, needs_chat: bool) -> Any:
    from longmab_pl.dpo.loading import load_tokenizer

    if needs_chat:
        return load_tokenizer(model)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"cannot load the tokenizer of {model!r}: {reason}; give a local model folder, a hub name that this "
            "machine can reach and may read, or bundled:smollm2-135m-instruct"
        ) from error


def _label(model: str, adapter: AdapterInfo | None) -> str:
    path = Path(model).expanduser()
    name = path.resolve().name if path.is_dir() else model.removeprefix(BUNDLED_PREFIX)
    if adapter is None:
        return name
    return f"{name} + {adapter.folder.resolve().name} {adapter.digest}"


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "-", label)


def _weights_digest(model: str) -> str:
    """For a local folder: ", " and 8 digits that change with its configuration and, by samples, with its weights."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".bin", ".json", ".jinja") and file.is_file():
            size = file.stat().st_size
            digest.update(f"{file.name} {size}\n".encode())
            with file.open("rb") as content:
                for part in range(64):
                    content.seek(part * size // 64)
                    digest.update(content.read(4096))
    return f", {digest.hexdigest()[:8]}"


def _vllm(
    adapter: AdapterInfo | None,
    dtype: str,
    concurrency: int,
    max_model_len: int | None,
    kv_cache_gb: float,
    gpu_memory_utilization: float,
) -> Engine:
    from longmab_pl.engine.launch import LORA_RANKS
    from longmab_pl.engine.vllm import VLLMEngine

    rank = adapter.rank if adapter is not None else 1
    allowed = next((allowed for allowed in LORA_RANKS if allowed >= rank), None)
    if allowed is None:
        raise ConfigError(
            f"the adapter's rank is {rank}, and vLLM takes {LORA_RANKS[-1]} at most; merge it into the model first"
        )
    return VLLMEngine(
        concurrency=concurrency,
        max_model_len=max_model_len,
        kv_cache_gb=kv_cache_gb,
        gpu_memory_utilization=gpu_memory_utilization,
        dtype=dtype,
        max_lora_rank=allowed,
    )


# what is shown


def _show(result: EvaluationResult, folder: Path) -> None:
    console = wide_console()
    console.print(results_table([result]))
    for line in notes(result):
        console.print(line, markup=False, soft_wrap=True)
    if result.prompt_tokens:
        cached = result.cached_tokens / result.prompt_tokens
        console.print(
            f"{result.seconds:.1f} s, {result.prompt_tokens} prompt tokens ({cached:.0%} from the prefix cache), "
            f"{result.completion_tokens} new tokens ({result.completion_tokens / result.seconds:.0f} a second)"
        )
    console.print(f"result     {folder / 'result.json'}", markup=False, soft_wrap=True)
