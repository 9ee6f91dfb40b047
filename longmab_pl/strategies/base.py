"""The protocol for rollout strategies: a generator per record that yields requests and returns responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import Completion, RequestStream
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.rewards.base import Reward, RewardContext, Score

Budget = Literal["fixed", "adaptive"]


@dataclass(frozen=True)
class Response:
    """One sampled answer: a whole assistant turn, or one block that continues its parent's text.

    Args:
        text: the assistant's text.
        finished: whether the model ended it (False: cut at `max_tokens`).
        step: step of the strategy that sampled it, from 0 (a pull of a bandit, a level of a tree).
        read: indices of the parts of the context (chunks) in its prompt; empty: the whole context.
        parent: index of the response that it continues; None for a whole turn.
        scores: reward name -> score. Scores are stored once; pair rules only read them.
        token_ids: the sampled token ids, a sampled end token included; empty if the engine does not return them.
    """

    text: str
    finished: bool
    step: int
    read: tuple[int, ...] = ()
    parent: int | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    token_ids: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Response:
        """Return the response of a row made by `asdict`.

        Raises:
            KeyError, TypeError: the row is invalid.
        """
        return cls(
            text=row["text"],
            finished=row["finished"],
            step=row["step"],
            read=tuple(row["read"]),
            parent=row["parent"],
            scores={name: Score(**score) for name, score in row["scores"].items()},
            token_ids=tuple(row["token_ids"]),
        )


@dataclass(frozen=True)
class RecordRollout:
    """Result of a strategy for one record, in a form common to all strategies.

    Args:
        record_id: id of the record.
        status: `ok`, or why there are no responses (`probe_rejected`).
        responses: the responses in the order of the steps.
        stopped: why it stopped before its budget was used: `separated`, `no_signal`, or "" if it did not.
        asked: total number of responses requested from the policy, including those that are not answers (a probe). The
            rollout sets it.
        units: units of progress (`Strategy.progress_unit`) that it took. The rollout sets it.
        chunks: characters [start, end) in the record's context of the parts that `Response.read` counts; empty: the
            strategy does not cut contexts, or the rollout is of a time when this was not stored.
        trace: data of the particular strategy as JSON values (arms, pulls and values of a bandit, nodes of a tree).
    """

    record_id: str
    status: str
    responses: tuple[Response, ...] = ()
    stopped: str = ""
    asked: int = 0
    units: int = 0
    trace: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the rollout as JSON values, texts included: a line of `rollouts.jsonl`."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> RecordRollout:
        """Return the rollout of a row made by `to_json`.

        Raises:
            KeyError, TypeError: the row is invalid.
        """
        return cls(
            record_id=row["record_id"],
            status=row["status"],
            responses=tuple(map(Response.from_json, row["responses"])),
            stopped=row["stopped"],
            asked=row["asked"],
            units=row["units"],
            trace=row["trace"],
            chunks=tuple((start, end) for start, end in row.get("chunks", ())),
        )


def joined_chunks(chunks: Iterable[str]) -> str:
    """Return the document that a prompt shows in place of the whole context: chunks, one under the other."""
    return "\n".join(chunks)


@dataclass(frozen=True)
class StrategyContext:
    """Inputs of strategies beside the record.

    Args:
        tokenizer: the policy's tokenizer.
        prompt_format: format of prompts.
        embedder: the embedder, loaded if `needs_embedder` of the strategy or of a reward is true.
        max_model_len: maximum length of prompt plus response for the policy's engine, in tokens.
        seed: seed that depends on the round, so that rounds sample differently.
        rewards: rewards that score every response. The first is the primary: strategies learn from it, and pair rules
            compare it by default.
        addressees: the run's engines by name, with the chat format and limits of each.
    """

    tokenizer: Any
    prompt_format: PromptFormat
    embedder: Embedder
    max_model_len: int
    seed: int
    rewards: tuple[Reward, ...]
    addressees: Mapping[str, Addressee] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """Name of the first reward."""
        return self.rewards[0].name

    def score(
        self, record: QARecord, texts: Sequence[str], key: str, written: str = ""
    ) -> RequestStream[list[dict[str, Score]]]:
        """Score responses to a record by every reward.

        Args:
            record: the record.
            texts: the assistant's whole turns.
            key: unique key of this call, used in request ids.
            written: beginning that all texts share, if they are candidates for the next block of one text.

        Returns:
            A generator that returns, for each response, reward name -> score.
        """
        scores: list[dict[str, Score]] = [{} for _ in texts]
        for reward in self.rewards:
            request_key = f"{key}/{reward.name}"
            context = RewardContext(self.tokenizer, self.embedder, self.seed, request_key, self.addressees, written)
            for found, score in zip(scores, (yield from reward.score(record, texts, context)), strict=True):
                found[reward.name] = score
        return scores

    def respond(
        self, record: QARecord, completion: Completion, step: int, read: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> RequestStream[list[Response]]:
        """Make scored responses from a completion.

        Args:
            record: the record.
            completion: the engine's completion of a request of this step; its id prefixes the ids of reward requests.
            step: as in `Response`.
            read: as in `Response`.
            stop: the stop strings of the request. The sampled ids may then contain a stop string that the text lacks,
                so the ids are dropped, and the text of a pair is tokenized.

        Returns:
            A generator that returns one response per text of the completion.
        """
        texts = [self.prompt_format.response(text) for text in completion.texts]
        scores = yield from self.score(record, texts, completion.request_id)
        tokens = () if stop else completion.token_ids
        tokens = tokens or ((),) * len(texts)
        return [
            Response(text, reason == "stop", step, tuple(read), None, score, ids)
            for text, reason, score, ids in zip(texts, completion.finish_reasons, scores, tokens, strict=True)
        ]


class Strategy(Protocol):
    """Decides which requests to send for a record. Deterministic given the record, the seed and the completions.

    Implementations subclass this class as frozen dataclasses, whose settings are saved with a round: `BestOfN`,
    `BanditRollout`, `ClarificationTree` and `StepwiseSearch`. The rollout uses only the members below.
    """

    @property
    def budget(self) -> Budget:
        """`adaptive` if records may stop early and leave their remaining responses to further records; else `fixed`."""
        return "fixed"

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that it uses beside the policy; empty for none. Rewards list theirs separately."""
        return ()

    @property
    def needs_embedder(self) -> bool:
        """Whether `context.embedder` must be loaded."""
        return False

    @property
    def expected_responses(self) -> int:
        """Maximum units of progress per record, for progress and budgets; usually responses of the policy."""

    @property
    def progress_unit(self) -> str:
        """Plural of what the progress bar counts: `answers`, or `nodes` of a tree; see `Request.progress`."""
        return "answers"

    @property
    def scored_together(self) -> int:
        """Number of responses that rewards score in one call, so that a reward that compares responses can be refused
        where there are too few."""

    @property
    def needed_model_len(self) -> int:
        """Minimum context length of the model: the longest usual prompt plus its response, in tokens."""

    @property
    def max_response_tokens(self) -> int:
        """Most tokens of a response, for the memory that training pairs need."""

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        """Run the strategy on one record.

        Returns:
            A generator that yields lists of requests, receives their completions in the same order, and returns the
            rollout. Request ids begin with `<record id>/`.

        Raises:
            DataError: the record cannot be used; other records are unaffected.
        """

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        """Return numbers from one record's trace whose means over records are the report's metrics.

        Keys are metric names (`bandit/pull_entropy`); records without a key are left out of its mean.
        """
        return {}
