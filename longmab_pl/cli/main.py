"""The command line: one table of commands. A command's module is imported when the command is run."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from longmab_pl import __version__
from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.shown import printable, quoted, shown
from longmab_pl.storage.files import DISK_ERRORS


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        name: its name.
        help: description in one line.
        module: the module whose `run` takes its name and arguments.
        own: for commands that take a run's config: the names of their own options. The config is then checked before
            the module, and with it a library, is imported.
    """

    name: str
    help: str
    module: str
    own: tuple[str, ...] | None = None


COMMANDS = (
    Command(
        "fit",
        "Run on-policy rounds: sample, score, pair, train, evaluate. `--config demo` tries it out.",
        "longmab_pl.cli.fit",
    ),
    Command(
        "validate",
        "DPO metrics of a checkpoint or the base model on given pairs (PreferenceDataModule).",
        "longmab_pl.cli.fit",
    ),
    Command(
        "rollout",
        "Run one round without training, with the same config file as fit; resumable.",
        "longmab_pl.cli.rollout",
        ("adapter", "round"),
    ),
    Command(
        "doctor",
        "Check a config and this machine before fit: versions, model, data, and the memory of each phase.",
        "longmab_pl.cli.doctor",
        ("gpu-memory-gb", "gpu_memory_gb"),
    ),
    Command(
        "pairs",
        "Make the preference pairs of rounds again, by another rule or in another form, without asking the model.",
        "longmab_pl.cli.pairs",
    ),
    Command(
        "inspect",
        "Print what of a data set will be trained or asked, token by token, and why a row is left out.",
        "longmab_pl.cli.inspect",
    ),
    Command(
        "evaluate",
        "Evaluate a model, with or without an adapter, and print a table with confidence intervals.",
        "longmab_pl.cli.evaluate_start",
    ),
    Command(
        "compare",
        "Print evaluations side by side, with confidence intervals and the paired test against the first one.",
        "longmab_pl.cli.compare",
    ),
    Command(
        "export", "Write an adapter, and if asked the merged model, as other programs load it.", "longmab_pl.cli.export"
    ),
    Command("ask", "Ask a model a question about a document, and its adapter beside it.", "longmab_pl.cli.ask"),
    Command("chat", "Ask several questions about a document that the model reads once.", "longmab_pl.cli.chat"),
    Command("report", "Print a run's tables and write its report.html; compare several runs.", "longmab_pl.cli.report"),
    Command(
        "synthesize",
        "Write a QA set: of invented documents, of your own (`--documents`), of multi-hop questions (`--from`).",
        "longmab_pl.cli.synthesize",
    ),
    Command(
        "configs",
        "List the configs that come with the package; `configs copy NAME` writes one to edit.",
        "longmab_pl.cli.configs",
    ),
    Command(
        "options",
        "List settings with type, default and meaning: `options`, `options strategy`, `options SimPO`.",
        "longmab_pl.cli.options",
    ),
    Command(
        "validate-config",
        "Check the names, classes and types in a config file, in a second.",
        "longmab_pl.cli.validate_config",
    ),
    Command("env", "Print versions and machine for a bug report.", "longmab_pl.cli.environment"),
    Command("completion", "Print a completion script for bash, zsh or tcsh.", "longmab_pl.cli.completion"),
)


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; an error that the user can fix is printed without a traceback, with exit status 2.

    Args:
        args: the command's name and its arguments; None: those of this process.
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        _run(args)
    except BrokenPipeError:
        # The reader of the output has what it wanted (`| head`).
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        raise SystemExit(141) from None
    except Exception as error:
        message = _actionable(error)
        if message is None:
            raise
        print(f"error: {printable(message)}", file=sys.stderr)
        raise SystemExit(2) from None


def overview() -> str:
    """Return the names and descriptions of all commands, one per line."""
    lines = ["usage: longmab COMMAND [options]     (longmab COMMAND --help says more, longmab --version which)", ""]
    return "\n".join(lines + [f"  {command.name:<16}{command.help}" for command in COMMANDS])


def _run(args: list[str]) -> None:
    if args in ([], ["-h"], ["--help"]):
        print(overview())
        return
    if args == ["--version"]:
        print(f"longmab {__version__}")
        return
    command = next((command for command in COMMANDS if command.name == args[0]), None)
    if command is None:
        raise ConfigError(_unknown(args[0]))
    if command.own is not None:
        from longmab_pl.cli.start import checked_command

        checked = checked_command(args, command.own)
        if checked is None:
            return
        args = checked
    import_module(command.module).run(args)


def _unknown(name: str) -> str:
    names = [command.name for command in COMMANDS]
    near = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else "."
    return f"there is no command {quoted(name)}{hint} The commands are: {', '.join(names)}"


def _actionable(error: BaseException | None) -> str | None:
    """Return the message of the package's or the disk's error that caused this one, or None."""
    seen: set[int] = set()  # an error raised from one that came while it was handled is in its own chain
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, LongMabError):
            return str(error)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS and error.filename is not None:
            return (
                f"cannot write or read {shown(str(error.filename), 300)}: {error.strerror}; free some space, or give a "
                "folder that can be written, and run the same command again"
            )
        error = error.__cause__ or error.__context__
    return None
