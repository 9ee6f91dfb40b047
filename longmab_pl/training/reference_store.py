"""Reference log-probabilities computed once per pair and kept beside the pairs.

With several epochs over the same pairs the reference's values are the same each time, so one forward pass per pair is
enough.
A file belongs to one reference, recognized by a digest of its weights and of how the loss sums tokens; a pair is
recognized by its tokens and masks. So a changed reference, tokenizer, template or pair is computed again, and a pass
that was interrupted continues where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.live import Bar
from longmab_pl.storage.append_log import AppendLog, LogKind, read_fingerprint, read_rows
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.packing import pack_by_tokens
from longmab_pl.training.ranks import OneRank, Ranks

if TYPE_CHECKING:
    from longmab_pl.training.module import DPOModule

REFERENCES = LogKind(
    name="reference log-probabilities",
    format=2,  # 2: a checksum in every line
    lost="its pair is computed again",
    then="run the same command again, or set model.precompute_reference to false",
)

Logps = tuple[float, float]
"""Log-probabilities (nats) of a pair's chosen and rejected completion."""


def with_reference(
    module: DPOModule,
    examples: Sequence[PreferenceExample],
    folder: Path,
    epochs: int,
    ranks: Ranks | None = None,
) -> list[PreferenceExample]:
    """Return the examples with their reference log-probabilities, from the folder's files or computed now.

    With several processes each computes a share, and those of a sequence the same one (with a sharded model all compute
    all, as every forward pass needs all of them). All must call this with the same examples and a folder that all can
    read.

    Args:
        module: loaded, on its device.
        examples: pairs; a pair that has reference log-probabilities keeps them.
        folder: target folder of `reference_logps-<rank>.jsonl`.
        epochs: passes of the phase over these pairs; with `precompute_reference: auto`, one pass computes nothing
            ahead.
        ranks: the processes that train together; None: this one alone.

    Returns:
        The examples, unchanged if nothing is to be computed ahead.

    Raises:
        LongMabError: the file cannot be written.
    """
    wanted = module.precompute_reference is True or (module.precompute_reference == "auto" and epochs > 1)
    if not wanted or not module.phase.needs_reference or module.phase.reference_tokens or not examples:
        return list(examples)
    ranks = ranks or OneRank()
    # Under FSDP every rank sees its own share of the weights.
    reference = ranks.broadcast(module.reference_digest())
    known = _read(folder, reference)
    # No rank writes before all have read: they must agree on what is missing.
    ranks.barrier("reference read")
    missing = [e for e in examples if e.reference_chosen_logp is None and pair_key(e) not in known]
    group = module.sequence_parallel
    share = missing if module.sharded else missing[ranks.rank // group :: ranks.world_size // group]
    if share:
        file = folder / f"reference_logps-{ranks.rank}.jsonl"
        writes = ranks.rank == 0 if module.sharded else ranks.rank % group == 0
        known.update(_compute(module, share, file if writes else None, reference, ranks.rank))
    if missing and ranks.world_size > 1:
        ranks.barrier("reference written")
        known = _read(folder, reference)
    return [_with(e, known) for e in examples]


def pair_key(example: PreferenceExample) -> str:
    """Return a digest (16 hexadecimal digits) of a pair's tokens and masks."""
    h = hashlib.blake2b(digest_size=8)
    for part in (
        example.prompt_ids,
        example.chosen_ids,
        example.rejected_ids,
        example.chosen_mask,
        example.rejected_mask,
    ):
        h.update(repr(part).encode())
    return h.hexdigest()


def _with(example: PreferenceExample, known: dict[str, Logps]) -> PreferenceExample:
    if example.reference_chosen_logp is not None:
        return example
    chosen, rejected = known[pair_key(example)]
    return replace(example, reference_chosen_logp=chosen, reference_rejected_logp=rejected)


def _read(folder: Path, reference: str) -> dict[str, Logps]:
    """Return what all ranks' files hold for this reference; a line that is cut off or damaged counts as missing."""
    known: dict[str, Logps] = {}
    for file in sorted(folder.glob("reference_logps-*.jsonl")):
        if read_fingerprint(file, REFERENCES) == reference:
            rows = (row for _, _, row in read_rows(file) if row is not None)
            known.update({row["pair"]: (row["chosen"], row["rejected"]) for row in rows})
    return known


def _compute(
    module: DPOModule, examples: Sequence[PreferenceExample], file: Path | None, reference: str, rank: int
) -> Iterator[tuple[str, Logps]]:
    """Yield the log-probabilities of this rank's pairs, each written before it is used (`file` None: not written)."""
    # No more at once than the longest pair takes: training on it must fit anyway.
    batches = pack_by_tokens(examples, max(e.tokens for e in examples))
    bar = Bar("reference log-probabilities", len(examples), "pairs", hidden=rank != 0)
    with contextlib.nullcontext() if file is None else _continued(file, reference) as out, contextlib.closing(bar):
        for batch in batches:
            logps = module.reference_logps(collate(batch).to(module.device))
            for example, c, r in zip(batch, logps.chosen.tolist(), logps.rejected.tolist(), strict=True):
                key = pair_key(example)
                if out is not None:
                    out.write([{"pair": key, "id": example.id, "chosen": c, "rejected": r}])
                yield key, (c, r)
            bar.update(len(batch))


def _continued(file: Path, reference: str) -> AppendLog:
    """Open a rank's file to append to it; a file of another reference is deleted first."""
    if file.exists() and read_fingerprint(file, REFERENCES) != reference:
        file.unlink()
    return AppendLog(file, REFERENCES, reference, lambda row, place: None)
