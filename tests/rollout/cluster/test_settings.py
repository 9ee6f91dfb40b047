"""Options of a cluster: what is refused before Ray or a model is loaded."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from longmab_pl.cli.cluster import cluster_settings
from longmab_pl.cli.main import main
from longmab_pl.cli.start import checked_options
from longmab_pl.errors import ConfigError
from longmab_pl.rollout.cluster import settings
from longmab_pl.rollout.cluster.settings import ClusterSettings


def given(*args) -> ClusterSettings | None:
    """The cluster that options of `fit` and `rollout` name, checked as these commands do."""
    _, config = checked_options(["--config", "demo", *args])
    return cluster_settings(config)


def test_the_short_options_are_settings_of_the_data():
    assert given() is None
    assert given("--ray", "--workers", "4") == ClusterSettings("", 4)
    assert given("--ray=head:6379", "--worker-gpus=0.5") == ClusterSettings("head:6379", 2, 0.5)
    assert given("--data.cluster.address", "auto", "--data.cluster.workers=3") == ClusterSettings("auto", 3)


def test_a_short_option_leaves_the_configs_other_settings(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("data: {init_args: {cluster: {address: head:6379, workers: 8}}}")
    assert given("--config", str(mine)) == ClusterSettings("head:6379", 8)
    assert given("--config", str(mine), "--workers", "2") == ClusterSettings("head:6379", 2)
    assert given("--config", str(mine), "--ray", "auto") == ClusterSettings("auto", 8)


def test_no_address_is_the_environments_or_this_machine(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ClusterSettings().place == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert ClusterSettings().place == "head:6379"
    assert ClusterSettings("auto").place == "auto"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray", "--workers", "0"], "data.cluster.workers is 0"),
        (["--ray", "--workers", "many"], "data.cluster.workers is 'many'"),
        (["--ray", "--worker-gpus", "-1"], "data.cluster.gpus_per_worker is -1"),
        (["--ray", "head"], "data.cluster.address 'head' is no address of a Ray cluster; give host:port"),
        (["--ray", "ray://head:10001"], "is the address of a Ray client, which cannot see the run folder"),
        (["--workers", "4"], "--workers and --worker-gpus are for rollouts on a cluster; add --ray"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        given(*options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def error_of(capsys, args) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            [
                "--data.engine",
                "ServerEngine",
                "--data.engine.servers",
                "['http://a:1', 'http://b:1']",
                "--workers",
                "3",
            ],
            "data.cluster.workers is 3, more than the 2 servers of data.engine.servers; give --workers 2 or fewer",
        ),
        (
            ["--data.engines", "{judge: {budget: {calls: 5}}}"],
            "data.engines.judge.budget is for rollouts in one process",
        ),
    ],
)
def test_engines_that_cannot_be_divided_are_one_line(options, message, capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    assert message in error_of(capsys, ["fit", "--config", "demo", "--ray", *options])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["rollout", "fit"])
def test_an_address_at_which_nothing_listens(command, capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    line = error_of(capsys, [command, "--config", "demo", "--ray", address])
    assert line.startswith(
        f"error: data.cluster.address {address}: no cluster answers there (Connection refused); check the address"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_address_at_which_something_else_answers(capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        line = error_of(capsys, ["fit", "--config", "demo", "--ray", f"127.0.0.1:{other.server_port}"])
        other.shutdown()
    assert f"127.0.0.1:{other.server_port}: what answers there is no head of a Ray cluster; give the address" in line


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_machine_that_is_in_no_cluster(capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "raylet").symlink_to(shutil.which("sleep"))
    with monkeypatch.context() as patch:  # other tests may have clusters
        patch.setattr(settings, "_is_node", lambda process: False)
        line = error_of(capsys, ["fit", "--config", "demo", "--ray", "auto"])
    assert line.startswith("error: data.cluster.address is auto, but no node of a Ray cluster runs on this machine")
    with subprocess.Popen([str(tmp_path / "raylet"), "60"]) as node:
        try:
            while not Path(f"/proc/{node.pid}/cmdline").read_bytes():  # for a moment after exec it has none
                time.sleep(0.01)
            ClusterSettings("auto").refuse_unreachable()
        finally:
            node.kill()


def test_ray_that_is_not_installed(tmp_path):
    """A lookup that finds no package stands for the missing one, in a process of its own."""
    hidden = (
        "import sys\n"
        "from longmab_pl.cli.main import main\n"
        "from longmab_pl.rollout.cluster import settings\n"
        "settings.find_spec = lambda name: None\n"
        "try:\n"
        "    main(['rollout', '--config', 'demo', '--ray'])\n"
        "finally:\n"
        "    print('torch' in sys.modules, 'ray' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        "error: data.cluster needs the package 'ray', which is not installed; pip install 'longmab-pl[ray]'"
        in done.stderr
    )
    assert done.stdout.split() == ["False", "False"], "no library has been imported"
