"""What an engine was asked in a run: nothing twice, and no more than its budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.errors import BudgetUsedUp, ConfigError, DataError, EngineError
from longmab_pl.rollout.account import EngineAccount, EngineBudget, content_key
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler

SAMPLING = Sampling(max_tokens=10)


def asks(key, *prompts, heat=1.0):
    """A strategy that asks the judge each prompt at once and returns the answers."""
    requests = [
        Request(f"{key}/{i}", tuple(map(ord, prompt)), replace(SAMPLING, temperature=heat), seed=1, to="judge")
        for i, prompt in enumerate(prompts)
    ]
    completions = yield requests
    assert [completion.request_id for completion in completions] == [request.id for request in requests]
    return [completion.texts[0] for completion in completions]


def stubborn(key, *prompts):
    try:
        return (yield from asks(key, *prompts))
    except BudgetUsedUp as error:
        return str(error)


def judge(**options):
    return ScriptedEngine(lambda request, i: "".join(map(chr, request.prompt_ids)).upper(), **options)


def run(engine, account, *tasks, journal=None):
    scheduler = Scheduler(
        {"policy": ScriptedEngine(lambda *_: ""), "judge": engine}, journal, accounts={"judge": account}
    )
    return dict(scheduler.run((f"r{i}", task) for i, task in enumerate(tasks)))


def account_in(folder, **budget):
    return EngineAccount("judge", folder / "judge.jsonl", "model", EngineBudget(**budget))


def test_equal_requests_of_all_records_are_sent_once(tmp_path):
    engine, account = judge(), account_in(tmp_path)
    found = run(engine, account, *(asks(f"r{i}", "one", "two", "one") for i in range(6)))
    assert list(found.values()) == [["ONE", "TWO", "ONE"]] * 6
    assert len(engine.asked) == account.calls == 2
    assert account.repeated == 16


def test_a_later_run_sends_nothing_that_an_earlier_one_sent(tmp_path):
    account = account_in(tmp_path)
    run(judge(), account, asks("a", "one", "two"))
    account.close()
    engine, account = judge(), account_in(tmp_path)
    assert run(engine, account, asks("b", "two", "three")) == {"r0": ["TWO", "THREE"]}
    assert [request.id for request in engine.asked] == ["b/1"]
    assert (account.calls, account.tokens) == (3, sum(len(word) + 1 for word in ("one", "two", "three")))


def test_requests_that_differ_in_anything_are_different():
    request = Request("a", (1, 2), SAMPLING, n=1, seed=3, to="judge")
    assert content_key(request) == content_key(replace(request, id="b"))
    others = [
        replace(request, prompt_ids=(1, 3)),
        replace(request, sampling=replace(SAMPLING, temperature=0.5)),
        replace(request, n=2),
        replace(request, seed=4),
        replace(request, schema="{}"),
    ]
    assert len({content_key(each) for each in [request, *others]}) == 6


def test_requests_without_a_seed_are_new_samples_unless_they_are_greedy(tmp_path):
    def samples(key, heat):
        sampling = replace(SAMPLING, temperature=heat)
        return (yield [Request(f"{key}/{i}", (1,), sampling, to="judge") for i in range(3)])

    engine, account = judge(), account_in(tmp_path)
    run(engine, account, samples("a", 1.0), samples("b", 1.0))
    run(engine, account, samples("a", 1.0))
    assert len(engine.asked) == 9
    run(engine, account, samples("c", 0.0), samples("d", 0.0))
    assert len(engine.asked) == 10


def test_answers_from_the_account_are_in_the_journal_too(tmp_path):
    account, journal = account_in(tmp_path), Journal(tmp_path / "journal.jsonl", "f")
    run(judge(), account, asks("a", "one", "one"), journal=journal)
    journal.close()
    again = Journal(tmp_path / "journal.jsonl", "f")
    engine = judge()
    assert run(engine, account, asks("a", "one", "one"), journal=again) == {"r0": ["ONE", "ONE"]}
    assert engine.asked == []


def test_a_budget_of_calls_is_never_exceeded_and_says_what_to_raise(tmp_path):
    engine, account = judge(), account_in(tmp_path, calls=5)
    found = run(engine, account, *(stubborn(f"r{i}", f"x{i}", f"y{i}") for i in range(4)))
    assert len(engine.asked) == 4
    refused = [each for each in found.values() if isinstance(each, str)]
    assert len(refused) == 2
    assert all("5 calls; raise data.engines.judge.budget.calls" in each for each in refused)
    account.close()
    # With a larger budget the rest is sent, and nothing else.
    engine, account = judge(), account_in(tmp_path, calls=8)
    found = run(engine, account, *(stubborn(f"r{i}", f"x{i}", f"y{i}") for i in range(4)))
    assert list(found) == ["r0", "r1", "r2", "r3"] or len(found) == 4
    assert not any(isinstance(each, str) for each in found.values())
    assert len(engine.asked) == 4


def test_a_budget_of_tokens_counts_prompts_and_the_longest_answers(tmp_path):
    account = account_in(tmp_path, tokens=30)
    engine = judge()
    found = run(engine, account, stubborn("a", "four"), stubborn("b", "five"), stubborn("c", "long" * 5))
    assert found["r0"] == ["FOUR"]
    assert "of 30 tokens" in found["r2"]
    assert account.tokens <= 30


def test_a_strategy_that_does_not_expect_it_fails_alone(tmp_path):
    account = account_in(tmp_path, calls=1)
    found = run(judge(), account, asks("a", "one"), asks("b", "two", "three"))
    assert found["r0"] == ["ONE"]
    assert isinstance(found["r1"], BudgetUsedUp)


def test_a_budget_of_nothing_asks_nothing(tmp_path):
    engine = judge()
    run(engine, account_in(tmp_path, calls=0), stubborn("a", "one"))
    assert engine.asked == []
    with pytest.raises(ConfigError, match=r"budget\.calls is -1"):
        EngineBudget(calls=-1)


def test_a_record_that_fails_leaves_its_question_to_those_who_wait_for_the_answer(tmp_path):
    long = "x" * 200

    def fails(key):
        return asks(key, long, "shared")  # the first is too long for the engine

    engine, account = judge(max_model_len=100, concurrency=1, jitter=1), account_in(tmp_path)
    found = run(engine, account, fails("a"), asks("b", "shared"), asks("c", "shared"))
    assert isinstance(found["r0"], EngineError)
    assert found["r1"] == found["r2"] == ["SHARED"]
    assert account.calls == sum(len(request.prompt_ids) == 6 for request in engine.asked) == 1
    account.reserve([Request("d", (1,), SAMPLING)] * 3)  # nothing is reserved any more: no error


def test_an_account_of_another_model_is_refused(tmp_path):
    account_in(tmp_path).close()
    with pytest.raises(DataError, match="of other settings"):
        EngineAccount("judge", tmp_path / "judge.jsonl", "other model")


def test_a_damaged_answer_is_asked_again(tmp_path, capsys):
    account = account_in(tmp_path)
    run(judge(), account, asks("a", "one", "two"))
    account.close()
    path = tmp_path / "judge.jsonl"
    path.write_bytes(path.read_bytes().replace(b"ONE", b"0NE"))
    engine, account = judge(), account_in(tmp_path)
    assert "damaged on disk" in capsys.readouterr().err
    assert run(engine, account, asks("b", "one", "two")) == {"r0": ["ONE", "TWO"]}
    assert len(engine.asked) == 1


def test_a_completion_comes_back_as_it_was(tmp_path):
    account = account_in(tmp_path)
    request = Request("a", (1, 2), SAMPLING, n=2, seed=1, to="judge")
    completion = Completion("a", ("é", "\ud800"), ("stop", "length"), (1, 2), 2, 0, ((5,), (6, 7)))
    account.reserve([request])
    account.add(request, completion)
    assert account.get(replace(request, id="b")) == replace(completion, request_id="b")
    assert account.tokens == 5
