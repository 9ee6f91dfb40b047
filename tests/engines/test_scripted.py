"""The scripted engine keeps every engine's rules, and does what its script says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_contract import GREEDY, EngineContract, answers

from longmab_pl.engines import Request, Sampling, ScriptedEngine, answer_from_prompt
from longmab_pl.errors import ConfigError, EngineError


def drawn(request: Request, i: int) -> str:
    """A sample: a function of prompt and seed."""
    if request.sampling.temperature == 0:
        return f"best after {request.prompt_ids[-1]}"
    return f"draw {random.Random(f'{request.seed} {i}').random()}"


class TestContract(EngineContract):
    starts_by_itself = True
    checks_adapters = False
    says_token_ids = False
    sleeps = True

    @pytest.fixture
    def model(self) -> str:
        return "any/model"

    @pytest.fixture
    def unstarted(self) -> ScriptedEngine:
        return ScriptedEngine(drawn)

    @pytest.fixture
    def engine(self, model: str) -> Iterator[ScriptedEngine]:
        engine = ScriptedEngine(drawn, max_model_len=100)
        engine.start(model)
        yield engine
        engine.close()
        assert not engine.started


def ask(engine: ScriptedEngine, count: int) -> list[str]:
    """Ids in the order in which they are answered."""
    for i in range(count):
        engine.submit(Request(f"r{i}", (1, 2), GREEDY))
    order: list[str] = []
    while len(order) < count:
        order += [completion.request_id for completion in engine.poll()]
    return order


def test_answers_come_out_of_order_repeatably_and_the_seed_gives_another_order() -> None:
    first, again = ask(ScriptedEngine(drawn), 20), ask(ScriptedEngine(drawn), 20)
    assert first == again != sorted(first)
    assert ask(ScriptedEngine(drawn, seed=1), 20) != first
    assert ask(ScriptedEngine(drawn, jitter=1), 20) == [f"r{i}" for i in reversed(range(20))]


def test_it_remembers_what_it_was_asked_and_told(tmp_path: Path) -> None:
    engine = ScriptedEngine(drawn, jitter=2)
    asked = [Request(f"r{i}", (1, 2), GREEDY, n=3) for i in range(4)]
    answers(engine, asked)
    assert engine.asked == asked
    assert max(engine.occupancy) == 12
    assert engine.occupancy[-1] == 0
    engine.sync(tmp_path)
    engine.sync(None)
    engine.sleep()
    engine.wake()
    engine.abort()
    assert engine.synced == [tmp_path, None]
    assert (engine.slept, engine.aborted, engine.closed) == (1, 1, False)
    engine.close()
    assert engine.closed


def test_it_breaks_when_it_is_told_to() -> None:
    engine = ScriptedEngine(drawn, fail_after=3, jitter=1)
    assert len(ask(engine, 3)) == 3
    engine.submit(Request("one more", (1, 2), GREEDY))
    with pytest.raises(EngineError, match="told to break after 3 answers"):
        engine.poll()


def test_a_tokenizer_lets_it_read_prompts_and_cut_answers(byte_tokenizer: Any) -> None:
    engine = ScriptedEngine(answer_from_prompt(str.upper, byte_tokenizer), tokenizer=byte_tokenizer)
    prompt = tuple(byte_tokenizer("abc")["input_ids"])
    done = answers(engine, [Request(f"{n}", prompt, Sampling(max_tokens=n)) for n in (2, 3)])
    assert [(c.texts, c.finish_reasons, c.completion_tokens) for c in (done["2"], done["3"])] == [
        (("AB",), ("length",), (2,)),
        (("ABC",), ("stop",), (3,)),
    ]


@pytest.mark.parametrize("setting", ["concurrency", "jitter"])
def test_wrong_settings_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"engine.{setting} is 0"):
        ScriptedEngine(drawn, **{setting: 0})  # type: ignore[arg-type]
