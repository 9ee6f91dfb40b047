"""The needle-in-a-haystack probe as a suite: accuracy by length and depth of a long text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.needle.heat_map import NeedleMap, draw_needle_maps, needle_map, needle_table
from longmab_pl.evaluation.needle.task import NeedleSettings, needle_task
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Picture, Suite, SuiteContext
from longmab_pl.evaluation.tables import results_table
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.evaluation.thinking import with_thinking
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat

if TYPE_CHECKING:
    from rich.table import Table


class NeedleSuite(Suite):
    """Needle in a haystack: invented facts in invented texts, by length and depth.

    Scores: `accuracy` (0..100), `spread` (best depth less worst: 0 for a model that reads all positions
    equally well), and the means `length-<tokens>` and `depth-<percent>`. The picture `map` is the heat map.

    Args:
        needle: lengths, depths and number of needles.
        prompt_format: prompt format of a haystack; None is `DirectAnswer`.
            With another one raise `needle.max_new_tokens`.
        enable_thinking: reasoning of thinking models (Qwen3) on or off; None: the template's default. It is cut off
            before scoring.
        score_reasoning: look for the number in the reasoning too.
        name: name in metrics, task and the folder of the predictions.

    Example:
        >>> suite = NeedleSuite(NeedleSettings(lengths=[1024, 8192]))
        >>> evaluation = Evaluation(suite, EvaluationSchedule(every_n_rounds=None))
    """

    def __init__(
        self,
        needle: NeedleSettings | None = None,
        prompt_format: PromptFormat | None = None,
        enable_thinking: bool | None = None,
        name: str = "needle",
        score_reasoning: bool = False,
    ) -> None:
        self.needle = needle or NeedleSettings()
        self.prompt_format = with_thinking(prompt_format or DirectAnswer(), enable_thinking)
        self._name = name
        self.score_reasoning = score_reasoning

    @property
    def name(self) -> str:
        return self._name

    @property
    def headline(self) -> str:
        return "accuracy"

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        longest = context.max_model_len
        if longest is not None and min(self.needle.lengths) > longest:
            raise ConfigError(
                f"needle.lengths is {list(self.needle.lengths)} and the model takes {longest} tokens; use shorter "
                "ones, or raise the engine's max_model_len"
            )
        task = needle_task(self.needle, tokenizer, self.prompt_format)
        return [replace(task, name=self.name, score_reasoning=self.score_reasoning)]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task, found = result.tasks[self.name], self._map(result)
        means = {f"length-{n}": mean for n, mean in zip(found.lengths, found.by_length(), strict=True)}
        means |= {f"depth-{d:g}": mean for d, mean in zip(found.depths, found.by_depth(), strict=True)}
        known = {name: Score(mean) for name, mean in means.items() if mean is not None}
        return {"accuracy": Score(task.score, *task.intervals[task.metric]), "spread": Score(found.spread()), **known}

    def tables(self, results: Sequence[EvaluationResult]) -> list[Table]:
        return [results_table(results), needle_table(self._maps(results))]

    def figures(self, results: Sequence[EvaluationResult]) -> list[Picture]:
        maps = self._maps(results)
        return [Picture("map", draw_needle_maps(maps), self._map(results[-1]).to_json())]

    def _maps(self, results: Sequence[EvaluationResult]) -> dict[str, NeedleMap]:
        return {result.model: self._map(result) for result in results}

    def _map(self, result: EvaluationResult) -> NeedleMap:
        return needle_map(self.needle, result.tasks[self.name])
