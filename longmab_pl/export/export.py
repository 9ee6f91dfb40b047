"""`longmab export`: from a run, a checkpoint or an adapter to folders that other programs load, each with its card."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from safetensors import SafetensorError

from longmab_pl.errors import ConfigError
from longmab_pl.export.merge import MergedDtype, MergeFidelity, load_plain, merge
from longmab_pl.export.push import check_push, push_folder
from longmab_pl.models.adapter_files import check_plain_lora, refuse_code
from longmab_pl.models.hub import resolve_model
from longmab_pl.prompts import encoding
from longmab_pl.shown import first_line, tell
from longmab_pl.storage.checksums import zip_damage
from longmab_pl.storage.files import atomic_folder
from longmab_pl.training import adapter as adapters

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedTokenizerBase

    from longmab_pl.export.run_facts import RunFacts

Which = Literal["auto", "best", "last"]

DESCRIPTION = "longmab_adapter"
"""Checkpoint key of the adapter's description: `base_model` and PEFT's own configuration (JSON text)."""

TEXTS, TEXT_TOKENS = 4, 384
"""Number of texts that a merge is measured on, and their longest length in tokens."""


@dataclass(frozen=True)
class Origin:
    """The location of an adapter to export.

    Args:
        path: a Lightning checkpoint, or a PEFT folder.
        run: the run folder that it came from, or None.
        chosen_by: why this adapter of the run was chosen, in words.
    """

    path: Path
    run: Path | None
    chosen_by: str = ""

    @property
    def is_checkpoint(self) -> bool:
        return self.path.is_file()


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory, on a base model without weights.

    Args:
        policy: its "default" adapter holds the weights.
        base_model: name of the base model in training.
        step: optimizer steps that it was trained for, if known.
    """

    policy: PeftModel
    base_model: str
    step: int | None


def describe_adapter(policy: PeftModel, base_model: str) -> dict[str, str]:
    """Return what a checkpoint must hold beside the weights to be exported without the run's configuration."""
    config = policy.peft_config[adapters.POLICY].to_dict()
    return {"base_model": base_model, "config": json.dumps(config, default=sorted)}


def find_origin(source: Path, which: Which = "auto") -> Origin:
    """Return the location of the adapter that a path names.

    Args:
        source: a run folder, a checkpoint, or a PEFT folder.
        which: the choice in a run folder: the `best` (best.ckpt, or the adapter that an `Evaluation` kept), the `last`,
            or `auto`, the best if there is one.

    Raises:
        ConfigError: there is no adapter.
    """
    source = source.expanduser()
    if source.is_file() or (source / "adapter_config.json").is_file():
        run = next(
            (p for p in source.resolve().parents if (p / "rounds").is_dir() or (p / "checkpoints").is_dir()), None
        )
        return Origin(source, run)
    if not source.is_dir():
        raise ConfigError(f"{source} does not exist; give a run folder, a checkpoint (.ckpt) or an adapter folder")
    best = [(source / "checkpoints" / "best.ckpt", "best by checkpoint.monitor")]
    best += [(found.parent, f"best by {found}") for found in sorted(source.glob("*/best.json"))]
    last = [(source / "checkpoints" / "last.ckpt", "last"), (source / "adapter", "last")]
    candidates = {"auto": best + last, "best": best, "last": last}[which]
    for path, chosen_by in candidates:
        if path.exists():
            return Origin(path, source, chosen_by)
    looked = ", ".join(str(path.relative_to(source)) for path, _ in candidates)
    raise ConfigError(
        f"{source} holds no adapter of the asked kind (looked for {looked}); "
        + ("set checkpoint.monitor in training, or export --which last" if which == "best" else "is it a run folder?")
    )


def load_adapter(origin: Origin, base_model: str | None = None) -> Adapter:
    """Read an adapter and check that it is complete; the base model's weights are not loaded.

    Args:
        origin: see `find_origin`.
        base_model: folder of the base model if the recorded one no longer exists.

    Raises:
        ConfigError: it cannot be read.
        LongMabError: tensors are missing or do not fit.
    """
    return _of_checkpoint(origin.path, base_model) if origin.is_checkpoint else _of_folder(origin.path, base_model)


