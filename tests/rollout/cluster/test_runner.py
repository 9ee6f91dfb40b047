"""Rollouts on a real Ray cluster of this machine, with two workers and scripted engines."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cluster_engines import NotedEngine
from cluster_rounds import ANSWERS, asked, begun, files, in_one_process, journalled, session_of, write_records
from small_config import write_config

pytest.importorskip("ray", reason="Ray is not installed")

import ray

from longmab_pl.cli.main import main
from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.rollout.cluster.connection import connected, gpus_of_workers
from longmab_pl.rollout.cluster.round import roll_out_on_cluster
from longmab_pl.rollout.cluster.settings import ClusterSettings

TWO = ClusterSettings("local", 2)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for all tests of this file: its processes are slow to start."""
    with connected(TWO):
        yield


def on_cluster(session, run, model, folder=None):
    """A finished round of two workers."""
    making = begun(session, run, model)
    roll_out_on_cluster(session, making, TWO, model=model, adapter=None, title="round 1 rollout")
    making.finish("base")
    return making


class Killer(threading.Thread):
    """Kills the first worker that has been asked `after` times, in the middle of its work."""

    def __init__(self, notes: Path, after: int) -> None:
        super().__init__(daemon=True)
        self.notes, self.after = notes, after
        self.killed = 0

    def run(self):
        while not self.killed:
            for path in self.notes.glob("*"):
                if path.read_bytes().count(b"\n") >= self.after:
                    self.killed = int(path.name)
                    os.kill(self.killed, signal.SIGKILL)
                    return
            time.sleep(0.005)


