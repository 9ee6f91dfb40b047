"""The kind of a data file, by its first rows: pairs, answers without worse ones, or records."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

from longmab_pl.data.qa_fields import is_record
from longmab_pl.data.sources import open_source
from longmab_pl.errors import ConfigError
from longmab_pl.pairs.layouts import LayoutError, canonical, check_columns
from longmab_pl.pairs.readers import read_answered
from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.shown import shown

Kind = Literal["preference", "answer", "record"]

FIRST_ROWS = 100
"""Number of rows that decide."""


def kind_of(source: str, split: str = "train", columns: Mapping[str, str] | None = None) -> Kind:
    """Return what a source holds, by its first row that is an object.

    Args:
        source: as for `pairs.readers.read_preferences`.
        split: split of a folder or data set.
        columns: the data's column names, if they differ.

    Returns:
        `preference` for pairs, `answer` for answers without worse ones, `record` for questions with a context and gold
        answers.
    """
    mapping = check_columns(columns)
    for row in itertools.islice(open_source(source, split), FIRST_ROWS):
        if not isinstance(row.value, dict):
            continue
        try:
            found, _ = canonical(row.value, mapping, optional=("rejected",))
        except LayoutError:
            return "record" if not mapping and is_record(row.value) else "preference"
        if "rejected" in found and "answer" not in mapping:
            return "preference"
        if "chosen" in found or "answer" in mapping:
            return "answer"
        if is_record(row.value):
            return "record"
        return "answer" if "answer" in found or "messages" in found else "record"
    return "record"


def refuse_answers_alone(
    setting: str, source: str, split: str = "train", columns: Mapping[str, str] | None = None
) -> None:
    """Refuse a source without worse answers for a run that compares two.

    Args:
        setting: the setting that names the source, for the message.
        source: as for `pairs.readers.read_preferences`.
        split: split of a folder or data set.
        columns: the data's column names, if they differ.

    Raises:
        ConfigError: of the first rows some have an answer, and none has a worse one.
        DataError: the source cannot be read.
    """
    rows = list(itertools.islice(read_answered(source, split, columns), FIRST_ROWS))
    alone = sum(isinstance(row, Demonstration) for row in rows)
    if not alone or any(isinstance(row, PreferencePair) for row in rows):
        return
    first = "" if len(rows) < FIRST_ROWS else f" (of the first {FIRST_ROWS} rows)"
    raise ConfigError(
        f"{setting} {shown(source, 300)}: its rows have one answer each and no worse one{first}, and this run compares "
        "two answers: not every phase in model.phases is an SFTPhase (the default is a PreferencePhase). To imitate "
        "the answers, set model.phases: [longmab_pl.training.SFTPhase] (`--config sft` has it); if the worse answers "
        "are in a column of another name, give it with data.columns: {rejected: NAME}"
    )
