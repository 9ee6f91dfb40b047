"""Every command of README and docs is parsed by the parser that a person's command meets."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.cli.main import COMMANDS, main
from longmab_pl.cli.start import checked_options
from longmab_pl.cli.start_checks import refuse_impossible

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL_BLOCK = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN_OPTIONS = {
    "fit": (),
    "validate": (),
    "rollout": ("adapter", "round", "dry-run", "dry_run", "ray", "workers", "worker-gpus", "worker_gpus"),
    "doctor": ("gpu-memory-gb", "gpu_memory_gb"),
}


class Parsed(Exception):
    """Raised in place of running a script whose arguments have been parsed."""


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a page's shell blocks as words; optional parts in brackets count as given."""
    for block in SHELL_BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            # What the shell works out: a number, an address.
            line = re.sub(r"\$\(\(.*?\)\)", "8", line).replace("$RAY_ADDRESS", "head:6379")
            if re.match(r"(longmab|python (benchmarks|studies)/)\b", line):
                yield shlex.split(line.replace("[--", "--").replace("]", "") if "[--" in line else line, comments=True)


def found(kind: str) -> list[Any]:
    return [
        pytest.param(words, id=f"{page.stem}: {' '.join(words)[:80]}")
        for page in PAGES
        for words in commands(page.read_text(encoding="utf-8"))
        if (words[0] == "longmab") == (kind == "longmab")
    ]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A new folder to stand in, in which the parser of a command's options ends without calling its function."""
    monkeypatch.chdir(tmp_path)

    def parse_only(function: Any, args: list[str], **settings: Any) -> None:
        from jsonargparse import auto_parser

        auto_parser(function, **settings).parse_args(args)

    monkeypatch.setattr("jsonargparse.auto_cli", parse_only)
    for module in ("asked_document", "evaluate_start", "inspect"):  # models and files of the docs are examples
        monkeypatch.setattr(f"longmab_pl.cli.{module}.refuse_missing_model", lambda *given: None)
    monkeypatch.setattr("longmab_pl.cli.asked_document.read_document", lambda path: "")
    return monkeypatch


def test_there_are_commands_of_every_kind() -> None:
    names = {param.values[0][1] for param in found("longmab")}
    assert {"fit", "rollout", "doctor", "pairs", "evaluate", "compare", "export", "ask", "chat", "report"} <= names
    assert len(found("longmab")) > 30
    assert len(found("script")) > 5


@pytest.mark.parametrize("words", found("longmab"))
def test_a_command_of_the_docs_is_understood(words: list[str], shell: pytest.MonkeyPatch) -> None:
    name, *args = words[1:]
    if name in OWN_OPTIONS:
        shell.setattr("longmab_pl.cli.start_checks.has_gpu", lambda: True)
        shell.setattr("longmab_pl.rollout.cluster.settings.ClusterSettings.refuse_unreachable", lambda self: None)
        _, config = checked_options(args, OWN_OPTIONS[name])
        refuse_impossible(config)
        return
    if "evaluate.yaml" in args:
        blocks = YAML_BLOCK.findall((ROOT / "docs/evaluation.md").read_text(encoding="utf-8"))
        Path("evaluate.yaml").write_text(next(block for block in blocks if block.startswith("# evaluate.yaml")))
    main([name, *args])


@pytest.mark.parametrize("words", found("script"))
def test_a_script_of_the_docs_is_understood(words: list[str], shell: pytest.MonkeyPatch) -> None:
    parse_args = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, *args: Any) -> None:
        parse_args(self, *args)
        raise Parsed

    shell.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    script = ROOT / words[1]
    shell.setattr(sys, "argv", [str(script), *words[2:]])
    shell.syspath_prepend(str(script.parent))
    with pytest.raises(Parsed):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_text_names_only_commands_that_exist(page: Path) -> None:
    named = set(re.findall(r"`longmab ([a-z][a-z-]*)", page.read_text(encoding="utf-8")))
    assert named <= {command.name for command in COMMANDS}
