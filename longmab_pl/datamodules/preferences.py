"""Preference data that is there already as a LightningDataModule: train on a file in place of rollouts."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from longmab_pl.data.readers import BadRecord
from longmab_pl.datamodules.base import PairDataModule, share_prompts
from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.weight_sync import PolicySync
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.pairs.readers import Preference, first_lines, read_preferences
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.tokenization import tokenize_pair

log = logging.getLogger(__name__)


class PreferenceDataModule(PairDataModule):
    """Preference pairs from a file or a hub: those of `longmab pairs`, TRL's forms, or anybody's.

    Rows that cannot be trained on (an empty answer, equal answers, longer than the model) are left out and counted.
    Every epoch counts as a round for callbacks that run after rounds.

    Args:
        train: a JSONL/JSON/Parquet file or a Hugging Face dataset (`owner/name[:config[:split]]`); the forms of rows
            are those of `longmab_pl.pairs.readers.read_preferences`.
        val: likewise, for validation; None: what `val_fraction` holds out.
        epochs: passes over the pairs.
        limit: use only this many rows of `train`.
        on_bad_record: `error` refuses a file with malformed rows, `skip` reports and skips them.
        batch_size: pairs per batch (packed behind one another; use gradient accumulation for more).
        max_tokens_per_batch: instead of `batch_size`: pack pairs up to this many tokens per batch, every shared prompt
            counted once (pairs of one prompt stay together).
        val_fraction: share of the rows' ids that is held out for validation.
        max_length: most tokens of prompt and longer answer together; longer pairs are left out. None: what the model
            takes.
        engine: for evaluation callbacks; nothing else here asks it.
        prompt_format: how evaluation callbacks make prompts.
        seed: of order and held-out share.
    """

    def __init__(
        self,
        train: str,
        val: str | None = None,
        epochs: int = 1,
        limit: int | None = None,
        on_bad_record: Literal["error", "skip"] = "error",
        batch_size: int = 1,
        max_tokens_per_batch: int | None = None,
        val_fraction: float = 0.0,
        max_length: int | None = None,
        engine: Engine | None = None,
        prompt_format: PromptFormat | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed, max_tokens_per_batch)
        if epochs < 1:
            raise ConfigError(f"data.epochs is {epochs}; it must be at least 1")
        if limit is not None and limit < 1:
            raise ConfigError(f"data.limit is {limit}; give a positive number, or null for all rows")
        if max_length is not None and max_length < 2:
            raise ConfigError(f"data.max_length is {max_length}; give a number of tokens, or null")
        if val is not None and val_fraction > 0:
            raise ConfigError("data.val and data.val_fraction are both set; one of them says what validates")
        self.train_source = train
        self.val_source = val
        self.epochs = self.rounds = epochs
        self.epochs_per_round = 1
        self.limit = limit
        self.on_bad_record = on_bad_record
        self.max_length = max_length
        self.engine = engine
        self.prompt_format = prompt_format or ReasonThenAnswer()
        self._digest = ""
        self._restored = False
        self._begun = False

    # set-up

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        if self.tokenizer is not None:
            return
        if stage == "fit":
            # Every epoch has an order of its own, so Lightning must ask for a loader every epoch.
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
            if self.val_fraction == 0 and self.val_source is None:
                self.trainer.limit_val_batches = 0
        folder = resolve_model(self.policy.model)
        self.tokenizer = load_tokenizer(folder)
        limit = context_limit(folder)
        if self.max_length is not None and limit is not None and self.max_length > limit:
            raise ConfigError(f"data.max_length is {self.max_length}, but {self.policy.model} takes {limit}; lower it")
        show = self.trainer.is_global_zero
        if stage != "fit" and self.val_source is None and self.val_fraction == 0:
            raise ConfigError("there is nothing to validate on; set data.val, or data.val_fraction as in training")
        for record_id, example in self._read(self.train_source, self.max_length or limit, self.limit, show):
            held_out = self.val_source is None and self.is_held_out(record_id)
            (self.held_out if held_out else self.training).append(example)
        if self.val_source is not None:
            self.held_out = [e for _, e in self._read(self.val_source, self.max_length or limit, None, show)]
        if not self.training and stage == "fit":
            raise DataError(f"{self.train_source}: no pair is left to train on")
        self._digest = _digest(self.training)
        if self.engine is not None:
            self.served = PolicySync(self.engine, self.run_folder / "adapters")

    def ensure_pairs(self) -> None:
        if self._begun:
            return
        self._begun = True
        assert self.trainer is not None
        if self.trainer.state.fn != "fit":
            return
        if not self._restored:
            self.policy.start_round()
        self.add_reference(self.run_folder, self.epochs)

    def pairs_digest(self) -> str:
        return self._digest

    # the clock: an epoch is a round

    @property
    def round(self) -> int:
        """The current epoch, from 0."""
        return min(self.epochs_done, self.epochs - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"pairs": self._digest, "epochs_done": self.epochs_done, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = True
        if state_dict["pairs"] != self._digest:
            log.warning("the pairs are not those of the checkpoint; the epoch under way begins again with them")
        if state_dict["seed"] != self.seed:
            log.warning("data.seed is %s, in the checkpoint it was %s", self.seed, state_dict["seed"])

    def stage_name(self) -> str:
        """For the training bar."""
        return f"epoch {self.round + 1}/{self.epochs} training"

    def report_row(self) -> dict[str, Any]:
        """What a report says of the epoch that has just ended."""
        return {"round": self.epochs_done, "pairs/count": float(len(self.training))}

    # rows

    def _read(
        self, source: str, max_length: int | None, limit: int | None, show: bool
    ) -> Iterator[tuple[str, PreferenceExample]]:
        """Id and token form of every pair that can be trained on; says which cannot."""
        bad: list[BadRecord] = []
        left_out: Counter[str] = Counter()
        spelled: Counter[str] = Counter()

        seen: Counter[str] = Counter()

        def examples() -> Iterator[tuple[str, PreferenceExample]]:
            for row in read_preferences(source):
                if isinstance(row, BadRecord):
                    bad.append(row)
                    continue
                seen[row.id] += 1
                spelled["out"] += encoding.spells_control_tokens(self.tokenizer, [row.prompt, row.chosen, row.rejected])
                name = row.id if seen[row.id] == 1 else f"{row.id}#{seen[row.id] - 1}"
                try:
                    yield row.id, _tokenize(self.tokenizer, row, name, max_length)
                except _LeftOut as error:
                    left_out[error.reason] += 1
                    log.warning("pair left out: %s: %s", row.where, error)
                if limit is not None and seen.total() == limit:
                    return

        yield from share_prompts(examples())
        if bad and self.on_bad_record == "error":
            raise DataError(
                f"{source}: {len(bad)} malformed rows; mend them, or set on_bad_record: skip to go on without them:\n"
                + first_lines(bad)
            )
        if bad and show:
            print(f"{len(bad)} malformed rows skipped in {source}:\n{first_lines(bad)}", file=sys.stderr)
        note = encoding.spelled_out_note(source, spelled["out"], seen.total(), "rows")
        if note and show:
            print(note, file=sys.stderr)
        if left_out and show:
            counts = ", ".join(f"{n} {reason}" for reason, n in sorted(left_out.items()))
            print(f"{source}: {left_out.total()} pairs left out: {counts}", file=sys.stderr)


class _LeftOut(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _tokenize(tokenizer: Any, row: Preference, name: str, max_length: int | None) -> PreferenceExample:
    for side, text in (("chosen", row.chosen), ("rejected", row.rejected)):
        if not text.strip():
            raise _LeftOut("with an empty answer", f"{side} is empty")
    if row.chosen == row.rejected:
        raise _LeftOut("with equal answers", "chosen and rejected are the same")
    try:
        if isinstance(row.prompt, str):
            example = _plain(tokenizer, row, name)
        else:
            example = tokenize_pair(
                tokenizer,
                id=name,
                messages=row.prompt,
                chosen=row.chosen,
                rejected=row.rejected,
                chosen_ended=row.chosen_ended,
                rejected_ended=row.rejected_ended,
                chosen_reward=row.chosen_reward,
                rejected_reward=row.rejected_reward,
            )
    except DataError as error:
        raise _LeftOut("with equal answers", str(error)) from error
    longest = len(example.prompt_ids) + max(len(example.chosen_ids), len(example.rejected_ids))
    if max_length is not None and longest > max_length:
        raise _LeftOut(f"longer than {max_length} tokens", f"prompt and longer answer take {longest} tokens")
    return example


def _plain(tokenizer: Any, row: Preference, name: str) -> PreferenceExample:
    """Texts as they are: the tokenizer's own beginning before the prompt, the end of sequence behind an answer."""

    def completion(text: str, ended: bool) -> tuple[int, ...]:
        end = (int(tokenizer.eos_token_id),) if ended and tokenizer.eos_token_id is not None else ()
        return (*encoding.plain(tokenizer, text, start=False).ids, *end)

    assert isinstance(row.prompt, str)
    return PreferenceExample(
        id=name,
        prompt_ids=encoding.plain(tokenizer, row.prompt).ids,
        chosen_ids=completion(row.chosen, row.chosen_ended),
        rejected_ids=completion(row.rejected, row.rejected_ended),
        chosen_reward=row.chosen_reward,
        rejected_reward=row.rejected_reward,
    )


def _digest(examples: list[PreferenceExample]) -> str:
    h = hashlib.blake2b(digest_size=8)
    for e in examples:
        h.update(repr((e.id, e.prompt_ids, e.chosen_ids, e.rejected_ids)).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
