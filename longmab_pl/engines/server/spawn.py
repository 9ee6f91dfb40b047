"""`vllm serve` processes started by this process on free loopback ports; they end with it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from longmab_pl.checks import at_least, one_of, positive, unit_interval
from longmab_pl.engines.server import supervisor
from longmab_pl.engines.vllm_release import COMPACT_JSON, INSTALL, LORA_RANKS
from longmab_pl.errors import ConfigError, EngineError

KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable from which vLLM's server reads its API key."""

OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables of distributed training in this process, which a server must not inherit."""


SHARED_GPU = 0.5
"""Default share of a GPU's memory for servers that sleep during training: the policy stays on the GPU."""


_KEY_ARGUMENT = re.compile(r"\s*--?(?:[\w.-]*[-_.])?(?:keys?|token|secret|password)(?:[=\s]|$)", re.IGNORECASE)
"""Pattern of an argument with a key: `--api-key`, `--hf-token=...`; not `--ssl-keyfile`, `--max-tokens-per-batch`."""


@dataclass(frozen=True)
class LaunchServers:
    """Settings of servers that the engine starts itself.

    Args:
        servers: number of servers.
        devices: CUDA_VISIBLE_DEVICES for each server, such as ["1", "2,3"]; None: all see this process's GPUs.
        max_lora_rank: largest adapter rank, one of 1, 8, 16, 32, 64, 128, 256, 320, 512.
        dtype: as for `VLLMEngine`: "auto" is bfloat16 on GPU, float32 on CPU.
        gpu_memory_utilization: share of its GPU's memory that each server may take; None: vLLM's default (most of it),
            or 0.5 if servers sleep while training uses the same GPU.
        args: further arguments of `vllm serve`, which override the engine's own; never a key, which would be visible in
            the config and in the list of processes (`engine.api_key_env` names a variable that holds one).
        startup_timeout_s: seconds until the servers must answer; large models take minutes.
        log_folder: folder of each server's output; None: a temporary folder, kept only if a server fails.

    Raises:
        ConfigError: a setting is out of range, or two contradict each other.
    """

    servers: int = 1
    devices: list[str] | None = None
    max_lora_rank: int = 16
    dtype: str = "auto"
    gpu_memory_utilization: float | None = None
    args: list[str] | None = None
    startup_timeout_s: float = 1200.0
    log_folder: str | None = None

    def __post_init__(self) -> None:
        at_least("engine.launch.servers", self.servers, 1)
        if self.devices is not None and len(self.devices) != self.servers:
            raise ConfigError(
                f"engine.launch.devices names devices for {len(self.devices)} servers, but engine.launch.servers is "
                f"{self.servers}"
            )
        one_of("engine.launch.max_lora_rank", self.max_lora_rank, LORA_RANKS, f"vLLM takes one of {LORA_RANKS}")
        unit_interval(
            "engine.launch.gpu_memory_utilization",
            self.gpu_memory_utilization,
            "it must be above 0, at most 1",
            zero=False,
            or_null=True,
        )
        positive("engine.launch.startup_timeout_s", self.startup_timeout_s)
        for arg in self.args or ():
            # Not repeated in the message: the next argument is the key.
            if _KEY_ARGUMENT.match(arg):
                raise ConfigError(
                    "engine.launch.args gives a key, which would lie in config.yaml, in the list of processes and in "
                    "the model card; put it into an environment variable and name that in engine.api_key_env"
                )

    def command(
        self, model: str, port: int, *, concurrency: int, max_model_len: int | None, sleep: bool, on_gpu: bool
    ) -> list[str]:
        """Return one server's command line: the module behind `vllm serve`, whose command fails in the CPU build."""
        dtype = self.dtype if self.dtype != "auto" else ("bfloat16" if on_gpu else "float32")
        command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", dtype]
        command += ["--max-num-seqs", str(concurrency), "--enable-prompt-tokens-details"]
        command += ["--structured-outputs-config", json.dumps(COMPACT_JSON)]
        command += ["--enable-lora", "--max-loras", "1", "--max-cpu-loras", "2"]
        command += ["--max-lora-rank", str(self.max_lora_rank)]
        if max_model_len is not None:
            command += ["--max-model-len", str(max_model_len)]
        if on_gpu:
            command += ["--enable-sleep-mode"] * sleep
            share = self.gpu_memory_utilization or (SHARED_GPU if sleep else None)
            if share is not None:
                command += ["--gpu-memory-utilization", str(share)]
        else:
            # A partial prefill rewinds the request's random generator, which the CPU generator cannot do.
            command += ["--no-enable-chunked-prefill", "--enforce-eager"]
        return command + list(self.args or ())


