"""Synchronization of an engine with the module's adapter: synced whenever it is used, asleep otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.weight_sync_check import WeightSyncCheck, WeightSyncResult
from longmab_pl.live import step
from longmab_pl.models.hub import resolve_model
from longmab_pl.sigterm import sigterm_interrupts


class Policy(Protocol):
    """The part of the training module that `PolicySync` needs."""

    model: str

    def adapter_is_identity(self) -> bool:
        """Return whether the adapter changes nothing (as before the first step)."""

    def save_adapter(self, folder: Path) -> Path: ...

    def token_logps(self, prompt_ids: Sequence[int], adapter: bool = True) -> list[float]: ...


@dataclass(frozen=True)
class SyncReport:
    """One weight sync: the adapter's folder (None: base model) and the check's result (None: not checked)."""

    version: str
    folder: Path | None
    check: WeightSyncResult | None


class PolicySync:
    """An engine that is kept in sync with a policy.

    Args:
        engine: constructed, not necessarily started.
        folder: folder of the adapters, one new sub-folder per sync (an engine may cache by path).
        keep: number of adapter folders to keep on disk.
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

        `texts` is called once, at the first sync.
        """
        self._weight_sync_texts = texts

    @contextmanager
    def awake(self, policy: Policy, version: str) -> Iterator[Engine]:
        """Yield the engine, started and awake, with the policy's adapter of this version; put it to sleep afterwards.

        Raises:
            EngineError: the engine cannot start, or still uses old weights after the sync.
        """
        with sigterm_interrupts():
            if not self.engine.started:
                self._version = None  # a new engine uses the base model, whatever an earlier one had loaded
            with nullcontext() if self.engine.started else step(f"starting the engine ({type(self.engine).__name__})"):
                self.engine.start(resolve_model(policy.model))
            self.engine.wake()
            if version != self._version:
                self._sync(policy, version)
            yield self.engine
            # Not in a `finally`: after an exception the engine may be broken, and its owner closes it.
            self.engine.sleep()

    def adapter_folder(self, policy: Policy, version: str) -> Path | None:
        """Write the policy's adapter for engines of other processes, and return its folder; None: the base model.

        Args:
            policy: the policy.
            version: name of its weights.
        """
        if policy.adapter_is_identity():
            return None
        folder = self._saved(policy, version)
        self._forget_old_folders()
        return folder

    def _saved(self, policy: Policy, version: str) -> Path:
        folder = self._new_folder(version)
        policy.save_adapter(folder)
        self._written.append(folder)
        return folder

    def _sync(self, policy: Policy, version: str) -> None:
        if self._weight_sync_texts is not None and self.check is None and self._version is None:
            with step("reading log-probabilities that tell the engine's weights apart"):
                self._start_check(policy)
        if policy.adapter_is_identity():
            if self._version is not None:
                self.engine.sync(None)
            report = SyncReport(version, None, None)
        else:
            with step("handing the adapter to the engine"):
                folder = self._saved(policy, version)
                self.engine.sync(folder)
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
        # The engine has just started and has no adapter yet: these are the base model's values.
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
