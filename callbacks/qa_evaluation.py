"""Evaluation by question answering, on the engine that the rollouts use, with the current adapter."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from longmab_pl.data.readers import read_records
from longmab_pl.engine.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.rollout.reading import ReadingProtocol


class QAEvaluation(Callback):
    """Asks every question over its whole context, greedily, and logs EM, F1 and SubEM (0..100) as `eval/<metric>`.

    Paper: LongMab-PO, section 4.1 (reason, then answer; scores on the extracted answer, 0 where none is found).

    Args:
        data: records as for training (`shipped:synthetic_eval`, a JSONL file, a Hugging Face dataset).
        name: names the files and metrics: `eval/<metric>`, or `eval/<name>/<metric>` if given.
        limit: use only this many records.
        on_bad_record: `error` refuses a file with bad records, `skip` reports and skips them.
        reading: the reading protocol; None is the rollout's own.
        sampling: greedy by default, with the authors' presence penalty.
        max_context_tokens: longer contexts are cut in the middle; None: only the engine's limit cuts.
        before_training: evaluate the policy once before the first round.
        every_n_rounds: evaluate after every so many rounds.
    """

    def __init__(
        self,
        data: str = "shipped:synthetic_eval",
        name: str | None = None,
        limit: int | None = None,
        on_bad_record: Literal["error", "skip"] = "error",
        reading: ReadingProtocol | None = None,
        sampling: Sampling | None = None,
        max_context_tokens: int | None = None,
        before_training: bool = True,
        every_n_rounds: int = 1,
    ) -> None:
        if every_n_rounds < 1:
            raise ConfigError(f"QAEvaluation.every_n_rounds is {every_n_rounds}; it must be at least 1")
        self.data = data
        self.name = name
        self.limit = limit
        self.on_bad_record = on_bad_record
        self.reading = reading
        self.sampling = sampling or Sampling(temperature=0.0, top_p=1.0, presence_penalty=1.0, max_tokens=1024)
        self.max_context_tokens = max_context_tokens
        self.before_training = before_training
        self.every_n_rounds = every_n_rounds
        self.history: list[dict[str, Any]] = []
        self._task: QATask | None = None

    @property
    def state_key(self) -> str:
        return self._generate_state_key(data=self.data, name=self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or self._task is not None:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        found = read_records(self.data, on_bad_record=self.on_bad_record, limit=self.limit)
        if found.bad and trainer.is_global_zero:
            print(f"evaluation: {len(found.bad)} bad records skipped in {self.data}:", file=sys.stderr)
            for bad in found.bad[:10]:
                print(f"  {bad}", file=sys.stderr)
        self._task = QATask(
            name=self.name or "qa",
            records=found.records,
            protocol=self.reading or data.reading,
            sampling=self.sampling,
            max_context_tokens=self.max_context_tokens,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.before_training and not self.history:
            self._evaluate(trainer, "before training", 0, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        rounds, rest = divmod(data.epochs_done, data.epochs_per_round)
        if rest == 0 and (rounds % self.every_n_rounds == 0 or rounds == data.rounds):
            scores = self._evaluate(trainer, f"after round {rounds}", rounds, trainer.global_step)
            # Also through Lightning's own log, so that a checkpoint can be chosen by it.
            pl_module.log_dict(scores, on_step=False, on_epoch=True, logger=False)

    def _evaluate(self, trainer: Trainer, when: str, rounds: int, step: int) -> dict[str, float]:
        assert self._task is not None
        data = trainer.datamodule  # type: ignore[attr-defined]
        scores: dict[str, float] = {}
        folder = Path(trainer.default_root_dir) / "evaluations" / f"after-round-{rounds}"
        if trainer.is_global_zero:
            policy = data.policy
            with data.served.awake(policy, data.policy_version()) as engine:
                label = f"{policy.model} + {policy.adapter_digest()}"
                result = evaluate(
                    self._task,
                    engine,
                    data.tokenizer,
                    model=label,
                    predictions=folder,
                    overwrite=True,
                    desc=f"evaluation {when}",
                )
            (folder / f"{self._task.name}.result.json").write_text(json.dumps(result.to_json()), encoding="utf-8")
            prefix = f"eval/{self.name}" if self.name else "eval"
            scores = {f"{prefix}/{k}": float(v) for k, v in result.tasks[self._task.name].summary().items()}
            for logger in trainer.loggers:
                logger.log_metrics(scores, step=step)
        scores = trainer.strategy.broadcast(scores)
        self.history.append({"when": when, "round": rounds, "step": step, **scores})
        return scores
