"""RULER as a suite: scores by length, and the effective length of a model's context."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longmab_pl.checks import at_least, between
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.asking import THINKING_TOKENS, Asking
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.ruler.curve import curve_table, draw_curves, draw_task_maps, length_scores
from longmab_pl.evaluation.ruler.example import Example
from longmab_pl.evaluation.ruler.question_files import hotpot_file, shipped_questions, squad_file
from longmab_pl.evaluation.ruler.scoring import THRESHOLD, effective_length, weighted_averages
from longmab_pl.evaluation.ruler.task import RULERRecord, RULERTask
from longmab_pl.evaluation.ruler.tasks import NEW_TOKENS, TASKS, Budget, Material, examples
from longmab_pl.evaluation.ruler.texts import essay_of, own_essay
from longmab_pl.evaluation.ruler.wording import Wording, wording_of
from longmab_pl.evaluation.suite import Picture, Suite, SuiteContext
from longmab_pl.evaluation.tables import results_table
from longmab_pl.evaluation.task import EvaluationTask

if TYPE_CHECKING:
    from rich.table import Table

_MANY_TOKENS = 2_000_000
_OWN_ESSAY = 200_000  # words; longer haystacks repeat it


class RULERSuite(Suite):
    """RULER (arXiv 2404.06654): thirteen generated tasks at every length, counted in the model's own tokens.

    A score is the share of references that the answer contains (QA: whether it contains any). Scores of the suite:
    `score` (mean over tasks and lengths), `length-<tokens>` (mean over tasks), `effective` (the largest length above
    `threshold`; 0 if none), `average_increasing` and `average_decreasing` (weighted by the rank of the length). The
    pictures are `curve`, the score by length, and `tasks`, a heat map by task and length.

    Args:
        lengths: tokens of prompt and answer; those that the model does not take are reported and left out.
        tasks: names of tasks; None: all thirteen.
        samples: examples for each task and length (official: 500).
        squad: file for `qa_1` in SQuAD 2.0's format; None: the shipped questions of one step.
        hotpot: file for `qa_2` in HotpotQA's distractor format; None: the shipped questions of two steps.
        essay: text file in which needles are hidden; None: a generated text.
        wording: JSON file with the instructions of `niah`, `vt`, `cwe`, `fwe` and `qa`, and the lists `keys`, `common`
            and `many`, to ask in the official words (`longmab_pl.evaluation.ruler.wording`); None: our own.
        threshold: score that counts as effective, in percent.
        official_sizes: find the size of haystacks as the original does, which leaves short lengths partly empty.
        answer_prefix: start the answer for the model, as official; None: unless it is to think (`enable_thinking`).
        new_tokens: longest answer; None: the official limits (30 to 128), 4,096 if it is to think.
        asking: chat template and thinking mode.
        seed: random seed of all texts.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(RULERSuite(lengths=[4096, 8192, 16384], samples=20))
    """

    def __init__(
        self,
        lengths: Sequence[int] = (4096, 8192, 16384, 32768),
        tasks: Sequence[str] | None = None,
        samples: int = 20,
        squad: str | None = None,
        hotpot: str | None = None,
        essay: str | None = None,
        wording: str | None = None,
        threshold: float = THRESHOLD,
        official_sizes: bool = False,
        answer_prefix: bool | None = None,
        new_tokens: int | None = None,
        asking: Asking | None = None,
        seed: int = 42,
        name: str = "ruler",
    ) -> None:
        at_least("RULERSuite.samples", samples, 1)
        at_least("RULERSuite.new_tokens", new_tokens, 1, or_null=True)
        between("RULERSuite.threshold", threshold, 0, 100)
        if not lengths or len(set(lengths)) < len(lengths):
            raise ConfigError(f"RULERSuite.lengths is {list(lengths)}; give at least one length, each once")
        for length in lengths:
            at_least("RULERSuite.lengths", length, 128)
        unknown = sorted(set(tasks or ()) - set(TASKS))
        if unknown or (tasks is not None and not tasks):
            raise ConfigError(f"RULERSuite.tasks has {unknown or 'no task'}; tasks are {', '.join(TASKS)}")
        self.lengths = sorted(lengths)
        self.task_names = list(TASKS if tasks is None else tasks)
        self.samples = samples
        self.squad = squad
        self.hotpot = hotpot
        self.essay = essay
        self.wording = Wording() if wording is None else wording_of(wording)
        self.threshold = threshold
        self.official_sizes = official_sizes
        self.asking = asking or Asking()
        thinks = bool(self.asking.enable_thinking)
        if thinks and answer_prefix:
            raise ConfigError("RULERSuite.answer_prefix leaves no place to think; turn it or enable_thinking off")
        self.answer_prefix = not thinks if answer_prefix is None else answer_prefix
        self.new_tokens = new_tokens or (THINKING_TOKENS if thinks else None)
        self.seed = seed
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        lengths = self._lengths(context)
        count = self.samples * len(self.task_names)
        tokens = count * sum(lengths)
        if tokens > _MANY_TOKENS:
            context.note(
                f"RULER: making {count * len(lengths):,} examples of {tokens:,} tokens in all; it takes minutes"
            )
        material = self._material()
        found = []
        for name in self.task_names:
            records = self._records(name, lengths, tokenizer, material, context)
            if records:
                new_tokens = self.new_tokens or NEW_TOKENS[name]
                found.append(RULERTask(name, records, self.asking, self.answer_prefix, new_tokens))
        if not found:
            raise ConfigError(f"RULERSuite.lengths is {self.lengths}: no task has room there; use longer ones")
        return found

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        curve = length_scores(result)
        increasing, decreasing = weighted_averages(curve)
        return {
            "score": Score(result.score, *result.score_interval()),
            **{f"length-{length}": Score(score) for length, score in curve.items()},
            "effective": Score(effective_length(curve, self.threshold) or 0),
            "average_increasing": Score(increasing),
            "average_decreasing": Score(decreasing),
        }

    def tables(self, results: Sequence[EvaluationResult]) -> list[Table]:
        curves = [curve_table(result, self.threshold) for result in results]
        return curves if len(results) == 1 else [*curves, results_table(results)]

    def figures(self, results: Sequence[EvaluationResult]) -> list[Picture]:
        curves = {result.model: length_scores(result) for result in results}
        numbers = {"lengths": {str(length): score for length, score in length_scores(results[-1]).items()}}
        return [
            Picture("curve", draw_curves(curves, self.threshold), numbers),
            Picture("tasks", draw_task_maps(results)),
        ]

    def _material(self) -> Material:
        questions = {}
        if "qa_1" in self.task_names:
            questions["qa_1"] = shipped_questions(hops=1) if self.squad is None else squad_file(self.squad)
        if "qa_2" in self.task_names:
            questions["qa_2"] = shipped_questions(hops=2) if self.hotpot is None else hotpot_file(self.hotpot)
        words = min(_OWN_ESSAY, max(self.lengths))
        essay = own_essay(words) if self.essay is None else essay_of(self.essay)
        return Material(essay, questions, self.wording)

    def _lengths(self, context: SuiteContext) -> list[int]:
        """Return the lengths that the model takes. Raises `ConfigError` if it takes none of them."""
        longest = context.max_model_len
        if longest is None:
            return self.lengths
        fitting = [length for length in self.lengths if length <= longest]
        if not fitting:
            raise ConfigError(
                f"RULERSuite.lengths is {self.lengths} and the model takes {longest} tokens; use shorter ones, or "
                "raise the engine's max_model_len"
            )
        left_out = [length for length in self.lengths if length > longest]
        if left_out:
            context.note(f"RULER: the model takes {longest} tokens, so {left_out} are left out")
        return fitting

    def _records(
        self, name: str, lengths: Sequence[int], tokenizer: Any, material: Material, context: SuiteContext
    ) -> list[RULERRecord]:
        counted: dict[str, array[int]] = {}

        def count(example: Example) -> int:
            ids = self.asking.ids(tokenizer, example.text, example.prefix if self.answer_prefix else "")
            counted[example.text] = array("i", ids)
            return len(ids)

        records = []
        for length in lengths:
            counted.clear()
            budget = Budget(length, self.new_tokens or NEW_TOKENS[name], count, self.official_sizes)
            try:
                made = examples(name, budget, self.samples, material, self.seed)
            except ConfigError as error:
                context.note(f"RULER {name} is left out at {length} tokens: {error}")
                continue
            records += [
                RULERRecord(
                    f"{length}-{i}",
                    example.prefix,
                    example.answers,
                    example.text,
                    length,
                    tokens,
                    counted.get(example.text, array("i")),
                )
                for i, (example, tokens) in enumerate(made)
            ]
        return records
