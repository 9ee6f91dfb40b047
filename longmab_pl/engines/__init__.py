"""Inference engines, which answer requests with the current adapter, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.engines.protocol import Completion, Engine, Request, Sampling
    from longmab_pl.engines.scripted import ScriptedEngine, answer_from_prompt
    from longmab_pl.engines.server.engine import ServerEngine
    from longmab_pl.engines.server.spawn import LaunchServers
    from longmab_pl.engines.transformers.engine import TransformersEngine
    from longmab_pl.engines.vllm.engine import VLLMEngine

HOMES = {
    "Completion": "longmab_pl.engines.protocol",
    "Engine": "longmab_pl.engines.protocol",
    "LaunchServers": "longmab_pl.engines.server.spawn",
    "Request": "longmab_pl.engines.protocol",
    "Sampling": "longmab_pl.engines.protocol",
    "ScriptedEngine": "longmab_pl.engines.scripted",
    "ServerEngine": "longmab_pl.engines.server.engine",
    "TransformersEngine": "longmab_pl.engines.transformers.engine",
    "VLLMEngine": "longmab_pl.engines.vllm.engine",
    "answer_from_prompt": "longmab_pl.engines.scripted",
}

__all__ = [
    "Completion",
    "Engine",
    "LaunchServers",
    "Request",
    "Sampling",
    "ScriptedEngine",
    "ServerEngine",
    "TransformersEngine",
    "VLLMEngine",
    "answer_from_prompt",
]

__getattr__ = lazy_exports(__name__, HOMES)
