"""Existing preference or SFT data as a LightningDataModule, for training on a file in place of rollouts."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.data.readers import BadRecord
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.tokenized import TokenizedPairs
from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.weight_sync import PolicySync
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import context_limit, load_tokenizer
from longmab_pl.pairs.kinds import refuse_answers_alone
from longmab_pl.pairs.layouts import check_columns
from longmab_pl.pairs.readers import first_lines, read_answered, read_preferences
from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer
from longmab_pl.shown import tell
from longmab_pl.training.batch import Example, PreferenceExample
from longmab_pl.training.believed_ids import with_believed_ids
from longmab_pl.training.left_out import Row

log = logging.getLogger(__name__)


class PreferenceDataModule(PairDataModule):
    """Preference pairs from a file or a hub, such as those of `longmab pairs` or in TRL's forms; or answers alone.

    If all `model.phases` are `SFTPhase`, the chosen answer of every row is imitated, and a row needs no worse one.
    Rows that cannot be trained on (an empty answer, equal answers, too long for the model) are left out and counted.
    Every epoch (with several phases: every pass through them) counts as a round for callbacks that run after rounds.

    Args:
        train: a JSONL/JSON/Parquet file or a Hugging Face dataset (`owner/name[:config[:split]]`); the forms of rows
            are those of `longmab_pl.pairs.readers.read_preferences`, and of `read_answered` for supervised
            fine-tuning.
        val: likewise, for validation; None: the share `val_fraction` of `train`.
        epochs: passes over the pairs; with several `model.phases`, passes through all of the phases.
        limit: use only this many rows of `train`.
        on_bad_record: `error` refuses a file with malformed rows, `skip` reports and skips them.
        batch_size: pairs per batch (packed behind one another; use gradient accumulation for more).
        max_tokens_per_batch: instead of `batch_size`: pack pairs up to this many tokens per batch, every shared prompt
            counted once (pairs of one prompt stay together).
        val_fraction: share of the prompts that is held out for validation, with all pairs of each.
        max_length: maximum tokens of prompt and longer answer together; longer pairs are left out. None: the model's
            limit.
        engine: for evaluation callbacks only.
        prompt_format: how evaluation callbacks make prompts.
        columns: the data's column names, if the reader does not know them (`longmab_pl.pairs.layouts`):
            `{question: ask, chosen: good, rejected: bad}`, or `{question: ask, answer: reply}`.
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`; None: those of
            `prompt_format`.
        split: split of a folder or a data set whose name does not include it, for `train` and `val`.
        seed: seed of the order and of the held-out share; null: that of `seed_everything`.
    """

    epochs_setting = "data.epochs"

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
        columns: dict[str, str] | None = None,
        template_arguments: dict[str, Any] | None = None,
        split: str = "train",
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed, max_tokens_per_batch)
        at_least("data.epochs", epochs, 1)
        at_least("data.limit", limit, 1, "give a positive number, or null for all rows", or_null=True)
        at_least("data.max_length", max_length, 2, "give a number of tokens, or null", or_null=True)
        if val is not None and val_fraction > 0:
            raise ConfigError("data.val and data.val_fraction are both set; one of them says what validates")
        self.train_source = train
        self.val_source = val
        self.epochs = self.rounds = epochs
        self.limit = limit
        self.on_bad_record = on_bad_record
        self.max_length = max_length
        self.engine = engine
        self._prompt_format = prompt_format or ReasonThenAnswer()
        self.columns = check_columns(columns)
        self.split = split
        self.template_arguments = (
            self.prompt_format.template_arguments if template_arguments is None else template_arguments
        )
        self._digest = ""
        self._restored = False
        self._begun = False

    @property
    def validates(self) -> bool:
        return self.val_source is not None or super().validates

    @property
    def prompt_format(self) -> PromptFormat:
        return self._prompt_format

    # set-up

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        if self.tokenizer is not None:
            return
        self.adopt_phases(self.policy.phases)
        self._refuse_answers_alone()
        if stage == "fit":
            self.end_after_all_rounds()
            # Every epoch has its own order, so Lightning must request a loader every epoch.
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
            if self.val_fraction == 0 and self.val_source is None:
                self.trainer.limit_val_batches = 0
        folder = resolve_model(self.policy.model)
        self.tokenizer = load_tokenizer(folder, needs_chat=False)
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
            what = "pair" if self.policy.phases.compares else "answer"
            raise DataError(f"{self.train_source}: no {what} is left to train on")
        self._digest = _digest(self.training)
        if self.engine is not None:
            self.served = PolicySync(self.engine, self.run_folder / "adapters")

    def _refuse_answers_alone(self) -> None:
        """Refuse data without worse answers if a phase compares two."""
        if self.policy.phases.compares:
            for setting, source in (("data.train", self.train_source), ("data.val", self.val_source)):
                if source is not None:
                    refuse_answers_alone(setting, source, self.split, self.columns)

    def ensure_pairs(self) -> None:
        if self._begun:
            return
        self._begun = True
        assert self.trainer is not None
        if self.trainer.state.fn != "fit":
            return
        if not self._restored:
            self.policy.start_round()

    def pairs_folder(self) -> Path:
        return self.run_folder

    def first_epoch_of_pairs(self) -> int:
        return 0

    def epochs_over_pairs(self) -> int:
        return self.epochs

    def pairs_digest(self) -> str:
        return self._digest

    # progress: an epoch is a round

    @property
    def round(self) -> int:
        """The current round, from 0."""
        return min(self.epochs_done // self.epochs_per_round, self.rounds - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"pairs": self._digest, "epochs_done": self.epochs_done, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = True
        if state_dict["pairs"] != self._digest:
            log.warning("the pairs are not those of the checkpoint; the epoch under way begins again with them")
        self.resume_seed(state_dict["seed"])

    def stage_name(self) -> str:
        """Return the current epoch's name on the progress bar."""
        epochs = self.rounds * self.epochs_per_round
        return f"epoch {min(self.epochs_done + 1, epochs)}/{epochs} training{self.phase_name()}"

    def report_row(self) -> dict[str, Any]:
        """Return a report's values for the epoch that has just ended."""
        count = "pairs/count" if self.policy.phases.compares else "answers/count"
        return {"round": -(-self.epochs_done // self.epochs_per_round), count: float(len(self.training))}

    # rows

    def _read(
        self, source: str, max_length: int | None, limit: int | None, show: bool
    ) -> Iterator[tuple[str, Example]]:
        """Yield prompt and tokens of every row that can be trained on; report the others."""
        bad: list[BadRecord] = []
        tokenized = TokenizedPairs(
            self.tokenizer,
            max_length,
            self.template_arguments,
            short_prompts=self.policy.phases.needs_short_prompt,
            groups=self.policy.phases.needs_group,
        )
        if self.policy.phases.compares:
            pairs = self._good(read_preferences(source, self.split, self.columns), bad)
            yield from tokenized.examples(itertools.islice(pairs, limit))
        else:
            rows = self._good(_demonstrations(read_answered(source, self.split, self.columns)), bad)
            yield from tokenized.demonstrations(itertools.islice(rows, limit))
        if bad and self.on_bad_record == "error":
            raise DataError(
                f"{source}: {len(bad)} malformed rows; fix them, or set on_bad_record: skip to go on without them:\n"
                + first_lines(bad)
            )
        if bad and show:
            tell(f"{len(bad)} malformed rows skipped in {source}:\n{first_lines(bad)}")
        if show:
            for line in tokenized.account(source):
                tell(line)

    def _good(self, rows: Iterator[Row | BadRecord], bad: list[BadRecord]) -> Iterator[Row]:
        """Yield the rows that can be read, with token ids that spell their texts; the others go into `bad`."""
        for row in rows:
            if isinstance(row, BadRecord):
                bad.append(row)
            else:
                yield with_believed_ids(row, self.tokenizer)


def _demonstrations(rows: Iterator[PreferencePair | Demonstration | BadRecord]) -> Iterator[Demonstration | BadRecord]:
    """Yield the chosen answers of pairs, without those that are not to be imitated, and all other rows as they are."""
    for row in rows:
        if not isinstance(row, PreferencePair):
            yield row
        elif row.imitated:
            yield Demonstration.of(row)


def _digest(examples: Sequence[Example]) -> str:
    h = hashlib.blake2b(digest_size=8)
    for e in examples:
        parts: tuple[object, ...] = e.id, e.prompt_ids, *(ids for _, (ids, _) in e.texts)
        if isinstance(e, PreferenceExample):
            parts += e.short_prompt_ids, e.group
        h.update(repr(parts).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
