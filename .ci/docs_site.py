"""MkDocs hooks: the README as the site's first page, the notebook as the tutorial, a page of all options as the config
parser knows them, and one API page for each public package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from other files."""
    from longmab_pl.exports import PACKAGES

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=re.sub(r"\]\(docs/", "](", readme)))
    files.append(File.generated(config, "tutorial.md", content=_tutorial()))
    files.append(File.generated(config, "options.md", content="\n".join(_options())))
    pages = []
    for package in PACKAGES:
        homes: dict[str, str] = import_module(package).HOMES
        # In a checkout callbacks/ lies beside longmab_pl/.
        paths = [f"{module}.{name}".replace("longmab_pl.callbacks", "callbacks") for name, module in homes.items()]
        text = f"# `{package}`\n\n" + "\n".join(f"::: {path}\n" for path in sorted(paths))
        page = f"api/{package}.md"
        files.append(File.generated(config, page, content=text))
        pages.append({package: page})
    if not any("API" in entry for entry in config.nav):
        config.nav.append({"API": pages})
    return files


def _tutorial() -> str:
    """Return the notebook's cells, which the tests run, as a page."""
    cells = json.loads((ROOT / "docs/notebooks/first_run.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif text.startswith("!"):
            parts.append(f"```bash\n{text.removeprefix('!')}\n```")
        else:
            parts.append(f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _options() -> Iterator[str]:
    """Yield the lines of the page of all options: each section of a config, the classes that fill it, their settings.

    They are read from the same place as those of `longmab options` and of the check of configs.
    """
    from longmab_pl.cli.options import SECTIONS, classes_of, listed
    from longmab_pl.cli.settings.classes import ROOT_CLASSES, class_settings
    from longmab_pl.cli.settings.shortcuts import SHORTCUTS

    yield "# Options"
    yield ""
    yield "The settings of `fit`, `rollout` and `doctor`, as `longmab options` prints them. In a config they are YAML,"
    yield "on the command line `--SECTION.NAME VALUE`; classes are named by their short names."
    yield ""
    yield "| short option | what it is |"
    yield "| --- | --- |"
    for name, meaning in SHORTCUTS.items():
        yield f"| `--{name}` | {_cell(meaning)} |"
    for section, (place, _) in SECTIONS.items():
        yield f"\n## {section}\n\nIn a config: `{place}`.\n"
        for path in classes_of(section):
            settings = class_settings(path)
            assert settings is not None
            yield f"### {path.rpartition('.')[2]} {{: #{section}-{path.rpartition('.')[2].lower()} }}\n"
            yield f"{settings.summary}\n"
            rows = list(listed(settings, place if place in ROOT_CLASSES else ""))
            if rows:
                yield "| setting | type | default | |"
                yield "| --- | --- | --- | --- |"
            for name, setting in rows:
                default = "required" if setting.default is None else f"`{_cell(setting.default)}`"
                yield f"| `{name}` | {_cell(setting.kind.in_config())} | {default} | {_cell(setting.help)} |"
            yield ""


def _cell(text: str) -> str:
    """Return text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
