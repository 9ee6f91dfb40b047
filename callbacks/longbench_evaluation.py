"""LongBench inside training: scores by task while the policy learns, and the adapter that did best."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from longmab_pl.callbacks.engine_evaluation import EngineEvaluation, log
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.evaluation.longbench.loading import BadRow
from longmab_pl.evaluation.longbench.task import longbench_tasks
from longmab_pl.evaluation.results import EvaluationResult, compare
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.evaluation_tables import notes, results_table


class LongBenchEvaluation(EngineEvaluation):
    """Runs LongBench, LongBench-E, InfiniteBench or custom tasks with the current adapter.

    Logs `eval/<name>/<task>/<metric>` (0..100) and `eval/<name>/macro/<metric>`, and `eval/<name>/score`, the mean of
    the tasks' main metrics: monitor that one to choose a checkpoint. From the second evaluation on there are
    `eval/<name>/difference` and `eval/<name>/p_value` too: the paired bootstrap test over all tasks against the first
    evaluation (the base model, with `before_training`).

    Predictions, `result.json` and `against_first.json` (the test by task) lie in
    `<run>/evaluations/<after-round-N or step-N>/<name>/`. The adapter with the best score of all after training began
    lies in `<run>/<best_adapter>/`, ready to load, with a `best.json` that says how good and since when.

    Args:
        data: a folder or zip of the official JSONL files, one JSONL file, or a hub name such as `THUDM/LongBench`.
        tasks: names or groups ("longbench", "longbench_e", "infinitebench"); None: all that is there.
        limit: at most this many records per task, the same random sample every time.
        name: names metrics and folders; give each such callback of a run its own.
        official: folder with LongBench's own `dataset2prompt.json` / `dataset2maxlen.json`; None: our own prompts.
        max_prompt_tokens: longer prompts lose their middle; None: only the engine's limit cuts.
        presence_penalty: 0 is official; the LongMab-PO authors evaluate with 1.0.
        before_training: evaluate once before the first round.
        every_n_rounds: evaluate after every so many rounds; None: not by rounds.
        every_n_steps: evaluate also within a round, after every so many optimizer steps; None: not by steps.
        at_end: evaluate the policy that training ends with, wherever it ends.
        best_adapter: folder in the run folder for the best adapter; None keeps none.
        seed: of the sample.

    Raises:
        ConfigError: a setting is out of range, or the settings never evaluate.
    """

    def __init__(
        self,
        data: str,
        tasks: list[str] | None = None,
        limit: int | None = None,
        name: str = "longbench",
        official: str | None = None,
        max_prompt_tokens: int | None = None,
        presence_penalty: float = 0.0,
        before_training: bool = True,
        every_n_rounds: int | None = 1,
        every_n_steps: int | None = None,
        at_end: bool = True,
        best_adapter: str | None = "best_adapter",
        seed: int = 0,
    ) -> None:
        super().__init__(before_training, every_n_rounds, at_end, every_n_steps)
        if limit is not None and limit < 1:
            raise ConfigError(f"{type(self).__name__}.limit is {limit}; it must be at least 1, or null")
        self.data = data
        self.task_names = tasks
        self.limit = limit
        self.name = name
        self.official = official
        self.max_prompt_tokens = max_prompt_tokens
        self.presence_penalty = presence_penalty
        self.best_adapter = best_adapter
        self.seed = seed

    @property
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name, data=self.data, tasks=self.task_names)

    @property
    def score_key(self) -> str:
        """The metric that decides which adapter is best."""
        return f"eval/{self.name}/score"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(other, LongBenchEvaluation) and other is not self:
                if other.name == self.name:
                    raise ConfigError(f"two LongBenchEvaluation callbacks are called {self.name!r}; set their name")
                if self.best_adapter is not None and other.best_adapter == self.best_adapter:
                    raise ConfigError(
                        f"LongBenchEvaluation {self.name!r} and {other.name!r} would both keep their best adapter in "
                        f"{self.best_adapter!r}; give one another best_adapter, or null"
                    )
        super().setup(trainer, pl_module, stage)

    # what

    def read_tasks(self, trainer: Trainer) -> Sequence[EvaluationTask]:
        tasks, bad = longbench_tasks(
            self.data,
            self.task_names,
            limit=self.limit,
            seed=self.seed,
            official=self.official,
            max_prompt_tokens=self.max_prompt_tokens,
            presence_penalty=self.presence_penalty,
        )
        self.tell_bad_rows(trainer, bad)
        return tasks

    def tell_bad_rows(self, trainer: Trainer, bad: Sequence[BadRow]) -> None:
        """Report rows that are left out, on stderr of rank 0."""
        if bad and trainer.is_global_zero:
            print(f"evaluation: {len(bad)} bad rows skipped in {self.data}:", file=sys.stderr)
            for row in bad[:10]:
                print(f"  {row}", file=sys.stderr)

    def folder(self, trainer: Trainer, name: str) -> Path:
        return Path(trainer.default_root_dir) / "evaluations" / name / self.name

    def keep(self, trainer: Trainer, result: EvaluationResult, entry: dict[str, Any], folder: Path) -> dict[str, float]:
        result.save(folder / "result.json")
        run = Path(trainer.default_root_dir)
        entry["folder"] = folder.relative_to(run).as_posix()
        summary = {**result.summary(), "score": result.score, **self._against_first(run, result, folder)}
        scores = {f"eval/{self.name}/{key}": float(value) for key, value in summary.items()}
        self._keep_best(trainer, {**entry, **scores})
        return scores

    def _against_first(self, run: Path, result: EvaluationResult, folder: Path) -> dict[str, float]:
        """The paired test against the first evaluation, in points of 0..100."""
        if not self.history:
            return {}
        try:
            tests = compare(EvaluationResult.load(run / self.history[0]["folder"] / "result.json"), result)
        except LongMabError as error:  # a resumed run with other tasks, or files that were moved away
            log.warning("no test against the first evaluation: %s", error)
            return {}
        by_task = {name: asdict(test) for name, test in tests.items()}
        (folder / "against_first.json").write_text(json.dumps(by_task, indent=1) + "\n", encoding="utf-8")
        return {"difference": tests["macro"].difference, "p_value": tests["macro"].p_value}

    def _keep_best(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        trained = [past[self.score_key] for past in self.history if past["step"] > 0]
        if self.best_adapter is None or entry["step"] == 0 or entry[self.score_key] <= max(trained, default=-1.0):
            return
        folder = Path(trainer.default_root_dir) / self.best_adapter
        trainer.datamodule.policy.save_adapter(folder)  # type: ignore[attr-defined]
        first = self.history[0] if self.history else entry
        best = {
            "score": entry[self.score_key],
            "monitor": self.score_key,
            **{key: entry[key] for key in ("when", "round", "step")},
            "evaluation": entry["folder"],
            "first": {"when": first["when"], "score": first[self.score_key]},
        }
        unfinished = folder / "best.json.partial"
        unfinished.write_text(json.dumps(best, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, folder / "best.json")

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.history:
            return
        run = Path(trainer.default_root_dir)
        try:
            results = [
                replace(EvaluationResult.load(run / folder / "result.json"), model=when)
                for folder, when in self.first_and_last().items()
            ]
        except LongMabError as error:
            log.warning("no closing table: %s", error)
            return
        console = wide_console()
        console.print()
        console.print(results_table(results))
        for line in notes(results[-1]):
            console.print(line, markup=False, soft_wrap=True)
        if self.best_adapter is not None and (run / self.best_adapter / "best.json").is_file():
            console.print(f"best       {run / self.best_adapter}", markup=False, soft_wrap=True)
