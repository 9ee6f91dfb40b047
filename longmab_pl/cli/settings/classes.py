"""Settings of a class: names, types, defaults and descriptions, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from longmab_pl.cli.settings.kinds import Kind, kind_of
from longmab_pl.cli.settings.source import definition, function, public_homes

ROOT_CLASSES = {
    "trainer": "lightning.pytorch.trainer.trainer.Trainer",
    "model": "longmab_pl.DPOModule",
    "checkpoint": "longmab_pl.callbacks.AdapterCheckpoint",
    "report": "longmab_pl.callbacks.RoundReport",
    "export": "longmab_pl.callbacks.AdapterExport",
    "logging": "longmab_pl.callbacks.RunLogging",
}
"""Sections of a config whose class is fixed."""


@dataclass(frozen=True)
class Setting:
    """One setting of a class.

    Args:
        name: its name in a config.
        kind: its type.
        default: source text of its default; None: it must be given.
        help: its description, from the class's docstring.
    """

    name: str
    kind: Kind
    default: str | None
    help: str


@dataclass(frozen=True)
class ClassSettings:
    """Settings of one class.

    Args:
        path: public path of the class.
        summary: first line of its docstring.
        settings: its settings in their order.
        open: whether it takes further settings (`**kwargs`).
    """

    path: str
    summary: str
    settings: tuple[Setting, ...]
    open: bool = False

    def find(self, name: str) -> Setting | None:
        """Return the setting of this name, or None."""
        return next((setting for setting in self.settings if setting.name == name), None)


def full_path(name: str) -> str | None:
    """Return the public path of a class that a config names, also by its last part; None if there is none.

    Example:
        >>> full_path("BanditRollout")
        'longmab_pl.strategies.BanditRollout'
    """
    homes = public_homes()
    if name in homes:
        found = name
    elif "." in name:
        found = next((path for path, home in homes.items() if f"{home}.{path.rpartition('.')[2]}" == name), "")
    else:
        found = next((path for path in sorted(homes, key=len, reverse=True) if path.endswith(f".{name}")), "")
    return found if found and class_settings(found) is not None else None  # functions are public too


@cache
def class_settings(path: str) -> ClassSettings | None:
    """Return the settings of a class by its public path or by `module.Class`; None if its source is not found."""
    module, _, name = path.rpartition(".")
    found = definition(public_homes().get(path, module), name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    return settings_of(path, found[0], found[1])


def settings_of(path: str, module: str, node: ast.ClassDef) -> ClassSettings:
    """Return the settings of a class from its syntax."""
    text = ast.get_docstring(node) or ""
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    open_ended = False
    if init is not None:
        described = _described(text) | _described(ast.get_docstring(init) or "")
        found = _of_function(init, module, described, skip=1)
        open_ended = init.args.kwarg is not None
    elif _is_dataclass(node):
        found = _of_fields(node, module, _described(text))
    else:
        found = _of_base(node, module)
    return ClassSettings(path, text.partition("\n")[0], tuple(found), open_ended)


def section_settings(kind: Kind) -> ClassSettings | None:
    """Return the settings of a section of fixed shape, a dataclass that nothing else can stand for; None for others."""
    return _settings_of_first(kind, lambda node: _is_concrete(node) and _is_dataclass(node))


def declared_settings(kind: Kind) -> ClassSettings | None:
    """Return the settings of the declared class itself, which needs no `class_path`; None if it has none of its own."""
    return _settings_of_first(kind, _is_concrete)


def _settings_of_first(kind: Kind, wanted: Callable[[ast.ClassDef], bool]) -> ClassSettings | None:
    for part in kind.parts():
        if part.definition is not None and wanted(part.definition):
            return settings_of(part.class_name, part.home, part.definition)
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_concrete(node: ast.ClassDef) -> bool:
    return not any(ast.unparse(base).startswith(("Protocol", "ABC")) for base in node.bases)


@cache
def function_settings(module: str, name: str) -> ClassSettings:
    """Return the parameters of a command's function as settings.

    Args:
        module: the module that defines it.
        name: its name.

    Raises:
        LookupError: there is no such function.
    """
    node = function(module, name)
    if node is None:
        raise LookupError(f"{module} has no function {name}")
    text = ast.get_docstring(node) or ""
    found = _of_function(node, module, _described(text))
    return ClassSettings(f"{module}.{name}", text.partition("\n")[0], tuple(found))


@cache
def positional_names(module: str, name: str) -> tuple[str, ...]:
    """Return the names of a function's required parameters that are given by their place."""
    node = function(module, name)
    if node is None:
        return ()
    given = node.args.args
    return tuple(argument.arg for argument in given[: len(given) - len(node.args.defaults)])


def _of_function(node: ast.FunctionDef, module: str, described: dict[str, str], skip: int = 0) -> list[Setting]:
    arguments = node.args
    positional = arguments.args[skip:]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults[-len(positional) :] if positional else [], strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [
        Setting(
            argument.arg,
            kind_of(argument.annotation, module),
            None if default is None else _default(default),
            described.get(argument.arg, ""),
        )
        for argument, default in pairs
    ]


def _of_fields(node: ast.ClassDef, module: str, described: dict[str, str]) -> list[Setting]:
    inherited = {setting.name: setting for setting in _of_base(node, module)}
    own = [
        Setting(
            field.target.id,
            kind_of(field.annotation, module),
            None if field.value is None else _default(field.value),
            described.get(field.target.id, ""),
        )
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and "ClassVar" not in ast.unparse(field.annotation)
        and not field.target.id.startswith("_")
    ]
    return list((inherited | {setting.name: setting for setting in own}).values())


def _of_base(node: ast.ClassDef, module: str) -> list[Setting]:
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id not in ("Protocol", "ABC", "object"):
            found = definition(module, base.id)
            if found is not None and isinstance(found[1], ast.ClassDef):
                return list(settings_of(base.id, found[0], found[1]).settings)
    return []


def _default(node: ast.expr) -> str:
    """Return a default as a config writes it, or as the source does."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        for keyword in node.keywords:
            if keyword.arg == "default":
                return _default(keyword.value)
            if keyword.arg == "default_factory":
                return f"{ast.unparse(keyword.value)}()".replace("dict()", "{}").replace("list()", "[]")
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
    return {None: "null", True: "true", False: "false"}.get(value, ast.unparse(node)) if _plain(value) else str(value)


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _described(docstring: str) -> dict[str, str]:
    """Return the descriptions of the `Args:` part of a docstring by name."""
    found: dict[str, str] = {}
    inside, name, indent = False, "", 0
    for line in docstring.splitlines():
        if re.fullmatch(r"\s*Args:\s*", line):
            inside, indent = True, len(line) - len(line.lstrip())
            continue
        if not inside or not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth <= indent:
            inside = False
            continue
        start = re.match(r"\s*\**(\w+)(?: ?\([^)]*\))?:\s*(.*)", line)
        if start and depth == indent + 4:
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += " " + line.strip()
    return found
