"""Short suite names and their options on the command line: `--suite ruler --lengths 4k,8k` as a class with settings."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import types
from collections.abc import Collection, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, Union, get_args, get_origin, get_type_hints

from longmab_pl.cli.command_line import options
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.short_names import SHORT_NAMES, short_name
from longmab_pl.shown import quoted, tell

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmM])")


@dataclass(frozen=True)
class ChosenSuite:
    """A suite of the command line.

    Args:
        name: its short name, or the class's own.
        path: class path.
        settings: settings so far, as of a config file.
        kilo: number that "k" multiplies.
        sample: the setting that `--limit` stands for.
    """

    name: str
    path: str
    settings: dict[str, Any]
    kilo: int = 1024
    sample: str = "limit"

    def hints(self) -> dict[str, Any]:
        """Return the types of the suite's settings. Raises `ConfigError` if there is no such class."""
        module, _, name = self.path.rpartition(".")
        try:
            cls = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"--suite: there is no class {quoted(self.path)}; give package.module.Class") from error
        named = dict.fromkeys(inspect.signature(cls).parameters, Any)
        try:
            return named | {name: hint for name, hint in get_type_hints(cls.__init__).items() if name in named}
        except NameError:  # a class of the user's whose types are imported for checkers only
            return named

    def place(self, option: Sequence[str]) -> tuple[list[str], Any] | None:
        """Return the path of an option in the suite's settings and its type, or None if the suite does not take it.

        An option that is not a setting itself is searched in the settings that are groups: `--enable_thinking` is
        `asking.enable_thinking`.
        """
        hints = self.hints()
        option = [self.sample] if list(option) == ["limit"] else list(option)
        first, rest = option[0], option[1:]
        if first in hints:
            return option, _inner(hints[first], rest)
        for group, hint in hints.items():
            members = _members(hint)
            if first in members:
                return [group, *option], _inner(members[first], rest)
        return None

    def missing(self) -> list[str]:
        """Return the settings that must be given and are not yet, those of a group with the group's name."""
        module, _, name = self.path.rpartition(".")
        hints = self.hints()
        found = []
        for option, parameter in inspect.signature(getattr(import_module(module), name)).parameters.items():
            if parameter.default is not inspect.Parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
                continue
            given = self.settings.get(option)
            required = _required_members(hints[option])
            if given is None:
                found += [f"{option}.{inner}" for inner in required] or [option]
            elif isinstance(given, dict):
                found += [f"{option}.{inner}" for inner in required if inner not in given]
        return found

    def set(self, place: Sequence[str], value: Any) -> None:
        """Put a value at its place."""
        target = self.settings
        for key in place[:-1]:
            target = target.setdefault(key, {})
        target[place[-1]] = value


