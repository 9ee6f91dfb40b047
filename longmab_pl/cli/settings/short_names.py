"""Short class names (`SimPO`, `BestOfN`) written out for the full parser, which knows only what is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from longmab_pl.cli.settings.classes import full_path


def with_full_names(args: Sequence[str]) -> list[str]:
    """Return arguments in which every value and config names classes by their public path.

    A config that names one shortly is given to the parser as text, its lines unchanged.

    Args:
        args: arguments of a command, whose configs are paths.

    Example:
        >>> with_full_names(["--data.strategy", "BestOfN"])
        ['--data.strategy', 'longmab_pl.strategies.BestOfN']
    """
    written: list[str] = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if arg.startswith("--config=") or (written and written[-1] == "--config"):
            path = value if equals else arg
            text = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
            full = _written_out(text)
            written.append(arg if full == text else f"--config={full}" if equals else full)
        elif arg.startswith("--"):
            written.append(f"{name}={_written_out(value)}" if equals else arg)
        else:
            written.append(_written_out(arg))
    return written


def _written_out(text: str) -> str:
    """Return YAML text with short class names replaced; text that is not YAML as it is."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return text
    for scalar in sorted(_values(node), key=lambda found: found.start_mark.index, reverse=True):
        path = full_path(scalar.value) if scalar.value.isidentifier() else None
        if path is not None:
            text = text[: scalar.start_mark.index] + path + text[scalar.end_mark.index :]
    return text


def _values(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _values(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _values(value)
