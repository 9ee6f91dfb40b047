from __future__ import annotations

import json

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.engines.scripted import ScriptedEngine
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rewards.base import Score
from longmab_pl.rollout.record_choice import by_pass_rate, last_pass_rates, pass_rate, round_before
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.rollout.session import RecordSelection, RolloutSession
from longmab_pl.strategies.base import RecordRollout, Response
from longmab_pl.strategies.best_of_n import BestOfN


def rollout(*values: float | None, status: str = "ok") -> RecordRollout:
    scores = [Score(0.0, excluded="no verdict") if value is None else Score(value) for value in values]
    responses = tuple(Response("text", True, i, scores={"reward": score}) for i, score in enumerate(scores))
    return RecordRollout("r", status, responses)


@pytest.mark.parametrize(
    ("made", "rate"),
    [
        (rollout(1.0, 0.5, 0.499, 0.0), 0.5),
        (rollout(1.0, None, None), 1.0),
        (rollout(None), None),
        (rollout(), None),
        (rollout(status="probe_rejected"), 0.0),
    ],
)
def test_the_pass_rate_is_the_share_of_scored_responses_that_pass(made, rate):
    assert pass_rate(made, "reward", 0.5) == rate
    assert pass_rate(made, "another", 0.5) in (None, 0.0)


def test_rates_near_one_half_come_first_and_equal_ones_keep_their_order():
    rates = {"a": 1.0, "b": 0.25, "c": 0.5, "d": 0.0, "e": 0.6, "f": 0.9}
    records = [QARecord(name, "?", ("x",), "Text.") for name in "abcdefgh"]
    assert [r.id for r in by_pass_rate(records, rates)] == ["c", "e", "b", "g", "h", "f", "a", "d"]
    assert [r.id for r in by_pass_rate(records, {})] == list("abcdefgh")


RIGHT = {"r0": 4, "r1": 2, "r2": 0, "r3": 1, "r4": 4, "r5": 0, "r6": 2, "r7": 3, "r8": 0, "r9": 4, "r10": 1, "r11": 2}
"""Responses of 4 that are right, by record."""


def answer(request, i):
    return " Peru" if i < RIGHT[request.id.split("/")[0]] else " Chile"


def session(tmp_path, order="curriculum", **more):
    train = tmp_path / "qa.jsonl"
    rows = [{"id": name, "input": f"Which {name}?", "answer": "Peru", "context": "Some text. " * 5} for name in RIGHT]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = RoundPlan(BestOfN(4), (AnswerMatch(),), DirectAnswer(), BestWorst(400), Embedder(), seed=3)
    return RolloutSession(plan, RecordSelection(str(train), order=order, **more), ScriptedEngine(answer))


def rolled(made, tmp_path, model, number, before):
    making = made.new_round(tmp_path / "run", number, model, "base", before)
    made.engine.start(model)
    made.roll_out(making, f"round {number + 1}", adapter=None)
    making.finish("base")
    return making


def ids(making):
    return [record.id for record in making.records]


def rates_of(records):
    return [RIGHT[name] / 4 for name in records]


def test_later_rounds_ask_what_is_sometimes_right_first(tmp_path, tiny_model):
    made = session(tmp_path, per_round=6)
    made.load(tiny_model)
    first = rolled(made, tmp_path, tiny_model, 0, None)
    shuffled = session(tmp_path, "shuffled", per_round=6)
    shuffled.load(tiny_model)
    assert ids(first) == ids(shuffled.new_round(tmp_path / "other", 0, tiny_model, "base"))
    second = rolled(made, tmp_path, tiny_model, 1, first.store.fingerprint)
    known, new = [name for name in ids(second) if name in ids(first)], [n for n in RIGHT if n not in ids(first)]
    middle = [name for name in ids(first) if 1 <= RIGHT[name] <= 3]
    assert sorted(known[: len(middle)], key=list(RIGHT).index) == sorted(middle, key=list(RIGHT).index)
    assert set(ids(second)[len(middle) :]) <= set(new), "then those that have not been asked yet"
    assert middle, "the first round has some that are sometimes right"
    assert len(middle) < 6
    third = made.new_round(tmp_path / "run", 2, tiny_model, "base", second.store.fingerprint)
    asked = set(ids(first)) | set(ids(second))
    expected = sorted(abs(RIGHT[name] / 4 - 0.5) if name in asked else 0.25 for name in RIGHT)[:6]
    assert [abs(r - 0.5) if n in asked else 0.25 for n, r in zip(ids(third), rates_of(ids(third)), strict=True)] == (
        expected
    ), "rates of the first round count too"


def test_the_order_depends_on_seed_and_rounds_alone(tmp_path, tiny_model):
    orders = []
    for attempt in ("a", "b"):
        folder = tmp_path / attempt
        folder.mkdir()
        made = session(folder, per_round=5)
        made.load(tiny_model)
        first = rolled(made, folder, tiny_model, 0, None)
        again = session(folder, per_round=5)  # another process
        again.load(tiny_model)
        found = again.found_before(folder / "run", 1)
        assert found == first.store.fingerprint
        second = again.new_round(folder / "run", 1, tiny_model, "base", found)
        orders.append((ids(second), second.store.fingerprint))
        assert again.records_of(folder / "run", 1, found)[0] == second.records
    assert orders[0] == orders[1]


def test_the_latest_rate_counts(tmp_path, tiny_model, monkeypatch):
    made = session(tmp_path)
    made.load(tiny_model)
    first = rolled(made, tmp_path, tiny_model, 0, None)
    monkeypatch.setitem(RIGHT, "r2", 2)
    monkeypatch.setitem(RIGHT, "r1", 4)
    second = rolled(made, tmp_path, tiny_model, 1, first.store.fingerprint)
    rates = last_pass_rates(second.store, "answer_match", 0.5)
    assert (rates["r2"], rates["r1"], len(rates)) == (0.5, 1.0, 12)
    assert last_pass_rates(second.store, "answer_match", 2.0)["r1"] == 0.0


def test_damaged_rounds_are_named(tmp_path, tiny_model):
    made = session(tmp_path)
    made.load(tiny_model)
    first = rolled(made, tmp_path, tiny_model, 0, None)
    lines = first.store.rollouts.read_text()
    first.store.rollouts.write_text(lines.replace("Chile", "Chule", 1))
    with pytest.raises(DataError, match=r"rollouts.jsonl, line \d+, .*records: shuffled"):
        made.records_of(tmp_path / "run", 1, first.store.fingerprint)
    with pytest.raises(DataError, match=r"round\.json is missing; data\.records: curriculum"):
        made.records_of(tmp_path / "run", 1, "0123")


def test_a_run_folder_with_two_such_rounds_is_refused(tmp_path):
    assert round_before(tmp_path, 0) is None
    assert round_before(tmp_path, 1) is None
    for name in ("aa", "bb"):
        store = RoundFolder(tmp_path, 0, name)
        store.folder.mkdir(parents=True)
        if name == "aa":
            store.summary.write_text("{}")
            found = round_before(tmp_path, 1)
            assert found is not None
            assert found.fingerprint == "aa"
    store.summary.write_text("{}")
    with pytest.raises(DataError, match="round 1 with 2 settings"):
        round_before(tmp_path, 1)


def test_an_unknown_order_is_refused():
    with pytest.raises(ConfigError, match=r"data\.records"):
        RecordSelection("qa.jsonl", order="sorted")  # type: ignore[arg-type]