def with_a_killed_worker(tmp_path, model, records, answers, capsys):
    """A finished round in which a worker was killed; no answer that was kept has been asked again."""
    count = len(records.read_text().splitlines())
    notes = tmp_path / "notes"
    killer = Killer(notes, after=count * answers // 4)
    killer.start()
    making = on_cluster(session_of(records, NotedEngine(str(notes), 0.001), answers), tmp_path / "run", model)
    assert killer.killed
    ids = journalled(making)
    assert len(ids) == len(set(ids)) == count * answers, "an answer that was kept has been asked again"
    assert making.store.worker_journals == []
    said = capsys.readouterr().err
    assert said.count(" is lost (") == 1
    assert said.count(f"round 1 rollout: {count * answers:,} answers") == 1, "one progress bar"
    sent = asked(notes)
    assert len(sent) == 3, "two workers, and one in the place of the killed one"
    twice = sum(map(len, sent.values())) - count * answers
    assert 0 < twice <= 8, "only what the killed engine had in flight is sent again"
    return making


def test_a_worker_that_is_killed_costs_nothing_and_the_pairs_are_those_of_one_process(tmp_path, tiny_model, capsys):
    records = write_records(tmp_path, 1_000)
    making = with_a_killed_worker(tmp_path, tiny_model, records, ANSWERS, capsys)
    assert files(making) == files(in_one_process(records, tmp_path / "one", tiny_model))


@pytest.mark.slow
def test_ten_thousand_records_and_a_killed_worker(tmp_path, tiny_model, capsys):
    making = with_a_killed_worker(tmp_path, tiny_model, write_records(tmp_path, 10_000), 2, capsys)
    with making.store.rollouts.open() as rollouts:
        assert [json.loads(line)["record_id"] for line in rollouts] == [record.id for record in making.records]


def test_more_gpus_than_the_cluster_has_are_refused_and_its_own_address_is_not():
    with pytest.raises(ConfigError, match=r"2 workers of 0\.5 GPUs each need more than"):
        gpus_of_workers(ClusterSettings("local", 2, 0.5), served_elsewhere=False)
    assert gpus_of_workers(TWO, served_elsewhere=False) == 0
    ClusterSettings(ray.get_runtime_context().gcs_address).refuse_unreachable()


def test_a_slow_worker_gets_fewer_records(tmp_path, tiny_model):
    records = write_records(tmp_path, 200)
    engine = NotedEngine(str(tmp_path / "notes"), 0.002, slow_seconds=0.3, concurrency=4)
    making = on_cluster(session_of(records, engine), tmp_path / "run", tiny_model)
    few, many = sorted(len(ids) for ids in asked(tmp_path / "notes").values())
    assert few + many == len(set(journalled(making))) == 200 * ANSWERS
    assert few < many / 3


def test_engines_that_fail_end_the_command_and_one_process_asks_for_the_rest(tmp_path, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr("longmab_pl.rollout.cluster.runner.LOSSES", 0)  # no other workers: they take their time
    records = write_records(tmp_path, 60)
    failing = session_of(records, NotedEngine(str(tmp_path / "notes"), fail_after=20))
    making = begun(failing, tmp_path / "run", tiny_model)
    with pytest.raises(EngineError, match=r"(?s)no worker is left: the engine died.*run the same command again"):
        roll_out_on_cluster(failing, making, TWO, model=tiny_model, adapter=None, title="round 1 rollout")
    assert capsys.readouterr().err.count(" is lost (the engine died") == 2
    done = sum(path.read_bytes().count(b"\n") - 1 for path in making.store.worker_journals)
    assert 10 <= done <= 40

    session = session_of(records, NotedEngine(str(tmp_path / "notes-of-one")))
    again = begun(session, tmp_path / "run", tiny_model)
    session.engine.start(tiny_model)
    session.roll_out(again, "round 1", adapter=None)
    again.finish("base")
    (sent,) = asked(tmp_path / "notes-of-one").values()
    assert len(sent) == 60 * ANSWERS - done
    assert len(journalled(again)) == len(set(journalled(again))) == 60 * ANSWERS
    assert again.store.worker_journals == []


def test_a_cluster_without_room_for_new_workers_ends_the_command(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("longmab_pl.rollout.cluster.runner.ROOM_SECONDS", 0.0)
    failing = session_of(write_records(tmp_path, 60), NotedEngine(str(tmp_path / "notes"), fail_after=20))
    making = begun(failing, tmp_path / "run", tiny_model)
    with pytest.raises(EngineError, match=r"(?s)the cluster has had no room.*run the same command again"):
        roll_out_on_cluster(failing, making, TWO, model=tiny_model, adapter=None, title="round 1 rollout")


def test_a_folder_or_a_model_that_workers_do_not_see_is_one_line_before_anything_is_loaded(tmp_path, tiny_model):
    """Under /proc/self/fd a folder has a name that is another process's own: storage that is not shared."""
    records = write_records(tmp_path, 4)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    here = Path(f"/proc/self/fd/{descriptor}")
    try:
        session = session_of(records, NotedEngine(str(tmp_path / "notes")))
        making = begun(session, here / "run", tiny_model)
        with pytest.raises(ConfigError, match=r"worker \d on .* does not see the run folder /proc/self/fd") as refused:
            roll_out_on_cluster(session, making, TWO, model=tiny_model, adapter=None, title="round 1")
        assert "\n" not in str(refused.value)
        (tmp_path / "model").symlink_to(tiny_model)
        making = begun(session, tmp_path / "run-2", str(here / "model"))
        with pytest.raises(ConfigError, match=r"worker \d on .*: the model folder '/proc/self/fd.*does not exist"):
            roll_out_on_cluster(session, making, TWO, model=str(here / "model"), adapter=None, title="round 1")
    finally:
        os.close(descriptor)
    assert not (tmp_path / "notes").exists(), "no engine has started"


def test_the_command_makes_the_same_files_on_a_cluster(tmp_path, tiny_model, capsys):
    config = ["rollout", "--config", str(write_config(tmp_path, tiny_model, records=12))]
    main([*config, "--output", str(tmp_path / "one")])
    main([*config, "--output", str(tmp_path / "two"), "--ray", "--workers", "2"])
    rounds = [next((tmp_path / name / "rounds").iterdir()) for name in ("one", "two")]
    assert rounds[0].name == rounds[1].name
    for name in ("pairs.jsonl", "rollouts.jsonl"):
        assert (rounds[0] / name).read_bytes() == (rounds[1] / name).read_bytes()
    said = capsys.readouterr()
    assert said.err.count("48 of 48 answers") == 2
    main([*config, "--output", str(tmp_path / "two"), "--ray"])
    assert "round 1 is there already" in capsys.readouterr().out


def test_a_fit_on_a_cluster_has_the_rounds_of_one_process_and_its_workers_the_policys_adapter(
    tmp_path, tiny_model, capsys
):
    notes = tmp_path / "notes"
    config = ["fit", "--config", str(write_config(tmp_path, tiny_model, records=8)), "--rounds", "2"]
    config += ["--data.engine", "cluster_engines.AdapterEngine", "--data.engine.notes"]
    main([*config, str(tmp_path / "notes-of-one"), "--output", str(tmp_path / "one")])
    main([*config, str(notes), "--output", str(tmp_path / "two"), "--ray", "--workers", "1"])
    one, two = (sorted((tmp_path / name / "rounds").iterdir()) for name in ("one", "two"))
    assert [folder.name for folder in one] == [folder.name for folder in two], "the same policies, to the last bit"
    assert len(one) == 2
    for first, second in zip(one, two, strict=True):
        for name in ("pairs.jsonl", "rollouts.jsonl"):
            assert (first / name).read_bytes() == (second / name).read_bytes()
    synced = [path.read_text().split() for path in notes.iterdir()]
    (adapter, base) = sorted(folder for listed in synced for folder in listed)
    assert base == "base", "a worker a round; the engine of the fit itself never started"
    assert Path(adapter).parent == tmp_path / "two" / "adapters"
    assert (Path(adapter) / "adapter_model.safetensors").is_file()
    said = capsys.readouterr().err
    assert said.count("32 of 32 answers") == 4
    assert "AdapterEngine in every worker of a Ray cluster (1), and here for evaluations" in said
