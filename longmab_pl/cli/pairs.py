"""`longmab pairs`: the pairs of rounds, made again by another rule."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from longmab_pl.cli.arguments import call
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord, records_digest
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.export.push import check_push, data_card, push_folder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.pairs.files import PairWriter, Style
from longmab_pl.pairs.rule import PairContext, PairRule
from longmab_pl.pairs.types import PairFormat
from longmab_pl.prompts.formats import PromptFormat, numbered_for
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.run_report import statistics_table
from longmab_pl.rollout.metrics import RoundMetrics
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.rollout.round_folder import ROUNDS, RoundFolder
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted, tell
from longmab_pl.storage.files import atomic_write
from longmab_pl.storage.fingerprint import rebuild

_FORMATS: dict[str, PairFormat] = {".jsonl": "jsonl", ".parquet": "parquet"}


def pairs(
    source: str,
    *,
    output: str,
    format: PairFormat | None = None,
    style: Style = "conversational",
    max_prompt_length: int | None = None,
    by: str | None = None,
    min_margin: float | None = None,
    pairs_per_record: int | None = None,
    max_length_ratio: float | None = None,
    max_length_difference: int | None = None,
    distinct: Literal["text", "answer"] | None = None,
    max_similarity: float | None = None,
    train: str | None = None,
    model: str | None = None,
    push: str | None = None,
    private: bool = True,
) -> None:
    """Make the preference pairs of rounds again, by another rule or in another form, without asking the model.

    Of an unfinished round, the finished records are used. The default of every setting is the round's own value.

    Args:
        source: a run folder (trainer.default_root_dir; all its rounds) or one round's folder in it.
        output: the file to write, .jsonl or .parquet; datasets.load_dataset reads it and TRL's DPOTrainer takes it.
        format: jsonl or parquet. Default: from the file's name.
        style: conversational (messages) or plain (texts, with the chat template written out in the prompt).
        max_prompt_length: maximum tokens of prompt and longest answer together; the context is cut in the middle.
        by: name of the compared reward, one of those that the round stored.
        min_margin: minimum difference of the two values.
        pairs_per_record: maximum number of pairs of a record.
        max_length_ratio: maximum ratio of the longer answer's tokens to the shorter one's.
        max_length_difference: maximum difference of the answers' lengths, in tokens.
        distinct: pairs count as the same with similar text or with equal answer on both sides.
        max_similarity: texts are similar above this share of common words.
        train: the training records, if they have moved.
        model: the model whose tokenizer counts tokens, if it has moved.
        push: put the pairs with a data card on the hub as owner/name; the token is that of `hf auth login` or HF_TOKEN.
        private: whether a new repository is private.

    Raises:
        ConfigError, DataError: no such rounds, changed records, or a setting out of range.
    """
    if push is not None:
        check_push(push)
    path = Path(output)
    form = format or _FORMATS.get(path.suffix)
    if form is None or _FORMATS.get(path.suffix, form) != form:
        raise ConfigError(f"--output {output}: name it .jsonl or .parquet{f', as --format {format}' if format else ''}")
    stores = list(_rounds(Path(source)))
    changes = {
        "max_prompt_length": max_prompt_length,
        "by": by,
        "min_margin": min_margin,
        "pairs_per_record": pairs_per_record,
        "max_length_ratio": max_length_ratio,
        "max_length_difference": max_length_difference,
        "distinct": distinct,
        "max_similarity": max_similarity,
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    settings = [store.read_settings() for store in stores]
    tokenizer = _tokenizer(settings[0]) if model is None else load_tokenizer(resolve_model(model))
    statistics = RoundMetrics(settings[0]["primary"])
    with PairWriter(path, form, style, tokenizer) as writer:
        for store, described in zip(stores, settings, strict=True):
            rule = _changed(described["pairs"], given)
            _write_round(writer, statistics, store, described, rule, tokenizer, train or described["train"])
    console = wide_console()
    console.print(statistics_table(statistics.result(), f"pairs of {len(stores)} round{'s' * (len(stores) > 1)}"))
    console.print(f"pairs      {path}", soft_wrap=True)
    kind = "json" if form == "jsonl" else form
    console.print(f'read with  load_dataset("{kind}", data_files="{path}")', soft_wrap=True)
    if push is not None:
        console.print(f"pushed     {_push(path, push, private, statistics.result(), len(stores), style, settings[0])}")


def run(args: Sequence[str]) -> None:
    """Run the command."""
    refuse_wrong_options(__name__, "pairs", args)
    call(pairs, args)


def _push(
    path: Path,
    name: str,
    private: bool,
    statistics: dict[str, float],
    rounds: int,
    style: Style,
    settings: dict[str, Any],
) -> str:
    """Put the written pairs with a data card on a hub, and return the address."""
    card = data_card(name, int(statistics["pairs/count"]), rounds, style, str(settings["model"]))
    with TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / f"train{path.suffix}")
        with atomic_write(Path(folder) / "README.md") as file:
            file.write(card)
        return push_folder(Path(folder), name, "dataset", private, "Preference pairs of longmab_pl")


def _write_round(
    writer: PairWriter,
    statistics: RoundMetrics,
    store: RoundFolder,
    settings: dict[str, Any],
    rule: PairRule,
    tokenizer: Any,
    train: str,
) -> None:
    prompt_format: PromptFormat = rebuild(settings["prompt_format"], PromptFormat)  # type: ignore[type-abstract]
    names, split = settings.get("fields"), settings.get("split", "train")
    records = _records(train, settings["record_digests"], prompt_format, names, split)
    number = settings["round"]
    seed = derive_seed(settings["seed"], "round", number)
    context = PairContext(tokenizer, prompt_format, settings["primary"], seed, number, statistics.skip)
    damage = store.damage() if store.complete else None
    if damage is not None:
        raise DataError(f"{damage}. The same `longmab rollout` (or fit) makes it again from {store.journal}.")
    file = store.rollouts if store.complete else store.rollout_log
    if not file.exists():
        raise DataError(f"{store.folder}: no record is finished yet; the same `longmab rollout` (or fit) continues it")
    failed = 0
    rollouts = RolloutFile(file)
    for record_id, record in records.items():
        if record_id not in rollouts:
            continue
        rollout = rollouts.read(record_id)
        try:
            made = rule.pairs(record, rollout, context)
        except DataError as error:
            tell(f"record {quoted(record_id)} failed: {error}")
            failed += 1
            continue
        statistics.add(rollout, made)
        for pair in made:
            writer.write(pair)
    if not store.complete:
        tell(f"round {number + 1} is not finished: {len(rollouts)} finished records count")
    statistics.add_failures(failed)


def _rounds(source: Path) -> Iterator[RoundFolder]:
    """Yield the rounds of a run folder in order, or the one round of a round's folder."""
    folder = source / ROUNDS
    if not folder.is_dir():
        if not source.is_dir():
            raise DataError(f"{source}: no such folder; give a run folder, or one of the folders in its {ROUNDS}")
        yield RoundFolder.at(source)
        return
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    if not found:
        raise DataError(f"{folder} is empty: nothing has been rolled out in this run")
    seen: dict[int, Path] = {}
    for path in found:
        store = RoundFolder.at(path)
        if store.number in seen:
            raise DataError(
                f"{source} has round {store.number + 1} with two settings; give one of the folders: "
                f"{seen[store.number]} or {path}"
            )
        seen[store.number] = path
        yield store


