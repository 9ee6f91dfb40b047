"""`ServerEngine` against an application of Ray Serve, on a cluster of this machine; needs `ray[serve]`."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("ray.serve", reason="Ray Serve is not installed", exc_type=ImportError)

from ray import serve
from serve_app import ModelOfServe, text_of

from longmab_pl.engines import ServerEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.errors import EngineError
from longmab_pl.rollout.cluster.connection import connected
from longmab_pl.rollout.cluster.settings import ClusterSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def address():
    """Address of an application with two replicas."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with connected(ClusterSettings("local")):
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(ModelOfServe.bind("policy"))
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()


def test_the_replicas_of_an_application_answer_as_one_server_and_load_no_adapters(address, tiny_model, tmp_path):
    with ServerEngine([address], served_model="policy", max_model_len=1000, concurrency_per_server=8) as engine:
        engine.start(tiny_model)
        requests = {f"r{i}": Request(f"r{i}", (1, 2, i), Sampling(max_tokens=8), n=2, seed=i) for i in range(40)}
        for request in requests.values():
            engine.submit(request)
        found = {}
        while len(found) < len(requests):
            found |= {completion.request_id: completion.texts for completion in engine.poll()}
        for name, request in requests.items():
            assert found[name] == tuple(text_of(request.prompt_ids, i) for i in range(2))
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}')
        (tmp_path / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        with pytest.raises(EngineError, match="it cannot load adapters while it runs; start it with VLLM_ALLOW"):
            engine.sync(tmp_path)
