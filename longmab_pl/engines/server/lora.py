"""Loading and unloading of adapters in a running vLLM server, through its dynamic LoRA endpoints."""

from __future__ import annotations

import contextlib
from pathlib import Path

from longmab_pl.engines.server.client import CONTROL_SECONDS, RemoteServer
from longmab_pl.engines.server.openai_api import NotServed, ServerFailed
from longmab_pl.errors import EngineError

SLOW_SECONDS = 300.0
"""Seconds for a server to load an adapter, to sleep or to wake."""

ENABLE = (
    "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and "
    "`vllm serve MODEL --enable-lora --max-lora-rank R`"
)


async def load_adapter(server: RemoteServer, name: str, folder: Path) -> None:
    """Load a PEFT adapter folder, which the server must see under the same path.

    Raises:
        ServerFailed: the server did not answer.
        EngineError: the server's endpoint is not enabled, or it cannot load this adapter; with the likely fix.
    """
    body = {"lora_name": name, "lora_path": str(folder)}
    try:
        await server.tell("/v1/load_lora_adapter", body, SLOW_SECONDS)
    except NotServed as error:
        said = str(error)
        if "No adapter found" in said or str(folder) in said:
            raise EngineError(f"it cannot read the adapter folder {folder}: {_shared(said)}") from error
        raise EngineError(f"it cannot load adapters while it runs; {ENABLE}") from error
    except ServerFailed as error:
        # vLLM reports a failed load as a server error (HTTP 500), but a retry cannot fix it.
        if "HTTP 500" not in str(error):
            raise
        raise EngineError(f"it did not load the adapter {folder}: {_fix(str(error))}") from error
    except EngineError as error:
        if "already been loaded" in str(error):
            return  # loaded by a request whose reply was lost: the name is unique to this run
        raise EngineError(f"it did not load the adapter {folder}: {_fix(str(error))}") from error


async def unload_adapter(server: RemoteServer, name: str) -> None:
    """Unload an adapter; ignore a failure, which has no effect on later requests."""
    with contextlib.suppress(EngineError):
        await server.tell("/v1/unload_lora_adapter", {"lora_name": name}, CONTROL_SECONDS)


def _fix(said: str) -> str:
    lower = said.lower()
    if "rank" in lower:
        return f"{said}; restart it with a larger --max-lora-rank"
    if "lora is not enabled" in lower or "enable_lora" in lower or "enable-lora" in lower:
        return f"{said}; {ENABLE}"
    return said


def _shared(said: str) -> str:
    return f"{said}; a server on another machine needs the run's folder under the same path (a shared file system)"
