"""NoLiMa as a suite: needles that share no words with their question, in windows of books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from longmab_pl.checks import at_least, one_of
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import json_rows, sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.group_scores import group_scores
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.nolima.needles import CHARACTER, NeedleTest, depths, expanded
from longmab_pl.evaluation.nolima.placement import Book, distractor_depth
from longmab_pl.evaluation.nolima.scoring import METRICS, base_score, effective_length
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask

NEEDLES = "a file of needlesets/ of the Hub data set amodaresi/NoLiMa (needle_set.json, ...)"
BOOKS = "haystack/rand_shuffle of the Hub data set amodaresi/NoLiMa (rand_book_1.txt, ...)"

TEMPLATE = """This is a part of a book.

{haystack}

Answer the question from this part of the book: in a few words, from what it states or what follows from that.

Question: {question}

Give only the answer, no reasoning."""
"""Prompt template in our own words; an entry's own template has precedence."""

SYSTEM = "You are a helpful assistant."


class NoLiMaSuite(Suite):
    """NoLiMa (arXiv 2502.05167): needles that share no words with their question, in windows of open books.

    Scores: `score` (mean over items), `length-<tokens>`, `base` (mean over needles of their best mean at 250, 500 and
    1,000 tokens, where these are asked) and `effective` (the largest length that reaches 0.85 of it; 0 if none).
    A length counts tokens of the book; needle, template and chat markup are extra, as officially. The data may be
    used for research that is not commercial (Adobe Research License); nothing of it is shipped.

    Args:
        needles: a file of needlesets/.
        books: folder with the books.
        order: file names of the books in their order, which decides the drawn names (officially that of the file
            system); None: sorted.
        lengths: tokens of the book.
        depths: places of the needle over the whole window (official: 26).
        metric: `contains`, `EM`, `lastline_contains` or `lastline_EM`.
        limit: at most this many items for each length, the same random sample every time.
        seed: random seed of the sample.
        template: template with `{haystack}` and `{question}`; None: our own wording.
        new_tokens: longest answer; None: the official 192, for a model that is to think 1,536.
        asking: chat template and thinking mode; without a system turn of its own it has the short official one.
        name: name in metrics, task and the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(NoLiMaSuite("needle_set.json", "rand_shuffle", lengths=[1000, 4000], limit=200))
    """

    def __init__(
        self,
        needles: str,
        books: str,
        order: Sequence[str] | None = None,
        lengths: Sequence[int] = (250, 500, 1000, 2000, 4000, 8000),
        depths: int = 26,
        metric: str = "contains",
        limit: int | None = None,
        seed: int = 0,
        template: str | None = None,
        new_tokens: int | None = None,
        asking: Asking | None = None,
        name: str = "nolima",
    ) -> None:
        at_least("NoLiMaSuite.depths", depths, 2)
        at_least("NoLiMaSuite.limit", limit, 1, or_null=True)
        at_least("NoLiMaSuite.new_tokens", new_tokens, 1, or_null=True)
        for length in lengths:
            at_least("NoLiMaSuite.lengths", length, 10)
        one_of("NoLiMaSuite.metric", metric, METRICS, f"use one of {', '.join(METRICS)}")
        self.needles = needles
        self.books = books
        self.order = order
        self.lengths = sorted(lengths)
        self.depths = depths
        self.metric = metric
        self.limit = limit
        self.seed = seed
        self.template = template or TEMPLATE
        self.asking = replace(asking or Asking(), system=asking.system if asking and asking.system else SYSTEM)
        self.new_tokens = new_tokens or (1536 if self.asking.enable_thinking else 192)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        paths = sorted(Path(self.books).glob("*.txt"))
        if self.order is not None:
            if sorted(self.order) != [path.name for path in paths]:
                raise ConfigError(
                    f"NoLiMaSuite.order is {list(self.order)}; it must name each book of {self.books} once: "
                    f"{', '.join(path.name for path in paths)}"
                )
            paths = [Path(self.books) / name for name in self.order]
        if not paths:
            raise DataError(f"{self.books} holds no .txt file; NoLiMa wants the folder {BOOKS}")
        entries = [row.values for row in json_rows(self.needles, NEEDLES)]
        try:
            tests = expanded(entries, len(paths))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self.needles} is no needle set ({error!r:.200}); it must be {NEEDLES}") from error
        chosen = {length: set(sample(self._ids(tests, length), self.limit, self.seed)) for length in self.lengths}
        items: list[BenchmarkItem] = []
        for number, path in enumerate(paths):
            book = book_of(path, tokenizer)
            for test in tests:
                if test.book == number:
                    items += self._items(test, book, chosen)
        return [
            PromptedTask(
                name=self.name,
                records=items,
                fill=_fill,
                scorer=partial(_score, self.metric),
                asking=self.asking,
                sampling=Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=self.new_tokens),
                prompt_tokens=None,
                template=self.template,
            )
        ]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task = result.tasks[self.name]
        groups = {name: score for name, score in group_scores(result).items() if name.startswith("length-")}
        by_length = {int(name.removeprefix("length-")): score.value for name, score in groups.items()}
        found = {"score": Score(task.score, *task.intervals[task.metric]), **groups}
        pairs = self._pairs(result)
        if pairs:
            base = 100 * base_score(pairs)
            found |= {"base": Score(base), "effective": Score(effective_length(by_length, base) or 0)}
        return found

    def _pairs(self, result: EvaluationResult) -> dict[str, dict[int, float]]:
        """Return the mean score of each needle by base length; empty unless every needle has one."""
        scores: dict[str, dict[int, list[float]]] = {}
        for item in result.tasks[self.name].items:
            length, needle, _, _ = item.id.split("/")
            scores.setdefault(needle, {}).setdefault(int(length), []).append(item.scores["score"])
        means = {needle: {n: sum(s) / len(s) for n, s in lengths.items()} for needle, lengths in scores.items()}
        short = {
            needle: {n: mean for n, mean in lengths.items() if n in (250, 500, 1000)}
            for needle, lengths in means.items()
        }
        return short if all(short.values()) else {}

    def _ids(self, tests: Sequence[NeedleTest], length: int) -> list[str]:
        return [item_id(length, test, place) for test in tests for place in range(self.depths)]

    def _items(self, test: NeedleTest, book: Book, chosen: dict[int, set[str]]) -> list[BenchmarkItem]:
        made = []
        for length in self.lengths:
            random = np.random.RandomState(test.seed)
            for place, percent in enumerate(depths(self.depths)):
                # Drawn for items that are left out too, so that a sample has the names of the whole.
                depth, golds, needle, other = percent / 100, test.golds, test.needle, None
                if CHARACTER in test.needle:
                    golds = (str(random.choice(np.array(test.characters))),)
                    needle = test.needle.replace(CHARACTER, golds[0])
                if test.distractor is not None:
                    other = distractor_depth(length, depth, random)
                name = item_id(length, test, place)
                if name not in chosen[length]:
                    continue
                if test.distractor is None or other is None:
                    placed = book.place(needle, length, depth)
                else:
                    placed = book.place_with_distractor(needle, test.distractor, length, depth, other)
                text = (test.template or self.template).format(haystack=placed.text, question=test.question)
                made.append(BenchmarkItem(name, test.question, golds, text, groups={"length": str(length)}))
        return made


def item_id(length: int, test: NeedleTest, place: int) -> str:
    """Return an item's id: length, needle, book and place, slashes between."""
    return f"{length}/{test.name}/{test.book}/{place}"


def book_of(path: Path, tokenizer: Any) -> Book:
    """Return a book in a tokenizer's tokens. Raises `DataError` if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); NoLiMa wants the folder {BOOKS}") from error
    return Book(text, lambda given: tokenizer.encode(given, add_special_tokens=False), tokenizer.decode)


def _fill(item: BenchmarkItem) -> str:
    return item.context


def _score(metric: str, answer: str, golds: Sequence[str]) -> ItemScores:
    return ItemScores({"score": METRICS[metric](answer, golds)}, bool(answer.strip()))
