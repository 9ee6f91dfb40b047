"""The policy as the engine serves it: in step with the module's adapter whenever it is asked, asleep otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.weight_sync_check import WeightSyncCheck, WeightSyncResult
from longmab_pl.models.hub import resolve_model
from longmab_pl.sigterm import sigterm_interrupts


class Policy(Protocol):
    """What a served policy needs of the training module."""

    model: str

    def adapter_is_identity(self) -> bool:
        """Whether the adapter changes nothing (as it does before the first step)."""

    def save_adapter(self, folder: Path) -> Path: ...

    def token_logps(self, prompt_ids: Sequence[int], adapter: bool = True) -> list[float]: ...


@dataclass(frozen=True)
class SyncReport:
    """One weight sync: where the adapter lies (None: base model) and what the check said (None: not asked)."""

    version: str
    folder: Path | None
    check: WeightSyncResult | None


class PolicySync:
    """Keeps an engine in step with a policy.

    Args:
        engine: constructed, not necessarily started.
        folder: where adapters go, one new sub-folder per sync (an engine may cache by path).
        keep: how many adapter folders to leave on disk.
    """

    def __init__(self, engine: Engine, folder: Path, keep: int = 3) -> None:
        self.engine = engine
        self.folder = folder
        self.keep = keep
        self.check: WeightSyncCheck | None = None
        self._weight_sync_texts: Callable[[], Sequence[tuple[Sequence[int], int]]] | None = None
        self._version: str | None = None
        self._written: list[Path] = []
        self.last_sync: SyncReport | None = None

    def verify_with(self, texts: Callable[[], Sequence[tuple[Sequence[int], int]]]) -> None:
        """Check every sync on these token sequences, each with the index where its response begins.

        They are asked for once, at the first sync.
        """
        self._weight_sync_texts = texts

    @contextmanager
    def awake(self, policy: Policy, version: str) -> Iterator[Engine]:
        """The started, awake engine, answering with the policy's adapter of this version; asleep again afterwards.

        Raises:
            EngineError: the engine cannot start, or still answers with old weights after the sync.
        """
        with sigterm_interrupts():
            if not self.engine.started:
                self._version = None  # a fresh engine answers as the base model, whatever an earlier one was given
            self.engine.start(resolve_model(policy.model))
            self.engine.wake()
            if version != self._version:
                self._sync(policy, version)
            yield self.engine
            # Not in a `finally`: after an exception the engine may be broken, and its owner closes it.
            self.engine.sleep()

    def _sync(self, policy: Policy, version: str) -> None:
        if self._weight_sync_texts is not None and self.check is None and self._version is None:
            self._start_check(policy)
        if policy.adapter_is_identity():
            if self._version is not None:
                self.engine.sync(None)
            report = SyncReport(version, None, None)
        else:
            folder = self._new_folder(version)
            policy.save_adapter(folder)
            self.engine.sync(folder)
            self._written.append(folder)
            report = SyncReport(version, folder, self._check(policy))
            self._forget_old_folders()
        self._version = version
        self.last_sync = report

    def _start_check(self, policy: Policy) -> None:
        assert self._weight_sync_texts is not None
        texts = self._weight_sync_texts()
        if not texts:
            return
        prompts = [list(ids) for ids, _ in texts]
        self.check = WeightSyncCheck(prompts, [start for _, start in texts])
        # The engine has just started and was given nothing yet: this is the base model speaking.
        self.check.record_base(self.engine.score(prompts), [policy.token_logps(p, adapter=False) for p in prompts])

    def _check(self, policy: Policy) -> WeightSyncResult | None:
        if self.check is None:
            return None
        prompts = self.check.prompts
        return self.check.compare(self.engine.score(prompts), [policy.token_logps(p) for p in prompts])

    def _new_folder(self, version: str) -> Path:
        folder, again = self.folder / version, 1
        while folder.exists():
            again += 1
            folder = self.folder / f"{version}.{again}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    def _forget_old_folders(self) -> None:
        while len(self._written) > self.keep:
            shutil.rmtree(self._written.pop(0), ignore_errors=True)
