"""Config files of a command; those shipped with the package are found by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from longmab_pl.errors import ConfigError
from longmab_pl.shown import shown


def shipped_config(name: str) -> str:
    """Return the path of a config: an existing file, or one shipped with the package by name (`demo`, `demo.yaml`).

    Raises:
        ConfigError: there is no such file.
    """
    if Path(name).exists() and not Path(name).is_dir():
        return name
    folder = config_folder()
    for candidate in (folder / name, folder / f"{name}.yaml", folder / Path(name).name):
        if candidate.is_file():
            return str(candidate)
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    near = difflib.get_close_matches(Path(name).stem[:100], known, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise ConfigError(
        f"--config {shown(name, 200)}: no such file; {hint}the configs that come with the package are: "
        f"{', '.join(known)}"
    )


def config_folder() -> Path:
    """Return the folder of the configs that come with the package."""
    return Path(next(iter(import_module("longmab_pl.configs").__path__)))


def resolve_configs(args: Sequence[str]) -> list[str]:
    """Return the arguments with each config as `--config` with its path.

    Raises:
        ConfigError: a config does not exist.
    """
    resolved: list[str] = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if resolved and resolved[-1] == "--config":
            resolved.append(shipped_config(arg))
        elif name in ("--config", "-c"):
            resolved.append(f"--config={shipped_config(value)}" if equals else "--config")
        else:
            resolved.append(arg)
    return resolved


def config_files(args: Sequence[str]) -> list[str]:
    """Return the config files among resolved arguments."""
    return [a.removeprefix("--config=") for a in args if a.endswith((".yaml", ".yml", ".json"))]
