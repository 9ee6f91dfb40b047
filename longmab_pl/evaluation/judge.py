"""The judge of an evaluation: any engine and model, asked once about each prediction."""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Completion, Engine, Request
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.model import vllm_engine
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.prompts.rating import RatingPrompts
from longmab_pl.rewards.base import RewardContext
from longmab_pl.rewards.llm_judge.asking import Question, ask
from longmab_pl.rewards.llm_judge.attempts import Outcome
from longmab_pl.rewards.llm_judge.json_replies import object_schema, read_object
from longmab_pl.rewards.llm_judge.replies import ReplyForm
from longmab_pl.rewards.llm_judge.verdicts import parse_rating
from longmab_pl.storage.append_log import AppendLog, LogKind, Row
from longmab_pl.storage.fingerprint import digest

FORMAT = 1
"""Version of the questions. Raise it when a prompt's wording changes."""

REPLIES = LogKind("file of judge replies", 1, "its question is asked again")

REPLY_TOKENS = 512
"""Maximum length of a reply, in tokens."""

_ANALYSIS_CHARACTERS = 600
"""Maximum length of an analysis under a schema, so that the rating after it is never cut off."""


@dataclass(frozen=True)
class Judge:
    """The model that rates predictions in a judged evaluation.

    Args:
        model: `bundled:` name, local folder or hub name; for servers the name whose tokenizer they use.
        engine: any engine; null: vLLM in this process, started when the evaluated model's engine is closed.
        template_arguments: further variables of its chat template, such as `enable_thinking: false`.
        temperatures: sampling temperature of each attempt at a verdict; the original asks up to five times at 0.
        prompts: the texts of its questions.

    Raises:
        ConfigError: no attempt.

    Example:
        >>> judge = Judge("Qwen/Qwen2.5-7B-Instruct", ServerEngine(servers=["http://127.0.0.1:8001"]))
    """

    model: str
    engine: Engine | None = None
    template_arguments: dict[str, Any] = field(default_factory=dict)
    temperatures: tuple[float, ...] = (0.0,)
    prompts: RatingPrompts = field(default_factory=RatingPrompts)

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ConfigError("judge.temperatures is empty; give one temperature at least")

    def opened(self) -> Engine:
        """Return its engine, not started."""
        return self.engine or vllm_engine(None, "auto", 16, None, 2.0, 0.9)


@dataclass(frozen=True)
class RatingQuestion:
    """A question for a rating.

    Args:
        name: identifies it in one call.
        prompt: template of the prompt, with `$rule` and `$told`.
        texts: the other names of the template, with texts that are quoted.
        highest: last point of the scale, which starts at 1.
        examples: rated examples: the answer and its rating.
    """

    name: str
    prompt: str
    texts: Mapping[str, str]
    highest: int
    examples: Sequence[tuple[str, int]] = ()


