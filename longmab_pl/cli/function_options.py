"""Options of a command that is one function, checked by the function's source before any library is imported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from longmab_pl.cli.command_line import options
from longmab_pl.cli.settings.check import intended, mistakes_of_value
from longmab_pl.cli.settings.classes import ClassSettings, Setting, class_settings, function_settings, positional_names
from longmab_pl.cli.settings.classes import section_settings as group_of
from longmab_pl.cli.settings.merged import parsed_value
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.short_names import SHORT_NAMES
from longmab_pl.shown import shown

_EVERYWHERE = ("help", "config", "print_config")
"""Options of every parser."""


def refuse_wrong_options(
    module: str, name: str, args: Sequence[str], suites: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Refuse an option that does not exist, a value of another type, or a command line that lacks a required part.

    Args:
        module: module of the command's function.
        name: name of the function.
        args: the command's name and its arguments.
        suites: class path of each suite whose settings are options too, by its name; None: the command has no suites.

    Returns:
        The given values by name, positional ones too; flags have "true".

    Raises:
        ConfigError: the message names the option and the fix.
    """
    command, *given = args
    if any(arg in ("-h", "--help") for arg in given):
        return {}
    settings = function_settings(module, name)
    values, loose = _by_name(given, settings)
    known = [setting.name for setting in settings.settings]
    for option, value in values.items():
        first, _, rest = option.partition(".")
        setting = settings.find(first.removesuffix("+"))
        if setting is None:
            if first not in _EVERYWHERE and not option.startswith("print_") and not _is_of_suites(option, suites):
                raise ConfigError(_no_option(command, option, known, suites))
        elif suites is not None and first == "suite":
            continue  # short names, which `suite_options` reads
        elif not rest and value is not None and not first.endswith("+"):
            _refuse_value(option, value, setting)
    positionals = positional_names(module, name)
    if len(loose) > len(positionals) and "config" not in values:
        raise ConfigError(_stray(command, loose[len(positionals)], positionals))
    found = {option: value for option, value in values.items() if value is not None}
    found |= dict(zip(positionals, loose, strict=False))
    _refuse_missing(command, settings, positionals, found)
    return found


def _by_name(args: Sequence[str], settings: ClassSettings) -> tuple[dict[str, str | None], list[str]]:
    """Return the options with their values, and the arguments that belong to none; a flag takes no following word."""
    flags = {setting.name for setting in settings.settings if setting.kind.name == "bool"}
    values: dict[str, str | None] = {}
    loose: list[str] = []
    for option, value, words in options(args):
        if option is None:
            loose += words
        elif option in flags and (value is None or value.lower() not in ("true", "false", "yes", "no")):
            if value is not None and len(words) == 1:  # --flag=value
                values[option] = value
                continue
            values[option] = "true"
            loose += words[1:]
        else:
            values[option] = value
    return values, loose


def _refuse_value(option: str, value: str, setting: Setting) -> None:
    kind = setting.kind
    given = value if any(part.name == "str" for part in kind.parts()) else parsed_value(value)
    for mistake in mistakes_of_value(kind, given, f"--{option}", ""):
        raise ConfigError(str(mistake))


def _refuse_missing(
    command: str, settings: ClassSettings, positionals: Sequence[str], found: Mapping[str, str]
) -> None:
    if any(option in ("config", "print_config") or option.endswith(".help") for option in found):
        return
    missing = [
        (setting.name.upper() if setting.name in positionals else f"--{setting.name} ...", setting.help)
        for setting in settings.settings
        if setting.default is None
        and setting.name not in found
        and not any(option.startswith(f"{setting.name}.") or option == f"{setting.name}+" for option in found)
    ]
    if missing:
        (first, meaning), *rest = missing
        others = "".join(f", {name}" for name, _ in rest)
        meant = f" ({re.split(r'[.;:] | [(]', meaning.rstrip('.'))[0]})" if meaning else ""
        raise ConfigError(f"longmab {command} needs {first}{meant}{others}; `longmab {command} --help` has all options")


def _is_of_suites(option: str, suites: Mapping[str, str] | None) -> bool:
    """Return whether an option is surely or possibly a setting of one of the suites."""
    if suites is None:
        return False
    first, _, rest = option.partition(".")
    if not suites:
        return first == "suite"
    named = first in suites or first == "suite"
    if named and rest:
        first = rest.partition(".")[0]
    found = [class_settings(path) for path in suites.values()]
    if not found or None in found or first in ("limit", "help"):
        return True  # a class of the user's is asked when it is imported
    return any(first in _names(suite) or suite.open for suite in found if suite is not None)


def _names(settings: ClassSettings) -> Collection[str]:
    """Return the names of settings, and of those in its groups."""
    names = {setting.name for setting in settings.settings}
    groups = (group_of(setting.kind) for setting in settings.settings)
    return names | {inner.name for group in groups if group is not None for inner in group.settings}


def _no_option(command: str, option: str, known: Sequence[str], suites: Mapping[str, str] | None) -> str:
    names = set(known)
    every = {short.suite for short in SHORT_NAMES.values()} if suites == {} else set()  # none is named yet
    for path in {*(suites or {}).values(), *every}:
        found = class_settings(path)
        names |= set(_names(found)) if found is not None else set()
    first = option.partition(".")[0]
    meant = intended(first.replace("-", "_"), names) or (first.replace("-", "_") if "-" in first else "")
    hint = f"did you mean `--{meant}`?" if meant in names else f"`longmab {command} --help` lists what there is"
    of = f" of {', '.join(suites)}" if suites else ""
    return f"--{shown(option, 100)}: there is no such option{of}; {hint}"


def _stray(command: str, word: str, positionals: Sequence[str]) -> str:
    takes = " ".join(name.upper() for name in positionals) or "options only"
    return (
        f"{shown(word, 100)!r} belongs to no option; longmab {command} takes {takes} (a value with a space in it needs "
        "quotes)"
    )
