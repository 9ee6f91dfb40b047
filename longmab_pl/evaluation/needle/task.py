"""Needle in a haystack: whether a model finds a fact at any length of a text and at any place in it.

The probe of Kamradt (2023) with invented needles and an invented, endless haystack; rivals of the needle as in RULER's
multi-key task (arXiv 2404.06654). A model that reads the ends better than the middle ("lost in the middle", arXiv
2307.03172) shows as a valley across the depths.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from longmab_pl.checks import at_least, between
from longmab_pl.data.records import QARecord
from longmab_pl.data.synthetic_world import Names, World
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.ruler.texts import Essay, essay_of
from longmab_pl.evaluation.task import Prompt
from longmab_pl.evaluation.thinking import WithoutReasoning
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat
from longmab_pl.shown import quoted

# {name} is invented, {value} a number of five digits; no sentence of the haystack has either.
NEEDLES = (
    ("The access code of the vault in {name} is {value}.", "What is the access code of the vault in {name}?"),
    ("The telephone number of {name} castle is {value}.", "What is the telephone number of {name} castle?"),
    ("The bell of {name} was cast in {value} hours.", "In how many hours was the bell of {name} cast?"),
    ("The oldest ship of {name} carries the number {value}.", "Which number does the oldest ship of {name} carry?"),
)  # fmt: skip
"""Sentences to hide, each with its question."""


_THOUSANDS = re.compile(r"(?<=\d)[ ,](?=\d{3}(?!\d))")  # 12,345 and 12 345


@dataclass(frozen=True)
class NeedleSettings:
    """Settings of the haystacks. The same settings and tokenizer give the same prompts everywhere.

    Args:
        lengths: tokens of a whole prompt with its answer, so the model's own limit can be among them; longer ones than
            the engine takes are reported and left out.
        depths: places of the needle, in percent of the haystack: 0 is its beginning, 100 its end.
        needles: needles for every length and depth, each in a haystack of its own.
        rivals: further needles of the same form in each haystack, about other names; more of them are harder.
        max_new_tokens: longest answer in tokens.
        seed: random seed of names, numbers and haystacks.
        essay: text file whose sentences are the haystacks, repeated as often as needed; None: generated text about an
            invented world.

    Raises:
        ConfigError: a value out of range, or a length or depth given twice.
    """

    lengths: list[int] = field(default_factory=lambda: [512, 1024, 2048, 4096])
    depths: list[float] = field(default_factory=lambda: [0, 25, 50, 75, 100])
    needles: int = 8
    rivals: int = 0
    max_new_tokens: int = 32
    seed: int = 0
    essay: str | None = None

    def __post_init__(self) -> None:
        for name, values in (("lengths", self.lengths), ("depths", self.depths)):
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"needle.{name} is {list(values)}; give at least one, each once")
        for length in self.lengths:
            at_least("needle.lengths", length, 1, "give numbers of tokens")
        for depth in self.depths:
            between("needle.depths", depth, 0, 100, "a depth is in percent, from 0 to 100")
        at_least("needle.needles", self.needles, 1)
        at_least("needle.rivals", self.rivals, 0)
        at_least("needle.max_new_tokens", self.max_new_tokens, 1)


@dataclass(frozen=True)
class NeedleRecord(QARecord):
    """A haystack with its needle.

    Args:
        length: tokens of prompt and answer that the haystack was made for.
        depth: the requested place of the needle, in percent.
        stands_at: its actual place, in percent of the haystack's tokens: the end of the nearest sentence.
    """

    length: int = 0
    depth: float = 0.0
    stands_at: float = 0.0


class NeedleFound(RecordMetric):
    """The probe's metric: 1 if the gold number is among the numbers of the answer, else 0."""

    names = ("accuracy",)

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        numbers = re.findall(r"\d+", _THOUSANDS.sub("", prediction))
        return ItemScores({"accuracy": float(any(answer in numbers for answer in answers))}, bool(numbers))


@dataclass(frozen=True)
class NeedleTask:
    """The probe as a task of the runner; the score is 1 where the number occurs in the answer (`accuracy`).

    Args:
        records: records that `needle_records` returned.
        options: the settings that they were made with.
        protocol: prompt format; the same as in `needle_records`.
        name: name in results and files.
        score_reasoning: look for the number in the reasoning too.
    """

    records: Sequence[NeedleRecord]
    options: NeedleSettings
    protocol: PromptFormat = field(default_factory=DirectAnswer)
    name: str = "needle"
    score_reasoning: bool = False

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=self.options.max_new_tokens
        )  # greedy

    def metric(self) -> RecordMetric:
        arguments = self.protocol.template_arguments
        return WithoutReasoning(NeedleFound(), arguments, score_reasoning=self.score_reasoning)

    def settings(self) -> dict[str, Any]:
        protocol = {"class": type(self.protocol).__name__, **asdict(self.protocol)}  # type: ignore[call-overload]
        # The lengths, depths and needles are part of the records.
        return {"task": self.name, "protocol": protocol, "sampling": asdict(self.sampling)}

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        ids = self.protocol.prompt_ids(tokenizer, record.context, record.question)
        if len(ids) + self.sampling.max_tokens > max_model_len:
            raise PromptTooLong(
                f"record {quoted(record.id)} of task {self.name!r}: {len(ids)} prompt tokens and "
                f"{self.sampling.max_tokens} for the answer are more than the {max_model_len} that the model "
                "takes; leave this length out"
            )
        return Prompt(ids, cut=False)

    def response(self, text: str) -> str:
        return self.protocol.response(text)

    def gold(self, record: QARecord) -> dict[str, Any]:
        assert isinstance(record, NeedleRecord)
        return {
            "input": record.question,
            "answers": list(record.answers),
            "length": record.length,
            "depth": record.depth,
        }

    def buckets(self) -> Mapping[str, Sequence[str]]:
        """Return the ids of the records of each length, and of each depth."""
        by_length = {f"length {n}": [r.id for r in self.records if r.length == n] for n in self.options.lengths}
        by_depth = {f"depth {d:g}%": [r.id for r in self.records if r.depth == d] for d in self.options.depths}
        return by_length | by_depth


