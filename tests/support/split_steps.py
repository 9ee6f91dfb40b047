"""Training steps with a sequence's tokens split among processes, beside the same steps in one process, for tests.

Started as a program, once for each rank: `python split_steps.py RANK SIZE PORT MODELS_JSON OUT`. Rank 0 writes what it
found to OUT.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from lightning.pytorch import seed_everything

from longmab_pl.errors import ConfigError
from longmab_pl.training import DPOModule, LoRASettings, SFTPhase
from longmab_pl.training.adapter import copy_to_reference
from longmab_pl.training.batch import GroupResponse, PreferenceExample, collate
from longmab_pl.training.logprobs import causal_model
from longmab_pl.training.terms import GroupTerm, LikelihoodTerm, ShortToLong


def pairs() -> list[PreferenceExample]:
    """Prompts with one and two pairs, the steps of one text, masks, short prompts and groups of responses."""
    draw = torch.Generator().manual_seed(4)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 200, (n,), generator=draw).tolist())

    shared, text, one, short = ids(17), ids(20), ids(25), ids(6)
    prompt = ids(61)
    whole = [
        PreferenceExample("a", ids(97), ids(20), ids(5), chosen_mask=(False, True) * 10),
        PreferenceExample("b", prompt, shared, ids(6)),
        PreferenceExample("c", prompt, ids(12), shared),
        PreferenceExample("step 1", text, one, ids(8)),
        PreferenceExample("step 2", text + one, ids(11), ids(3)),
    ]
    return [
        PreferenceExample(
            pair.id,
            pair.prompt_ids,
            pair.chosen_ids,
            pair.rejected_ids,
            chosen_mask=pair.chosen_mask,
            short_prompt_ids=short,
            group=(
                GroupResponse(pair.chosen_ids, 1.0, True),
                GroupResponse(pair.rejected_ids, 0.0, True),
                GroupResponse(ids(4), 0.3),
            ),
        )
        for pair in whole
    ]


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "pairs": ("llama", {}),
    "gradient checkpointing, a likelihood term": ("llama", {"gradient_checkpointing": True, "nll_weight": 0.2}),
    "one key head": ("one key head", {}),
    "a window in all layers": ("window", {}),
    "a window in some layers": ("some windows", {}),
    "three heads to a key's": ("odd group", {}),
    "groups of responses": ("llama", {"losses": [GroupTerm(), LikelihoodTerm(0.1)], "reference": "round_start"}),
    "short prompts": ("llama", {"short_to_long": ShortToLong()}),
    "SFT": ("llama", {"phases": [SFTPhase()]}),
    "another model as reference": ("llama", {"reference": "one key head"}),
    "activations in host memory": ("llama", {"gradient_checkpointing": True, "activation_offload": True}),
    "FlexAttention": ("window", {}),
}


def module_for(models: dict[str, str], name: str, options: dict[str, Any], split: int) -> DPOModule:
    """A loaded module whose adapter has moved from its beginning, and from its reference."""
    seed_everything(3, verbose=False)
    settings = {"dtype": "fp32", "lora": LoRASettings(r=2), "gradient_checkpointing": False, **options}
    if settings.get("reference") in models:
        settings["reference"] = models[settings["reference"]]
    module = DPOModule(models[name], sequence_parallel=split, **settings)
    module.configure_model()
    assert module.policy is not None
    torch.manual_seed(5)
    trained = [p for p in module.policy.parameters() if p.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    if module.reference == "round_start":
        copy_to_reference(module.policy)
        for parameter in trained:
            parameter.data += 0.01 * torch.randn_like(parameter)
    return module


def step(module: DPOModule) -> dict[str, Any]:
    """The losses, the gradients as DDP averages them, and the tokens that a layer computed."""
    assert module.policy is not None
    tokens: set[int] = set()
    layer = causal_model(module.policy).base_model.layers[0]
    watch = layer.register_forward_pre_hook(lambda _, args: tokens.add(args[0].shape[1]))
    batch = collate(module.phase.examples(pairs()))
    found = module.step_loss(batch)
    found.mean().backward()
    watch.remove()
    gradients = {}
    for name, parameter in module.policy.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            gradients[name] = parameter.grad
            if module.sequence_parallel > 1:
                dist.all_reduce(gradients[name])
                gradients[name] /= dist.get_world_size()
    return {"losses": found.losses.detach(), "gradients": gradients, "tokens": tokens, "all": batch.tokens}


def compared(alone: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    """The differences of two steps, relative to the size of what differs."""
    worst = 0.0
    for name, gradient in alone["gradients"].items():
        assert gradient.norm() > 0, name
        worst = max(worst, float((split["gradients"][name] - gradient).norm() / gradient.norm()))
    losses = float(((split["losses"] - alone["losses"]) / alone["losses"]).abs().max())
    return {"losses": losses, "gradients": worst, "tokens": max(split["tokens"]), "all": split["all"]}


def steps(models: dict[str, str], size: int) -> Iterator[tuple[str, Any]]:
    for case, (name, options) in CASES.items():
        alone = step(module_for(models, name, options, 1))
        module = module_for(models, name, options, size)
        if case == "FlexAttention":
            yield case, compared(alone, flex_step(module))
            continue
        yield case, compared(alone, step(module))
        texts = [module.token_logps(range(3, 40)) for _ in range(dist.get_rank(), 1)]  # rank 0 alone
        assert all(len(text) == 36 for text in texts)
    for family in ("llama", "bloom"):
        options = {"attention": "eager"} if family == "llama" else {}
        try:
            module_for(models, family, options, size)
        except ConfigError as error:
            yield f"refused: {family}", str(error)


def flex_step(module: DPOModule) -> dict[str, Any]:
    """A step with FlexAttention, which has no backward kernels on CPUs: unfused it has them, with the same masks."""
    from longmab_pl.training.split_logps import prepare_split

    assert module.policy is not None
    assert module._sequence is not None
    module.policy.get_base_model().set_attn_implementation("flex_attention")
    unchecked = mock.patch("torch.nn.attention.flex_attention._validate_device", return_value=None)
    with unchecked, torch.compiler.set_stance("force_eager"):
        prepare_split(module.policy, module._sequence)
        return step(module)


def main(rank: int, size: int, port: str, models: dict[str, str], out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size, timeout=timedelta(seconds=120)
    )
    found = dict(steps(models, size))
    if rank == 0:
        out.write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), Path(sys.argv[5]))