def _records(
    train: str, digests: dict[str, str], prompt_format: PromptFormat, fields: dict[str, str] | None, split: str
) -> dict[str, QARecord]:
    """Return a round's records by id, in the round's order.

    Raises:
        DataError: the source does not exist, or its records have changed.
    """
    try:
        read = read_records(train, on_bad_record="skip", split=split, fields=fields)
        found = {r.id: r for r in numbered_for(prompt_format, read.records)}
    except DataError as error:
        raise DataError(
            f"{error}\nThe round's records are needed for its pairs; say where they are: --train"
        ) from error
    for record_id, digest in digests.items():
        if record_id not in found or records_digest([found[record_id]]) != digest:
            what = "has changed" if record_id in found else "is missing"
            raise DataError(
                f"{train}: record {quoted(record_id)} of the round {what}; give the file as it was with --train, or "
                "roll out again"
            )
    return {record_id: found[record_id] for record_id in digests}


def _tokenizer(settings: dict[str, Any]) -> Any:
    kind = settings.get("tokenizer")
    return load_tokenizer(resolve_model(settings["model"]), kind=kind if isinstance(kind, str) else None)


def _changed(described: Any, given: dict[str, Any]) -> PairRule:
    """Return a round's pair rule with the settings of the command line.

    Raises:
        ConfigError: the rule has no such setting.
        DataError: the rule is not one of the package's.
    """
    rule: Any = rebuild(described, PairRule)  # type: ignore[type-abstract]
    unknown = set(given) - {field.name for field in fields(rule)}
    if unknown:
        raise ConfigError(f"--{min(unknown)}: the round's pair rule {type(rule).__name__} has no such setting")
    changed: PairRule = replace(rule, **given)
    return changed
