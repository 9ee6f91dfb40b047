"""The check after each sync that the engine uses the new adapter, not an old one.

Engine and policy score the same fixed token sequences. Their log-probabilities differ a little for harmless reasons
(bf16 kernels, 4-bit base weights, merged against separate adapters), so the differences *from the base model* are
compared, where constant gaps cancel: with e the engine's and p the policy's log-probabilities over all N tokens,

    delta_e = e_new - e_base        delta_p = p_new - p_base.

If the engine still used weights whose delta_p was o (o = 0 for the base, o = the previous adapter's delta_p), delta_e
would be o plus noise. The least-squares estimate of how far it has moved from o toward delta_p is

    t_o = <delta_e - o, delta_p - o> / |delta_p - o|^2,

about 1 for a synced engine and 0 for a stale one. Noise in delta_p lowers the 1 to 1 - 1/q^2, where q is the signal:
the rms of delta_p - o in units of sigma, the rms of e_base - p_base. Below `LEAST_SIGNAL` nothing can be proven.

Measured with the bundled 135M model (bf16 vLLM on CPU with merged weights, bf16 policy, 8 chats of about 127 tokens;
sigma 0.08 nats per response token, repeated engine scores equal to the last bit). Over the responses' tokens:

    adapter                          rms delta_p   cosine   t     verdict
    random, lora_B of 5e-2           0.53          0.98     1.00  match
    20 DPO steps at lr 5e-5          0.25          0.91     0.80  match
    10 such steps                    0.10          0.46     0.45  indistinguishable
    5 such steps, random of 1e-3     0.07          0.2      0.2   indistinguishable

Over the whole chats the same 20 steps give only rms 0.13 at sigma 0.10: score what training moves, the responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longmab_pl.errors import EngineError

LEAST_SIGNAL = 2.0
"""Signal q below which the old and the new adapter cannot be distinguished: a synced engine's t would be noise."""

SMALLEST_MOVE = 0.4
"""Value of t below which the engine uses the old weights: about half of the 0.75 that q = `LEAST_SIGNAL` gives."""

LARGEST_DISTANCE = 1.0
"""Relative distance (beyond noise) above which the engine is as far from the new adapter as the base model is."""

Verdict = Literal["match", "indistinguishable"]


@dataclass(frozen=True)
class WeightSyncResult:
    """The result of one check.

    Args:
        cosine: of delta_e and delta_p, in [-1, 1]; 1 is perfect agreement, 0 where one of them is zero.
        distance: |delta_e - delta_p| / |delta_p|; 0 is perfect agreement, infinite where delta_p is zero.
        verdict: "match": the engine uses the new adapter, and no older one. "indistinguishable": the new adapter's
            effect, or its difference from the previous one, is below the noise; nothing is proven.
        moved: the smallest t over the older weights that can be distinguished from the new ones; nan if none can.
        signal: the smallest q over the older weights.
    """

    cosine: float
    distance: float
    verdict: Verdict
    moved: float
    signal: float


