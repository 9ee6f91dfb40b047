"""How engines are divided among workers, and what cannot be; no cluster is needed."""

from __future__ import annotations

import pickle

import pytest
from cluster_rounds import begun, session_of, write_records

pytest.importorskip("ray", reason="Ray is not installed")

from longmab_pl.engines import ScriptedEngine, ServerEngine, TransformersEngine, VLLMEngine
from longmab_pl.errors import ConfigError
from longmab_pl.rollout.account import EngineBudget
from longmab_pl.rollout.cluster.round import engines_of_workers, roll_out_on_cluster
from longmab_pl.rollout.cluster.settings import ClusterSettings
from longmab_pl.rollout.session import NamedEngine

SERVERS = [f"http://10.0.0.{i}:8000" for i in range(5)]


def test_a_fleet_is_shared_among_the_workers():
    engine = ServerEngine(SERVERS, concurrency_per_server=8, served_model="policy")
    first, second = engines_of_workers(engine, ClusterSettings(workers=2))
    assert isinstance(first, ServerEngine)
    assert isinstance(second, ServerEngine)
    assert first.addresses == engine.addresses[::2]
    assert second.addresses == engine.addresses[1::2]
    assert (first.concurrency, second.concurrency) == (3 * 8 + 6, 2 * 8 + 4)
    assert first.weight_format == engine.weight_format, "it is the same round"
    assert len(engine.addresses) == 5


def test_more_workers_than_servers_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"data\.cluster\.workers is 6, more than the 5 servers of data\.engine\.servers; give --workers 5",
    ):
        engines_of_workers(ServerEngine(SERVERS), ClusterSettings(workers=6))


@pytest.mark.parametrize(
    "engine",
    [VLLMEngine(concurrency=3), TransformersEngine(concurrency=3), ServerEngine(SERVERS[:1], concurrency_per_server=3)],
    ids=["vllm", "transformers", "server"],
)
def test_an_engine_that_has_not_started_goes_to_another_process(engine):
    there = pickle.loads(pickle.dumps(engine))
    assert type(there) is type(engine)
    assert there.concurrency == 3
    assert there.weight_format == engine.weight_format
    assert not there.started
    there.close()


def test_a_judges_budget_is_refused_before_a_cluster_is_asked(tmp_path, tiny_model):
    session = session_of(write_records(tmp_path, 2), ScriptedEngine(lambda request, i: ""))
    making = begun(session, tmp_path / "run", tiny_model)
    session.others["judge"] = NamedEngine(budget=EngineBudget(calls=5))
    with pytest.raises(ConfigError, match=r"data\.engines\.judge\.budget is for rollouts in one process"):
        roll_out_on_cluster(session, making, ClusterSettings("local"), model=tiny_model, adapter=None, title="")
