"""MkDocs hooks: the README as the site's first page, and one API page for each public package."""

from __future__ import annotations

import re
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