def needle_task(options: NeedleSettings, tokenizer: Any, protocol: PromptFormat | None = None) -> NeedleTask:
    """Return the probe for a tokenizer. Raises `ConfigError` if a length has no room for the needle."""
    protocol = protocol or DirectAnswer()
    return NeedleTask(needle_records(options, tokenizer, protocol), options, protocol)


def needle_records(options: NeedleSettings, tokenizer: Any, protocol: PromptFormat) -> list[NeedleRecord]:
    """Return haystacks of every length with the needle at every depth.

    The haystacks of one needle are beginnings of the same text, so an engine's prefix cache holds the text before
    the needle; records are ordered to use that cache best. Every text fills its length but for less than a
    sentence.

    Args:
        options: settings of the haystacks.
        tokenizer: a Hugging Face tokenizer.
        protocol: makes the prompt whose tokens are counted.

    Raises:
        ConfigError: a length has no room for the needle and a sentence.
    """
    made = []
    essay = None if options.essay is None else essay_of(options.essay)
    for number in range(options.needles):
        rng = random.Random(f"{options.seed}/{number}")
        names = Names(rng)
        statement, question = NEEDLES[number % len(NEEDLES)]
        values = rng.sample(range(10_000, 100_000), options.rivals + 1)
        (needle, asked, value), *rivals = [
            (statement.format(name=name, value=v), question.format(name=name), str(v))
            for name, v in ((names.word("ton"), v) for v in values)
        ]
        hay = _Hay(_sentences(rng, names) if essay is None else _repeated(essay), tokenizer)
        for length in options.lengths:
            budget = length - options.max_new_tokens - protocol.prompt_overhead(tokenizer, asked)
            inserted = [rival for rival, _, _ in rivals]
            count = hay.sentences_within(budget - _tokens(tokenizer, " ".join([needle, *inserted])))
            places = [random.Random(f"{options.seed}/{number}/{i}").random() for i in range(len(inserted))]
            for depth in options.depths:
                while count > 0:
                    context, stands_at = hay.with_needle(count, needle, depth, list(zip(inserted, places, strict=True)))
                    prompt = protocol.prompt_ids(tokenizer, context, asked)
                    if len(prompt) + options.max_new_tokens <= length:
                        break
                    count -= 1  # tokens of neighboring sentences may merge differently than counted
                else:
                    raise ConfigError(
                        f"needle.lengths has {length}, which leaves no room for a haystack: question and template take "
                        f"{length - budget} tokens with the answer; use longer ones"
                    )
                made.append(
                    NeedleRecord(
                        id=needle_id(length, depth, number),
                        question=asked,
                        answers=(value,),
                        context=context,
                        length=length,
                        depth=depth,
                        stands_at=stands_at,
                    )
                )
    return made


def needle_id(length: int, depth: float, number: int) -> str:
    """Return the id of the record for this length, depth and needle (from 0)."""
    return f"{length}-{depth:g}-{number}"


class _Hay:
    """An endless text of sentences, made on demand."""

    def __init__(self, source: Iterator[str], tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._source = source
        self._parts: list[str] = []
        self._ends: list[int] = [0]  # tokens of the first k sentences

    def sentences_within(self, tokens: int) -> int:
        """Return how many of its first sentences have at most this many tokens in all."""
        while self._ends[-1] <= tokens:
            part = next(self._source)
            self._parts.append(part)
            self._ends.append(self._ends[-1] + _tokens(self._tokenizer, part))
        return max(sum(end <= tokens for end in self._ends) - 1, 0)

    def with_needle(
        self, count: int, needle: str, depth: float, others: Sequence[tuple[str, float]]
    ) -> tuple[str, float]:
        """Return the first `count` sentences with a needle inserted, and the needle's place in percent.

        The needle is at the sentence boundary nearest to `depth` percent (the first of two). The other sentences are at
        a share of the text each.
        """
        total = self._ends[count]
        place = min(range(count + 1), key=lambda k: abs(self._ends[k] - total * depth / 100))
        inserts: dict[int, list[str]] = {}
        for other, share in others:
            inserts.setdefault(int(share * count), []).append(" " + other)
        inserts.setdefault(place, []).insert(0, " " + needle)
        text = "".join("".join([*inserts.get(k, []), part]) for k, part in enumerate(self._parts[:count]))
        return (text + "".join(inserts.get(count, []))).strip(), 100 * self._ends[place] / total


def _repeated(essay: Essay) -> Iterator[str]:
    """Yield the sentences of a text again and again."""
    parts = essay.sentences(len(essay.words))
    while True:
        yield from (f" {part}" for part in parts)


def _sentences(rng: random.Random, names: Names) -> Iterator[str]:
    """Yield statements about one entity after the other, each with the white space before it, as tokenizers expect.

    None has a number of five digits.
    """
    while True:
        world = World(rng, names, size=24)
        entities = [entity for group in world.entities.values() for entity in group]
        rng.shuffle(entities)
        for entity in entities:
            filled = [rng.choice(entity.kind.openings).format(s=entity.name)]
            for relation in rng.sample(entity.kind.relations, len(entity.kind.relations)):
                filled.append(rng.choice(relation.statements).format(s=entity.name, o=entity.values[relation.name]))
            for position, sentence in enumerate(filled):
                yield (" " if position else "\n\n") + sentence[0].upper() + sentence[1:]


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))
