"""One-sentence error messages for a command line or config file, made from jsonargparse's messages."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from jsonargparse import ArgumentParser

from longmab_pl.cli.settings.check import intended, near, no_class
from longmab_pl.cli.settings.kinds import SIMPLE
from longmab_pl.exports import options_of, public_names
from longmab_pl.shown import printable, quoted, shown

_STEP = re.compile(
    r"""(?:Parser\ key|Key)\ "(?P<key>[\w.]+)"
    |given\ class_path\ '(?P<cls>[^']+)'
    |Expected\ a\ dot\ import\ path\ string:\ (?P<short>\S+)
    |Option\ '(?P<option>[^']+)'\ is\ not\ accepted
    |(?:Group|Subcommand)\ '(?P<group>[^']+)'\ does\ not\ accept\ (?:nested\ )?(?:option|key)\ '(?P<member>[^']+)'
    |unrecognized\ arguments:\ (?P<arguments>[^\n]+)
    |Expected\ a\ (?P<type>[^\n]+)\.\ Got\ value:\ (?P<value>[^\n]*)""",
    re.VERBOSE,
)
"""Pattern of one step of a message, from the outermost section to the mistake."""

_NOISE = re.compile(
    r"^\s*(?:- )?(?:Does not validate against any|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|"
    r"Problem with given class_path)"
)


class OneErrorParser(ArgumentParser):
    """A parser with short errors and without abbreviated options, which hide mistakes."""

    files: ClassVar[Sequence[str]] = ()
    """Config files of the command, in which the line of a mistake is searched."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    @classmethod
    def for_files(cls, files: Sequence[str]) -> type[Self]:
        """Return a subclass of this parser for a command with these config files."""
        return type(cls.__name__, (cls,), {"files": tuple(files)})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"error: {printable(summary(message, set(_own_options(self)), self.files))}", file=sys.stderr)
        raise SystemExit(2)


def summary(message: str, own: Collection[str], files: Sequence[str] = ()) -> str:
    """Return a short form of a jsonargparse message: where, what, and the nearest known name.

    Args:
        message: jsonargparse's message, which repeats the whole configuration for every level of nesting.
        own: names of the parser's own options.
        files: config files that may hold the mistake.
    """
    place: list[str] = []
    cls = ""
    for step in _STEP.finditer(message):
        if step["key"]:
            place.append(step["key"])
        elif step["cls"] and not _known_class(step["cls"]):
            return _no_class(step["cls"], place, files)
        elif step["cls"]:
            cls = step["cls"]
        elif step["short"]:
            return _no_class(step["short"], place, files)
        elif step["type"]:
            line = _line_of(_pair(place[-1], step["value"]), place, files) if place else ""
            where = ".".join(place) or "a value"
            return f"{line}{where} is {quoted(step['value'])}; it must be {_kind(step['type'])}"
        else:
            return _no_option(step, place, cls, own, files)
    return _as_said(message, files)


def _no_option(step: re.Match[str], place: list[str], cls: str, own: Collection[str], files: Sequence[str]) -> str:
    if step["arguments"]:
        names = [a.split("=")[0].lstrip("-") for a in step["arguments"].split() if a.startswith("--")]
        what = ", ".join(names) or shown(step["arguments"])
        wrong = names[0].rpartition(".")[2] if names else ""
    else:
        wrong = (step["option"] or step["member"]).rpartition(".")[2]
        # A subcommand's name is not part of a setting's name.
        group = "" if step.group().startswith("Subcommand") else step["group"]
        what = ".".join(filter(None, (group, step["option"] or step["member"])))
    where = ".".join([*place, what])
    meant = _nearest_option(wrong, cls, bool(cls) and "." in what, own)
    hint = f"did you mean `{meant}`?" if meant else "`--print_config` shows what there is"
    return f"{_line_of(_key(wrong), where.split('.')[:-1], files)}{where}: there is no such option; {hint}"


def _nearest_option(wrong: str, cls: str, nested: bool, own: Collection[str]) -> str:
    """Return the intended option: by its earlier name, or the nearest one of the class, the parser, or any class."""
    names = options_of(_imported(cls)) if cls and not nested else () if nested else own
    if meant := intended(wrong, {name.rpartition(".")[2] for name in names}):  # of options with sections the last part
        return meant
    if not cls and not any("." in name for name in own):
        return ""  # a command without configurable components
    return near(wrong, set().union(*(options_of(_imported(name)) for name in public_names())))


def _no_class(name: str, place: list[str], files: Sequence[str]) -> str:
    return _line_of(re.escape(name), place, files) + no_class(name, ".".join(place))


def _known_class(path: str) -> bool:
    return not _is_ours(path) or _imported(path) is not None


def _is_ours(path: str) -> bool:
    return path.startswith("longmab_pl.")


def _imported(path: str) -> Any:
    """Return a class of this package by its path, or None."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return None


def _kind(type_name: str) -> str:
    """Return a type in words: `<class 'int'>` is a whole number, `typing.Literal['a', 'b']` is a or b."""
    name = type_name.removeprefix("<class '").removesuffix("'>")
    if name.startswith("typing.Literal["):
        return " or ".join(re.findall(r"'([^']*)'", name))
    return SIMPLE.get(name, name)


def _own_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield action.dest
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _own_options(inner)


def _key(name: str) -> str:
    """Return the pattern of a key in YAML."""
    return rf"(?:^|[\s{{,]){re.escape(name)}\s*:"


def _pair(name: str, value: str) -> str:
    """Return the pattern of a key with this value in YAML."""
    return rf"{_key(name.rpartition('.')[2])}\s*[\"']?{re.escape(value)}[\"']?\s*(?:$|[,}}#])"


def _line_of(pattern: str, place: Sequence[str], files: Iterable[str]) -> str:
    """Return `FILE:LINE: ` of the pattern's first match within a section, or "" if no config file has one."""
    for name in files:
        path = Path(name)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        start = _start_of(place, text)
        for number, line in enumerate(text.splitlines()[start:], start + 1):
            if re.search(pattern, line):
                return f"{name}:{number}: "
    return ""


def _start_of(place: Sequence[str], text: str) -> int:
    """Return the line, from 0, on which the innermost section of a place begins in YAML."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return 0
    line = 0
    for key in ".".join(place).split("."):
        found = _member(node, key) or _member(_member(node, "init_args"), key)
        if found is None:
            break
        node, line = found, found.start_mark.line
    return line


def _member(node: Any, key: str) -> Any:
    """Return the value of a key in a YAML mapping, or None."""
    pairs = node.value if node is not None and node.id == "mapping" else ()
    return next((value for name, value in pairs if name.value == key), None)


def _as_said(message: str, files: Sequence[str]) -> str:
    """Return the message without its repetitions."""
    if len(files) == 1:
        message = message.replace('"<unicode string>"', files[0])
    kept = [line.strip() for line in message.splitlines() if line.strip() and not _NOISE.match(line)]
    return "\n  ".join(kept) or message
