"""The documents of `longmab fit --documents`, and what commands without them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.cli.command_line import option_value
from longmab_pl.errors import ConfigError


@dataclass(frozen=True)
class GivenDocuments:
    """Documents of which a run makes its questions first.

    Args:
        folder: their folder.
        evaluated: whether the run evaluates on questions about held-out documents.
    """

    folder: str
    evaluated: bool


def given_documents(command: str, args: Sequence[str]) -> GivenDocuments | None:
    """Return the documents of a command's arguments; None without `--documents`.

    Args:
        command: the command's name.
        args: arguments after it.

    Raises:
        ConfigError: the command makes no questions.
    """
    folder = option_value(args, "documents")
    if folder is None:
        return None
    if command != "fit":
        raise ConfigError(
            f"longmab {command} takes no --documents; `longmab fit` makes questions of them, and `longmab synthesize "
            f"FOLDER --documents DOCUMENTS` makes them for `longmab {command} --train FOLDER/train.jsonl`"
        )
    return GivenDocuments(folder, evaluated=option_value(args, "eval") is None)
