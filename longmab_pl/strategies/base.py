"""The socket for rollout strategies: one generator per record that asks engines and returns the record's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Completion, RequestStream
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.rewards.base import Reward, RewardContext, Score

Budget = Literal["fixed", "adaptive"]


@dataclass(frozen=True)
class Response:
    """One sampled answer: a whole assistant turn, or one block that continues its parent's text.

    Args:
        text: what the assistant said.
        finished: the model ended it by itself (False: cut at `max_tokens`).
        step: which step of the strategy it came from, from 0 (a pull of a bandit, a level of a tree).
        read: what its prompt showed, as indices into what the strategy cut the context into (chunks); empty: all of it.
        parent: index of the response that it continues; None for a whole turn.
        scores: its scores, by the rewards' names. Stored once; pair rules only read them.
        token_ids: the sampled tokens, a sampled end token included; empty where the engine does not say them.
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
        """Return the response that `asdict` made this row of.

        Raises:
            KeyError, TypeError: it is not such a row.
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
    """All that a strategy got for one record; the same for every method.

    Args:
        record_id: the record's.
        status: `ok`, or why there are no responses (`probe_rejected`).
        responses: in the order of the steps.
        stopped: why it ended before its budget was spent: `separated`, `no_signal`, or "" where it did not.
        asked: responses that were asked of the policy in all, those that are no answers (a probe) included. The
            machinery counts them.
        trace: what is the method's own, as JSON values (arms, pulls and values of a bandit, the nodes of a tree).
    """

    record_id: str
    status: str
    responses: tuple[Response, ...] = ()
    stopped: str = ""
    asked: int = 0
    trace: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, texts included: a line of `rollouts.jsonl`."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> RecordRollout:
        """Return the rollout that `to_json` made this row of.

        Raises:
            KeyError, TypeError: it is not such a row.
        """
        return cls(
            record_id=row["record_id"],
            status=row["status"],
            responses=tuple(map(Response.from_json, row["responses"])),
            stopped=row["stopped"],
            asked=row["asked"],
            trace=row["trace"],
        )


@dataclass(frozen=True)
class StrategyContext:
    """What strategies work with.

    Args:
        tokenizer: the policy's.
        prompt_format: how a context and a question become a prompt.
        embedder: loaded if the strategy or a reward says `needs_embedder`.
        max_model_len: longest prompt plus response that the policy's engine takes, in tokens.
        seed: contains the round, so that rounds sample differently.
        rewards: score every response; the first one is the primary: strategies learn from it, pair rules compare it.
    """

    tokenizer: Any
    prompt_format: PromptFormat
    embedder: Embedder
    max_model_len: int
    seed: int
    rewards: tuple[Reward, ...]

    @property
    def primary(self) -> str:
        """Name of the first reward."""
        return self.rewards[0].name

    def score(self, record: QARecord, texts: Sequence[str], key: str) -> RequestStream[list[dict[str, Score]]]:
        """Score responses to a record by every reward.

        Args:
            record: the record.
            texts: the assistant's whole turns.
            key: unique for this call among the strategy's ids of requests.

        Returns:
            A generator that ends with the scores of each response by the rewards' names.
        """
        scores: list[dict[str, Score]] = [{} for _ in texts]
        for reward in self.rewards:
            context = RewardContext(self.tokenizer, self.embedder, self.seed, f"{key}/{reward.name}")
            for found, score in zip(scores, (yield from reward.score(record, texts, context)), strict=True):
                found[reward.name] = score
        return scores

    def respond(
        self, record: QARecord, completion: Completion, step: int, read: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> RequestStream[list[Response]]:
        """Make scored responses of a completion.

        Args:
            record: the record.
            completion: the engine's answer to a request of this step; scores' requests are named after its id.
            step: as in `Response`.
            read: as in `Response`.
            stop: the stop strings of the request. What was sampled may then hold one that the text does not, so the
                ids are not kept, and a pair's text is tokenized.

        Returns:
            A generator that ends with one response per text of the completion.
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
    """Decides what to ask next. Deterministic given the record, the seed and the completions.

    Implementations are frozen dataclasses (their settings are written down with a round): `BanditRollout` and
    `BestOfN`. Everything that the machinery needs to know of a strategy is here.
    """

    @property
    def budget(self) -> Budget:
        """`adaptive` if records may stop early and leave their responses to further records of the file."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that it asks beside the policy; empty for none. Rewards say their own."""

    @property
    def needs_embedder(self) -> bool:
        """Whether `context.embedder` must be loaded."""

    @property
    def expected_responses(self) -> int:
        """Most responses that one record asks of the policy, for progress and budgets."""

    @property
    def needed_model_len(self) -> int:
        """Tokens of the longest prompt of its usual kind plus its response; a model that takes fewer cannot be used."""

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        """Work on one record.

        Returns:
            A generator that yields lists of requests, receives their completions in the same order, and returns what
            it got. Ids of requests begin with `<record id>/`.

        Raises:
            DataError: the record cannot be used; it costs no other record.
        """

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        """Return what a report says of one record's trace, as numbers whose means over records are metrics.

        Keys are metric names (`bandit/pull_entropy`); a key that is left out does not count in its mean.
        """
