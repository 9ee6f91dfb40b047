"""All that the page needs of a run folder, whether the run has ended or goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError, LongMabError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.reporting.html.round_digest import RoundDigest, read_round
from longmab_pl.reporting.run_record import RunRecord
from longmab_pl.reporting.run_report import RunReport, load_report
from longmab_pl.reporting.run_settings import class_and_args, init_args, saved_config, section
from longmab_pl.rollout.round_folder import ROUNDS, RoundFolder

LISTED_RECORDS, DRAWN_RECORDS = 10_000, 48
"""Largest number of records in the table, and of records that are shown whole, over all rounds."""

# In the order of `Completion.to_json`; a quote inside a text is written \" and cannot match.
_TOKENS = re.compile(rb'[{ ]"completion_tokens": \[([\d, ]*)\], "prompt_tokens": (\d+), "cached_tokens": (\d+)')


@dataclass(frozen=True)
class Calls:
    """What engines were asked: requests, answers, and tokens of prompts, of those from the cache, and of answers."""

    requests: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0

    def plus(self, other: Calls) -> Calls:
        """Return the sums."""
        return Calls(
            self.requests + other.requests,
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.new_tokens + other.new_tokens,
        )


@dataclass(frozen=True)
class RunData:
    """A run folder's contents.

    Args:
        folder: the run folder.
        report: its report; empty before the first epoch has ended.
        config: saved configuration; empty if there is none.
        record: versions, machine, seconds and memory.
        rounds: its rounds, those without pairs yet included; of several folders of a round the one that the report
            names, else the newest.
        calls: by number of the round, from 1.
        results: evaluations by the folder that `EvaluationEntry.folder` names; those whose files are gone are missing.
        problems: what could not be read, in words.
    """

    folder: Path
    report: RunReport
    config: Mapping[str, Any]
    record: RunRecord
    rounds: Sequence[RoundDigest]
    calls: Mapping[int, Calls]
    results: Mapping[str, EvaluationResult]
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def data(self) -> Mapping[str, Any]:
        """Settings of the data module."""
        return init_args(self.config.get("data"))

    @property
    def planned_rounds(self) -> int | None:
        """Number of rounds that the settings ask for."""
        rounds = self.data.get("rounds")
        return rounds if isinstance(rounds, int) else None

    @property
    def model(self) -> str:
        return str(section(self.config, "model").get("model") or "")

    @property
    def strategy(self) -> str:
        """Class name of the strategy; "" for a run over given pairs."""
        if not self.rounds and not self.report.rolled_out:
            return ""
        return class_and_args(self.data.get("strategy") or "BanditRollout")[0]

    def result(self, entry: EvaluationEntry) -> EvaluationResult | None:
        """Return the whole result of an evaluation, if its files are there."""
        return self.results.get(entry.folder)


def read_run_data(run: Path, going_on: bool = False) -> RunData:
    """Read a run folder.

    Args:
        run: the run folder.
        going_on: whether the run may not have written a report yet.

    Raises:
        DataError: it is no run folder, or its report is damaged.
    """
    problems: list[str] = []
    newest = _newest_rounds(run)
    if not (run / "report.json").is_file() and (going_on or newest):
        report = RunReport([], [])
        if not run.is_dir():
            raise DataError(f"{run} does not exist: give the folder of a run (trainer.default_root_dir)")
    else:
        report = load_report(run)
    reported = [run / ROUNDS / str(row["folder"]) for row in report.rounds if "folder" in row]
    folders = {**newest, **{store.number: store for store in map(RoundFolder.at, filter(Path.is_dir, reported))}}
    try:
        config = saved_config(run)
    except DataError as error:
        config = {}
        problems.append(str(error))
    try:
        record = RunRecord.load(run)
    except DataError as error:
        record = RunRecord()
        problems.append(str(error))
    n = max(len(folders), 1)
    rounds, calls = [], {}
    for _, store in sorted(folders.items()):
        rounds.append(read_round(store, max(LISTED_RECORDS // n, 1), max(DRAWN_RECORDS // n, 1)))
        calls[store.number + 1] = _calls(store.journal)
    gone = [folder for folder in reported if not folder.is_dir()]
    if gone:
        problems.append(
            f"rounds/{gone[0].name} is not there any more, so its rollouts are not shown ({len(gone)} such rounds)"
        )
    return RunData(run, report, config, record, rounds, calls, _results(run, report, problems), problems)


def _newest_rounds(run: Path) -> dict[int, RoundFolder]:
    """Return the newest folder of every round, by its number from 0."""
    found: dict[int, RoundFolder] = {}
    for folder in sorted((run / ROUNDS).glob("*-*"), key=lambda path: path.stat().st_mtime):
        try:
            store = RoundFolder.at(folder)
        except DataError:
            continue
        found[store.number] = store
    return found


def _calls(journal: Path) -> Calls:
    if not journal.is_file():
        return Calls()
    requests = answers = prompt = cached = new = 0
    with journal.open("rb") as lines:
        for line in lines:
            tokens = _TOKENS.search(line)
            if tokens is None:
                continue
            by_answer = [int(count) for count in tokens[1].split(b",") if count.strip()]
            requests += 1
            answers += len(by_answer)
            new += sum(by_answer)
            prompt += int(tokens[2])
            cached += int(tokens[3])
    return Calls(requests, answers, prompt, cached, new)


def _results(run: Path, report: RunReport, problems: list[str]) -> dict[str, EvaluationResult]:
    """Return the results of all evaluations whose files are there."""
    found: dict[str, EvaluationResult] = {}
    for folder in dict.fromkeys(entry.folder for entry in report.evaluations):
        path = Path(folder)
        if path.is_absolute() or ".." in path.parts:
            continue
        try:
            found[folder] = EvaluationResult.load(run / path / "result.json")
        except LongMabError as error:
            problems.append(str(error))
    return found
