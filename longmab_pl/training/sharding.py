"""FSDP2: the base model's layers spread over the ranks' memory (torch's `fully_shard`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from longmab_pl.errors import ConfigError

if TYPE_CHECKING:
    from peft import PeftModel
    from torch.distributed.device_mesh import DeviceMesh


def shard(policy: PeftModel, mesh: DeviceMesh) -> None:
    """Shard the policy's layers over the data-parallel ranks, in place.

    Each decoder layer is gathered when it computes and freed afterwards. The output head stays whole on every
    rank: log-probabilities go through it in chunks, and gathering it for each would cost more than it saves.

    Args:
        policy: loaded, the same on every rank.
        mesh: the mesh that Lightning's `ModelParallelStrategy` makes.

    Raises:
        ConfigError: tensor parallelism is asked for, or the model has no list of layers.
    """
    from torch.distributed.fsdp import fully_shard

    if mesh["tensor_parallel"].size() > 1:
        raise ConfigError(
            "ModelParallelStrategy asks for tensor parallelism, which this model is not prepared for; set "
            "trainer.strategy.init_args.data_parallel_size to the number of processes and tensor_parallel_size: 1"
        )
    ranks = mesh["data_parallel"]
    backbone = policy.get_base_model().base_model
    lists = [module for module in backbone.children() if isinstance(module, torch.nn.ModuleList)]
    if not lists:
        raise ConfigError(f"{type(backbone).__name__} has no list of layers to shard; use trainer.strategy: ddp")
    for layer in max(lists, key=len):
        fully_shard(layer, mesh=ranks, reshard_after_forward=True)
    fully_shard(backbone, mesh=ranks)
