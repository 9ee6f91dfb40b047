"""The rules that every engine keeps, as tests: each engine's test module runs them in a subclass of `EngineContract`.

A subclass gives the fixtures `unstarted`, `engine` and `model`. The shared `engine` is handed to each test idle, awake
and with the base model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.engines.protocol import Completion, Engine, Request, Sampling
from longmab_pl.errors import EngineError, PromptTooLong

GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=6)
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 10}},
        "required": ["n"],
        "additionalProperties": False,
    }
)
WARM = Sampling(temperature=1.0, presence_penalty=0.0, max_tokens=6)


def answers(engine: Engine, asked: Sequence[Request], seconds: float = 120.0) -> dict[str, Completion]:
    """Submit requests and poll until all are answered, each once."""
    for request in asked:
        engine.submit(request)
    done: dict[str, Completion] = {}
    deadline = time.monotonic() + seconds
    while len(done) < len(asked):
        assert time.monotonic() < deadline, f"{len(done)} of {len(asked)} answered"
        for completion in engine.poll():
            assert completion.request_id not in done, "answered twice"
            done[completion.request_id] = completion
    assert engine.poll() == []
    return done


class EngineContract:
    """Tests of any `Engine`; prompts are the ids 1, 2, 3, ... of any vocabulary."""

    starts_by_itself = False
    """It needs no model: nothing is refused before `start`."""
    checks_adapters = True
    """`sync` refuses a folder without an adapter."""
    says_token_ids = True
    """Completions come with the sampled tokens."""
    sleeps = False
    """A sleeping engine refuses requests: there is something that it frees."""

    def prompt(self, length: int = 5, first: int = 1) -> tuple[int, ...]:
        return tuple(range(first, first + length))

    # -------------------------------------------------------------- life

    def test_an_engine_that_was_not_started_says_so_and_can_be_dropped(self, unstarted: Engine) -> None:
        assert not unstarted.started
        assert unstarted.concurrency >= 1
        assert unstarted.weight_format
        uses = [
            unstarted.poll,
            unstarted.sleep,
            unstarted.wake,
            lambda: unstarted.submit(Request("a", self.prompt(), GREEDY)),
            lambda: unstarted.sync(None),
            lambda: unstarted.score([self.prompt()]),
        ]
        for use in uses if not self.starts_by_itself else ():
            with pytest.raises(EngineError, match="call start"):
                use()
        unstarted.abort()
        unstarted.close()
        unstarted.close()
        assert not unstarted.started

    def test_starting_again_is_free_and_another_model_is_refused(self, engine: Engine, model: str) -> None:
        limit = engine.max_model_len
        engine.start(model)
        assert engine.started
        assert engine.max_model_len == limit > 0
        with pytest.raises(EngineError, match="already runs"):
            engine.start("some/other-model")
        assert engine.started

    # -------------------------------------------------------------- requests

    def test_bad_requests_are_refused_before_anything_is_queued(self, engine: Engine) -> None:
        longest = engine.max_model_len - GREEDY.max_tokens
        refusals: list[tuple[Request, type[EngineError], str]] = [
            (Request("long", (5,) * (longest + 1), GREEDY), PromptTooLong, f"{longest + 1} prompt tokens"),
            (Request("empty", (), GREEDY), EngineError, "empty prompt"),
            (Request("foreign", (1, 10**7), GREEDY), EngineError, "vocabulary of"),
            (Request("negative", (1, -1), GREEDY), EngineError, "vocabulary of"),
            (Request("none", self.prompt(), GREEDY, n=0), EngineError, "n=0"),
        ]
        for request, kind, says in refusals:
            with pytest.raises(kind, match=says):
                engine.submit(request)
        for prompt, says in (((1,), "at least 2"), ((1, 10**7), "vocabulary of")):
            with pytest.raises(EngineError, match=says):
                engine.score([self.prompt(), prompt])
        with pytest.raises(PromptTooLong):
            engine.score([self.prompt(), (5,) * engine.max_model_len])
        waits = []
        for _ in range(5):  # a busy machine delays one of them, not all
            start = time.monotonic()
            assert engine.poll() == []
            waits.append(time.monotonic() - start)
        assert min(waits) < 0.4, "an idle engine has nothing to wait for"
        for request, _, _ in refusals:  # what was refused does not hold its id
            good = Request(request.id, self.prompt(), GREEDY)
            assert answers(engine, [good])[request.id].request_id == request.id

    def test_an_id_is_used_once_at_a_time(self, engine: Engine) -> None:
        request = Request("twice", self.prompt(), GREEDY)
        engine.submit(request)
        with pytest.raises(EngineError, match="in flight already"):
            engine.submit(request)
        engine.abort()
        assert len(answers(engine, [request])["twice"].texts) == 1
        assert len(answers(engine, [request])["twice"].texts) == 1

    def test_every_request_is_answered_once_and_whole(self, engine: Engine) -> None:
        asked = [Request(f"r{i}", self.prompt(3 + i, 1 + i), WARM, n=1 + i % 3, seed=i) for i in range(9)]
        for request, completion in zip(asked, self._in_order(engine, asked), strict=True):
            assert len(completion.texts) == len(completion.finish_reasons) == len(completion.completion_tokens)
            assert len(completion.texts) == request.n
            assert set(completion.finish_reasons) <= {"stop", "length"}
            assert completion.prompt_tokens == len(request.prompt_ids)
            assert completion.cached_tokens >= 0
            if self.says_token_ids:
                assert tuple(map(len, completion.token_ids)) == completion.completion_tokens
            else:
                assert completion.token_ids == ()
            for reason, tokens in zip(completion.finish_reasons, completion.completion_tokens, strict=True):
                assert 0 <= tokens <= WARM.max_tokens
                assert reason == "stop" or tokens == WARM.max_tokens
            assert Completion.from_json(completion.to_json()) == completion

    def test_mean_log_probabilities_are_those_of_the_sampled_tokens(self, engine: Engine) -> None:
        sampling = Sampling(temperature=0.7, top_p=0.9, presence_penalty=0.0, max_tokens=5)
        asked = [
            Request("with", self.prompt(), sampling, n=2, seed=1, logprobs=True),
            Request("without", self.prompt(), sampling, n=2, seed=1),
        ]
        found, without = self._in_order(engine, asked)
        assert without.mean_logprobs == ()
        assert len(found.mean_logprobs) == 2
        if not self.says_token_ids:
            return
        for ids, mean in zip(found.token_ids, found.mean_logprobs, strict=True):
            (scores,) = engine.score([(*self.prompt(), *ids)])
            assert mean == pytest.approx(sum(scores[-len(ids) :]) / len(ids), abs=0.02)

    def test_a_seed_fixes_the_answers_and_no_seed_does_not(self, engine: Engine) -> None:
        def request(name: str, seed: int | None) -> Request:
            return Request(name, self.prompt(), WARM, n=2, seed=seed)

        first, again, other = self._in_order(engine, [request("a", 3), request("b", 3), request("c", 4)])
        assert first.texts == again.texts != other.texts
        assert len(set(first.texts)) == 2, "responses of one request share no random numbers"
        assert first.texts[1] != other.texts[0], "nor do neighboring seeds"
        without = self._in_order(engine, [request(f"{i}", None) for i in range(4)])
        assert len({completion.texts for completion in without}) == 4

    def test_aborted_requests_are_gone(self, engine: Engine) -> None:
        for i in range(6):
            engine.submit(Request(f"r{i}", self.prompt(), WARM, seed=i))
        engine.abort()
        assert engine.poll() == []
        engine.abort()
        other = Request("other", self.prompt(), GREEDY)
        assert list(answers(engine, [other])) == ["other"]

    def test_a_json_schema_is_followed_or_refused(self, engine: Engine) -> None:
        request = Request("json", self.prompt(), replace(WARM, max_tokens=40), seed=1, schema=SCHEMA)
        if engine.structured_output:
            found = json.loads(answers(engine, [request])["json"].texts[0])
            assert found.keys() == {"n"}
            assert 0 <= found["n"] <= 10
        else:
            with pytest.raises(EngineError, match="JSON schema"):
                engine.submit(request)
            plain = replace(request, schema=None)
            assert answers(engine, [plain])["json"].request_id == "json"

    def _in_order(self, engine: Engine, asked: Sequence[Request]) -> list[Completion]:
        done = answers(engine, asked)
        return [done[request.id] for request in asked]

    # -------------------------------------------------------------- scores, adapter, sleep

    def test_scores_are_log_probabilities_of_all_tokens_but_the_first(self, engine: Engine) -> None:
        prompts = [self.prompt(8), self.prompt(2, 4), self.prompt(5)]
        scores = engine.score(prompts)
        assert [len(row) for row in scores] == [7, 1, 4]
        assert all(value <= 0 for row in scores for value in row)
        assert scores[2] == pytest.approx(scores[0][:4], abs=2e-2), "of the same beginning"
        assert engine.score([]) == []

    def test_nothing_changes_under_requests_in_flight(self, engine: Engine) -> None:
        engine.submit(Request("a", self.prompt(), GREEDY))
        for refused in (lambda: engine.sync(None), lambda: engine.score([self.prompt()]), engine.sleep):
            with pytest.raises(EngineError, match="in flight"):
                refused()
        completions: list[Completion] = []
        while not completions:
            completions = engine.poll()
        assert [completion.request_id for completion in completions] == ["a"]

    def test_the_base_model_answers_as_before_after_a_refused_adapter(self, engine: Engine, tmp_path: Path) -> None:
        request = Request("a", self.prompt(), GREEDY, seed=1)
        before = answers(engine, [request])["a"].texts
        if self.checks_adapters:
            with pytest.raises(EngineError, match=r"no adapter_config\.json"):
                engine.sync(tmp_path)
        engine.sync(None)
        assert answers(engine, [request])["a"].texts == before

    def test_a_sleeping_engine_wakes_up_as_it_was(self, engine: Engine) -> None:
        request = Request("a", self.prompt(), GREEDY, seed=1)
        before = answers(engine, [request])["a"].texts
        engine.sleep()
        engine.sleep()
        if self.sleeps:
            uses: list[Any] = [engine.poll, lambda: engine.submit(request), lambda: engine.score([self.prompt()])]
            for use in [*uses, lambda: engine.sync(None)]:
                with pytest.raises(EngineError, match="sleeps"):
                    use()
        engine.wake()
        engine.wake()
        assert answers(engine, [request])["a"].texts == before
