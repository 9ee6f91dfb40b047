"""`longmab validate-config`: check config files without loading a library."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from longmab_pl.cli.config_files import resolve_configs, shipped_config
from longmab_pl.cli.plan import announce
from longmab_pl.cli.settings.check import mistakes
from longmab_pl.cli.settings.merged import merged_config
from longmab_pl.cli.settings.shortcuts import expanded
from longmab_pl.errors import ConfigError

HELP = """\
usage: longmab validate-config FILE [FILE ...] [options of fit]

Check the names, classes and types of a config's settings, each mistake with file, line and fix; several files are laid
over one another as `fit --config A --config B` does. Exit status 2 if something is wrong. What depends on the model,
the data or this machine is checked by `longmab doctor`.
"""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    given = list(args[1:])
    if not given or any(arg in ("-h", "--help") for arg in given):
        print(HELP)
        return
    end = next((i for i, arg in enumerate(given) if arg.startswith("--")), len(given))
    files = [shipped_config(name) for name in given[:end]]
    options = [part for file in files for part in ("--config", file)]
    config = merged_config(expanded([*options, *resolve_configs(given[end:])]))
    whole = bool(config.class_name("data"))
    found = [mistake for mistake in mistakes(config, part=True) if whole or not mistake.incomplete]
    for mistake in found[1:]:
        print(f"error: {mistake}", file=sys.stderr)
    if found:
        raise ConfigError(str(found[0]))
    if whole:
        announce("fit", config)
        print(f"{', '.join(files)}: no mistake in names, classes and types")
    else:
        print(f"{', '.join(files)}: no mistake; a part of a config, to put behind one with `data`")
