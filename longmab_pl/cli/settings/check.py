"""Names and values of a config checked against the settings that classes declare, before any library is imported.

It refuses only what is certainly wrong: a class from elsewhere and a type it does not know are left to the full parser.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from longmab_pl.cli.settings.classes import (
    ROOT_CLASSES,
    ClassSettings,
    Setting,
    class_settings,
    declared_settings,
    full_path,
    section_settings,
)
from longmab_pl.cli.settings.kinds import Kind
from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.cli.settings.shortcuts import SHORTCUTS
from longmab_pl.cli.settings.source import public_homes
from longmab_pl.errors import ConfigError
from longmab_pl.exports import RENAMED
from longmab_pl.shown import quoted

OTHER_ROOTS = (
    "seed_everything", "ckpt_path", "verbose", "weights_only", "optimizer", "lr_scheduler", "data",
)  # fmt: skip
"""Top-level settings of `fit` and `validate` that are no class's."""


@dataclass(frozen=True)
class Mistake:
    """One mistake of a config.

    Args:
        place: `FILE:LINE: `, or "" for the command line.
        text: what is wrong, and the fix.
        incomplete: whether another config that this one is laid over could make it right.
    """

    place: str
    text: str
    incomplete: bool = False

    def __str__(self) -> str:
        return f"{self.place}{self.text}"


def refuse_mistakes(config: MergedConfig, extra: Iterable[str] = ()) -> None:
    """Refuse a config with mistakes.

    Args:
        config: the settings.
        extra: further top-level settings of the command.

    Raises:
        ConfigError: the first mistake, and how many more there are.
    """
    found = list(mistakes(config, extra))
    if found:
        more = f"\n(and {len(found) - 1} more: longmab validate-config lists them)" if len(found) > 1 else ""
        raise ConfigError(f"{found[0]}{more}" if len(found) > 2 else str(found[0]))


def mistakes(config: MergedConfig, extra: Iterable[str] = (), *, part: bool = False) -> Iterator[Mistake]:
    """Yield the mistakes of a config in the order of its sections.

    Args:
        config: the settings.
        extra: further top-level settings of the command.
        part: whether it may be put behind another config, which names the class of `data`.
    """
    known = [*ROOT_CLASSES, *OTHER_ROOTS, *extra]
    for name, value in config.root.items():
        place = config.root.places.get(name, "")
        if name in ROOT_CLASSES:
            settings = class_settings(ROOT_CLASSES[name])
            if isinstance(value, Section) and settings is not None:
                yield from _of_class(settings, value, name)
            elif settings is not None and value is not None and not (name == "model" and isinstance(value, str)):
                yield Mistake(place, f"{name} is {quoted(value)}; it must be a section of settings")
        elif name == "data" and part and isinstance(value, Section) and value.class_path is None:
            settings, inner = class_settings("longmab_pl.RolloutDataModule"), value.get("init_args")
            if settings is not None and isinstance(inner, Section):
                yield from _of_class(settings, inner, name)
        elif name == "data":
            yield from _of_component(value, "data", place)
        elif name not in known:
            home = _section_of(name)
            said = (
                f"{name}: there is no such option; did you mean `{home}.{name}`?"
                if home
                else _no_option(name, name, [*known, *SHORTCUTS])
            )
            yield Mistake(place, said)


def _section_of(name: str) -> str | None:
    """Return the section that has a setting, by the short name under which texts speak of it; None: there is none."""
    for section, path in (("data", "longmab_pl.RolloutDataModule"), *ROOT_CLASSES.items()):
        settings = class_settings(path)
        if settings is not None and settings.find(name) is not None:
            return section
    return None


def _of_class(settings: ClassSettings, section: Section, where: str) -> Iterator[Mistake]:
    for name, value in section.items():
        bare = name.removesuffix("+")
        setting = settings.find(bare)
        if setting is not None:
            yield from mistakes_of_value(setting.kind, value, f"{where}.{bare}", section.places.get(name, ""), setting)
        elif not settings.open and "." not in name:
            names = [known.name for known in settings.settings]
            yield Mistake(section.places.get(name, ""), _no_option(f"{where}.{name}", name, names))


def _of_component(value: Any, where: str, place: str) -> Iterator[Mistake]:
    """Check a section that names its class, or the class alone."""
    named = value.class_path if isinstance(value, Section) else value
    if not isinstance(named, str):
        if isinstance(value, Section) and value and "class_path" not in value:
            yield Mistake(
                place or next(iter(value.places.values()), ""),
                f"{where} has no class_path; write `{where.rpartition('.')[2]}: {{class_path: ..., init_args: "
                "{...}}`",
                incomplete=True,
            )
        return
    at = value.places.get("class_path", place) if isinstance(value, Section) else place
    path = full_path(named)
    if path is None:
        if "." not in named or named.startswith("longmab_pl."):
            yield Mistake(at, no_class(named, where))
        return
    settings = class_settings(path)
    if settings is None or not isinstance(value, Section):
        return
    for name in value:
        if name not in ("class_path", "init_args", "dict_kwargs"):
            known = settings.find(name) is not None
            fix = (
                f"put `{name}` under init_args: {{class_path: {named}, init_args: {{{name}: ...}}}}"
                if known
                else "a section has class_path and init_args"
            )
            yield Mistake(value.places.get(name, ""), f"{where}.{name} is beside class_path; {fix}")
    inner = value.get("init_args")
    if isinstance(inner, Section):
        yield from _of_class(settings, inner, where)