class WeightSyncCheck:
    """A comparison of engine and policy on fixed token sequences.

    Call `record_base` once, then `compare` after every sync.

    Args:
        prompts: token ids, each of at least two tokens; best are a few chats with a policy's responses, with 100
            response tokens or more in all.
        starts: for each prompt the index of the first compared token (at least 1); best is the start of the response.
            By default the first token after the prefix that all prompts share: shared tokens repeat the same noise.

    Raises:
        EngineError: there is no prompt, one is too short, or a start is outside its prompt.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], starts: Sequence[int] | None = None) -> None:
        if not prompts or any(len(prompt) < 2 for prompt in prompts):
            raise EngineError("the weight-sync check needs at least one prompt, each of at least two tokens")
        self.prompts: tuple[tuple[int, ...], ...] = tuple(tuple(prompt) for prompt in prompts)
        if starts is None:
            columns = enumerate(zip(*self.prompts, strict=False))  # up to the length of the shortest prompt
            differ = (index for index, column in columns if len(set(column)) > 1)
            shared = next(differ, min(self._lengths())) if len(self.prompts) > 1 else 0
            starts = [max(1, min(shared, len(prompt) - 1)) for prompt in self.prompts]
        if len(starts) != len(self.prompts) or any(
            not 1 <= start < len(prompt) for start, prompt in zip(starts, self.prompts, strict=False)
        ):
            raise EngineError(
                f"the weight-sync check's starts {list(starts)} do not fit its prompts' {self._lengths()} tokens"
            )
        self._starts = tuple(starts)
        self._engine_base: np.ndarray | None = None  # [N], N = the sum of T - start over the prompts
        self._policy_base: np.ndarray | None = None  # [N]
        self._previous: np.ndarray | None = None  # [N], delta_p of the engine's last adapter
        self.noise = 0.0
        """sigma: rms of e_base - p_base over the compared tokens, in nats."""

    def record_base(self, engine_logps: Sequence[Sequence[float]], policy_logps: Sequence[Sequence[float]]) -> None:
        """Store the base model's log-probabilities, from the engine and from the policy with its adapter off.

        Args:
            engine_logps: for each prompt of T tokens the natural-log probabilities of tokens 1..T-1.
            policy_logps: the same from the policy.

        Raises:
            EngineError: lengths are wrong, or values are not finite.
        """
        self._engine_base = self._flat(engine_logps, "engine")
        self._policy_base = self._flat(policy_logps, "policy")
        self._previous = None
        self.noise = float(np.sqrt(np.mean((self._engine_base - self._policy_base) ** 2)))

    def compare(
        self, engine_logps: Sequence[Sequence[float]], policy_logps: Sequence[Sequence[float]]
    ) -> WeightSyncResult:
        """Compare engine and policy after a sync; the policy's values are those with its adapter on.

        Raises:
            EngineError: the engine still uses old weights, or weights that are neither old nor new; `record_base` was
                not called; or lengths are wrong.
        """
        if self._engine_base is None or self._policy_base is None:
            raise EngineError(
                "the weight-sync check has no base to compare with; call record_base before the first adapter"
            )
        delta_e = self._flat(engine_logps, "engine") - self._engine_base
        delta_p = self._flat(policy_logps, "policy") - self._policy_base
        size_e, size_p = float(np.linalg.norm(delta_e)), float(np.linalg.norm(delta_p))
        cosine = float(delta_e @ delta_p) / (size_e * size_p) if size_e and size_p else 0.0
        residual = float(np.linalg.norm(delta_e - delta_p))
        distance = residual / size_p if size_p else float("inf")

        # A lower bound of the noise: exact equality of engine and policy (tests, fp32) must not divide by zero.
        sigma = max(self.noise, 1e-6)
        older = {"the base model": np.zeros_like(delta_p)}
        if self._previous is not None:
            older["the previous adapter"] = self._previous
        moved, signal = float("nan"), float("inf")
        for name, old in older.items():
            apart = float(np.linalg.norm(delta_p - old))
            q = apart / np.sqrt(delta_p.size) / sigma
            signal = min(signal, q)
            if q < LEAST_SIGNAL:
                continue
            t = float((delta_e - old) @ (delta_p - old)) / apart**2
            moved = t if np.isnan(moved) else min(moved, t)
            if t < SMALLEST_MOVE:
                raise EngineError(
                    f"the engine still answers with {name}: its log-probabilities moved {t:.2f} of the way to the new "
                    f"adapter (about 1 is fresh, 0 is stale; signal {q:.1f}, cosine {cosine:.2f}, distance "
                    f"{distance:.2f}); sync the adapter from a folder that was never used before, and restart the "
                    "engine if that does not help"
                )
        noise_norm = sigma * np.sqrt(2 * delta_p.size)  # norm of a difference of two noisy vectors
        if signal >= LEAST_SIGNAL and residual > LARGEST_DISTANCE * size_p + 2 * noise_norm:
            raise EngineError(
                f"the engine answers with neither the old nor the new weights: cosine {cosine:.2f}, distance "
                f"{distance:.2f} from the new adapter; is it serving the same base model as the policy trains?"
            )
        self._previous = delta_p
        verdict: Verdict = "match" if signal >= LEAST_SIGNAL else "indistinguishable"
        return WeightSyncResult(cosine=cosine, distance=distance, verdict=verdict, moved=moved, signal=float(signal))

    def _lengths(self) -> list[int]:
        return [len(prompt) for prompt in self.prompts]

    def _flat(self, logps: Sequence[Sequence[float]], who: str) -> np.ndarray:
        """Return the compared values of all prompts in one vector [N], checked against the prompts."""
        lengths = [len(row) for row in logps]
        expected = [length - 1 for length in self._lengths()]
        if lengths != expected:
            raise EngineError(
                f"the {who} gave {lengths} log-probabilities for the weight-sync check's prompts, not {expected}"
            )
        # Row i holds the tokens 1..T-1, so the token at index `start` is at start - 1.
        rows = [np.asarray(row, dtype=np.float64)[start - 1 :] for row, start in zip(logps, self._starts, strict=True)]
        flat = np.concatenate(rows)
        if not np.isfinite(flat).all():
            raise EngineError(f"the {who}'s log-probabilities of the weight-sync check's prompts are not all finite")
        return flat