class JudgeSession(AbstractContextManager["JudgeSession"]):
    """Asks a judge. Replies are kept in `<folder>/judge-<digits>.jsonl`, and nothing is asked twice.

    The engine is started for the first question whose reply is not on disk.

    Args:
        judge: the judge.
        folder: folder of the replies.
        desc: title of the progress bar.
    """

    def __init__(self, judge: Judge, folder: Path, desc: str = "judging") -> None:
        self.judge = judge
        self.desc = desc
        self.engine = judge.opened()
        self.name = f"{judge.model}, {self.engine.weight_format}"
        described = {"format": FORMAT, "model": judge.model, "weight_format": self.engine.weight_format}
        fingerprint = digest(described)
        self._known: dict[str, Completion] = {}
        self._log = AppendLog(folder / f"judge-{fingerprint[:8]}.jsonl", REPLIES, fingerprint, self._keep)
        self._tokenizer = load_tokenizer(resolve_model(judge.model))

    @property
    def replies(self) -> Path:
        """The file of the replies."""
        return self._log.path

    def _keep(self, row: Row, _: int) -> None:
        self._known[row["key"]] = Completion.from_json(row["completion"])

    def ratings(self, questions: Sequence[RatingQuestion]) -> dict[str, Outcome[float]]:
        """Return the outcome of each question by name; one without a verdict has no value and says why.

        Raises:
            EngineError: the judge failed; replies so far are on disk.
        """
        addressee = self.addressee()
        return self.outcomes([self._question(question, addressee) for question in questions])

    def addressee(self) -> Addressee:
        """Return the judge's chat format and limits, for `outcomes`."""
        limit = self.engine.max_model_len or context_limit(resolve_model(self.judge.model)) or 2**31
        structured = self.engine.structured_output
        return Addressee(ChatFormat(self._tokenizer, self.judge.template_arguments), limit, structured)

    def outcomes(self, asked: Sequence[Question]) -> dict[str, Outcome[Any]]:
        """Return the outcome of each question by name; one without a verdict has no value and says why.

        Raises:
            EngineError: the judge failed; replies so far are on disk.
        """
        context = RewardContext(self._tokenizer, Embedder(), 0, "judge")
        stream = ask(asked, context, "judge", self.judge.temperatures)
        answers: list[Completion] | None = None
        while True:
            try:
                requests = next(stream) if answers is None else stream.send(answers)
            except StopIteration as end:
                outcomes: dict[str, Outcome[Any]] = end.value
                return outcomes
            answers = self._answers(requests)

    def _question(self, question: RatingQuestion, addressee: Addressee) -> Question:
        prompts, highest = self.judge.prompts, question.highest
        fence = Fence.around(0, [*question.texts.values(), *(answer for answer, _ in question.examples)])
        form = rating_form(prompts, highest, structured=addressee.structured_output)
        quoted = {name: fence.quote(text, name) for name, text in question.texts.items()}
        if question.examples:
            quoted["examples"] = "\n\n".join(
                fill(prompts.example, answer=fence.quote(answer, f"example-{n}"), rating=str(rating))
                for n, (answer, rating) in enumerate(question.examples, 1)
            )
        prompt = fill(question.prompt, rule=fence.rule(), told=form.told, **quoted)
        return Question(question.name, prompt, form, addressee)

    def _answers(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the completions of requests, asking the engine for those that are not on disk."""
        keys = [_key(request) for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._known}
        if missing and not self.engine.started:
            self.engine.start(resolve_model(self.judge.model))
            self.engine.sync(None)
        waiting = {}
        for key, request in missing.items():
            try:
                self.engine.submit(request)
                waiting[request.id] = key
            except PromptTooLong:  # the engine's limit was not known before it started
                self._known[key] = Completion(request.id, ("",), ("length",), (0,), len(request.prompt_ids))
        with tqdm(total=len(waiting), desc=self.desc, unit="reply", disable=not waiting, dynamic_ncols=True) as bar:
            while waiting:
                completions = self.engine.poll()
                if not completions:
                    time.sleep(1e-3)  # an engine in another process has no answer yet
                for completion in completions:
                    key = waiting.pop(completion.request_id)
                    self._log.write_one({"key": key, "completion": completion.to_json()})
                    self._known[key] = completion
                    bar.update()
        return [self._known[key] for key in keys]

    def __exit__(self, *_: object) -> None:
        self._log.close()
        self.engine.close()


def rating_form(prompts: RatingPrompts, highest: int, *, structured: bool) -> ReplyForm[float]:
    """Return the form of a rating from 1 to `highest`.

    Args:
        prompts: what the prompt says about the form.
        highest: last point of the scale.
        structured: whether the engine keeps replies to a JSON schema.
    """
    if not structured:
        return ReplyForm(prompts.reply_text, lambda reply: parse_rating(reply, 1, highest), REPLY_TOKENS)

    def parse(reply: str) -> float | None:
        found = read_object(reply)
        if found is None or set(found) != {"analysis", "rating"}:
            return None
        rating = found["rating"]
        if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= highest:
            return None
        return float(rating)

    properties = {
        "analysis": {"type": "string", "maxLength": _ANALYSIS_CHARACTERS},
        "rating": {"type": "integer", "minimum": 1, "maximum": highest},
    }
    return ReplyForm(prompts.reply_json, parse, REPLY_TOKENS, json.dumps(object_schema(properties)))


def _key(request: Request) -> str:
    content = hashlib.blake2b(array("I", request.prompt_ids).tobytes(), digest_size=16)
    content.update(json.dumps([asdict(request.sampling), request.seed, request.schema]).encode())
    return content.hexdigest()
