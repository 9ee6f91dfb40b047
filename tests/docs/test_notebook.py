"""The notebook of the docs: its commands are parsed, and its cells are run in order as Jupyter would."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from longmab_pl.cli.main import COMMANDS
from longmab_pl.cli.start import checked_options

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/first_run.ipynb"


def code_cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell.replace("\\\n", " ") for cell in cells]


def shell_commands() -> list[list[str]]:
    return [shlex.split(line[1:]) for cell in code_cells() for line in cell.splitlines() if line.startswith("!")]


def test_its_commands_exist_and_its_settings_are_understood():
    names = {command.name for command in COMMANDS}
    assert [words[0] for words in shell_commands()] == ["longmab"] * 4
    assert {words[1] for words in shell_commands()} == {"--version", "fit", "pairs", "report"}
    assert {words[1] for words in shell_commands() if words[1] != "--version"} <= names
    (fit,) = [words for words in shell_commands() if words[1] == "fit"]
    _, config = checked_options(fit[2:])
    assert config.class_name("data", "engine") == "TransformersEngine"
    assert config.value("data", "rounds") == 1


@pytest.mark.slow
def test_its_cells_run_one_after_the_other(tmp_path):
    cells = [re.sub(r"^!(.*)$", lambda line: f"_shell({line[1]!r})", cell, flags=re.M) for cell in code_cells()]
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    (tmp_path / "cells.py").write_text(
        "import json, subprocess\n"
        "def _shell(line): subprocess.run(line, shell=True, check=True)\n"
        "names = {'_shell': _shell}\n"
        "for number, cell in enumerate(json.load(open('cells.json'))):\n"
        "    exec(compile(cell, f'cell {number}', 'exec'), names)\n"
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert "1 round, 2 evaluations" in ran.stdout
    assert "adapter_model.safetensors" in ran.stdout
    assert (tmp_path / "runs/notebook/report.html").stat().st_size > 10_000
    assert (tmp_path / "pairs.jsonl").exists()
