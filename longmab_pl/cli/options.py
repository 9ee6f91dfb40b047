"""`longmab options`: the settings of a section or class, with type, default and meaning."""

from __future__ import annotations

import difflib
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from longmab_pl.cli.settings.classes import (
    ROOT_CLASSES,
    ClassSettings,
    Setting,
    class_settings,
    full_path,
    section_settings,
)
from longmab_pl.cli.settings.shortcuts import SHORTCUTS
from longmab_pl.cli.settings.source import public_homes
from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted

SECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "data": ("data", ("longmab_pl.RolloutDataModule", "longmab_pl.PreferenceDataModule")),
    "model": ("model", ("longmab_pl.DPOModule",)),
    "loss": ("model.loss", ("longmab_pl.training.losses.*",)),
    "losses": ("model.losses", ("longmab_pl.training.terms.*Term",)),
    "phases": ("model.phases", ("longmab_pl.training.*Phase",)),
    "engine": ("data.engine", ("longmab_pl.engines.*Engine",)),
    "strategy": ("data.strategy", ("longmab_pl.strategies.*",)),
    "bandit": ("data.strategy.bandit.options", ("longmab_pl.bandits.*",)),
    "rewards": ("data.rewards", ("longmab_pl.rewards.*",)),
    "pairs": ("data.pairs", ("longmab_pl.pairs.*",)),
    "prompt_format": ("data.prompt_format", ("longmab_pl.prompts.DirectAnswer", "longmab_pl.prompts.ReasonThenAnswer")),
    "embedder": ("data.embedder", ("longmab_pl.models.Embedder",)),
    "evaluation": ("trainer.callbacks", ("longmab_pl.callbacks.Evaluation",)),
    "suite": ("trainer.callbacks: Evaluation.suite", ("longmab_pl.evaluation.*Suite",)),
    "checkpoint": ("checkpoint", (ROOT_CLASSES["checkpoint"],)),
    "report": ("report", (ROOT_CLASSES["report"],)),
    "export": ("export", (ROOT_CLASSES["export"],)),
    "logging": ("logging", (ROOT_CLASSES["logging"],)),
    "trainer": ("trainer", (ROOT_CLASSES["trainer"],)),
}
"""Sections of a config: where they are, and the classes that can fill them (`*`: those of a package)."""

_NOT_CONFIGURED = (
    "RecordRollout", "Response", "Strategy", "StrategyContext", "Score", "Reward", "RewardContext", "PairContext",
    "PairRule", "PreferencePair", "PairLogps", "PairLosses", "PreferenceLoss", "Suite", "Engine", "BanditSettings",
    "BanditPolicy", "Phase", "StepLogps", "Term", "TermLoss",
)  # fmt: skip
"""Public classes that no config names."""

_PARTS = ("Chunking", "EarlyStopping", "Probe", "ShortToLong")
"""Classes that are parts of others' settings and listed there."""

_GIVEN_TO_BANDITS = ("initial_scores", "top_k", "seed")
"""Parameters of bandits that the strategy sets."""

HELP = """\
usage: longmab options [SECTION or CLASS]

List the settings of `fit`, `rollout` and `doctor`: name, type, default, and what they mean.

  longmab options              the sections, and the short options
  longmab options strategy     every strategy with its settings
  longmab options SimPO        one class
"""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    names = list(args[1:])
    if any(name in ("-h", "--help") for name in names):
        print(HELP)
        return
    if len(names) > 1:
        raise ConfigError(f"longmab options takes one section or class and was given {len(names)}")
    width = max(shutil.get_terminal_size((100, 20)).columns if sys.stdout.isatty() else 110, 60)
    for line in described(names[0], width) if names else _overview(width):
        print(line)


def described(name: str, width: int) -> Iterator[str]:
    """Yield the lines that describe a section or class.

    Args:
        name: a section (`strategy`, `data.engine`), or a class by its name.
        width: columns of the output.

    Raises:
        ConfigError: there is no such section or class.
    """
    section = name.rpartition(".")[2] if name.rpartition(".")[2] in SECTIONS else name
    if section in SECTIONS:
        place, _ = SECTIONS[section]
        for number, path in enumerate(classes_of(section)):
            if number:
                yield ""
            yield from _class_lines(path, place if place in ROOT_CLASSES else "", place, width)
        return
    found = full_path(name)
    if found is None:
        known = [*SECTIONS, *(public.rpartition(".")[2] for public in public_homes())]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"the sections are: {', '.join(SECTIONS)}"
        raise ConfigError(f"longmab options {quoted(name)}: there is no such section or class; {hint}")
    yield from _class_lines(found, "", "", width)


def classes_of(section: str) -> list[str]:
    """Return the public paths of the classes that can fill a section."""
    found: list[str] = []
    for pattern in SECTIONS[section][1]:
        if "*" not in pattern:
            found.append(pattern)
            continue
        package, _, end = pattern.partition(".*")
        for path in public_homes():
            name = path.rpartition(".")[2]
            if path == f"{package}.{name}" and name.endswith(end) and name[:1].isupper() and _is_choice(path, name):
                found.append(path)
    return found


def _is_choice(path: str, name: str) -> bool:
    return name not in (*_NOT_CONFIGURED, *_PARTS) and class_settings(path) is not None


def _overview(width: int) -> Iterator[str]:
    yield "short options of fit:"
    for name, meaning in SHORTCUTS.items():
        yield from _entry(f"--{name}", meaning, width)
    yield ""
    yield "sections (longmab options SECTION), and what fills them:"
    for name, (place, _) in SECTIONS.items():
        classes = [path.rpartition(".")[2] for path in classes_of(name)]
        yield from _entry(name, f"{place}: {', '.join(classes)}", width)


def _class_lines(path: str, prefix: str, place: str, width: int) -> Iterator[str]:
    settings = class_settings(path)
    assert settings is not None
    name = path.rpartition(".")[2]
    where = f"  ({place})" if place and place not in ROOT_CLASSES else ""
    yield f"{name}{where}"
    yield from textwrap.wrap(settings.summary, width - 2, initial_indent="  ", subsequent_indent="  ")
    for line_name, setting in listed(settings, prefix):
        if path.startswith("longmab_pl.bandits.") and setting.name in _GIVEN_TO_BANDITS:
            continue
        default = "required" if setting.default is None else f"default {setting.default}"
        meaning = _meaning(setting)
        shape = f"{setting.kind.in_config()}, {default}"
        yield from _entry(f"  {line_name}", f"{shape}. {meaning}" if meaning else shape, width)


def listed(settings: ClassSettings, prefix: str) -> Iterator[tuple[str, Setting]]:
    """Yield every setting of a class by its dotted name, sections of fixed shape opened.

    Args:
        settings: settings of the class.
        prefix: name of the section that they are in, or "".
    """
    for setting in settings.settings:
        name = f"{prefix}.{setting.name}" if prefix else setting.name
        section = section_settings(setting.kind)
        if section is None:
            yield name, setting
        else:
            yield from listed(section, name)


def _meaning(setting: Setting) -> str:
    text = setting.help.replace(":func:", "").replace(":class:", "").replace("``", "`")
    return text.partition(" Default:")[0].strip()


def _entry(name: str, text: str, width: int) -> Iterator[str]:
    indent = 28 if width >= 100 else 8
    start = f"  {name}"
    if len(start) > indent - 2:
        yield start
        start = ""
    body = textwrap.wrap(text, width - indent, break_long_words=False) or [""]
    yield f"{start:<{indent}}{body[0]}"
    for line in body[1:]:
        yield " " * indent + line