def _of_checkpoint(path: Path, base_model: str | None) -> Adapter:
    if damage := zip_damage(path):
        raise ConfigError(f"the checkpoint {path} {damage}; give another checkpoint, or an adapter folder of its run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} is not a checkpoint that can be read: {error}") from error
    said = checkpoint.get(DESCRIPTION)
    if said is None:
        raise ConfigError(
            f"{path} does not say what its adapter is (AdapterCheckpoint writes that); export the adapter folder of "
            "its run instead"
        )
    from peft import PeftConfig

    described = json.loads(said["config"])
    refuse_code(described, path)
    config = PeftConfig.from_peft_type(**described)
    policy = _without_base(config, base_to_load(said["base_model"], base_model))
    expected = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    found = {name.removeprefix("policy."): tensor for name, tensor in checkpoint["state_dict"].items()}
    found = {name: tensor for name, tensor in found.items() if f".{adapters.REFERENCE}." not in name}
    adapters.verify_checkpoint(expected, found)
    policy.load_state_dict(found, strict=False, assign=True)
    return Adapter(policy, said["base_model"], int(checkpoint["global_step"]))


def _of_folder(path: Path, base_model: str | None) -> Adapter:
    from peft import PeftConfig, get_peft_model_state_dict
    from safetensors.torch import load_file

    check_plain_lora(path)
    try:
        config = PeftConfig.from_pretrained(str(path))
        weights = load_file(path / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"cannot read the adapter folder {path}: {error}") from error
    base = str(config.base_model_name_or_path)
    policy = _without_base(config, base_to_load(base, base_model))
    # PEFT's names in files differ from those in the model, in its own way for each kind of adapter.
    inside = {name: name for name in policy.state_dict()}
    names = get_peft_model_state_dict(policy, inside, adapters.POLICY, save_embedding_layers=False)
    expected = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    found = {names.get(name, name): tensor for name, tensor in weights.items()}
    adapters.verify_checkpoint(expected, found)
    policy.load_state_dict(found, strict=False, assign=True)
    return Adapter(policy, base, _step_of_folder(path))


def _without_base(config: PeftConfig, model: str) -> PeftModel:
    """Return the adapter's modules in the base model's structure, both without weights."""
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config.inference_mode = False
    try:
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(f"cannot read the base model {model!r}: {reason}; say where it is: --base_model") from error
    return get_peft_model(skeleton, config, adapter_name=adapters.POLICY, low_cpu_mem_usage=True)


def base_to_load(recorded: str, given: str | None) -> str:
    """Return the base model to load: the given one if it exists on this machine, else the recorded one."""
    if given is not None and (given.startswith("bundled:") or Path(given).expanduser().is_dir()):
        return resolve_model(given)
    return resolve_model(recorded)


def _step_of_folder(folder: Path) -> int | None:
    note = folder / "best.json"
    if note.is_file():
        step = json.loads(note.read_text(encoding="utf-8")).get("step")
        return None if step is None else int(step)
    number = folder.name.removeprefix("step-")
    return int(number) if number.isdigit() else None


