"""`longmab configs`: the configs that come with the package, and a complete copy of one to edit."""

from __future__ import annotations

import difflib
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from longmab_pl.cli.config_files import config_folder, shipped_config
from longmab_pl.cli.settings.complete import complete
from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted
from longmab_pl.storage.files import atomic_write

HELP = """\
usage: longmab configs                          list the configs that come with the package
       longmab configs show NAME                print one
       longmab configs copy NAME [FILE]         write a complete, commented copy to edit (default: NAME.yaml here)
"""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    match list(args[1:]):
        case []:
            print("configs that come with the package (longmab fit --config NAME; longmab configs copy NAME):\n")
            for line in listed():
                print(line)
        case [flag] if flag in ("-h", "--help"):
            print(HELP)
        case ["show", name]:
            print(Path(shipped_config(name)).read_text(encoding="utf-8"), end="")
        case ["copy", name, *rest] if len(rest) <= 1:
            print(copy(name, Path(rest[0]) if rest else None))
        case [word, *_] if word not in ("show", "copy"):
            near = difflib.get_close_matches(word, ["show", "copy"], n=1)
            hint = f"did you mean `{near[0]}`?" if near else "use `copy NAME` or `show NAME`"
            raise ConfigError(f"longmab configs {quoted(word)}: there is no such action; {hint}")
        case _:
            print(HELP, file=sys.stderr)
            raise ConfigError("longmab configs copy needs the name of a config, and takes one file to write")


def listed() -> Iterator[str]:
    """Yield a line for every config: its name and what it does."""
    columns = max(shutil.get_terminal_size((110, 20)).columns, 60)
    names = sorted(path.stem for path in config_folder().glob("*.yaml"))
    width = max(map(len, names)) + 2
    for name in names:
        text = summary(config_folder() / f"{name}.yaml")
        yield f"  {name:<{width}}{textwrap.shorten(text, columns - width - 2, placeholder=' ...')}"


def summary(path: Path) -> str:
    """Return the first sentence of a config's comment, without the command in its first line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").strip()
        if not text.startswith(("python -m ", "longmab ")):
            lines.append(text)
    return " ".join(lines).partition(". ")[0].rstrip(".")


def copy(name: str, target: Path | None = None) -> Path:
    """Write a config with every other setting as a comment, and return the file.

    Args:
        name: name of a config that comes with the package.
        target: the file; None: the config's name in this folder.

    Raises:
        ConfigError: there is no such config, or the file exists.
    """
    source = Path(shipped_config(name))
    path = target or Path(f"{source.stem}.yaml")
    if path.is_dir():
        path = path / source.name
    if path.exists():
        raise ConfigError(f"{path} exists and is not overwritten; name another: longmab configs copy {name} FILE")
    text = complete(source)
    with atomic_write(path) as file:
        file.write(text)
    return path
