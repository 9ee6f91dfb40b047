"""The start that all commands with a run's config share: short options, names and values, before any library."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.config_files import resolve_configs
from longmab_pl.cli.fit_help import PAGES
from longmab_pl.cli.given_documents import given_documents
from longmab_pl.cli.run_log import start_log
from longmab_pl.cli.settings.check import refuse_mistakes
from longmab_pl.cli.settings.merged import MergedConfig, merged_config
from longmab_pl.cli.settings.shortcuts import expanded
from longmab_pl.cli.start_checks import refuse_without_data

HELP_FLAGS = ("-h", "--help")


def checked_options(args: Sequence[str], own: Sequence[str] = ()) -> tuple[list[str], MergedConfig]:
    """Return a command's options written out, and the settings that they amount to.

    Args:
        args: arguments after the command's name.
        own: names of the command's own options.

    Raises:
        ConfigError: a config does not exist or is not YAML, or a setting's name, class or type is wrong.
    """
    options = expanded(resolve_configs(args))
    config = merged_config(options)
    refuse_mistakes(config, own)
    return options, config


def checked_command(args: Sequence[str], own: Sequence[str]) -> list[str] | None:
    """Return a command's arguments, checked and written out; None if its help was asked for and printed.

    Args:
        args: the command's name and its arguments.
        own: names of the command's own options.

    Raises:
        ConfigError: as for `checked_options`.
    """
    name, *given = args
    if any(arg in HELP_FLAGS for arg in given):
        print(PAGES[name])
        return None
    given_documents(name, given)
    options, config = checked_options(given, own)
    if not any(option.startswith("--print_config") for option in options):
        refuse_without_data(config)
    start_log()  # before the libraries are imported
    return [name, *options]
