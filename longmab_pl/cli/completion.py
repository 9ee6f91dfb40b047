"""`longmab completion`: tab completion of commands, configs and settings for a shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from longmab_pl.cli.config_files import config_folder
from longmab_pl.cli.options import SECTIONS, listed
from longmab_pl.cli.settings.classes import ROOT_CLASSES, class_settings
from longmab_pl.cli.settings.shortcuts import SHORTCUTS
from longmab_pl.errors import ConfigError

SHELLS = ("bash", "zsh", "tcsh")

HELP = """\
usage: longmab completion bash|zsh|tcsh

Print a completion script of commands, configs and settings:
  longmab completion bash > ~/.local/share/bash-completion/completions/longmab
  longmab completion zsh  > ~/.zsh/completions/_longmab        # a folder of your fpath
"""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    given = list(args[1:])
    if not given or given[0] in ("-h", "--help"):
        print(HELP)
        return
    if given[0] not in SHELLS or len(given) > 1:
        raise ConfigError(f"longmab completion {' '.join(given)[:60]!r}: give one of {', '.join(SHELLS)}")
    try:
        import shtab
    except ImportError as error:
        raise ConfigError("completion scripts are made by the package 'shtab'; pip install shtab") from error
    print(shtab.complete(parser(), shell=given[0]))


def parser() -> argparse.ArgumentParser:
    """Return a parser with the names of all commands, and those settings of `fit` that need no class."""
    from longmab_pl.cli.main import COMMANDS

    root = argparse.ArgumentParser("longmab", description="preference pairs made on the fly", add_help=False)
    commands = root.add_subparsers(dest="command")
    configs = sorted(path.stem for path in config_folder().glob("*.yaml"))
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=_plain(command.help))
        if command.name in ("fit", "validate", "rollout", "doctor"):
            one.add_argument("--config", choices=configs, help="a file or the name of a config")
            for name, meaning in SHORTCUTS.items():
                one.add_argument(f"--{name}", help=_plain(meaning))
            for option, meaning in _settings():
                one.add_argument(f"--{option}", help=_plain(meaning))
        elif command.name == "configs":
            one.add_argument("action", choices=["copy", "show"])
            one.add_argument("name", choices=configs)
        elif command.name == "options":
            one.add_argument("section", choices=list(SECTIONS))
        elif command.name == "completion":
            one.add_argument("shell", choices=SHELLS)
    return root


def _settings() -> list[tuple[str, str]]:
    found = []
    for section, path in [*ROOT_CLASSES.items(), ("data", "longmab_pl.RolloutDataModule")]:
        settings = class_settings(path)
        if settings is not None:
            found += [(name, setting.help) for name, setting in listed(settings, section)]
    return found


def _plain(text: str) -> str:
    """Return a description that shells and argparse take as it is."""
    return text.replace("`", "'").replace("%", "%%").replace('"', "'").replace("$", "").partition(". ")[0][:80]
