"""Needle in a haystack inside training: how far, and how evenly, the policy reads a long text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from longmab_pl.callbacks.engine_evaluation import EngineEvaluation, log
from longmab_pl.errors import LongMabError
from longmab_pl.evaluation.needle.heat_map import (
    NeedleMap,
    draw_needle_maps,
    needle_map,
    needle_table,
    write_needle_map,
)
from longmab_pl.evaluation.needle.task import NeedleSettings, NeedleTask, needle_task
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.reporting.console import wide_console


class NeedleProbe(EngineEvaluation):
    """Hides invented facts in invented texts, by length and depth, and asks for them with the current adapter.

    Logs `eval/<name>/accuracy` (0..100), `eval/<name>/length-<tokens>` and `eval/<name>/depth-<percent>` (the means),
    and `eval/<name>/spread` (best depth less worst: 0 for a policy that reads all positions alike); to TensorBoard also
    the heat map. Predictions, `result.json`, `needle_map.json` and `needle_map.png` lie in
    `<run>/evaluations/<after-round-N or step-N>/<name>/`; at the end `<run>/<name>.png` sets the last beside the first.

    Args:
        needle: lengths, depths and how many.
        prompt_format: how a haystack is read; None is `DirectAnswer`. With another one raise
            `needle.max_new_tokens`.
        name: names metrics and folders; give each such callback of a run its own.
        before_training: probe once before the first round.
        every_n_rounds: probe after every so many rounds; None: not by rounds.
        every_n_steps: probe also within a round, after every so many optimizer steps; None: not by steps.
        at_end: probe the policy that training ends with, wherever it ends.

    Raises:
        ConfigError: a setting is out of range, or the settings never evaluate.
    """

    def __init__(
        self,
        needle: NeedleSettings | None = None,
        prompt_format: PromptFormat | None = None,
        name: str = "needle",
        before_training: bool = True,
        every_n_rounds: int | None = 1,
        every_n_steps: int | None = None,
        at_end: bool = True,
    ) -> None:
        super().__init__(before_training, every_n_rounds, at_end, every_n_steps)
        self.needle = needle or NeedleSettings()
        self.prompt_format = prompt_format
        self.name = name

    @property
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name)

    def read_tasks(self, trainer: Trainer) -> Sequence[EvaluationTask]:
        return [needle_task(self.needle, trainer.datamodule.tokenizer, self.prompt_format)]  # type: ignore[attr-defined]

    def folder(self, trainer: Trainer, name: str) -> Path:
        return Path(trainer.default_root_dir) / "evaluations" / name / self.name

    def keep(self, trainer: Trainer, result: EvaluationResult, entry: dict[str, Any], folder: Path) -> dict[str, float]:
        result.save(folder / "result.json")
        entry["folder"] = folder.relative_to(trainer.default_root_dir).as_posix()
        (task,) = self.tasks
        assert isinstance(task, NeedleTask)
        found = needle_map(task.records, result.tasks[task.name])
        write_needle_map(folder, entry["when"], found)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                figure = draw_needle_maps({entry["when"]: found})
                logger.experiment.add_figure(f"eval/{self.name}", figure, trainer.global_step)
        means = {f"length-{n}": mean for n, mean in zip(found.lengths, found.by_length(), strict=True)}
        means |= {f"depth-{d:g}": mean for d, mean in zip(found.depths, found.by_depth(), strict=True)}
        scores = {"accuracy": result.tasks[task.name].score, "spread": found.spread(), **means}
        return {f"eval/{self.name}/{key}": float(value) for key, value in scores.items() if value is not None}

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.history:
            return
        run = Path(trainer.default_root_dir)
        try:
            maps = {
                when: NeedleMap.load(run / folder / "needle_map.json") for folder, when in self.first_and_last().items()
            }
        except LongMabError as error:
            log.warning("no closing needle map: %s", error)
            return
        picture = run / f"{self.name}.png"
        draw_needle_maps(maps).savefig(picture, dpi=150)
        console = wide_console()
        console.print()
        console.print(needle_table(maps))
        console.print(f"needle map {picture}", markup=False, soft_wrap=True)
