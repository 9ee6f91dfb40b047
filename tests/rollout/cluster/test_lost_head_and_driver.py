"""Clusters of which the head or the driver is killed (SIGKILL); the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cluster_engines import NotedEngine
from cluster_rounds import ANSWERS, asked, begun, files, in_one_process, journalled, session_of, write_records
from small_config import write_config

pytest.importorskip("ray", reason="Ray is not installed")

from longmab_pl.cli.main import main
from longmab_pl.errors import EngineError
from longmab_pl.rollout.cluster.round import roll_out_on_cluster
from longmab_pl.rollout.cluster.settings import ClusterSettings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

TWO = ClusterSettings("local", 2)
IN_FLIGHT = 8
"""Answers of an engine at once."""


def processes(name: str, parent: int) -> list[int]:
    """The ids of a process's children whose program has this name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            program = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if above == parent and program.endswith(f"/{name}"):
            found.append(int(folder.name))
    return found


def wait_for_answers(notes: Path, count: int) -> None:
    """Wait until the engines have been asked this many times."""
    until = time.monotonic() + 300
    while sum(path.read_bytes().count(b"\n") for path in notes.glob("*")) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_head_that_is_killed_is_one_line_and_the_round_goes_on_asking_nothing_twice(
    tmp_path, tiny_model, monkeypatch
):
    monkeypatch.setattr("longmab_pl.rollout.cluster.connection.HEAD_SECONDS", 1.0)
    records = write_records(tmp_path, 200)
    notes = tmp_path / "notes"

    def kill_the_head() -> None:
        wait_for_answers(notes, 100)
        for head in processes("gcs_server", os.getpid()):
            os.kill(head, signal.SIGKILL)

    threading.Thread(target=kill_the_head, daemon=True).start()
    session = session_of(records, NotedEngine(str(notes), 0.05))
    making = begun(session, tmp_path / "run", tiny_model)
    with pytest.raises(EngineError, match=r"the head of the cluster at \S+ is gone .*: it continues") as refused:
        roll_out_on_cluster(session, making, TWO, model=tiny_model, adapter=None, title="round 1 rollout")
    assert "\n" not in str(refused.value)

    session = session_of(records, NotedEngine(str(notes)))
    again = begun(session, tmp_path / "run", tiny_model)
    roll_out_on_cluster(session, again, TWO, model=tiny_model, adapter=None, title="round 1 rollout")
    again.finish("base")
    assert len(set(journalled(again))) == len(journalled(again)) == 200 * ANSWERS
    sent = sum(map(len, asked(notes).values()))
    assert sent - 200 * ANSWERS <= 2 * IN_FLIGHT, "only what was being answered is asked again"
    assert files(again) == files(in_one_process(records, tmp_path / "one", tiny_model))


def test_a_fit_whose_process_is_killed_goes_on_on_a_new_cluster_asking_nothing_twice(tmp_path, tiny_model):
    notes = tmp_path / "notes"
    support = str(Path(__file__).parents[2] / "support")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])}
    config = write_config(tmp_path, tiny_model, records=60)
    command = [sys.executable, "-m", "longmab_pl", "fit", "--config", str(config)]
    command += ["--data.engine", "cluster_engines.NotedEngine", "--data.engine.notes"]

    def on_cluster(seconds: str) -> list[str]:
        return [*command, str(notes), f"--data.engine.seconds={seconds}", "--ray", "--workers", "2"]

    with subprocess.Popen(on_cluster("0.2"), env=environment, stderr=subprocess.DEVNULL) as driver:
        wait_for_answers(notes, 60)
        driver.kill()
    done = subprocess.run(on_cluster("0"), env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    sent = sum(map(len, asked(notes).values()))
    assert sent - 60 * ANSWERS <= 2 * IN_FLIGHT

    main([*command[3:], str(tmp_path / "notes-2"), f"--output={tmp_path / 'one'}"])
    one, two = (next((tmp_path / name / "rounds").iterdir()) for name in ("one", "run"))
    assert one.name == two.name
    for name in ("pairs.jsonl", "rollouts.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
