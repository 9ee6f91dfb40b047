"""The weight-sync check on made-up log-probabilities with known noise; the real engine is in test_vllm.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from longmab_pl.engines.weight_sync_check import WeightSyncCheck
from longmab_pl.errors import EngineError

PROMPTS = [list(range(65)), list(range(100, 133)), list(range(200, 233))]  # 128 scored tokens
NOISE = 0.02


class World:
    """Token log-probabilities of a base model and of adapters with a given effect, as two noisy observers see them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.base = -np.abs(self.rng.normal(2.0, 1.0, 128))
        self.gap = self.rng.normal(0.0, NOISE, 128)  # constant between engine and policy

    def adapter(self, rms: float) -> np.ndarray:
        return self.rng.normal(0.0, rms, 128)

    def rows(self, values: np.ndarray) -> list[list[float]]:
        return [list(part) for part in np.split(values, [64, 96])]

    def policy(self, effect: np.ndarray) -> list[list[float]]:
        return self.rows(self.base + effect)

    def engine(self, effect: np.ndarray) -> list[list[float]]:
        return self.rows(self.base + effect + self.gap + self.rng.normal(0.0, NOISE, 128))

    def check(self) -> WeightSyncCheck:
        check = WeightSyncCheck(PROMPTS)
        nothing = np.zeros(128)
        check.record_base(self.engine(nothing), self.policy(nothing))
        return check


@pytest.mark.parametrize("rms", [0.08, 0.2, 1.0])
def test_fresh_engine_matches(rms: float) -> None:
    for seed in range(20):
        world = World(seed)
        check = world.check()
        effect = world.adapter(rms)
        result = check.compare(world.engine(effect), world.policy(effect))
        assert result.verdict == "match"
        assert result.moved > 0.6
        assert result.signal > 2
        if rms >= 0.2:
            assert result.cosine > 0.9
            assert result.distance < 0.5


@pytest.mark.parametrize("rms", [0.08, 0.2, 1.0])
def test_base_weights_are_detected(rms: float) -> None:
    for seed in range(20):
        world = World(seed)
        check = world.check()
        with pytest.raises(EngineError, match="still answers with the base model"):
            check.compare(world.engine(np.zeros(128)), world.policy(world.adapter(rms)))


@pytest.mark.parametrize("step", [0.08, 0.2])
def test_previous_adapter_is_detected_although_far_from_base(step: float) -> None:
    for seed in range(20):
        world = World(seed)
        check = world.check()
        first = world.adapter(1.0)
        second = first + world.adapter(step)
        assert check.compare(world.engine(first), world.policy(first)).verdict == "match"
        with pytest.raises(EngineError, match="still answers with the previous adapter"):
            check.compare(world.engine(first), world.policy(second))
        # A refused check leaves the memory of the previous adapter as it was.
        assert check.compare(world.engine(second), world.policy(second)).verdict == "match"


def test_effect_below_noise_proves_nothing_and_does_not_fail() -> None:
    world = World()
    check = world.check()
    effect = world.adapter(NOISE / 100)
    for engine_effect in (effect, np.zeros(128)):
        result = check.compare(world.engine(engine_effect), world.policy(effect))
        assert result.verdict == "indistinguishable"
        assert math.isnan(result.moved)


def test_small_step_after_a_large_one_is_indistinguishable_from_it_only() -> None:
    world = World()
    check = world.check()
    first = world.adapter(1.0)
    check.compare(world.engine(first), world.policy(first))
    second = first + world.adapter(NOISE / 100)
    result = check.compare(world.engine(second), world.policy(second))
    assert result.verdict == "indistinguishable"
    assert result.moved == pytest.approx(1.0, abs=0.1)  # against the base it is told apart
    with pytest.raises(EngineError, match="the base model"):
        check.compare(world.engine(np.zeros(128)), world.policy(second))


def test_foreign_weights_are_detected() -> None:
    world = World()
    check = world.check()
    effect = world.adapter(0.3)
    with pytest.raises(EngineError, match="neither the old nor the new"):
        check.compare(world.engine(effect + world.adapter(2.0)), world.policy(effect))


def test_return_to_the_base_is_proven_against_the_adapter() -> None:
    world = World()
    check = world.check()
    effect, nothing = world.adapter(0.5), np.zeros(128)
    check.compare(world.engine(effect), world.policy(effect))
    with pytest.raises(EngineError, match="the previous adapter"):
        check.compare(world.engine(effect), world.policy(nothing))
    assert check.compare(world.engine(nothing), world.policy(nothing)).moved == pytest.approx(1.0, abs=0.2)


def test_noiseless_observers() -> None:
    check = WeightSyncCheck([[1, 2, 3]])
    check.record_base([[-1.0, -2.0]], [[-1.0, -2.0]])
    result = check.compare([[-1.5, -1.0]], [[-1.5, -1.0]])
    assert (result.verdict, result.distance) == ("match", 0.0)
    assert result.cosine == pytest.approx(1.0)
    assert check.compare([[-1.5, -1.0]], [[-1.5, -1.0]]).verdict == "indistinguishable"  # the same adapter again


def test_tokens_before_the_starts_do_not_count() -> None:
    """A beginning that all prompts share, or all but the responses, may be as noisy as it likes."""
    quiet, loud = [-1.0, -1.0], [-9.0, -9.0]
    for check in (
        WeightSyncCheck([[1, 2, 3, 4], [1, 2, 3, 5]]),
        WeightSyncCheck([[1, 2, 3, 4], [6, 7, 8, 9]], starts=[3, 3]),
    ):
        check.record_base([[*quiet, -2.0], [*quiet, -3.0]], [[*loud, -2.0], [*loud, -3.0]])
        assert check.noise == 0
        result = check.compare([[*loud, -1.0], [*loud, -4.0]], [[*quiet, -1.0], [*quiet, -4.0]])
        assert (result.verdict, result.distance) == ("match", 0.0)


@pytest.mark.parametrize("starts", [[0, 1], [1, 2], [1], [1, 1, 1]])
def test_starts_outside_the_prompts_are_refused(starts: list[int]) -> None:
    with pytest.raises(EngineError, match="starts"):
        WeightSyncCheck([[1, 2, 3], [4, 5]], starts=starts)


def test_equal_prompts_keep_their_last_token() -> None:
    check = WeightSyncCheck([[1, 2, 3], [1, 2, 3]])
    check.record_base([[-1.0, -1.0]] * 2, [[-1.0, -1.0]] * 2)
    assert check.compare([[-1.0, -2.0]] * 2, [[-1.0, -2.0]] * 2).verdict == "match"


def test_wrong_use_is_refused() -> None:
    with pytest.raises(EngineError, match="at least two tokens"):
        WeightSyncCheck([[1]])
    with pytest.raises(EngineError, match="at least one prompt"):
        WeightSyncCheck([])
    check = WeightSyncCheck([[1, 2, 3], [4, 5]])
    with pytest.raises(EngineError, match="record_base"):
        check.compare([[-1.0, -1.0], [-1.0]], [[-1.0, -1.0], [-1.0]])
    with pytest.raises(EngineError, match=r"\[2, 2\].*not \[2, 1\]"):
        check.record_base([[-1.0, -1.0], [-1.0, -1.0]], [[-1.0, -1.0], [-1.0]])
    with pytest.raises(EngineError, match="finite"):
        check.record_base([[-1.0, -math.inf], [-1.0]], [[-1.0, -1.0], [-1.0]])
