"""A run's settings as LightningCLI saved them, without what should not leave the training machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.models.bundled import BUNDLED_PREFIX

FOLDER = re.compile(r"^(?:[~.]{0,2}/|[A-Za-z]:\\)")
"""Pattern of the beginning of a path to a folder of this machine."""

SETTING_CHARACTERS = 2_000
"""Longest setting that is shown, in characters."""

_SECRET = re.compile(r"key|token$|secret|password|credential|auth|bearer", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


def saved_config(run: Path) -> Mapping[str, Any]:
    """Return the run's newest saved configuration; empty if there is none.

    Raises:
        DataError: the file is not YAML.
    """
    import yaml

    saved = sorted(run.rglob("config.yaml"), key=lambda p: p.stat().st_mtime)
    if not saved:
        return {}
    try:
        config = yaml.safe_load(saved[-1].read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{saved[-1]} is not YAML; move it away to go on without it") from error
    return config if isinstance(config, dict) else {}


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that a reader of results needs, without private values (see `public`)."""
    trainer = section(config, "trainer")
    asked = ("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "devices", "strategy")
    kept: dict[str, Any] = {
        "seed_everything": config.get("seed_everything"),
        "trainer": {key: trainer[key] for key in asked if trainer.get(key) not in (None, -1, "auto")},
        "model": config.get("model"),
        "data": config.get("data"),
    }
    found: dict[str, Any] = public(kept)
    return found


def public(value: Any, name: str = "") -> Any:
    """Return settings without private values: passwords, and paths of folders on the training machine."""
    if isinstance(value, dict):
        return {key: public(inner, str(key)) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [public(inner, name) for inner in value]
    if isinstance(value, str) and _SECRET.search(name):
        return "(left out)"
    if isinstance(value, str) and FOLDER.match(value):
        return "…/" + short_name(value)
    return _URL_LOGIN.sub("", value)[:SETTING_CHARACTERS] if isinstance(value, str) else value


def short_name(name: str) -> str:
    """Return the last part of a model's name or path."""
    return name.rstrip("/").rpartition("/")[2].removeprefix(BUNDLED_PREFIX)


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a configuration; empty if it is missing."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def init_args(component: Any) -> Mapping[str, Any]:
    """Return the settings of a component as LightningCLI saves it."""
    return class_and_args(component)[1] if isinstance(component, dict) else {}


def class_and_args(component: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the class name and settings of a component as LightningCLI saves it."""
    if isinstance(component, str):
        return component.rpartition(".")[2], {}
    return str(component.get("class_path", "")).rpartition(".")[2], component.get("init_args") or {}
