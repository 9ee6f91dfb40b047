"""Repair of a complete round with damaged files, from its journal and without a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from longmab_pl.engines.protocol import POLICY, Completion, Request
from longmab_pl.errors import DataError, EngineError, PromptTooLong
from longmab_pl.rollout.rollout_log import RolloutFile, RolloutLog
from longmab_pl.rollout.round import Round
from longmab_pl.shown import tell


class JournalOnly:
    """An engine that answers nothing, so that a replay fails for every request that the journal does not have.

    Args:
        max_model_len: limit of the engine that answered, in tokens: the same prompts are too long.
        structured_output: whether that engine followed JSON schemas: the same prompts are made.
    """

    concurrency = 64
    weight_format = "journal"
    started = True

    def __init__(self, max_model_len: int, structured_output: bool) -> None:
        self.max_model_len = max_model_len
        self.structured_output = structured_output

    def submit(self, request: Request) -> None:
        if len(request.prompt_ids) + request.sampling.max_tokens > self.max_model_len:
            raise PromptTooLong(f"request {request.id!r} was too long for the engine")
        raise EngineError(f"the journal has no answer to request {request.id!r}")

    def start(self, model: str) -> None: ...

    def poll(self) -> list[Completion]:
        return []

    def abort(self) -> None: ...

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        raise EngineError("a journal cannot score prompts")

    def sync(self, adapter: Path | None) -> None: ...

    def sleep(self) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


def repair(making: Round, damage: str, policy: str) -> None:
    """Write a complete round's files again, from its rollouts with a correct checksum and from its journal.

    Args:
        making: the round.
        damage: `RoundFolder.damage`, for the messages.
        policy: name of the weights that answered, for the summary.

    Raises:
        DataError: the journal does not have all of its answers.
        LongMabError: the disk is full, or the embedder cannot be loaded.
    """
    store = making.store
    limits: dict[str, int] = {}
    structured: dict[str, bool] = {}
    with contextlib.suppress(DataError):
        settings = store.read_settings()
        limits = settings.get("max_model_len") or limits
        structured = settings.get("structured_output") or structured
        policy = store.read_summary()["policy"]
    with RolloutLog(store.rollout_log, store.fingerprint) as log, contextlib.suppress(FileNotFoundError):
        whole = RolloutFile(store.rollouts)
        for record_id in whole:
            if record_id not in log:
                log.add(whole.read(record_id))
    try:
        names = [POLICY, *making.plan.engines]
        silent = {
            name: JournalOnly(int(limits.get(name, sys.maxsize)), bool(structured.get(name, False))) for name in names
        }
        making.roll_out(silent, title="from the journal")
    except EngineError as error:
        raise DataError(
            f"{damage}, and {store.journal} does not have all of the round's answers ({str(error).splitlines()[0]}). "
            "Go on from a checkpoint of an earlier round, or begin again in another run folder."
        ) from error
    making.finish(policy)
    tell(f"{damage}; the round's files were made again from {store.journal}")


def is_whole(making: Round, policy: str) -> bool:
    """Return whether a complete round is undamaged, and repair it if it is not.

    A round that cannot be repaired is no longer complete afterwards (False). The same policy can then make it again,
    without asking again for the answers in its journal.

    Args:
        making: a complete round of the current policy.
        policy: name of the policy's weights, for the summary.
    """
    damage = making.store.damage()
    if damage is None:
        return True
    try:
        repair(making, damage, policy)
    except DataError as error:
        tell(f"{error}\nIts policy is here, so what is missing is asked again.")
        making.store.summary.unlink()
        return False
    return True
