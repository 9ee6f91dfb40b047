"""Options of a cluster: what is refused before Ray or a model is loaded."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from longmab_pl.cli.main import main
from longmab_pl.cli.rollout import cluster_settings
from longmab_pl.errors import ConfigError
from longmab_pl.rollout.cluster.settings import ClusterSettings


def test_the_options_of_the_command():
    assert cluster_settings(["rollout", "--config", "x"]) is None
    assert cluster_settings(["rollout", "--ray", "--workers", "4"]) == ClusterSettings("", 4)
    settings = cluster_settings(["rollout", "--ray=head:6379", "--worker-gpus=0.5"])
    assert settings == ClusterSettings("head:6379", 2, 0.5)


def test_no_address_is_the_environments_or_this_machine(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ClusterSettings().place == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert ClusterSettings().place == "head:6379"
    assert ClusterSettings("auto").place == "auto"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray", "--workers", "0"], "--workers is 0"),
        (["--ray", "--workers", "many"], "--workers takes a whole number"),
        (["--ray", "--worker-gpus", "-1"], "--worker-gpus is -1"),
        (["--ray", "head"], "--ray 'head' is no address of a Ray cluster; give host:port"),
        (["--ray", "ray://head:10001"], "is the address of a Ray client, which cannot see the run folder"),
        (["--workers", "4"], "--workers and --worker-gpus are for a rollout on a cluster; add --ray"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        cluster_settings(["rollout", *options])
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


def test_an_address_at_which_nothing_listens(capsys, monkeypatch, tmp_path):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    line = error_of(capsys, ["rollout", "--config", "demo", "--ray", address])
    assert line.startswith(f"error: --ray {address}: no cluster answers there (Connection refused); check the address")
    assert list(tmp_path.iterdir()) == []


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
    assert "error: --ray needs the package 'ray', which is not installed; pip install 'longmab-pl[ray]'" in done.stderr
    assert done.stdout.split() == ["False", "False"], "no library has been imported"
