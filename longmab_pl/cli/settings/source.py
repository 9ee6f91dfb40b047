"""Source files of modules, parsed without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from longmab_pl.exports import PACKAGES


def module_file(module: str) -> Path | None:
    """Return a module's source file; only the outermost package, and `longmab_pl.callbacks`, are asked for by import.

    Example:
        >>> module_file("longmab_pl.engines.vllm.engine").name
        'engine.py'
    """
    parts = module.split(".")
    start = 2 if parts[:2] == ["longmab_pl", "callbacks"] else 1
    try:
        spec = find_spec(".".join(parts[:start]))
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts[start:])
    for candidate in (base / "__init__.py", base.with_name(f"{base.name}.py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def parsed(module: str) -> ast.Module | None:
    """Return a module's syntax tree, or None if it has no source file."""
    file = module_file(module)
    return None if file is None else ast.parse(file.read_text(encoding="utf-8"))


@cache
def public_homes() -> Mapping[str, str]:
    """Return the module of every public path: `longmab_pl.strategies.BanditRollout` -> the module that defines it."""
    return {f"{package}.{name}": home for package in PACKAGES for name, home in _homes(package)}


def _homes(package: str) -> Iterator[tuple[str, str]]:
    tree = parsed(package)
    if tree is None:
        return
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names(node) == ["HOMES"] and isinstance(node.value, ast.Dict):
            table: dict[str, str] = ast.literal_eval(node.value)
            yield from table.items()
            return
    for node in tree.body:  # the table is computed
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}."):
            yield from ((alias.asname or alias.name, node.module) for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            yield node.name, package


def definition(module: str, name: str, depth: int = 0) -> tuple[str, ast.ClassDef | ast.expr] | None:
    """Return what a name of a module is: a class, or the value of an assignment; imports are followed.

    Returns:
        (the module that defines it, its syntax), or None if it cannot be found.
    """
    tree = parsed(module)
    if tree is None or depth > 5:
        return None
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and _names(node) == [name]:
            return module, node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return (module, node.value) if node.value is not None else None
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    home = public_homes().get(f"{node.module}.{alias.name}", node.module)
                    return definition(home, alias.name, depth + 1)
    return None


def function(module: str, name: str) -> ast.FunctionDef | None:
    """Return the syntax of a module's function, or None if it has none of this name."""
    tree = parsed(module)
    found = (node for node in (tree.body if tree is not None else ()) if isinstance(node, ast.FunctionDef))
    return next((node for node in found if node.name == name), None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield a module's statements with those under `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.If):
            yield from node.body
        yield node


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]
