"""Ranges of settings of the rollout, checked by the classes themselves before torch is imported."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from longmab_pl.cli.settings.classes import full_path
from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.exports import find_class

_SECTIONS = {"strategy": "longmab_pl.strategies.", "pairs": "longmab_pl.pairs."}
"""Settings of `data` and the packages whose classes import in a moment."""

_EXPONENT = re.compile(r"[-+]?[\d.]+[eE][-+]?\d+")
"""Numbers such as 1e-4, which YAML reads as text."""


def refuse_out_of_range(config: MergedConfig) -> None:
    """Refuse a strategy or pair rule with a setting out of range.

    Raises:
        ConfigError: the message of the class, with file and line of the setting where it is in a file.
    """
    for name, package in _SECTIONS.items():
        section = config.value("data", name)
        path = full_path(section.class_path or "") if isinstance(section, Section) else None
        if path is None or not path.startswith(package):
            continue
        try:
            _made(find_class(path, object), section)
        except ConfigError as error:
            setting = str(error).split(" ", 1)[0]
            raise ConfigError(f"{_place(config, setting)}data.{error}") from error
        except (DataError, TypeError, ValueError, AttributeError):
            continue  # a mistake of another kind, which the parser names


def _made(cls: type, section: Section) -> Any:
    """Return a component with the given settings; those that are no plain values or dataclasses are left out."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is no dataclass")
    hints = get_type_hints(cls)
    settings = {}
    for name, value in section.inner.items():
        if isinstance(value, Section):
            named = full_path(value.class_path) if value.class_path is not None else None
            inner = find_class(named, object) if named is not None else next(_dataclasses(hints.get(name)), None)
            if inner is not None and dataclasses.is_dataclass(inner):
                settings[name] = _made(inner, value)
        elif isinstance(value, str) and _EXPONENT.fullmatch(value):
            settings[name] = float(value)
        elif value is None or isinstance(value, bool | int | float | str):
            settings[name] = value
    return cls(**settings)


def _dataclasses(annotation: Any) -> Iterator[type]:
    for part in get_args(annotation):
        yield from _dataclasses(part)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation


def _place(config: MergedConfig, setting: str) -> str:
    """Return `FILE:LINE: ` of a setting of `data`, or ""."""
    *path, last = setting.split(".")
    section = config.value("data", *path)
    return section.inner.places.get(last, "") if isinstance(section, Section) else ""
