"""The adapter: its frozen copy as the reference, its checkpoint, its folder, switching it on and off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.models.adapter_files import write_checksums
from longmab_pl.storage.files import atomic_folder

if TYPE_CHECKING:
    from peft import PeftModel

POLICY = "default"
"""PEFT's name of the adapter that is trained."""

REFERENCE = "reference"
"""PEFT's name of the reference: the frozen copy of the adapter as a round or phase began."""


def add_reference(policy: PeftModel) -> None:
    """Add a frozen second adapter to the policy, a copy of the first as it is now."""
    import copy

    policy.add_adapter(REFERENCE, copy.deepcopy(policy.peft_config[POLICY]))
    policy.set_adapter(POLICY)
    policy.set_requires_grad(REFERENCE, False)
    copy_to_reference(policy)


@torch.no_grad()
def copy_to_reference(policy: PeftModel) -> None:
    """Copy the policy's current adapter to the reference adapter."""
    parameters = dict(policy.named_parameters())
    for name, parameter in parameters.items():
        if f".{REFERENCE}." in name:
            parameter.copy_(parameters[name.replace(f".{REFERENCE}.", f".{POLICY}.")])


FullWeights = Mapping[str, torch.Tensor]
"""A sharded adapter's weights by name, gathered from all ranks; empty where every rank holds all of them."""


def gather_full_weights(policy: PeftModel) -> dict[str, torch.Tensor]:
    """Return the policy adapter's weights if they are sharded (FSDP), else nothing; all ranks must call this."""
    from torch.distributed.tensor import DTensor

    full = {}
    for name, parameter in policy.named_parameters():
        if f".{POLICY}." in name and isinstance(parameter, DTensor):
            full[name] = parameter.full_tensor().detach().cpu()
    return full


def _weights(policy: PeftModel, full: FullWeights) -> dict[str, torch.Tensor]:
    """Return the policy adapter's weights by name.

    Raises:
        LongMabError: they are sharded and were not gathered.
    """
    from torch.distributed.tensor import DTensor

    found = {}
    for name, parameter in policy.named_parameters():
        if f".{POLICY}." not in name:
            continue
        if name not in full and isinstance(parameter, DTensor):
            raise LongMabError("the adapter is sharded over the ranks; call gather_adapter() on all of them first")
        found[name] = full.get(name, parameter).detach()
    return found


def is_identity(policy: PeftModel, full: FullWeights = MappingProxyType({})) -> bool:
    """Return whether the adapter changes nothing: every B is zero, as before the first step (False with DoRA)."""
    if policy.peft_config[POLICY].use_dora:
        return False
    updates = [p for name, p in _weights(policy, full).items() if f".lora_B.{POLICY}." in name]
    return bool(updates) and not any(bool(p.any()) for p in updates)


def digest(policy: PeftModel, full: FullWeights = MappingProxyType({})) -> str:
    """Return a digest (16 hexadecimal digits) of the policy's adapter weights; "base" while they change nothing."""
    if is_identity(policy, full):
        return "base"
    h = hashlib.blake2b(digest_size=8)
    for name, parameter in sorted(_weights(policy, full).items()):
        h.update(name.encode())
        h.update(parameter.to("cpu", torch.float32).numpy().tobytes())
    return h.hexdigest()


@contextmanager
def as_reference(policy: PeftModel, kind: str) -> Iterator[None]:
    """Make the model the reference, in eval mode (no adapter dropout), inside the `with` block.

    "base" switches the adapter off; any other kind selects the frozen copy.
    """
    was_training = policy.training
    policy.eval()
    try:
        if kind == "base":
            with policy.disable_adapter():
                yield
        else:
            policy.set_adapter(REFERENCE, inference_mode=True)
            try:
                yield
            finally:
                policy.set_adapter(POLICY)
    finally:
        policy.train(was_training)


def checkpoint_names(module: torch.nn.Module) -> set[str]:
    """Return the state-dict names that belong in a checkpoint: trained weights and the reference adapter, never the
    base weights."""
    return {name for name, p in module.named_parameters() if p.requires_grad or f".{REFERENCE}." in name}


def verify_checkpoint(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Raise an error if a checkpoint's adapter is not exactly the configured one.

    Raises:
        LongMabError: a weight is missing, unexpected, or of another shape; the message names the setting to change.
    """
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    reference = f".{REFERENCE}."
    if missing and all(reference in name for name in missing) and not unexpected:
        raise LongMabError(
            "the checkpoint holds no reference adapter, but model.reference is round_start or phase_start; resume with "
            "model.reference: base, or start a new run"
        )
    if unexpected and all(reference in name for name in unexpected) and not missing:
        raise LongMabError(
            "the checkpoint holds the reference adapter of a round or phase, but model.reference is base; resume with "
            "the model.reference of the run that wrote it (round_start or phase_start)"
        )
    if missing or unexpected:
        raise LongMabError(
            f"the checkpoint's adapter does not fit this model: {len(missing)} tensors are missing (first: "
            f"{missing[0] if missing else '-'}), {len(unexpected)} are unknown (first: "
            f"{unexpected[0] if unexpected else '-'}); "
            "resume with the model.model and model.lora of the run that wrote it"
        )
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise LongMabError(
                f"the checkpoint's adapter does not fit this model: {name} has shape {tuple(found[name].shape)}, "
                "expected "
                f"{tuple(tensor.shape)}; resume with the model.lora.r and model.model of the run that wrote it"
            )


def save_adapter(policy: PeftModel, folder: Path, base_model: str, full: FullWeights = MappingProxyType({})) -> Path:
    """Write the policy's adapter as a plain PEFT folder that Transformers, PEFT and vLLM load.

    The folder is written completely or not at all (under another name, then renamed); an existing one is replaced. With
    several processes, call it on one of them.

    Args:
        policy: the policy; its "default" adapter is written, without the reference.
        folder: target folder: `adapter_config.json`, `adapter_model.safetensors`, and `checksums.json` of both.
        base_model: folder or hub name of the base model, for `adapter_config.json`.
        full: the weights of a sharded adapter, see `gather_full_weights`.

    Returns:
        The folder.

    Raises:
        ConfigError: it is a file.
        LongMabError: the disk is full or the folder cannot be written; the previous content is intact.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"cannot write the adapter to {folder}: it is a file; give a folder")
    config = policy.peft_config[POLICY]
    config.base_model_name_or_path = base_model
    with atomic_folder(folder) as unfinished:
        try:
            # Embeddings are never trained; "auto" would ask the hub whether they were resized.
            policy.save_pretrained(
                str(unfinished),
                selected_adapters=[POLICY],
                save_embedding_layers=False,
                state_dict=_weights(policy, full),
            )
        except SafetensorError as error:  # its own error for a full disk
            raise LongMabError(
                f"cannot write {folder}: {error}. Free some space and run the same command again."
            ) from error
        write_checksums(unfinished)
    return folder