def chosen_suites(args: Sequence[str]) -> list[ChosenSuite]:
    """Return the suites that the arguments choose by short name; empty if none is.

    Raises:
        ConfigError: a name is unknown, or given twice.
    """
    given = [name.strip() for value in _values(args, "suite") for name in _listed(value)]
    if all("." in name for name in given):
        return []
    found = []
    for name in given:
        row = None if "." in name else short_name(name)
        if row is None:
            found.append(ChosenSuite(name.rpartition(".")[2], name, {}))
        else:
            settings = json.loads(json.dumps(dict(row.settings)))
            found.append(ChosenSuite(row.name, row.suite, settings, row.kilo, row.sample))
    names = [suite.name for suite in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--suite: {name} is given twice")
    return found


def with_class_paths(args: Sequence[str], own: Collection[str]) -> list[str]:
    """Return the arguments with short suite names and their options replaced by one `--suite`, as JSON.

    An option of the command itself stays. Any other goes to every suite that takes it; `--NAME.option` goes to the
    suite NAME only.

    Args:
        args: arguments of the command, without its name.
        own: names of the command's own options.

    Raises:
        ConfigError: a suite is unknown, or an option belongs to none.
    """
    suites = chosen_suites(args)
    if not suites:
        return list(args)
    kept: list[str] = []
    for option, value, words in options(args):
        if option in ("suite", "suite+"):
            continue
        if option is None or (option.partition(".")[0] in own and not option.startswith("suite.")):
            kept += words
        elif value is None:
            raise ConfigError(f"--{option} has no value")
        else:
            _give(option, value, suites, own)
    if not {"--config", "--print_config"} & {word.partition("=")[0] for word in args}:
        _refuse_incomplete(suites)
    values = [{"class_path": suite.path, "init_args": suite.settings} for suite in suites]
    return [*kept, "--suite", json.dumps(values[0] if len(values) == 1 else values)]


def _give(option: str, value: str, suites: Sequence[ChosenSuite], own: Collection[str]) -> None:
    path = option.split(".")
    named = [suite for suite in suites if suite.name == path[0]]
    if len(path) > 1 and (named or path[0] == "suite"):
        suites, path = named or suites, path[1:]
    places = {suite.name: suite.place(path) for suite in suites}
    if not any(places.values()):
        raise ConfigError(_unknown(option, path, suites, own))
    for suite in suites:
        found = places[suite.name]
        if found is None:
            tell(f"note: {suite.name} has no setting {path[0]!r}; the other suites take it")
        else:
            suite.set(found[0], value_of(value, found[1], suite.kilo))


def _refuse_incomplete(suites: Sequence[ChosenSuite]) -> None:
    for suite in suites:
        if missing := suite.missing():
            options = ", ".join(f"--{name}" for name in missing)
            row = SHORT_NAMES.get(suite.name)
            hint = f" ({row.help})" if row is not None else ""
            raise ConfigError(f"--suite {suite.name} needs {options}{hint}")


def _unknown(option: str, path: Sequence[str], suites: Sequence[ChosenSuite], own: Collection[str]) -> str:
    if path[0] in SHORT_NAMES:
        return f"--{option} is a setting of {path[0]}, which --suite does not name"
    settings = {name for suite in suites for name in suite.hints()}
    settings |= {name for suite in suites for hint in suite.hints().values() for name in _members(hint)}
    near = difflib.get_close_matches(path[0], sorted(settings | set(own)), n=1, cutoff=0.6)
    hint = f"did you mean `--{near[0]}`?" if near else f"settings are {', '.join(sorted(settings))}"
    return f"--{option}: there is no such option of {', '.join(suite.name for suite in suites)}; {hint}"


def value_of(text: str, hint: Any, kilo: int = 1024) -> Any:
    """Return the value that an option's text means for a setting of this type, as a config file would have it.

    Lists may be written with commas. Whole numbers may have a "k" or "m".

    Args:
        text: text of the command line.
        hint: the setting's type.
        kilo: number that "k" multiplies.

    Example:
        >>> value_of("4k,8k", list[int]), value_of("8k,16k", list[str]), value_of("null", int | None)
        ([4096, 8192], ['8k', '16k'], None)
    """
    import yaml

    kinds = _kinds(hint)
    if text.strip() in ("null", "None") and type(None) in kinds:
        return None
    if text.lstrip().startswith(("[", "{")):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    listed = next((kind for kind in kinds if _is_list(kind)), None)
    if listed is not None:
        item = next(iter(get_args(listed)), str)
        return [value_of(part.strip(), item, kilo) for part in text.split(",") if part.strip()]
    size = _SIZE.fullmatch(text.strip())
    if size and int in kinds:
        return int(float(size[1]) * (kilo if size[2] in "kK" else kilo**2))
    if str in kinds or not set(kinds) & {int, float, bool, Any, dict}:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _kinds(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [dict if get_origin(hint) is dict else hint]


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind)
    return inspect.isclass(origin) and issubclass(origin, Sequence)


def _members(hint: Any) -> dict[str, Any]:
    """Return the fields, with their types, of a setting that is a data class."""
    found: dict[str, Any] = {}
    for kind in _kinds(hint):
        if inspect.isclass(kind) and is_dataclass(kind):
            hints = get_type_hints(kind)
            found |= {field.name: hints[field.name] for field in fields(kind)}
    return found


def _required_members(hint: Any) -> list[str]:
    """Return the fields of a setting that is a data class which have no default."""
    return [
        field.name
        for kind in _kinds(hint)
        if inspect.isclass(kind) and is_dataclass(kind)
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]


def _inner(hint: Any, rest: Sequence[str]) -> Any:
    for name in rest:
        hint = _members(hint).get(name, Any)
    return hint


def _listed(value: str) -> list[str]:
    if value.lstrip().startswith(("{", "[")):
        return [value] if "." in value else [part for part in re.split(r"[\[\],\s\"']+", value) if part]
    return [part for part in value.split(",") if part.strip()]


def _values(args: Sequence[str], name: str) -> list[str]:
    return [value for option, value, _ in options(args) if option in (name, f"{name}+") and value is not None]