def mistakes_of_value(
    kind: Kind, value: Any, where: str, place: str, setting: Setting | None = None
) -> Iterator[Mistake]:
    """Yield the mistakes of one value.

    Args:
        kind: the type that it must have.
        value: the value, with sections as `Section`.
        where: dotted name of the setting.
        place: `FILE:LINE: `, or "" for the command line.
        setting: the setting, whose help names the default class.
    """
    parts = list(kind.parts())
    if isinstance(value, Section) and ("class_path" in value or "init_args" in value):
        declared = None if "class_path" in value else declared_settings(kind)
        if declared is None:
            yield from _of_component(value, where, place)
        elif isinstance(value.get("init_args"), Section):  # the full parser takes the declared class
            yield from _of_class(declared, value["init_args"], where)
        return
    if isinstance(value, Section) and (section := section_settings(kind)) is not None:
        yield from _of_class(section, value, where)
        return
    if isinstance(value, list):
        for part in parts:
            if part.name == "list" and part.of:
                for number, item in enumerate(value):
                    yield from mistakes_of_value(part.of[0], item, f"{where}.{number}", place)
                return
    if isinstance(value, Section):
        components = [part for part in parts if part.name == "class"]
        if components and not any(part.name in ("any", "mapping") for part in parts):
            yield from _unnamed(components[0], value, where, place, setting)
        return
    if isinstance(value, str) and any(part.name == "class" for part in parts):
        if not any(part.name in ("any", "str", "literal") for part in parts) and not value.startswith("{"):
            yield from _of_component(value, where, place)
        return
    if not any(_accepts(part, value) for part in parts):
        yield Mistake(place, f"{where} is {quoted(value)}; it must be {kind.in_words()}")


def _unnamed(kind: Kind, value: Section, where: str, place: str, setting: Setting | None) -> Iterator[Mistake]:
    """Report settings of a section that does not say whose they are."""
    default = (setting.help if setting else "").partition("`")[2].partition("`")[0].partition("(")[0]
    name = default if full_path(default) else kind.class_name
    first = next(iter(value), "")
    shorter = ", or `--model.beta VALUE` alone" if where == "model.loss" and first == "beta" else ""
    yield Mistake(
        place or next(iter(value.places.values()), ""),
        f"{where}.{first}: the class of {where} is not given; write {where}: {{class_path: {name}, init_args: "
        f"{{{first}: ...}}}}{shorter}",
    )


def _accepts(kind: Kind, value: Any) -> bool:
    if kind.name == "any" or (isinstance(value, str) and value.startswith("${")):
        return True
    if kind.name == "null":
        return value is None
    if kind.name == "bool":
        return isinstance(value, bool)
    if kind.name == "int":
        return (isinstance(value, int) and not isinstance(value, bool)) or _integral(value)
    if kind.name == "float":
        return (isinstance(value, int | float) and not isinstance(value, bool)) or _numeric(value)
    if kind.name == "str":
        return not isinstance(value, list | dict) and value is not None
    if kind.name == "literal":
        return value in kind.values or str(value) in map(str, kind.values)
    if kind.name == "list":
        return isinstance(value, list)
    if kind.name == "mapping":
        return isinstance(value, dict)
    return not isinstance(value, bool | int | float | list) and value is not None


def _integral(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _numeric(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _no_option(where: str, name: str, names: Collection[str]) -> str:
    meant = intended(name, names)
    lister = f"longmab options {_section(where)}".rstrip()
    hint = f"did you mean `{meant}`?" if meant else f"`{lister}` lists what there is"
    return f"{where}: there is no such option; {hint}"


def _section(where: str) -> str:
    parts = where.split(".")[:-1]
    return next((part for part in reversed(parts) if part.isidentifier()), "")


def intended(name: str, names: Collection[str]) -> str:
    """Return the name that is meant: what the name is called today, or a near one; "" if there is none."""
    return RENAMED[name] if RENAMED.get(name) in names else near(name, names)


def near(name: str, names: Collection[str]) -> str:
    """Return the nearest other name, or ""."""
    found = difflib.get_close_matches(name, [known for known in names if known != name], n=1, cutoff=0.7)
    return found[0] if found else ""


def no_class(name: str, where: str) -> str:
    """Return the message on a class that does not exist, with the one that may be meant."""
    short = name.rpartition(".")[2]
    known = {path.rpartition(".")[2]: path for path in public_homes()}
    meant = RENAMED.get(short) or known.get(short) or known.get(near(short, known), "")
    hint = f"did you mean `{meant}`?" if meant else "give the import path of a class, `package.module.Class`"
    return f"{where}: there is no class {quoted(name)}; {hint}"