def server_environment(key: str, device: str | None, on_gpu: bool, sleep: bool) -> dict[str, str]:
    """Return the environment of a server: this process's, without the variables of its distributed training."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith("TORCHELASTIC_") and name != "VLLM_ENABLE_V1_MULTIPROCESSING"
    }
    environment |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1", KEY_VARIABLE: key}
    if sleep:
        environment["VLLM_SERVER_DEV_MODE"] = "1"
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    if not on_gpu:
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
        # Otherwise each server would bind its threads to the same cores (all but one), whatever else uses them.
        environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return environment


class ChildServers:
    """The running servers of a `LaunchServers`.

    Args:
        settings: number and settings of the servers.
        model: folder or hub name.
        key: an API key for them; "" makes a random one, so that other users of the machine cannot use them.
        concurrency: number of responses that each server generates at once.
        max_model_len: longest prompt plus response, in tokens; None: the model's own limit.
        sleep: enable vLLM's sleep mode.

    Raises:
        EngineError: vLLM is not installed, or a server ended or did not answer in time, with the end of its log.
    """

    def __init__(
        self,
        settings: LaunchServers,
        model: str,
        *,
        key: str,
        concurrency: int,
        max_model_len: int | None,
        sleep: bool,
    ) -> None:
        import importlib.util

        if importlib.util.find_spec("vllm") is None:
            raise EngineError(f"engine.launch needs vLLM, which is not installed; {INSTALL}")
        on_gpu = torch.cuda.is_available()
        self.key = key or secrets.token_urlsafe(24)
        self.temporary = settings.log_folder is None
        if settings.log_folder is None:
            self.logs = Path(tempfile.mkdtemp(prefix="longmab-vllm-serve-"))
        else:
            self.logs = Path(settings.log_folder)
            self.logs.mkdir(parents=True, exist_ok=True)
        ports = free_ports(settings.servers)
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.processes: list[subprocess.Popen[bytes]] = []
        devices: Sequence[str | None] = settings.devices or [None] * settings.servers
        try:
            for port, device in zip(ports, devices, strict=True):
                command = settings.command(
                    model, port, concurrency=concurrency, max_model_len=max_model_len, sleep=sleep, on_gpu=on_gpu
                )
                environment = server_environment(self.key, device, on_gpu, sleep)
                self.processes.append(start_supervised(command, environment, self.log(len(self.processes))))
            self._wait_until_up(settings.startup_timeout_s)
        except BaseException:
            self.stop(keep_logs=True)
            raise

    def log(self, index: int) -> Path:
        return self.logs / f"server-{index}.log"

    def ended(self) -> str:
        """Return why none of the servers can answer any more, or ""."""
        if all(process.poll() is not None for process in self.processes):
            return "; ".join(self._end_of(index) for index in range(len(self.processes)))
        return ""

    def stop(self, keep_logs: bool = False) -> None:
        """Stop all servers. Safe to call twice. The logs stay if one of them had ended before."""
        keep_logs = keep_logs or any(process.poll() is not None for process in self.processes)
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(supervisor.GRACE_SECONDS + 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.temporary and not keep_logs:
            shutil.rmtree(self.logs, ignore_errors=True)

    def _wait_until_up(self, seconds: float) -> None:
        waiting = dict(enumerate(self.urls))
        deadline = time.monotonic() + seconds
        while waiting:
            for index in list(waiting):
                if self.processes[index].poll() is not None:
                    raise EngineError(self._end_of(index))
                if is_up(waiting[index]):
                    del waiting[index]
            if waiting and time.monotonic() > deadline:
                index = min(waiting)
                raise EngineError(
                    f"`vllm serve` did not answer within {seconds:.0f} s (engine.launch.startup_timeout_s): "
                    f"{tail(self.log(index))}"
                )
            time.sleep(0.25 if waiting else 0.0)

    def _end_of(self, index: int) -> str:
        status = self.processes[index].poll()
        return f"`vllm serve` ended with status {status}: {tail(self.log(index))}"


def start_supervised(command: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server with its output in a file. It has its own session: a Ctrl-C in the terminal reaches only the
    training process, which then stops its servers itself."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", supervisor.__file__, str(os.getpid()), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def is_up(url: str) -> bool:
    """Return whether a server's engine is ready."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy
    try:
        with opener.open(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def tail(log: Path, lines: int = 4) -> str:
    """Return the last lines of a log that name an error, otherwise its last lines, and the log's path."""
    text = log.read_text(errors="replace").splitlines() if log.is_file() else []
    telling = [line.strip() for line in text if "Error" in line or "error:" in line]
    end = "".join(f"\n    {line}" for line in (telling or text)[-lines:])
    return f"see its log {log}{end}"
