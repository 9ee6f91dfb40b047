"""Evaluation by question answering, on the engine that the rollouts use, with the current adapter."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning import Trainer

from longmab_pl.callbacks.engine_evaluation import EngineEvaluation
from longmab_pl.data.readers import read_records
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import PromptFormat


class QAEvaluation(EngineEvaluation):
    """Asks every question over its whole context, greedily, and logs EM, F1 and SubEM (0..100) as `eval/<metric>`.

    Paper: LongMab-PO, section 4.1 (reason, then answer; scores on the extracted answer, 0 where none is found).

    Args:
        data: records as for training (`shipped:synthetic_eval`, a JSONL file, a Hugging Face dataset).
        name: names the files and metrics: `eval/<metric>`, or `eval/<name>/<metric>` if given.
        limit: use only this many records.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        prompt_format: the prompt format; None is the rollout's own.
        sampling: greedy by default, with the authors' presence penalty.
        max_context_tokens: longer contexts are cut in the middle; None: only the engine's limit cuts.
        before_training: evaluate the policy once before the first round.
        every_n_rounds: evaluate after every so many rounds, and after the last one.
    """

    def __init__(
        self,
        data: str = "shipped:synthetic_eval",
        name: str | None = None,
        limit: int | None = None,
        on_bad_record: Literal["error", "skip"] = "error",
        prompt_format: PromptFormat | None = None,
        sampling: Sampling | None = None,
        max_context_tokens: int | None = None,
        before_training: bool = True,
        every_n_rounds: int = 1,
    ) -> None:
        super().__init__(before_training, every_n_rounds, at_end=True)
        self.data = data
        self.name = name
        self.limit = limit
        self.on_bad_record = on_bad_record
        self.prompt_format = prompt_format
        self.sampling = sampling or Sampling(temperature=0.0, top_p=1.0, presence_penalty=1.0, max_tokens=1024)
        self.max_context_tokens = max_context_tokens

    @property
    def state_key(self) -> str:
        return self._generate_state_key(data=self.data, name=self.name)

    def read_tasks(self, trainer: Trainer) -> Sequence[EvaluationTask]:
        found = read_records(self.data, on_bad_record=self.on_bad_record, limit=self.limit)
        if found.bad and trainer.is_global_zero:
            print(f"evaluation: {found.skipped()}", file=sys.stderr)
        return [
            QATask(
                name=self.name or "qa",
                records=found.records,
                protocol=self.prompt_format or trainer.datamodule.prompt_format,  # type: ignore[attr-defined]
                sampling=self.sampling,
                max_context_tokens=self.max_context_tokens,
            )
        ]

    def folder(self, trainer: Trainer, name: str) -> Path:
        return Path(trainer.default_root_dir) / "evaluations" / name

    def keep(self, trainer: Trainer, result: EvaluationResult, entry: dict[str, Any], folder: Path) -> dict[str, float]:
        (task,) = result.tasks.values()
        (folder / f"{task.name}.result.json").write_text(json.dumps(result.to_json()), encoding="utf-8")
        prefix = f"eval/{self.name}" if self.name else "eval"
        return {f"{prefix}/{key}": float(value) for key, value in task.summary().items()}
