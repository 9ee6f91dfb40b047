"""A Ray Serve application that speaks the part of the OpenAI API that Ray Serve LLM has, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from ray import serve

api = FastAPI()


def text_of(prompt: Sequence[int], i: int) -> str:
    """The answer of every replica."""
    return f" {sum(prompt)} {i}"


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0})
@serve.ingress(api)
class ModelOfServe:
    """Answers with a text made of the prompt, as Serve LLM's OpenAI ingress would.

    Args:
        model: its `model_id`.
    """

    def __init__(self, model: str) -> None:
        self.model = model

    @api.get("/v1/models")
    def models(self) -> dict[str, Any]:
        card = {"id": self.model, "object": "model", "owned_by": "organization-owner", "permission": []}
        return {"object": "list", "data": [{**card, "metadata": {"model_id": self.model}}]}

    @api.post("/v1/completions")
    async def completions(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        if body["model"] != self.model:
            raise HTTPException(404, f"Could not find model with id {body['model']}")
        choices = [{"index": i, "text": text_of(body["prompt"], i), "finish_reason": "stop"} for i in range(body["n"])]
        return {"object": "text_completion", "choices": choices, "usage": {"completion_tokens": 3 * body["n"]}}
