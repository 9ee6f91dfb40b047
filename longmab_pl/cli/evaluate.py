"""`longmab evaluate`: an evaluation of any model, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longmab_pl.data.readers import read_records
from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import runner
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.lm_eval import write_lm_eval
from longmab_pl.evaluation.model import EvaluatedModel, evaluated_model, evaluation_tokenizer, vllm_engine
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.tables import notes
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.evaluation.thinking import thinking_note
from longmab_pl.exports import public_name
from longmab_pl.models.tokenizer import context_limit
from longmab_pl.reporting.console import wide_console
from longmab_pl.shown import tell
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.storage.locks import folder_lock


def evaluate(
    *,
    model: str,
    suite: Suite | list[Suite],
    adapter: str | None = None,
    train: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    lm_eval: str | None = None,
    engine: Engine | None = None,
    dtype: str = "auto",
    concurrency: int = 16,
    max_model_len: int | None = None,
    kv_cache_gb: float = 2.0,
    gpu_memory_utilization: float = 0.9,
) -> dict[str, EvaluationResult]:
    """Evaluate a model, with or without an adapter, and print tables with confidence intervals.

    An interrupted run continues when the same command is given again: finished predictions are kept and not asked
    again. If all are there, the model is not loaded.

    Args:
        model: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        suite: names of suites, with commas between (the list is below), or the class path of one of your own. The
            settings of a suite are options too: `--suite ruler --lengths 4k,8k`; with several suites an option goes to
            all that take it, and `--ruler.lengths` to one. `longmab evaluate --suite NAME --help` shows the settings.
        adapter: a PEFT LoRA folder; it is checked to fit the model before anything is loaded.
        train: training records; warns where evaluation questions or contexts occur in them.
        out: folder for predictions and results, a folder for each suite in it; the folder of one of a run's evaluations
            (RUN/evaluations/after-round-2) reuses its predictions. Default: runs/evaluations/, named after the model.
        overwrite: delete predictions in that folder that were made with other settings.
        lm_eval: folder for a result file in lm-evaluation-harness's layout.
        engine: another engine than vLLM in this process, or vLLM with further settings; the five settings below are
            then not used.
        dtype: dtype of the weights; auto is float32 on CPU, bfloat16 on GPU.
        concurrency: number of answers generated at once.
        max_model_len: longest prompt and answer together, in tokens. Default: the model's own limit.
        kv_cache_gb: memory for the KV cache on CPU, in GiB.
        gpu_memory_utilization: share of the GPU's memory that vLLM may take.

    Returns:
        The results by suite name, which are also in `<out>/<suite>/result.json`.

    Raises:
        ConfigError, DataError: a setting, the data or the adapter cannot be used; raised before the model is loaded.
        EngineError: the engine cannot start, or failed; finished predictions are on disk.
    """
    suites = suite if isinstance(suite, list) else [suite]
    _check_names(suites)
    candidate = evaluated_model(model, adapter)
    tokenizer = evaluation_tokenizer(candidate.resolved)
    if engine is None:
        engine = vllm_engine(candidate.adapter, dtype, concurrency, max_model_len, kv_cache_gb, gpu_memory_utilization)
    longest = engine.max_model_len or context_limit(candidate.resolved)
    context = SuiteContext(note=tell, max_model_len=longest)
    tasks = {asked.name: asked.tasks(tokenizer, context) for asked in suites}
    _check_room([task for asked in tasks.values() for task in asked], longest)
    if note := thinking_note(tokenizer, [task for asked in tasks.values() for task in asked]):
        tell(note)
    if train is not None:
        _warn_of_contamination(train, tasks)
    folder = Path(out or Path("runs/evaluations") / candidate.file_name)
    with folder_lock(folder, "an evaluation"), sigterm_interrupts():
        judged = [asked.name for asked in suites if asked.is_judged]
        found = _Evaluator(candidate, engine, tokenizer, folder, overwrite, judged).results(tasks)
        results = {}
        for asked in suites:
            home = folder / asked.name
            rated = asked.rated(found[asked.name], tasks[asked.name], home)
            results[asked.name] = _of_suite(_with_costs_of(home / "result.json", rated), asked)
            _save_and_show(asked, results[asked.name], home)
    if candidate.other_base:
        tell(candidate.other_base)
    if lm_eval is not None:
        print(f"lm-eval    {write_lm_eval(Path(lm_eval), results)}")
    return results


def _of_suite(result: EvaluationResult, suite: Suite) -> EvaluationResult:
    headline = tuple(suite.headline_tasks(result))
    return replace(result, suite=suite.name, kind=public_name(type(suite)), headline_tasks=headline)


def _check_names(suites: Sequence[Suite]) -> None:
    if not suites:
        raise ConfigError("--suite is an empty list; give at least one suite")
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two suites are called {name!r}; set the name of one")


def _check_room(tasks: Sequence[EvaluationTask], longest: int | None) -> None:
    for task in tasks:
        kept = task.sampling.max_tokens
        if longest is not None and kept >= longest:
            raise ConfigError(
                f"evaluation task {task.name!r} keeps {kept:,} tokens for an answer and the model takes {longest:,} in "
                "all, so no prompt fits; shorten the suite's answers, or raise max_model_len"
            )


def _warn_of_contamination(train: str, tasks: Mapping[str, Sequence[EvaluationTask]]) -> None:
    training = read_records(train, on_bad_record="skip").records
    for asked in tasks.values():
        overlap = find_contamination(training, {task.name: task.records for task in asked})
        if overlap:
            tell(f"warning: {overlap.message()}")


@dataclass(frozen=True)
class _Evaluator:
    """An evaluator that takes predictions from disk, and asks the engine only for the missing ones."""

    candidate: EvaluatedModel
    engine: Engine
    tokenizer: Any
    folder: Path
    overwrite: bool
    judged: Sequence[str]

    def results(self, tasks: Mapping[str, Sequence[EvaluationTask]]) -> dict[str, EvaluationResult]:
        """Return a result by suite name, in the order of `tasks`; the engine is closed afterwards."""
        found = {name: self._on_disk(name, asked) for name, asked in tasks.items()}
        missing = {name: asked for name, asked in tasks.items() if found[name] is None}
        if missing:
            counts = ", ".join(f"{task.name} {len(task.records)}" for asked in missing.values() for task in asked)
            label = self.candidate.label
            tell(f"evaluating {label} on {counts}; loading it takes a while")
            try:
                self.engine.start(self.candidate.resolved)
                self.engine.sync(None if self.candidate.adapter is None else self.candidate.adapter.folder)
                for name, asked in missing.items():
                    options = self._options(name)
                    found[name] = runner.evaluate(
                        asked, self.engine, self.tokenizer, desc=name, judged=name in self.judged, **options
                    )
            finally:
                self.engine.close()
        return {
            name: replace(result, model=self.candidate.label) for name, result in found.items() if result is not None
        }

    def _options(self, name: str) -> dict[str, Any]:
        # Predictions are stored under this name, so it identifies the weights too, not only the folder.
        model = self.candidate.identity(self.engine.weight_format)
        return {"model": model, "predictions": self.folder / name, "overwrite": self.overwrite}

    def _on_disk(self, name: str, tasks: Sequence[EvaluationTask]) -> EvaluationResult | None:
        done = runner.rescore(
            tasks,
            self.tokenizer,
            max_model_len=self.engine.max_model_len or context_limit(self.candidate.resolved) or 0,
            limit_is_known=self.engine.max_model_len > 0,
            weight_format=self.engine.weight_format,
            **self._options(name),
        )
        if done is None:
            return None
        tell(f"all predictions are in {self.folder / name} already: scored again, nothing asked")
        return done


def _with_costs_of(file: Path, result: EvaluationResult) -> EvaluationResult:
    """Return a result of predictions on disk with the time and tokens of the run that made them, if it recorded them.

    A result whose predictions were made now has its own.
    """
    if result.seconds:
        return result
    try:
        earlier = EvaluationResult.load(file)
    except DataError:
        return result
    written = json.loads(json.dumps(result.settings))  # as in the file: lists in place of tuples
    if earlier.settings != written or _asked(earlier) != _asked(result):
        return result
    costs = ("seconds", "prompt_tokens", "cached_tokens", "completion_tokens")
    return replace(result, **{cost: getattr(earlier, cost) for cost in costs})


def _asked(result: EvaluationResult) -> dict[str, list[str]]:
    return {name: [item.id for item in task.items] for name, task in result.tasks.items()}


def _save_and_show(suite: Suite, result: EvaluationResult, folder: Path) -> None:
    _say_what_is_replaced(folder / "result.json", result)
    result.save(folder / "result.json")
    console = wide_console()
    for table in suite.tables([result]):
        console.print(table)
    for line in notes(result):
        console.print(line, soft_wrap=True)
    if result.prompt_tokens:
        cached = result.cached_tokens / result.prompt_tokens
        console.print(
            f"{result.seconds:.1f} s, {result.prompt_tokens:,} prompt tokens ({cached:.0%} from the prefix cache), "
            f"{result.completion_tokens:,} new tokens",
            soft_wrap=True,
        )
    for picture in suite.figures([result]):
        console.print(f"picture    {picture.save(folder)}", soft_wrap=True)
    print(f"result     {folder / 'result.json'}")


def _say_what_is_replaced(file: Path, result: EvaluationResult) -> None:
    try:
        lost = EvaluationResult.load(file).tasks.keys() - result.tasks.keys()
    except DataError:
        return
    if lost:
        tell(
            f"note: {file} held {', '.join(sorted(lost))} and is replaced; their predictions stay, and --out keeps "
            "several results apart"
        )
