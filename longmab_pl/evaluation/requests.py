"""The requests of an evaluation: prompts are made while the engine works, answers are scored as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Completion, Engine, Request, RequestStream
from longmab_pl.errors import EngineError, PromptTooLong
from longmab_pl.evaluation.predictions import Prediction, record_digest
from longmab_pl.evaluation.task import LikelihoodTask, Prompt, SeveralTurns, Turn
from longmab_pl.evaluation.task_in_progress import TaskInProgress


class Requests:
    """The questions of an evaluation that an engine is still to answer, and what they took.

    Args:
        engine: a started engine without open requests.
        tokenizer: the model's tokenizer.
        works: the tasks; what is finished in them is not asked.
        max_in_flight: requests given to the engine at once; None: twice its concurrency.
        name: beginning of the requests' ids.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        works: Sequence[TaskInProgress],
        max_in_flight: int | None,
        name: str = "evaluation",
    ) -> None:
        at_least("max_in_flight", max_in_flight, 1, "it must be at least 1", or_null=True)
        self.name = name
        self.engine = engine
        self.tokenizer = tokenizer
        self.works = works
        self.max_in_flight = max_in_flight or 2 * engine.concurrency
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0

    def running_score(self) -> float:
        """Return the mean over the started tasks of the main metric so far, in 0..100."""
        begun = [work for work in self.works if work.items]
        return sum(work.running_score() for work in begun) / max(len(begun), 1)

    @property
    def left(self) -> int:
        """Number of records that are neither finished nor skipped."""
        return sum(len(work.unfinished()) for work in self.works)

    def answers(self) -> Iterator[None]:
        """Yield once for every record that is finished or skipped in this run."""
        yield from self._generated()
        for work in self.works:
            if isinstance(work.task, LikelihoodTask):
                yield from self._likeliest(work, work.task)

    @property
    def left_in_words(self) -> int:
        """Number of records that `streams` has a stream for."""
        return sum(len(work.unfinished()) for work in self.works if not isinstance(work.task, LikelihoodTask))

    def streams(self) -> Iterator[RequestStream[None]]:
        """Yield a stream for every record that is answered in words; at its end the record is finished or skipped.

        Records with the same context come one after the other.
        """
        for work in self.works:
            if isinstance(work.task, LikelihoodTask):
                continue
            groups: dict[str, list[int]] = {}
            for position in work.unfinished():
                groups.setdefault(work.task.records[position].context, []).append(position)
            for positions in groups.values():
                for position in positions:
                    yield self._turns(work, position)

    def _generated(self) -> Iterator[None]:
        waiting, exhausted = self.streams(), False
        flying: dict[str, RequestStream[None]] = {}
        try:
            while flying or not exhausted:
                while not exhausted and len(flying) < self.max_in_flight:
                    stream = next(waiting, None)
                    if stream is None:
                        exhausted = True
                    elif self._ends(stream, None, flying):
                        yield
                if not flying:
                    continue
                asked_at = time.monotonic()
                completions = self.engine.poll()
                if not completions and time.monotonic() - asked_at < 1e-3:
                    time.sleep(1e-3)  # an engine in another process has no answer yet: free the core for it
                for completion in completions:
                    if completion.request_id not in flying:
                        raise EngineError(
                            f"the engine answered {completion.request_id!r}, which this evaluation did not ask; "
                            f"evaluate only while nothing else is in flight"
                        )
                    if self._ends(flying.pop(completion.request_id), [completion], flying):
                        yield
        finally:
            if flying:
                self.engine.abort()  # stopped early: cancel requests that are still generating

    def _ends(
        self, stream: RequestStream[None], answers: list[Completion] | None, flying: dict[str, RequestStream[None]]
    ) -> bool:
        """Resume a stream, and return whether its record is finished or skipped; its next request is in flight else."""
        try:
            (request,) = next(stream) if answers is None else stream.send(answers)
            try:
                self.engine.submit(request)
            except PromptTooLong as error:
                stream.throw(error)
        except StopIteration:
            return True
        flying[request.id] = stream
        return False

    def _turns(self, work: TaskInProgress, position: int) -> RequestStream[None]:
        """Ask about a record, in one turn or several, and keep the answer."""
        task, record, longest = work.task, work.task.records[position], self.engine.max_model_len
        done: list[Completion] = []
        cut = False
        name = "/".join([self.name, task.name, str(position)])
        try:
            turn: Turn | None = Turn(task.prompt(record, self.tokenizer, longest), task.sampling)
            while turn is not None:
                cut = cut or turn.prompt.cut
                request_id = f"{name}/{len(done)}" if done else name
                done += yield [Request(request_id, turn.prompt.ids, turn.sampling)]
                turn = None
                if isinstance(task, SeveralTurns):
                    said = [task.response(each.texts[0]) for each in done]
                    turn = task.next_turn(record, said, self.tokenizer, longest)
        except PromptTooLong as error:
            work.skipped[record.id] = str(error)
            return
        self._finish(work, position, done, cut)

    def _likeliest(self, work: TaskInProgress, task: LikelihoodTask) -> Iterator[None]:
        """Score the options of a few records at a time, and keep the likeliest of each."""
        batch: list[tuple[int, Sequence[Prompt]]] = []
        for position in work.unfinished():
            record = work.task.records[position]
            try:
                prompts = task.options(record, self.tokenizer, self.engine.max_model_len - 1)
            except PromptTooLong as error:
                work.skipped[record.id] = str(error)
                yield
                continue
            batch.append((position, prompts))
            if sum(len(prompts) for _, prompts in batch) >= self.engine.concurrency:
                yield from self._scored(work, task, batch)
                batch = []
        if batch:
            yield from self._scored(work, task, batch)

    def _scored(
        self, work: TaskInProgress, task: LikelihoodTask, batch: Sequence[tuple[int, Sequence[Prompt]]]
    ) -> Iterator[None]:
        found = iter(self.engine.score([prompt.ids for _, prompts in batch for prompt in prompts]))
        for position, prompts in batch:
            shared = _common_start([prompt.ids for prompt in prompts])
            # Element i is the log-probability of token i + 1.
            sums = [sum(next(found)[shared - 1 :]) for _ in prompts]
            text = task.chosen(work.task.records[position], sums.index(max(sums)))
            tokens = sum(len(prompt.ids) for prompt in prompts)
            self._keep(work, position, text, "stop", (tokens, 0, 0), any(prompt.cut for prompt in prompts), ())
            yield

    def _finish(self, work: TaskInProgress, position: int, turns: Sequence[Completion], cut: bool) -> None:
        costs = (
            sum(turn.prompt_tokens for turn in turns),
            sum(turn.cached_tokens for turn in turns),
            sum(turn.completion_tokens[0] for turn in turns),
        )
        task = work.task
        place = task.answer_place % len(turns) if isinstance(task, SeveralTurns) else -1
        said = [task.response(turn.texts[0]) for turn in turns]
        text = said.pop(place)
        self._keep(work, position, text, turns[place].finish_reasons[0], costs, cut, tuple(said))

    def _keep(
        self,
        work: TaskInProgress,
        position: int,
        text: str,
        finish_reason: str,
        costs: tuple[int, int, int],
        cut: bool,
        steps: tuple[str, ...],
    ) -> None:
        """Score an answer and write it; `costs` are prompt, cached and new tokens over all turns."""
        record = work.task.records[position]
        prompt_tokens, cached_tokens, completion_tokens = costs
        prediction = Prediction(
            id=record.id,
            digest=record_digest(record) if work.file is not None else "",
            text=text,
            finish_reason=finish_reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cut=cut,
            steps=steps,
        )
        scores = work.finish(position, record, prediction)
        if work.file is not None:
            work.file.append(prediction, work.task.gold(record), scores)
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        self.completion_tokens += completion_tokens


def _common_start(sequences: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all sequences begin with; at least one token of each is left."""
    shared = min(map(len, sequences)) - 1
    while any(sequence[:shared] != sequences[0][:shared] for sequence in sequences):
        shared -= 1
    return shared
