"""Config files of a command; those shipped with the package are found by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from longmab_pl.errors import ConfigError


def shipped_config(name: str) -> str:
    """Return the path of a config: an existing file, or one shipped with the package by name (`demo`, `demo.yaml`).

    Raises:
        ConfigError: there is no such file.
    """
    if Path(name).exists():
        return name
    folder = Path(next(iter(import_module("longmab_pl.configs").__path__)))
    for candidate in (folder / name, folder / f"{name}.yaml", folder / Path(name).name):
        if candidate.is_file():
            return str(candidate)
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise ConfigError(f"--config {name}: no such file; the configs that come with the package are: {known}")


def resolve_configs(args: Sequence[str]) -> list[str]:
    """Return the arguments with each config's name replaced by its path.

    Raises:
        ConfigError: a config does not exist.
    """
    resolved: list[str] = []
    for arg in args:
        if resolved and resolved[-1] in ("--config", "-c"):
            resolved.append(shipped_config(arg))
        elif arg.startswith("--config="):
            resolved.append("--config=" + shipped_config(arg.removeprefix("--config=")))
        else:
            resolved.append(arg)
    return resolved


def config_files(args: Sequence[str]) -> list[str]:
    """Return the config files among resolved arguments."""
    return [a.removeprefix("--config=") for a in args if a.endswith((".yaml", ".yml", ".json"))]
