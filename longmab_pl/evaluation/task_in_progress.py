"""A task of a running evaluation: what is finished of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from longmab_pl.data.records import QARecord
from longmab_pl.evaluation.metric import RecordMetric
from longmab_pl.evaluation.predictions import Prediction, PredictionFile, record_digest
from longmab_pl.evaluation.results import ItemResult
from longmab_pl.evaluation.task import EvaluationTask


@dataclass
class TaskInProgress:
    """A task in progress: its finished records, by position in the task's records."""

    task: EvaluationTask
    metric: RecordMetric
    file: PredictionFile | None = None
    items: dict[int, ItemResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def resume(self) -> None:
        assert self.file is not None
        for position, record in enumerate(self.task.records):
            known = self.file.finished.get((record.id, record_digest(record)))
            if known is not None:
                self.finish(position, record, known)

    def finish(self, position: int, record: QARecord, prediction: Prediction) -> dict[str, float]:
        # Scores are computed again from a prediction on disk, never read back: the metric is their only source.
        gold = self.task.gold(record)
        self.metric.update([prediction.text], [gold["answers"]], [gold.get("all_classes")])
        (scored,) = self.metric.scored
        if not scored.counted:
            self.skipped[record.id] = f"record {record.id!r} of task {self.task.name!r}: empty answer, left out"
            return dict(scored.scores)
        self.items[position] = ItemResult(
            id=record.id,
            scores=dict(scored.scores),
            well_formed=scored.well_formed,
            truncated=prediction.finish_reason == "length",
            cut=prediction.cut,
            prompt_tokens=prediction.prompt_tokens,
            completion_tokens=prediction.completion_tokens,
            reasoned=scored.reasoned,
        )
        return dict(scored.scores)

    def unfinished(self) -> list[int]:
        """Return the positions of the records that are neither scored nor skipped."""
        return [
            position
            for position, record in enumerate(self.task.records)
            if position not in self.items and record.id not in self.skipped
        ]

    def running_score(self) -> float:
        """Return the mean of the main metric so far in this process, in 0..100."""
        return self.metric.means()[self.metric.names[0]]
