"""The examples of docs/cluster.md: the Slurm script runs with the cluster's commands replaced, the manifest is read."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from longmab_pl.cli.cluster import cluster_settings
from longmab_pl.cli.main import COMMANDS
from longmab_pl.cli.settings.merged import merged_config
from longmab_pl.cli.start import checked_command
from longmab_pl.rollout.cluster.settings import ClusterSettings

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```\w+ (slurm|kubernetes)\n(.*?)```", PAGE, re.DOTALL))

REPLACED = """
scontrol() { printf 'node1\\nnode2\\nnode3\\n'; }
srun() { echo "srun $*" >> calls; }
sleep() { :; }
ray() { printf ' 1 node_a\\n 1 node_b\\n 1 node_c\\n'; }
longmab() { printf '%q ' longmab "$@" >> command; }
"""
"""Shell functions in place of commands of the cluster."""


def checked(command: str) -> ClusterSettings | None:
    """The cluster settings of a command whose options have been checked against the package's."""
    program, *arguments = shlex.split(command)
    own = next(command.own for command in COMMANDS if command.name == "rollout")
    assert program == "longmab"
    assert own is not None
    written_out = checked_command(arguments, own)
    assert written_out is not None
    return cluster_settings(merged_config(written_out[1:]))


def test_the_slurm_script_starts_a_head_the_other_nodes_and_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = f"SLURM_JOB_NODELIST='node[1-3]' SLURM_NNODES=3\n{REPLACED}\n{EXAMPLES['slurm']}\nwait\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    assert calls == [
        "srun --nodes=1 --ntasks=1 --nodelist=node1 ray start --head --port=6379 --block",
        "srun --nodes=2 --ntasks=2 --exclude=node1 ray start --address=node1:6379 --block",
    ]
    assert checked((tmp_path / "command").read_text()) == ClusterSettings("node1:6379", 24)


def test_the_kubernetes_manifest_has_a_gpu_for_every_worker():
    job = yaml.safe_load(EXAMPLES["kubernetes"])
    assert job["kind"] == "RayJob"
    settings = checked(job["spec"]["entrypoint"])
    assert settings is not None
    assert settings.place == "auto"
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert group["replicas"] * int(container["resources"]["limits"]["nvidia.com/gpu"]) == settings.workers
    for template in (group["template"], job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]):
        (mount,) = template["spec"]["containers"][0]["volumeMounts"]
        assert any(volume["name"] == mount["name"] for volume in template["spec"]["volumes"])
        assert job["spec"]["entrypoint"].count(mount["mountPath"]) == 2, "data and run folder are on the shared volume"


@pytest.mark.parametrize("command", re.findall(r"^longmab rollout .*$", PAGE.partition("## Slurm")[0], re.MULTILINE))
def test_the_commands_of_the_page(command):
    assert checked(command) == ClusterSettings("10.0.0.1:6379", 64)
