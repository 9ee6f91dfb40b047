"""A config made complete: below every section, its other settings as comments with default and meaning."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

from longmab_pl.cli.settings.classes import (
    ROOT_CLASSES,
    ClassSettings,
    Setting,
    class_settings,
    full_path,
    section_settings,
)

WIDTH = 120


def complete(source: Path) -> str:
    """Return a config's text with the settings that it leaves out as comments.

    Args:
        source: a config file.
    """
    text = source.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines()
    added: dict[int, list[str]] = {}
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            path = ROOT_CLASSES.get(key.value)
            settings = class_settings(path) if path else None
            if settings is not None:
                _missing(value, settings, added)
            elif key.value == "data":
                _component(value, added)
        given = {key.value for key, _ in root.value}
        added.setdefault(len(lines), []).extend(_sections(given))
    for line in sorted(added, reverse=True):
        lines[line:line] = added[line]
    return "\n".join(lines) + "\n"


def _sections(given: set[str]) -> Iterator[str]:
    """Yield the sections that the config does not have."""
    for name, path in ROOT_CLASSES.items():
        settings = class_settings(path)
        if name not in given and settings is not None and name != "trainer":
            yield f"# {name}:"
            for setting in settings.settings:
                yield from _comment(setting, 2)


def _component(node: yaml.Node, added: dict[int, list[str]]) -> None:
    """Add the settings of a section that names its class."""
    if not isinstance(node, yaml.MappingNode):
        return
    found = {key.value: value for key, value in node.value}
    named = found.get("class_path")
    if not isinstance(named, yaml.ScalarNode):
        return
    settings = class_settings(full_path(named.value) or named.value)
    inner = found.get("init_args")
    if settings is not None and inner is not None:
        _missing(inner, settings, added)


def _missing(node: yaml.Node, settings: ClassSettings, added: dict[int, list[str]]) -> None:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        return
    given = {}
    for key, value in node.value:
        given[key.value.removesuffix("+")] = value
        setting = settings.find(key.value)
        section = section_settings(setting.kind) if setting else None
        if section is not None:
            _missing(value, section, added)
        else:
            _nested(value, added)
    if node.flow_style:
        return
    indent = node.value[0][0].start_mark.column
    # Behind what the inner sections have added at the same line.
    lines = added.setdefault(_end(node), [])
    if settings.path == ROOT_CLASSES["trainer"]:
        lines.append(f"{' ' * indent}# Lightning's other settings: longmab options trainer")
        return
    lines += [line for s in settings.settings if s.name not in given for line in _comment(s, indent)]


def _nested(node: yaml.Node, added: dict[int, list[str]]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _nested(item, added)
    elif isinstance(node, yaml.MappingNode):
        _component(node, added)
        for key, value in node.value:
            if key.value == "init_args" and isinstance(value, yaml.MappingNode):
                continue  # `_component` has been there
            _nested(value, added)


def _end(node: yaml.Node) -> int:
    """Return the line behind the last value of a mapping."""
    while isinstance(node, yaml.MappingNode | yaml.SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.line) + 1


def _comment(setting: Setting, indent: int) -> Iterator[str]:
    """Yield a setting as commented YAML with its meaning."""
    blank = " " * indent
    section = section_settings(setting.kind)
    meaning = f"{setting.help} ({setting.kind.in_config()})" if setting.help else setting.kind.in_config()
    if section is not None:
        yield f"{blank}# {setting.name}:"
        for one in section.settings:
            yield from (f"{blank}#   {line.removeprefix('# ')}" for line in _comment(one, 0))
        return
    start = f"{blank}# {setting.name}: {setting.default if setting.default is not None else '...'}"
    if len(start) + len(meaning) + 4 <= WIDTH:
        yield f"{start}  # {meaning}"
        return
    yield start
    yield from textwrap.wrap(
        meaning, WIDTH, initial_indent=f"{blank}#     # ", subsequent_indent=f"{blank}#     # ", break_long_words=False
    )
