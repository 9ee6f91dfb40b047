"""A proof after each sync that the engine answers with the new adapter, not with an old one.

Engine and policy score the same fixed token sequences. Their log-probabilities differ a little for harmless reasons
(bf16 kernels, 4-bit base weights, merged against separate adapters), so the differences *from the base model* are
compared, where constant gaps cancel: with e the engine's and p the policy's log-probabilities over all N tokens,

    delta_e = e_new - e_base        delta_p = p_new - p_base.

If the engine still answered with weights whose delta_p was o (o = 0 for the base, o = the previous adapter's delta_p),
delta_e would be o plus noise. The least-squares estimate of how far it has moved from o towards delta_p is

    t_o = <delta_e - o, delta_p - o> / |delta_p - o|^2,   with standard error  s_o = sigma / |delta_p - o|,

1 for a fresh engine and 0 for a stale one, where sigma is the rms of e_base - p_base, the noise floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longmab_pl.errors import EngineError

LARGEST_ERROR = 0.2
"""Above this standard error of t the old and the new adapter cannot be told apart on these prompts."""

SMALLEST_MOVE = 0.5
"""Below this t the engine is nearer to the old weights than to the new ones."""

LARGEST_DISTANCE = 1.0
"""Above this relative distance (beyond noise) the engine is as far from the new adapter as the base model is."""

Verdict = Literal["match", "indistinguishable"]


@dataclass(frozen=True)
class CanaryResult:
    """What one check found.

    Args:
        cosine: of delta_e and delta_p, in [-1, 1]; 1 is perfect agreement, 0 where one of them is zero.
        distance: |delta_e - delta_p| / |delta_p|; 0 is perfect agreement, infinite where delta_p is zero.
        verdict: "match": the engine answers with the new adapter, and with no older one. "indistinguishable": the new
            adapter's effect, or its difference from the previous one, is below the noise; nothing is proven.
        moved: the smallest t over the older weights that can be told apart from the new ones (nan if there are none).
        error: the largest standard error of t over the older weights.
    """

    cosine: float
    distance: float
    verdict: Verdict
    moved: float
    error: float


class Canary:
    """Compares engine and policy on fixed token sequences; call `record_base` once, then `check` after every sync.

    Args:
        prompts: token ids, each of at least two tokens. A few hundred tokens in all, of the kind that training moves
            (responses of the policy), give the sharpest answer.

    Raises:
        EngineError: a prompt is too short, or there is none.
    """

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        if not prompts or any(len(prompt) < 2 for prompt in prompts):
            raise EngineError("the canary needs at least one prompt, each of at least two tokens")
        self.prompts: tuple[tuple[int, ...], ...] = tuple(tuple(prompt) for prompt in prompts)
        self._engine_base: np.ndarray | None = None  # [N], N = the sum of T - 1 over the prompts
        self._policy_base: np.ndarray | None = None  # [N]
        self._previous: np.ndarray | None = None  # [N], delta_p of the last adapter that was in the engine
        self.noise = 0.0
        """sigma: rms of e_base - p_base over the tokens, in nats."""

    def record_base(self, engine_logps: Sequence[Sequence[float]], policy_logps: Sequence[Sequence[float]]) -> None:
        """Take the base model's log-probabilities, as the engine and as the policy with its adapter off give them.

        Args:
            engine_logps: for each prompt of T tokens the natural-log probabilities of tokens 1..T-1.
            policy_logps: the same from the policy.

        Raises:
            EngineError: wrong lengths, or values that are not finite.
        """
        self._engine_base = self._flat(engine_logps, "engine")
        self._policy_base = self._flat(policy_logps, "policy")
        self._previous = None
        self.noise = float(np.sqrt(np.mean((self._engine_base - self._policy_base) ** 2)))

    def check(self, engine_logps: Sequence[Sequence[float]], policy_logps: Sequence[Sequence[float]]) -> CanaryResult:
        """Compare after a sync; the policy's values are those with its adapter on.

        Raises:
            EngineError: the engine still answers with old weights, or with weights that are neither old nor new; or
                `record_base` was not called; or wrong lengths.
        """
        if self._engine_base is None or self._policy_base is None:
            raise EngineError("the canary has no base to compare with; call record_base before the first adapter")
        delta_e = self._flat(engine_logps, "engine") - self._engine_base
        delta_p = self._flat(policy_logps, "policy") - self._policy_base
        size_e, size_p = float(np.linalg.norm(delta_e)), float(np.linalg.norm(delta_p))
        cosine = float(delta_e @ delta_p) / (size_e * size_p) if size_e and size_p else 0.0
        residual = float(np.linalg.norm(delta_e - delta_p))
        distance = residual / size_p if size_p else float("inf")

        # The smallest noise that counts: exact equality of engine and policy (tests, fp32) must not divide by zero.
        sigma = max(self.noise, 1e-6)
        older = {"the base model": np.zeros_like(delta_p)}
        if self._previous is not None:
            older["the previous adapter"] = self._previous
        moved, error = float("nan"), 0.0
        for name, old in older.items():
            apart = float(np.linalg.norm(delta_p - old))
            error_of_t = sigma / apart if apart else float("inf")
            error = max(error, error_of_t)
            if error_of_t > LARGEST_ERROR:
                continue
            t = float((delta_e - old) @ (delta_p - old)) / apart**2
            moved = t if np.isnan(moved) else min(moved, t)
            if t < SMALLEST_MOVE:
                raise EngineError(
                    f"the engine still answers with {name}: its log-probabilities moved {t:.2f} of the way to the new "
                    f"adapter (1 is all the way, standard error {error_of_t:.2f}; cosine {cosine:.2f}, distance "
                    f"{distance:.2f}); sync the adapter from a folder that was never used before, and restart the "
                    "engine if that does not help"
                )
        noise_norm = sigma * np.sqrt(2 * delta_p.size)  # of a difference of two noisy vectors
        if error <= LARGEST_ERROR and residual > LARGEST_DISTANCE * size_p + 2 * noise_norm:
            raise EngineError(
                f"the engine answers with neither the old nor the new weights: cosine {cosine:.2f}, distance "
                f"{distance:.2f} from the new adapter; is it serving the same base model as the policy trains?"
            )
        self._previous = delta_p
        verdict: Verdict = "match" if error <= LARGEST_ERROR else "indistinguishable"
        return CanaryResult(cosine=cosine, distance=distance, verdict=verdict, moved=moved, error=error)

    def _flat(self, logps: Sequence[Sequence[float]], who: str) -> np.ndarray:
        """All prompts' values in one vector [N], checked against the prompts."""
        lengths = [len(row) for row in logps]
        expected = [len(prompt) - 1 for prompt in self.prompts]
        if lengths != expected:
            raise EngineError(f"the {who} gave {lengths} log-probabilities for the canary's prompts, not {expected}")
        flat = np.concatenate([np.asarray(row, dtype=np.float64) for row in logps])
        if not np.isfinite(flat).all():
            raise EngineError(f"the {who}'s log-probabilities of the canary's prompts are not all finite")
        return flat
