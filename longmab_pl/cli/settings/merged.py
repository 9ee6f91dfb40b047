"""The settings that a command's config files and options amount to, with the place where each was written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from longmab_pl.cli.command_line import options
from longmab_pl.cli.settings.classes import class_settings, full_path
from longmab_pl.errors import ConfigError
from longmab_pl.shown import shown

RUN_FOLDER = "runs/longmab"
"""Run folder of a config that names none."""


class Section(dict[str, Any]):
    """A mapping of a config that knows where its keys were written (`FILE:LINE: `, or "" on the command line)."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, str] = {}

    def put(self, key: str, value: Any, place: str = "") -> None:
        """Set a key and the place where it was written."""
        self[key] = value
        self.places[key] = place

    @property
    def class_path(self) -> str | None:
        """Return the class that the section configures, if it names one."""
        named = self.get("class_path")
        return named if isinstance(named, str) else None

    @property
    def inner(self) -> Section:
        """Return the settings of the section's class, or the section itself if it names none."""
        if self.class_path is None:
            return self
        inner = self.get("init_args")
        if not isinstance(inner, Section):
            inner = Section()
            self.put("init_args", inner)
        return inner


@dataclass
class MergedConfig:
    """Settings of config files and options, the later over the earlier.

    Args:
        root: the settings.
        overridden: dotted keys that were given as options.
    """

    root: Section = field(default_factory=Section)
    overridden: list[str] = field(default_factory=list)

    def value(self, *path: str, default: Any = None) -> Any:
        """Return a setting by its path without `init_args`; `default` where it was not given."""
        found: Any = self.root
        for key in path:
            if isinstance(found, Section):
                found = found.inner if key != "class_path" and key not in found else found
            if not isinstance(found, dict) or key not in found:
                return default
            found = found[key]
        return found

    def class_name(self, *path: str, default: str = "") -> str:
        """Return the last part of the class that a section names."""
        found = self.value(*path)
        named = found.class_path if isinstance(found, Section) else found
        return named.rpartition(".")[2] if isinstance(named, str) else default

    @property
    def run_folder(self) -> Path:
        """The run folder, as the Trainer will have it."""
        return run_folder(self.value("trainer", "default_root_dir", default=RUN_FOLDER))

    @property
    def engine(self) -> str:
        """Class name of the engine that answers, or "" if none does."""
        default = "VLLMEngine" if self.class_name("data") == "RolloutDataModule" else ""
        return self.class_name("data", "engine") or default

    def suites(self) -> Iterator[Any]:
        """Yield the suites of the evaluations: sections, or names of classes."""
        callbacks = self.value("trainer", "callbacks", default=[])
        for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
            suite = callback.inner.get("suite") if isinstance(callback, Section) else None
            if suite is not None:
                yield suite


def run_folder(asked: Any) -> Path:
    """Return the folder that the Trainer makes of a `default_root_dir`: "~" is the home, null this folder."""
    return Path(os.path.expanduser(str(asked or ".")))


def merged_config(args: Sequence[str]) -> MergedConfig:
    """Return the settings of a command's arguments, whose configs are paths.

    Args:
        args: arguments after the command's name.

    Raises:
        ConfigError: a file is not YAML, or not a mapping.
    """
    merged = MergedConfig()
    for name, value, _ in options(args):
        if name is None or value is None or name == "print_config":  # flags are no settings
            continue
        if name == "config":
            _merge(merged.root, read_yaml(value))
        else:
            merged.overridden.append(name)
            _set(merged.root, name, parsed_value(value))
    return merged


def read_yaml(path: str) -> Section:
    """Return a config file's settings with their places.

    Raises:
        ConfigError: it is not YAML, or not a mapping; the message has the file and the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"{path}{line}: not YAML: {shown(str(error.problem or error.context), 150)}; check indentation, colons "
            "and quotes there"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {shown(str(error), 200)}") from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: a config is a mapping of settings, `model: {{...}}`; this file holds none")
    found: Section = _of_node(node, path)
    return found


def _of_node(node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        section = Section()
        for key, value in node.value:
            section.put(str(key.value), _of_node(value, path), f"{path}:{key.start_mark.line + 1}: ")
        return section
    if isinstance(node, yaml.SequenceNode):
        return [_of_node(item, path) for item in node.value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError):
        return str(node.value)


def parsed_value(value: str) -> Any:
    """Return the value of an option; lists and mappings are written as YAML or JSON."""
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return value
    if node is None:
        return None
    found = _of_node(node, "")
    return _without_places(found)


def _without_places(value: Any) -> Any:
    if isinstance(value, Section):
        value.places = dict.fromkeys(value, "")
        for inner in value.values():
            _without_places(inner)
    elif isinstance(value, list):
        for inner in value:
            _without_places(inner)
    return value


def _merge(below: Section, above: Section) -> None:
    """Lay one section's settings over another's."""
    if above.class_path is not None and above.class_path != below.class_path:
        _keep_known(below, above.class_path)
    for key, value in above.items():
        place = above.places.get(key, "")
        if key.endswith("+"):
            items = value if isinstance(value, list) else [value]
            existing = below.get(key[:-1])
            below.put(key[:-1], [*(existing if isinstance(existing, list) else []), *items], place)
        elif isinstance(value, Section) and isinstance(below.get(key), Section):
            _merge(below[key], value)
            below.places[key] = place or below.places.get(key, "")
        else:
            below.put(key, value, place)


def _keep_known(below: Section, path: str) -> None:
    """Drop the settings of an earlier class that the new one does not have."""
    settings = class_settings(full_path(path) or path)
    inner = below.get("init_args")
    if settings is not None and isinstance(inner, Section):
        for name in [name for name in inner if settings.find(name) is None]:
            del inner[name]


def _set(section: Section, dotted: str, value: Any) -> None:
    """Set one setting by its dotted name, with or without `init_args`."""
    *path, last = dotted.split(".")
    here = section
    for key in path:
        if key == "init_args" and here.class_path is not None:
            here = here.inner
            continue
        holder = here if key in here or key in ("class_path", "init_args") else here.inner
        found = holder.get(key)
        if isinstance(found, list) and found and isinstance(found[-1], (Section, str)):
            last_item = _as_section(found[-1])
            found[-1] = here = last_item
            continue
        inner = _as_section(found)
        if inner is not found:
            holder.put(key, inner, holder.places.get(key, ""))
        here = inner
    holder = here if last in ("class_path", "init_args") or here.class_path is None else here.inner
    one = Section()
    one.put(last, value)
    existing = holder.get(last)
    if isinstance(existing, Section) and isinstance(value, str):
        _keep_known(existing, value)
        existing.put("class_path", value)
    else:
        _merge(holder, one)


def _as_section(found: Any) -> Section:
    if isinstance(found, Section):
        return found
    section = Section()
    if isinstance(found, str):
        section.put("class_path", found)
    return section
