"""Quick checks of a configured run's inputs: the model's config, tokenizer and weights, and the data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.errors import LongMabError
from longmab_pl.models.hub import resolve_model
from longmab_pl.preflight.advice import Finding

CHECKED_RECORDS = 100
"""Number of records that are checked: enough to find a wrong field name. A run reads all before it loads a model."""


def _dimensions(
    vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, head: int, positions: int
) -> dict[str, Any]:
    """Return the fields of a config whose output head is its embedding, as that of most small models."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "max_position_embeddings": positions,
        "tie_word_embeddings": True,
    }


PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "meta-llama/Llama-3.1-8B-Instruct": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
        },
    ),
    "Qwen/Qwen2.5-7B-Instruct": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
        },
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": ("qwen2", _dimensions(151936, 896, 4864, 24, 14, 2, 64, 32768)),
    "Qwen/Qwen2.5-1.5B-Instruct": ("qwen2", _dimensions(151936, 1536, 8960, 28, 12, 2, 128, 32768)),
    "Qwen/Qwen2.5-3B-Instruct": ("qwen2", _dimensions(151936, 2048, 11008, 36, 16, 2, 128, 32768)),
    "meta-llama/Llama-3.2-1B-Instruct": ("llama", _dimensions(128256, 2048, 8192, 16, 32, 8, 64, 131072)),
    "meta-llama/Llama-3.2-3B-Instruct": ("llama", _dimensions(128256, 3072, 8192, 28, 24, 8, 128, 131072)),
    "Qwen/Qwen3-0.6B": ("qwen3", _dimensions(151936, 1024, 3072, 28, 16, 8, 128, 40960)),
    "Qwen/Qwen3-1.7B": ("qwen3", _dimensions(151936, 2048, 6144, 28, 16, 8, 128, 40960)),
    "Qwen/Qwen3-4B": ("qwen3", _dimensions(151936, 2560, 9728, 36, 32, 8, 128, 40960)),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": ("llama", _dimensions(49152, 2048, 8192, 24, 32, 32, 64, 8192)),
}
"""Published dimensions of the models in `configs/`, so that their budget needs no hub."""


def check_model(name: str) -> tuple[Any, list[Finding]]:
    """Return the model's Transformers config (None: unknown), and findings on config, tokenizer and weights."""
    from transformers import AutoConfig

    from longmab_pl.models.tokenizer import context_limit, load_tokenizer

    config: Any = None
    try:
        folder = resolve_model(name)
        context_limit(folder)  # raises the package's own error
        config = AutoConfig.from_pretrained(folder)
        tokenizer = load_tokenizer(folder)
    except LongMabError as error:
        found = [Finding("fail", str(error))]
        if config is None and name in PUBLISHED:
            kind, dimensions = PUBLISHED[name]
            config = AutoConfig.for_model(kind, **dimensions)
            found.append(Finding("ok", f"the budget is worked out from the published dimensions of {name}"))
        return config, found
    text = f"model and tokenizer of {name}: found, with a chat template ({len(tokenizer):,} tokens)"
    return config, [Finding("ok", text), *_weights(folder)]


def _weights(folder: str) -> Iterator[Finding]:
    """Yield a finding on whether a model's weights are on this machine, as its config and tokenizer are."""
    path = Path(folder)
    if path.is_dir():
        if not any(path.glob("*.safetensors")) and not any(path.glob("pytorch_model*.bin")):
            yield Finding("fail", f"the model folder {folder} holds no weights (*.safetensors); download it completely")
        return
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    if not any(isinstance(try_to_load_from_cache(folder, name), str) for name in names):
        yield Finding("warn", f"the weights of {folder} are not on this machine yet; they are downloaded at the start")


def check_data(data: PairDataModule, compares: bool = True) -> Iterator[Finding]:
    """Yield findings on whether the first training records or pairs of a data module can be read.

    Args:
        data: the data module, not set up.
        compares: whether a phase compares two answers, so that every given row needs a worse one.
    """
    if isinstance(data, PreferenceDataModule):
        source, limit, on_bad_record = data.train_source, data.limit, data.on_bad_record
    elif isinstance(data, RolloutDataModule):
        selection = data.session.selection
        source, limit, on_bad_record = selection.source, selection.limit, selection.on_bad_record
    else:
        return
    if _on_hub(source):
        yield Finding("warn", f"data.train {source} is a hub data set; it is downloaded when the run starts")
        return
    try:
        good, bad = _pairs(data, compares) if isinstance(data, PreferenceDataModule) else _records(source, limit)
    except LongMabError as error:
        yield Finding("fail", f"data.train: {error}")
        return
    if bad:
        yield Finding("fail" if on_bad_record == "error" else "warn", f"data.train: {bad[0]}")
    if good:
        yield Finding("ok", f"data.train {source}: of the first {good + len(bad)} rows {good} can be read")
    else:
        yield Finding("fail", f"data.train {source} holds no row that can be read")


def check_cuts(data: RolloutDataModule, model: str) -> Iterator[Finding]:
    """Yield a finding on what the training prompts lose of the first records; none where model or data is not here."""
    from longmab_pl.data.readers import read_records
    from longmab_pl.models.tokenizer import load_tokenizer
    from longmab_pl.rollout.cuts import context_cuts

    selection = data.session.selection
    if _on_hub(selection.source):
        return
    try:
        tokenizer = load_tokenizer(resolve_model(model))
        limit = min(selection.limit or CHECKED_RECORDS, CHECKED_RECORDS)
        records = read_records(
            selection.source, on_bad_record="skip", limit=limit, split=selection.split, fields=selection.fields
        ).records
    except LongMabError:
        return  # found by the other checks
    plan = data.plan
    cuts = context_cuts(records, tokenizer, plan.pairs.max_prompt_length, plan.strategy.max_response_tokens)
    yield Finding("warn" if cuts.answers_lost or cuts.cut > cuts.measured / 2 else "ok", cuts.message())


def _records(source: str, limit: int | None) -> tuple[int, list[Any]]:
    from longmab_pl.data.readers import read_records

    found = read_records(source, on_bad_record="skip", limit=min(limit or CHECKED_RECORDS, CHECKED_RECORDS))
    return len(found.records), list(found.bad)


def _pairs(data: PreferenceDataModule, compares: bool) -> tuple[int, list[Any]]:
    from longmab_pl.data.readers import BadRecord
    from longmab_pl.pairs.kinds import refuse_answers_alone
    from longmab_pl.pairs.readers import read_answered, read_preferences

    given = data.train_source, data.split, data.columns
    if compares:
        refuse_answers_alone("data.train", *given)
    found = read_preferences(*given) if compares else read_answered(*given)
    rows = list(itertools.islice(found, min(data.limit or CHECKED_RECORDS, CHECKED_RECORDS)))
    bad = [row for row in rows if isinstance(row, BadRecord)]
    return len(rows) - len(bad), bad


def _on_hub(source: str) -> bool:
    """Return whether a data source can only be a hub data set, owner/name."""
    path = Path(source)
    local = path.exists() or path.parent.is_dir() or path.suffix in (".jsonl", ".json", ".gz", ".parquet")
    return not source.startswith("shipped:") and source.partition(":")[0].count("/") == 1 and not local