def measured_texts(run: Path | None, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return texts to measure a merge on: prompts and chosen answers of the run's pairs, or of the shipped records."""
    texts: list[list[int]] = []
    for prompt, answer in itertools.islice(_examples(run), TEXTS):
        before = encoding.chat(tokenizer, prompt, data=[answer])
        # The end: question and answer, where the adapter was trained to differ.
        texts.append([*before.ids, *before.continued(answer).ids][-TEXT_TOKENS:])
    return texts


def _examples(run: Path | None) -> Iterator[tuple[list[dict[str, str]], str]]:
    from longmab_pl.data.sources import open_source

    newest = sorted((run / "rounds").glob("*/pairs.*"), reverse=True) if run is not None else []
    for path in newest:
        if path.suffix not in (".jsonl", ".parquet"):
            continue
        for row in open_source(str(path), "train"):
            pair = row.value
            if isinstance(pair, dict) and isinstance(pair.get("prompt"), list):
                yield pair["prompt"], pair["chosen"][0]["content"]
    from longmab_pl.data.readers import read_records

    for record in read_records("shipped:synthetic_eval", limit=TEXTS).records:
        yield [{"role": "user", "content": f"{record.context}\n\n{record.question}"}], record.answer


def export(
    source: str,
    output: str,
    which: Which = "auto",
    merge: bool = False,
    dtype: MergedDtype = "bfloat16",
    base_model: str | None = None,
    push: str | None = None,
    private: bool = True,
) -> Path:
    """Write an adapter, or a merged model, with tokenizer and model card, for Transformers, PEFT and vLLM.

    OUTPUT/adapter is a PEFT folder. With --merge true OUTPUT/merged is a plain model too: the adapter added in float32
    to the base model's original (never 4-bit) weights and rounded once. Rounding can cost a young adapter most of its
    effect; how much is measured, printed and put into the card.

    Args:
        source: a run folder (trainer.default_root_dir), a checkpoint (.ckpt), or an adapter folder.
        output: folder to write; what an earlier export left there is replaced.
        which: the choice in a run: the best adapter, the last one, or the best if there is one (auto).
        merge: write the merged model too.
        dtype: number format of the merged weights: bfloat16, float16 or float32.
        base_model: name of the base model for the card, such as its hub name, where training used a local copy; if it
            is a local folder, the base model is also read from there.
        push: put the adapter, or with --merge true the merged model, on the hub as owner/name; the token is that of
            `hf auth login` or HF_TOKEN.
        private: whether a new repository is private.

    Raises:
        ConfigError: there is nothing to export, or the base model cannot be read.
        LongMabError: the hub refused; the folder is written.
    """
    from longmab_pl.export.model_card import write_card

    if push is not None:
        check_push(push)

    origin = find_origin(Path(source), which)
    found = load_adapter(origin, base_model)
    base = base_to_load(found.base_model, base_model)
    tokenizer = _tokenizer(base)
    facts = _facts(origin, found, base_model)
    folder = Path(output) / "adapter"
    adapters.save_adapter(found.policy, folder, base_model or base)
    tokenizer.save_pretrained(folder)
    write_card(folder, facts)
    print(f"adapter    {folder}    from {origin.path}" + (f" ({origin.chosen_by})" if origin.chosen_by else ""))
    if merge:
        _merge(Path(output) / "merged", folder, base, tokenizer, dtype, origin, facts)
    if push is not None:
        pushed = Path(output) / "merged" if merge else folder
        print(f"pushed     {push_folder(pushed, push, 'model', private, f'{pushed.name} of longmab_pl')}")
    return Path(output)


def _merge(
    folder: Path,
    adapter: Path,
    base: str,
    tokenizer: PreTrainedTokenizerBase,
    dtype: MergedDtype,
    origin: Origin,
    facts: RunFacts,
) -> None:
    from longmab_pl.export.model_card import write_card

    model, kept = merge(load_plain(base, adapter), dtype, measured_texts(origin.run, tokenizer))
    with atomic_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        write_card(unfinished, facts, merged=(dtype, kept))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e9
    print(f"merged     {folder}    {dtype}, {size:.2f} GB")
    print(f"kept       {kept}")
    if advice := rounding_advice(kept, dtype):
        tell(f"warning: {advice}")


def rounding_advice(kept: MergeFidelity, dtype: str) -> str:
    """Return what to do if a merge lost or distorted the adapter, or ""."""
    if kept.share > 0.9 and kept.error < 0.25:
        return ""
    return f"in {dtype} the merged model has {kept}; use --dtype float32, or serve the adapter beside its base model"


def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from longmab_pl.models.tokenizer import load_tokenizer

    return load_tokenizer(model)


def _facts(origin: Origin, found: Adapter, base_model: str | None) -> RunFacts:
    from longmab_pl.export.run_facts import read_run

    return read_run(
        origin.run,
        base_model=base_model or found.base_model,
        digest=adapters.digest(found.policy),
        lora=found.policy.peft_config[adapters.POLICY].to_dict(),
        step=found.step,
    )
