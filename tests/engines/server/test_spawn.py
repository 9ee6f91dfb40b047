"""Server processes of our own: their command line, and that nothing of them outlives this process. The real `vllm
serve` is in test_vllm_serve.py; here processes stand in for it that start in no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longmab_pl.engines.server.spawn import LaunchServers, free_ports, is_up, server_environment, start_supervised, tail
from longmab_pl.errors import ConfigError

SERVER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if "stubborn" in sys.argv:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(worker.pid, flush=True)
if "failing" in sys.argv:
    sys.exit(3)
time.sleep(600)
"""
"""A server with a worker of its own, as vLLM's engine core is."""

TRAINING = """
import os, sys, time
from pathlib import Path
from longmab_pl.engines.server.spawn import start_supervised
process = start_supervised([sys.executable, "-c", sys.argv[1]], dict(os.environ), Path(sys.argv[2]))
print(process.pid, flush=True)
time.sleep(600)
"""


def ended(pid: int) -> bool:
    """Whether a process is gone, or only its exit status is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(what: str, true: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def worker_of(log: Path) -> int:
    wait_for("the server's worker starts", lambda: log.is_file() and log.read_text().strip())
    return int(log.read_text())


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"servers": 0}, "launch.servers"),
        ({"servers": 2, "devices": ["0"]}, "launch.devices names devices for 1"),
        ({"max_lora_rank": 12}, "launch.max_lora_rank"),
        ({"startup_timeout_s": 0}, "launch.startup_timeout_s"),
    ],
)
def test_wrong_settings_are_refused(setting: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=f"engine.{says}"):
        LaunchServers(**setting)


def test_command_line() -> None:
    settings = LaunchServers(args=["--dtype", "float16", "--tensor-parallel-size", "2"], max_lora_rank=64)
    gpu = settings.command("org/m", 8123, concurrency=24, max_model_len=9000, sleep=True, on_gpu=True)
    cpu = settings.command("org/m", 8123, concurrency=24, max_model_len=None, sleep=False, on_gpu=False)
    for command in (gpu, cpu):
        text = " ".join(command)
        assert "--model org/m --host 127.0.0.1 --port 8123" in text
        assert "--max-num-seqs 24" in text
        assert "--enable-lora" in text
        assert "--max-lora-rank 64" in text
        assert text.endswith("--dtype float16 --tensor-parallel-size 2")  # the person's own come last and win
    assert "--max-model-len 9000" in " ".join(gpu)
    assert "--enable-sleep-mode --gpu-memory-utilization 0.5" in " ".join(gpu), "the policy is on that GPU too"
    assert "--no-enable-chunked-prefill" in cpu  # seeds need it on CPU
    assert "--max-model-len" not in cpu


def test_environment_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "VLLM_ENABLE_V1_MULTIPROCESSING"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", "/models")
    environment = server_environment("key", "2,3", on_gpu=True, sleep=True)
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID"} & set(environment)
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in environment
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert environment["VLLM_API_KEY"] == "key"
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert environment["HF_HOME"] == "/models"
    on_cpu = server_environment("key", None, on_gpu=False, sleep=False)
    assert "VLLM_SERVER_DEV_MODE" not in on_cpu
    assert on_cpu["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-3")
    assert server_environment("key", None, on_gpu=False, sleep=False)["VLLM_CPU_OMP_THREADS_BIND"] == "0-3"


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not is_up(f"http://127.0.0.1:{ports[0]}")


@pytest.mark.parametrize("manner", ["well-behaved", "stubborn"])
def test_a_server_is_stopped_with_its_workers(tmp_path: Path, manner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", SERVER, manner]
    process = start_supervised(command, dict(os.environ), log)
    worker = worker_of(log)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert ended(worker)


def test_a_server_that_fails_takes_its_workers_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_supervised([sys.executable, "-c", SERVER, "failing"], dict(os.environ), log)
    assert process.wait(30) == 3
    assert ended(worker_of(log))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_training(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    training = subprocess.Popen([sys.executable, "-c", TRAINING, SERVER, str(log)], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    supervisor = int(training.stdout.readline())
    worker = worker_of(log)
    assert not ended(supervisor)
    assert not ended(worker)
    training.send_signal(number)
    training.wait()
    wait_for("supervisor, server and worker end", lambda: ended(supervisor) and ended(worker))


def test_tail_of_a_log_says_what_went_wrong(tmp_path: Path) -> None:
    log = tmp_path / "server-0.log"
    assert tail(log) == f"see its log {log}"
    log.write_text("loading\nValueError: no room for the KV cache\nbye\n")
    assert tail(log) == f"see its log {log}\n    ValueError: no room for the KV cache"
    log.write_text("a\nb\n")
    assert tail(log, lines=1) == f"see its log {log}\n    b"


@pytest.mark.parametrize(
    "args",
    [
        ["--api-key", "sk-hidden"],
        ["--api-key=sk-hidden"],
        [" --api-key=sk-hidden"],
        ["--load.token", "sk-hidden"],
        ["--api_key", "sk-hidden"],
        ["--hf-token", "sk-hidden"],
        ["--max-num-seqs", "4", "--api-key sk-hidden"],
        ["--API-KEY", "sk-hidden"],
    ],
)
def test_a_key_among_the_arguments_is_refused_and_not_repeated(args):
    with pytest.raises(ConfigError, match=r"gives a key.*engine\.api_key_env") as refused:
        LaunchServers(args=args)
    assert "hidden" not in str(refused.value)


def test_arguments_that_only_sound_like_keys_are_taken():
    args = ["--ssl-keyfile", "key.pem", "--max-num-batched-tokens", "2048", "--tokenizer", "x", "--keep-alive=5"]
    assert LaunchServers(args=args).args == args
