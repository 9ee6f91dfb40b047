"""What is wrong with a command line or config file, in one sentence, out of what jsonargparse says of it."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

_PLACE = re.compile(r'(?:Parser key "([\w.]+)"|Key "([\w.]+)")')
_REFUSED = re.compile(
    r"(?:Option '(?P<option>[^']+)' is not accepted"
    r"|Group '(?P<group>[^']+)' does not accept (?:nested )?(?:option|key) '(?P<key>[^']+)'"
    r"|Subcommand '[^']+' does not accept option '(?P<dotted>[^']+)'"
    r"|unrecognized arguments: (?P<arguments>[^\n]+))"
)
_NOISE = re.compile(
    r"^\s*(?:- )?(?:Does not validate against any|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|"
    r"Problem with given class_path)"
)
_CLASSES = (
    "longmab_pl.RolloutDataModule",
    "longmab_pl.PreferenceDataModule",
    "longmab_pl.DPOModule",
    "longmab_pl.training.LoRASettings",
    "longmab_pl.engines.VLLMEngine",
    "longmab_pl.engines.ServerEngine",
    "longmab_pl.engines.LaunchServers",
    "longmab_pl.engines.TransformersEngine",
    "longmab_pl.engines.Sampling",
    "longmab_pl.strategies.BanditRollout",
    "longmab_pl.strategies.Chunking",
    "longmab_pl.strategies.Probe",
    "longmab_pl.strategies.EarlyStopping",
    "longmab_pl.pairs.PairRule",
    "longmab_pl.models.Embedder",
    "longmab_pl.bandits.BanditSettings",
    "longmab_pl.callbacks.QAEvaluation",
    "longmab_pl.callbacks.LongBenchEvaluation",
    "longmab_pl.callbacks.AdapterCheckpoint",
    "lightning.pytorch.Trainer",
)


class ConfigParser(LightningArgumentParser):
    """LightningCLI's parser, with errors that fit on a screen."""

    files: ClassVar[Sequence[str]] = ()
    """Config files of the command, to find the line of a wrong key in."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"error: {summary(message, _known_options(), self.files)}", file=sys.stderr)
        raise SystemExit(2)


def summary(message: str, known: Iterable[str], files: Iterable[str] = ()) -> str:
    """The point of a jsonargparse message: where, what, and the nearest known option.

    Args:
        message: what jsonargparse says, which repeats the whole configuration for every level of nesting.
        known: option names to suggest from.
        files: config files that may hold the wrong key.
    """
    refused = _REFUSED.search(message)
    place = ".".join(a or b for a, b in _PLACE.findall(message[: refused.start()] if refused else message))
    if refused is None:
        kept = [line.strip() for line in message.splitlines() if line.strip() and not _NOISE.match(line)]
        return "\n  ".join(kept) or message
    if refused["arguments"]:
        names = [a.split("=")[0].lstrip("-") for a in refused["arguments"].split() if a.startswith("--")]
        what = ", ".join(names) or refused["arguments"]
        wrong = names[0].rpartition(".")[2] if names else ""
    elif refused["dotted"]:
        what = refused["dotted"]
        wrong = what.rpartition(".")[2]
    elif refused["option"]:
        what = wrong = refused["option"]
    else:
        wrong = refused["key"]
        what = f"{refused['group']}.{wrong}"
    near = difflib.get_close_matches(wrong, sorted(set(known)), n=1, cutoff=0.6)
    where = f"{place}.{what}" if place else what
    mend = f"did you mean `{near[0]}`?" if near else "`--print_config` shows what there is"
    return f"{_line_of(wrong, files)}{where}: there is no such option; {mend}"


def _line_of(key: str, files: Iterable[str]) -> str:
    pattern = re.compile(rf"(?:^|[\s{{,]){re.escape(key)}\s*:")
    for name in files:
        path = Path(name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if pattern.search(line):
                return f"{name}:{number}: "
    return ""


def _known_options() -> set[str]:
    names: set[str] = set()
    for path in _CLASSES:
        module, _, name = path.rpartition(".")
        names |= set(inspect.signature(getattr(import_module(module), name)).parameters)
    return names
